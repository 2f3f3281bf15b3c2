# SPDX-License-Identifier: Apache-2.0
"""Files that a kill must not break: written whole or not at all, folders made by one process at a time; lines of JSON,
the last of which may be torn; and files of overrides."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; what is there becomes `path` if the block ends well, else it goes.

    The folder of `path` must exist.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    except OSError as error:  # it names the part, which nobody has asked for
        reason = error.strerror or str(error)
        if str(part) not in f"{error.filename} {reason}":
            raise
        reason = reason.replace(str(part), str(path))
        raise (OSError(error.errno, reason, str(path)) if error.errno else OSError(f"{path}: {reason}")) from None
    finally:
        with contextlib.suppress(OSError):  # no name of a file: the error above says so
            part.unlink(missing_ok=True)


def write_whole(path: Path, text: str, errors: str = "strict") -> None:
    """Write UTF-8 text to `path`, whole or not at all; `errors` as in `str.encode`."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8", errors=errors)


def json_lines(file: Iterable[bytes]) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Number and object of every line that is not blank, None for one that is no whole JSON object."""
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        yield number, record if isinstance(record, dict) else None


def read_args(path: Path) -> tuple[str, ...]:
    """The overrides of an .args file: one a line, '#' starts a comment line."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def move_aside(folder: Path) -> Path:
    """Rename a folder to FOLDER.1, or the first number that is free, and return the new name; nothing is deleted."""
    aside = next(path for n in range(1, 10**6) if not (path := folder.with_name(f"{folder.name}.{n}")).exists())
    folder.rename(aside)
    return aside


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Let one process at a time make `path`; another waits here until it has ended, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:  # stays: to remove it would let two in
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that makes {path}", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
