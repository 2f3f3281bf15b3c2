# SPDX-License-Identifier: Apache-2.0
"""How data scripts tell users about bad input: one line on stderr that names the culprit, exit code 2, no traceback.

A script raises DataError (or uses `need` on a record) and hands its main function to `run_main`. Mistakes of the code
itself are not caught: they keep their traceback.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

_KINDS = {int: "an integer", str: "a text", list: "a list", dict: "an object"}


class DataError(Exception):
    """Input the user has to correct; the message is one line: file, record, field, what to do."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose complaints are one line too (argparse prints its usage first)."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(formatter_class=argparse.ArgumentDefaultsHelpFormatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raise DataError instead of printing the usage and leaving."""
        raise DataError(f"{message} (see --help)")


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


def need(record: Any, key: str, kind: type, where: str) -> Any:
    """`record[key]`, which must be there and of type `kind` (int, str, list or dict; True is no integer).

    Raises:
        DataError: `where` is no object, lacks the key, or holds another type; texts must be valid Unicode.
    """
    if not isinstance(record, dict):
        raise DataError(f"{where}: expected an object, found {type(record).__name__}")
    if key not in record:
        raise DataError(f"{where}: key {key!r} is missing")
    value = record[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DataError(f"{where}: {key!r} must be {_KINDS[kind]}, found {_short(value)}")
    if kind is str:
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise DataError(f"{where}: {key!r} is not valid Unicode text: {_short(value)}") from None
    if kind is int and not 0 <= value < 2**31:
        raise DataError(f"{where}: {key!r} must lie in 0 to {2**31 - 1}, found {_short(value)}")
    return value


def _short(value: Any) -> str:
    try:
        text = ascii(value)
    except (RecursionError, ValueError):  # very deep lists, integers of thousands of digits
        text = type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."


def run_main(main: Callable[[Sequence[str] | None], int | None], argv: Sequence[str] | None = None) -> NoReturn:
    """Run `main(argv)` and leave: 0 or its return value, 2 with one line for DataError and OSError, 130 for Ctrl-C."""
    program = os.path.basename(sys.argv[0])
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a path that is not UTF-8 must not break a message about it
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `… | head` ends quietly
    try:
        code = main(argv) or 0
    except DataError as error:
        print(f"{program}: error: {' '.join(str(error).splitlines())}", file=sys.stderr)
        code = 2
    except OSError as error:
        print(f"{program}: error: {' '.join(str(error).splitlines())}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted, nothing written", file=sys.stderr)
        code = 130
    sys.exit(code)
