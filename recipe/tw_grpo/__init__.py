# SPDX-License-Identifier: Apache-2.0
"""TW-GRPO (arXiv 2505.24718) for an unmodified verl: token weights from group-wise divergence, multi-answer reward.

Importing this package imports nothing of verl or ray; `plugin.py` is the one module that touches verl's registries.
"""

__version__ = "0.1.0"
