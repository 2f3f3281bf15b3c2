# SPDX-License-Identifier: Apache-2.0
"""Will verl load this plugin? Asked by the launch scripts before minutes are spent on starting Ray and vLLM.

`python -m recipe.tw_grpo.preflight` says nothing when all is well, else one line and exit code 2. It imports no verl.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points

from recipe.tw_grpo.toolbox.command_line import Parser
from recipe.tw_grpo.toolbox.errors import UserError

PLUGIN = "tw_grpo"  # name of the entry point in the group verl.plugins


def check(environment: Mapping[str, str]) -> None:
    """Raise UserError when verl, with this environment, would not load the plugin (verl/__init__.py decides)."""
    policy = environment.get("VERL_USE_EXTERNAL_PLUGINS", "auto").strip().lower()
    allowed = {name.strip() for name in policy.split(",")}
    if policy != "auto" and PLUGIN not in allowed:
        raise UserError(
            f"VERL_USE_EXTERNAL_PLUGINS={policy} keeps verl from loading the plugin: unset it or add {PLUGIN}"
        )
    if PLUGIN not in {point.name for point in entry_points(group="verl.plugins")}:
        raise UserError("the plugin is not installed in this Python, verl cannot find it: pip install -e .")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; takes no arguments."""
    Parser(prog="python -m recipe.tw_grpo.preflight", description=__doc__.split("\n\n")[0]).parse_args(arguments)
    check(os.environ)
