# SPDX-License-Identifier: Apache-2.0
"""From a file to its records: JSONL, a JSON list, a JSON object around a list, parquet, .tsv, .csv and .xlsx tables.

A file is read once from its start to its end, so that pipes and /dev/stdin work. Lines end at "\\n" and nowhere else:
responses may hold other line separators of Unicode. What a record means is `forms/`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from recipe.tw_grpo.scoring.forms import form_of
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.files import json_lines

Record = tuple[int, dict[str, Any] | None]
_BOM = b"\xef\xbb\xbf"
_PICKLES = (".pkl", ".pickle")


def records_of(path: Path) -> Iterator[Record]:
    """Number and record of everything in a file, None for a line or an entry that is no whole object.

    Raises:
        UserError: the file cannot be read, or is no file of these kinds.
    """
    try:
        if path.is_dir():
            raise UserError(f"{path}: is a folder; give its files, for example {path}/*.jsonl")
        with path.open("rb") as file:
            start = file.readline().removeprefix(_BOM)
            while start and not start.strip():
                start = file.readline()
            yield from _read(path, start, file)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None


def _read(path: Path, start: bytes, file: BinaryIO) -> Iterator[Record]:
    if start.startswith(b"PAR1"):
        return _numbered(_parquet(path, start + file.read()))
    if path.suffix.lower() in _PICKLES or (start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05"):
        raise UserError(
            f"{path}: a pickle can run any program, it is not opened; save the table as .tsv, .xlsx or .json"
        )
    if start.startswith(b"PK\x03\x04"):
        return _numbered(_workbook(path, start + file.read()))
    if path.suffix.lower() == ".csv":
        return _numbered(_table(path, start + file.read(), ","))
    if path.suffix.lower() == ".tsv" or (b"\t" in start and start.lstrip()[:1] not in (b"{", b"[")):
        return _numbered(_table(path, start + file.read(), "\t"))
    if start.lstrip()[:1] == b"[":
        return _numbered(_listed(path, start + file.read()))
    return _lines(path, start, file)


def _numbered(rows: list[Any]) -> Iterator[Record]:
    for number, row in enumerate(rows, 1):
        yield number, row if isinstance(row, dict) else None


def _listed(path: Path, content: bytes) -> list[Any]:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a JSON list ({error})") from None


def _lines(path: Path, start: bytes, file: BinaryIO) -> Iterator[Record]:
    """The lines of a JSONL file, or the list in a file that is one object."""
    try:
        first = json.loads(start)
    except (ValueError, RecursionError):
        first = None
    if first is None and start.lstrip()[:1] == b"{":  # an object over many lines, or a torn line
        content = start + file.read()
        try:
            whole = json.loads(content)
        except (ValueError, RecursionError):
            yield from json_lines(content.split(b"\n"))
        else:
            yield from _numbered(_wrapped(path, whole))
        return
    if isinstance(first, dict) and form_of(first) is None:
        behind = file.read()
        if not behind.strip():
            yield from _numbered(_wrapped(path, first))
            return
        yield from json_lines([start, *behind.split(b"\n")])
        return
    if start:
        yield 1, first if isinstance(first, dict) else None
    for number, record in json_lines(file):
        yield number + 1, record


def _wrapped(path: Path, whole: dict[str, Any]) -> list[Any]:
    """The records that one object wraps: the only list of records in it, its values by id, or itself.

    Raises:
        UserError: it holds several such lists.
    """
    if form_of(whole) is not None:
        return [whole]
    lists = dict(_lists(whole))
    if len(lists) > 1 and all("." in name for name in lists):
        return _by_video(whole)
    if len(lists) > 1:
        raise UserError(
            f"{path}: holds several lists of responses ({', '.join(list(lists)[:5])}); give each in a file of its own"
        )
    if lists:
        return next(iter(lists.values()))
    values = list(whole.values())
    if values and all(isinstance(value, dict) and form_of(value) for value in values):
        return [{"id": name, **value} for name, value in whole.items()]
    return [whole]


def _by_video(whole: dict[str, Any]) -> list[Any]:
    """Records in the form of TempCompass: {video: {dimension: [record, …]}}, with the two as fields."""
    return [
        {"video": video, "category": dimension, "id": f"{video} {dimension} {place}", **record}
        for video, table in whole.items()
        if isinstance(table, dict)
        for dimension, records in table.items()
        if isinstance(records, list)
        for place, record in enumerate(records)
        if isinstance(record, dict)
    ]


def _lists(table: dict[str, Any], before: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Name and content of the lists of records in an object, and in the objects directly within it."""
    for name, value in table.items():
        if isinstance(value, list) and any(isinstance(entry, dict) and form_of(entry) for entry in value[:100]):
            yield before + name, value
        elif isinstance(value, dict) and not before:
            yield from _lists(value, f"{name}.")


def _parquet(path: Path, content: bytes) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(pa.BufferReader(content)).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise UserError(f"{path}: not a whole parquet file ({error})") from None


def _table(path: Path, content: bytes, delimiter: str) -> list[dict[str, Any]]:
    csv.field_size_limit(1 << 30)  # a response may be long
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""), delimiter=delimiter, strict=True)
        rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a table in UTF-8 with tabs or commas ({error})") from None
    for number, row in enumerate(rows, 1):
        if None in row or None in row.values():
            raise UserError(f"{path}: row {number} has more or fewer cells than the table has columns: is it whole?")
    return rows


def _workbook(path: Path, content: bytes) -> list[dict[str, Any]]:
    try:
        import openpyxl
    except ImportError:
        raise UserError(
            f"{path}: .xlsx needs the package openpyxl (pip install openpyxl); or save the table as .tsv"
        ) from None
    try:
        sheet = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True).worksheets[0]
        rows = list(sheet.iter_rows(values_only=True))
    except Exception as error:  # openpyxl raises whatever its XML and zip readers do
        raise UserError(f"{path}: not a whole .xlsx table ({error})") from None
    head = [str(name) for name in rows[0]] if rows else []
    return [dict(zip(head, row, strict=False)) for row in rows[1:] if any(cell is not None for cell in row)]
