# SPDX-License-Identifier: Apache-2.0
"""The console command `tw-grpo COMMAND …`: each command is a tool that `python -m` starts as well."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from recipe.tw_grpo.toolbox.command_line import run_main
from recipe.tw_grpo.toolbox.errors import UserError

# command: module, its function, what it does
COMMANDS = {
    "check": ("recipe.tw_grpo.doctor.check", "main", "all that can be known before a run starts: OVERRIDES…"),
    "plan": ("recipe.tw_grpo.doctor.plan", "main", "memory of a run on GPU, host and disk: OVERRIDES…"),
    "scripts": ("recipe.tw_grpo.runs.scripts", "main", "write the launch scripts, for who has no clone: DIR"),
    "score": ("recipe.tw_grpo.scoring.__main__", "main_score", "what response logs are worth: LOG…"),
    "compare": ("recipe.tw_grpo.scoring.__main__", "main_compare", "two logs of the same questions: A B"),
    "report": ("recipe.tw_grpo.report.__main__", "main", "a table and a picture of training runs: RUN…"),
    "recompute": ("recipe.tw_grpo.runs.recompute", "main", "D_t and w_t of a rollout dump again: MODEL DUMP DATA"),
    "evaluate": ("recipe.tw_grpo.evaluation.__main__", "main", "a benchmark through verl's validation"),
}


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run one of COMMANDS with the arguments behind its name."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: tw-grpo COMMAND …    (tw-grpo COMMAND --help says more)\n")
        print("\n".join(f"  {name:<10} {does}" for name, (_, _, does) in COMMANDS.items()))
        return 0
    if argv[0] not in COMMANDS:
        raise UserError(f"{argv[0]!r} is no command: it is one of {', '.join(COMMANDS)}")
    module, function, _ = COMMANDS[argv[0]]
    return getattr(importlib.import_module(module), function)(argv[1:])


def console() -> None:
    """What the installed command `tw-grpo` calls."""
    run_main(main)


if __name__ == "__main__":
    console()
