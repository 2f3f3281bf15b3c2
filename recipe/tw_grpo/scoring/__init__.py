# SPDX-License-Identifier: Apache-2.0
"""Offline scorer of response logs, `python -m recipe.tw_grpo.scoring LOG…`: what a log is worth and how two differ.

`reading.py` knows the forms of logs, `score.py` what they are worth, `kinds.py` what is malformed, `compare.py` two
logs of the same questions, `hacking.py` what tricks earn. How answers are read and rewarded is `answers.py` and
`reward.py`, the same code as in training. Nothing here imports verl, ray or torch.
"""
