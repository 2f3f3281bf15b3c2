# SPDX-License-Identifier: Apache-2.0
"""Files that a kill must not break: written whole or not at all; and lines of JSON, the last of which may be torn."""

from __future__ import annotations

import contextlib
import json
import os
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
    finally:
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
