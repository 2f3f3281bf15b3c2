# SPDX-License-Identifier: Apache-2.0
"""`python -m recipe.tw_grpo.recompute`; the command itself is runs/recompute.py."""

from recipe.tw_grpo.runs.recompute import main
from recipe.tw_grpo.toolbox.command_line import run_main

if __name__ == "__main__":
    run_main(main)
