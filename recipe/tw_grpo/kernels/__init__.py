# SPDX-License-Identifier: Apache-2.0
"""How Eq. 4 is computed fast: the plan of its tiles, the products of a tile, and the element-wise work on it.

What is computed stands in `recipe/tw_grpo/divergence.py`; nothing here knows more of the method than its two formulas.
"""
