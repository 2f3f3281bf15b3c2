# SPDX-License-Identifier: Apache-2.0
"""`python -m recipe.tw_grpo.evaluation`: one benchmark with one model, or (`table OUT`) the table of several."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from recipe.tw_grpo.evaluation import launch, table
from recipe.tw_grpo.toolbox.command_line import run_main


def main(argv: Sequence[str] | None = None) -> int | None:
    """Command line: `table`, or what evaluation/launch.py takes."""
    argv = list(sys.argv[1:] if argv is None else argv)
    return table.main(argv[1:]) if argv[:1] == ["table"] else launch.main(argv)


if __name__ == "__main__":
    run_main(main)
