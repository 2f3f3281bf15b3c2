# SPDX-License-Identifier: Apache-2.0
"""The report of a training run, `python -m recipe.tw_grpo.report OUT`: a table, OUT/summary.json and OUT/report.png.

`run_report.py` reads the run's files and computes every number, `figures.py` draws them; neither imports verl.
"""
