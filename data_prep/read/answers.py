# SPDX-License-Identifier: Apache-2.0
"""What readers of benchmarks share: a question, tables to records, and which option an answer means.

Every function either gives the one meaning of its input or raises one line that names file, record and field. Nothing
is guessed: a label is never made from an answer that fits two options or none.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.read.records import need, text_of
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.letters import LETTERS


@dataclass(frozen=True)
class Question:
    """One question with lettered options.

    Args:
        where: file and record, for messages.
        question_id: unique in its benchmark.
        scene: what the benchmark calls its video.
        video: the path as published; find_published knows what to make of it.
        right: positions of the right options, ascending, at least one.
        clip: (start, end) in seconds, if the annotations have them.
    """

    where: str
    question_id: str
    scene: str
    video: str
    question: str
    options: tuple[str, ...]
    right: tuple[int, ...]
    clip: tuple[float, float] | None = None


@dataclass
class Reading:
    """Questions of a benchmark, how many records were left out, by reason, and what a person should know of some."""

    questions: list[Question]
    left_out: dict[str, int]
    inputs: list[Path]
    notes: list[str] = field(default_factory=list)


def load_table(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of a CSV or parquet file that has at least `columns`; every value of a CSV is a text.

    Raises:
        UserError: another delimiter, missing columns, or a row of another length.
    """
    if path.suffix == ".parquet":
        try:
            table = pq.read_table(path)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UserError(f"{path}: not a parquet file ({error}); download it again") from None
        _check_columns(path, table.column_names, columns)
        return table.to_pylist()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            _check_columns(path, reader.fieldnames or (), columns)
            rows = list(reader)
    except (csv.Error, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: not a CSV file ({error}); download it again") from None
    for number, row in enumerate(rows):
        if None in row or None in row.values():
            raise UserError(f"{path}: record {number} has another number of fields than the first line")
    return rows


def _check_columns(path: Path, found: Sequence[str], columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in found]
    if missing:
        hint = "; is its delimiter a comma?" if path.suffix == ".csv" and len(found) < 2 else ""
        raise UserError(f"{path}: column {missing[0]!r} is missing (found {', '.join(map(ascii, found))[:90]}){hint}")


def id_of(record: Any, keys: Sequence[str], where: str) -> str:
    """The first of `keys` the record has, a text or an integer, as text."""
    key = next((key for key in keys if isinstance(record, dict) and key in record), keys[0])
    if isinstance(record, dict) and isinstance(record.get(key), int):
        return str(need(record, key, int, where))
    return text_of(record, key, where)


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


def letter_positions(answer: str, options: Sequence[str], where: str, key: str = "answer") -> tuple[int, ...] | None:
    """Positions for "B", "(B)", "B.", "A,C", each also inside <answer></answer>; None if `answer` is no letters.

    Raises:
        UserError: a letter beyond the options, or one twice.
    """
    bare = _bare(answer)
    if not re.fullmatch(r"\(?[A-Z]\)?[.):]?(\s*,\s*\(?[A-Z]\)?[.):]?)*", bare):
        return None
    positions = tuple(sorted(LETTERS.index(letter) for letter in re.findall(r"[A-Z]", bare)))
    if len(set(positions)) < len(positions):
        raise UserError(f"{where}: {key!r} names an option twice: {ascii(answer):.60}")
    if positions[-1] >= len(options):
        raise UserError(f"{where}: {key!r} is {ascii(answer):.60}, but there are {len(options)} options")
    return positions


def text_positions(answer: str, options: Sequence[str]) -> list[int]:
    """Positions of the options whose text is `answer`, with or without the option's letter before it."""
    bare = _bare(answer)
    return [i for i, option in enumerate(options) if bare in (option, f"{LETTERS[i]}. {option}")]


def answer_positions(answer: str, options: Sequence[str], where: str, key: str = "answer") -> tuple[int, ...]:
    """Positions of the options that `answer` names: letters, or else the text of exactly one option."""
    positions = letter_positions(answer, options, where, key)
    return text_position(answer, options, where, key) if positions is None else positions


def text_position(answer: str, options: Sequence[str], where: str, key: str = "answer") -> tuple[int, ...]:
    """The same where answers are always texts; a text like "A" is then no letter.

    Of options with the same text the first is taken: NExT-GQA's test set has such questions, and any of them is right.
    """
    found = text_positions(answer, options)
    if len({options[i] for i in found}) != 1:
        problem = "fits several options" if found else "is neither a letter nor the text of an option"
        raise UserError(f"{where}: {key!r} {problem}: {ascii(answer):.80}")
    return (found[0],)


def refuse_disagreement(answer: str, right: tuple[int, ...], options: Sequence[str], where: str) -> None:
    """Raise UserError if the further field `answer` names other options than `right`; if it names none, ignore it."""
    letters = None if text_positions(answer, options) else letter_positions(answer, options, where)
    meanings = [(i,) for i in text_positions(answer, options)] + ([letters] if letters else [])
    if meanings and right not in meanings:
        raise UserError(f"{where}: the label says option {right[0] + 1}, 'answer' says {ascii(answer):.60}")


def _bare(answer: str) -> str:
    inside = re.fullmatch(r"\s*<answer>(.*)</answer>\s*", answer, re.DOTALL)
    return (inside[1] if inside else answer).strip()


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
    for number, record in enumerate(records):
        result = read(record, f"{path}: {unit} {number}")
        if isinstance(result, str):
            left_out[result] = left_out.get(result, 0) + 1
        else:
            questions.append(result)
    return Reading(questions, left_out, [path])


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
