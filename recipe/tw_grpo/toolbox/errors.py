# SPDX-License-Identifier: Apache-2.0
"""The one exception that means "the user has to change something", and how it ends a program: one line, exit code 2.

Everything else that goes wrong keeps its traceback, because then it is ours or verl's to mend.
"""

from __future__ import annotations

import sys
from typing import NoReturn


class UserError(ValueError):
    """A setting, file or record that cannot be used. The message is one line: what is wrong, where, and what to do."""


def one_line(error: Exception) -> str:
    """The message of `error` without line breaks."""
    return " ".join(line.strip() for line in str(error).splitlines())


def stop(error: Exception) -> NoReturn:
    """End a program that is not ours (verl's driver) with `error` as one line on stderr and exit code 2."""
    print(f"tw_grpo: error: {one_line(error)}", file=sys.stderr, flush=True)
    raise SystemExit(2)
