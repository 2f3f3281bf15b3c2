# SPDX-License-Identifier: Apache-2.0
"""Checks before Ray starts: will verl load the plugin (preflight.py), does this configuration work (dry_run.py)."""

from __future__ import annotations

import os
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """`tw-grpo check OVERRIDES…`: both checks; prints the configuration."""
    from recipe.tw_grpo.doctor import dry_run, preflight

    preflight.check(os.environ)
    dry_run.main(None if arguments is None else list(arguments))
