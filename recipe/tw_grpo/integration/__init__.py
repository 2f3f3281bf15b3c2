# SPDX-License-Identifier: Apache-2.0
"""verl's side of the method: what plugin.py registers in verl, and the checks of its configuration.

Nothing outside this folder imports verl, except `runs/recompute.py` and `doctor/`, which load it on request.
"""
