# SPDX-License-Identifier: Apache-2.0
"""How the tools of this repository are started and how they end.

A user's mistake gives one line on stderr that names the culprit, exit code 2, no traceback: a tool raises UserError and
hands its main function to `run_main`. Mistakes of the code itself are not caught: they keep their traceback.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from recipe.tw_grpo.toolbox.errors import UserError, one_line


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose complaints are one line too (argparse prints its usage first)."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(formatter_class=argparse.ArgumentDefaultsHelpFormatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raise UserError instead of printing the usage and leaving."""
        raise UserError(f"{message} (see --help)")


def integer(low: int, high: int | None = None) -> Callable[[str], int]:
    """An argparse type: an integer from `low` to `high` (no upper limit if None)."""

    def parse(text: str) -> int:
        wanted = f"from {low} to {high}" if high is not None else f"of at least {low}"
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer {wanted}")
        return value

    return parse


def probability(text: str) -> float:
    """An argparse type: a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def run_main(main: Callable[[Sequence[str] | None], int | None], argv: Sequence[str] | None = None) -> NoReturn:
    """Run `main(argv)` and leave: 0 or its return value, 2 with one line for UserError and OSError, 130 for Ctrl-C."""
    path = Path(sys.argv[0])
    program = path.parent.name if path.stem == "__main__" else path.name
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a path that is not UTF-8 must not break a message about it
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `… | head` ends quietly
    try:
        code = main(argv) or 0
    except (UserError, OSError) as error:
        print(f"{program}: error: {one_line(error)}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted, nothing written", file=sys.stderr)
        code = 130
    sys.exit(code)
