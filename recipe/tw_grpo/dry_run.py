# SPDX-License-Identifier: Apache-2.0
"""`python -m recipe.tw_grpo.dry_run`; the command itself is doctor/dry_run.py."""

from recipe.tw_grpo.doctor.dry_run import main
from recipe.tw_grpo.toolbox.command_line import run_main

if __name__ == "__main__":
    run_main(main)
