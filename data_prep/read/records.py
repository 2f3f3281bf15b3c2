# SPDX-License-Identifier: Apache-2.0
"""Reading somebody else's annotations: files to records, records to fields of the type they must have.

Whatever is wrong is named in one line with file, record and field: no JSON, a key that is missing, a value of the wrong
type. Which option an answer means is decided in answers.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.read.lettering import TwoLetters
from data_prep.read.question import Question, Reading
from recipe.tw_grpo.toolbox.errors import UserError

_KINDS = {int: "an integer", str: "a text", list: "a list", dict: "an object"}


def need(record: Any, key: str, kind: type, where: str) -> Any:
    """`record[key]`, which must be there and of type `kind` (int, str, list or dict; True is no integer).

    Raises:
        UserError: `where` is no object, lacks the key, or holds another type; texts must be valid Unicode.
    """
    if not isinstance(record, dict):
        raise UserError(f"{where}: expected an object, found {type(record).__name__}")
    if key not in record:
        raise UserError(f"{where}: key {key!r} is missing")
    value = record[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UserError(f"{where}: {key!r} must be {_KINDS[kind]}, found {_short(value)}")
    if kind is str:
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise UserError(f"{where}: {key!r} is not valid Unicode text: {_short(value)}") from None
        if "\0" in value:
            raise UserError(f"{where}: {key!r} holds a NUL character: {_short(value)}; the file is damaged")
    if kind is int and not 0 <= value < 2**31:
        raise UserError(f"{where}: {key!r} must lie in 0 to {2**31 - 1}, found {_short(value)}")
    return value


def text_of(record: Any, key: str, where: str) -> str:
    """A text that is more than blanks, without those around it."""
    text = need(record, key, str, where)
    if not text.strip():
        raise UserError(f"{where}: {key!r} is empty")
    return text.strip()


def name_of(record: Any, key: str, where: str) -> str:
    """A text that names a video or a question; a number whose digits a spreadsheet has changed is none."""
    name = text_of(record, key, where)
    if re.fullmatch(r"\d+([.,]\d+)?[eE]\+\d+|\d+\.0+", name):
        raise UserError(
            f"{where}: {key!r} is {name!a:.60}, a number as a spreadsheet or pandas writes it; take the original file"
        )
    return name


def id_of(record: Any, keys: Sequence[str], where: str, below: int = 2**31) -> str:
    """The first of `keys` the record has, a text or an integer from 0 to less than `below`, as text."""
    key = next((key for key in keys if isinstance(record, dict) and key in record), keys[0])
    value = record.get(key) if isinstance(record, dict) else None
    if isinstance(value, int) and not isinstance(value, bool) and 2**31 <= value < below:
        return str(value)
    return str(need(record, key, int, where)) if isinstance(value, int) else name_of(record, key, where)


def seconds_of(record: dict[str, Any], where: str) -> tuple[float, float] | None:
    """(`start`, `end`) in seconds, None where neither is given."""
    values = [record.get(key) for key in ("start", "end")]
    if values == [None, None]:
        return None
    for key, value in zip(("start", "end"), values, strict=True):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
            raise UserError(f"{where}: {key!r} must be seconds, found {ascii(value):.60}")
    if values[0] >= values[1]:
        raise UserError(f"{where}: 'start' ({values[0]}) must be before 'end' ({values[1]})")
    return float(values[0]), float(values[1])


def load_json(path: Path) -> Any:
    """What the JSON file `path` holds (a .jsonl file: the list of its lines).

    Raises:
        UserError: it is no JSON, with the place where it breaks off.
    """
    where = f"{path}"
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix != ".jsonl":
            return json.loads(text)
        records = []
        for number, line in enumerate(text.split("\n"), 1):  # U+2028 inside a text ends no line
            where = f"{path}: line {number}"
            if line.strip():
                records.append(json.loads(line))
        return records
    except (ValueError, RecursionError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise UserError(f"{where}: not a JSON file ({error}); download it again") from None


def load_parquet(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of a parquet file that has at least `columns`.

    Raises:
        UserError: it is no parquet file, or a column is missing.
    """
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path}: not a parquet file ({error}); download it again") from None
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        names = ", ".join(map(ascii, table.column_names))
        raise UserError(f"{path}: column {missing[0]!r} is missing (found {names:.90})")
    return table.to_pylist()


def records_of(path: Path, content: Any, expected: str) -> list[Any]:
    """`content`, which must be a list of records."""
    if not isinstance(content, list):
        raise UserError(f"{path}: expected {expected}, found {type(content).__name__}")
    return content


def read_records(
    path: Path, records: Iterable[Any], read: Callable[[Any, str], Question | str], unit: str = "record"
) -> Reading:
    """Apply `read(record, where)` to all; a text it returns is the reason why a record is left out."""
    questions: list[Question] = []
    left_out: dict[str, int] = {}
    notes: list[str] = []
    for number, record in enumerate(records):
        try:
            result = read(record, f"{path}: {unit} {number}")
        except TwoLetters as error:  # MMVU as published has one
            result = "whose options have two letters"
            notes.append(f"left out: {error}")
        if isinstance(result, str):
            left_out[result] = left_out.get(result, 0) + 1
        else:
            questions.append(result)
    return Reading(questions, left_out, [path], notes)


def refuse_duplicates(questions: Sequence[Question]) -> None:
    """Raise UserError if two questions have the same id."""
    seen: dict[str, str] = {}
    for question in questions:
        if question.question_id in seen:
            raise UserError(
                f"{question.where}: id {ascii(question.question_id):.60} occurs twice, also at "
                f"{seen[question.question_id]}"
            )
        seen[question.question_id] = question.where


def _short(value: Any) -> str:
    try:
        text = ascii(value)
    except (RecursionError, ValueError):  # very deep lists, integers of thousands of digits
        text = type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
