# SPDX-License-Identifier: Apache-2.0
"""Benchmarks through verl's own validation: `launch.py` asks and scores one, `table.py` puts several side by side."""
