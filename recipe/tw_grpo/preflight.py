# SPDX-License-Identifier: Apache-2.0
"""`python -m recipe.tw_grpo.preflight`; the command itself is doctor/preflight.py."""

from recipe.tw_grpo.doctor.preflight import main
from recipe.tw_grpo.toolbox.command_line import run_main

if __name__ == "__main__":
    run_main(main)
