# SPDX-License-Identifier: Apache-2.0
"""NExT-GQA and NExT-QA questions, in the data sets' own CSV and parquet (answer = text or index) and derived JSON.

The form is told by the content, never by the file's name.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from data_prep.read.answers import lettered_options, question_of, text_position, text_positions
from data_prep.read.question import Question, Reading
from data_prep.read.records import id_of, load_parquet, name_of, text_of
from data_prep.read.video_r1 import read_mixed
from recipe.tw_grpo.toolbox.errors import UserError

_OPTIONS = ("a0", "a1", "a2", "a3", "a4")
_COLUMNS = ("question", "answer", "qid", "type", *_OPTIONS)
_INDICES = ("0", "1", "2", "3", "4")
Row = tuple[str, dict[str, str], tuple[str, ...]]  # where, columns as text, options


def read(path: Path) -> Reading:
    """Questions in file order; records of other data sets are left out and counted.

    Raises:
        UserError: whatever is wrong, with file, record and field.
    """
    raw = path.read_bytes()
    if raw[:4] == b"PAR1":
        return Reading(_questions(path, *_parquet_rows(path)), {}, [path])
    if raw.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"[", b"{") or path.suffix in (".json", ".jsonl"):
        return read_mixed(path, "NExT-QA", lambda source: "next" in source.lower())
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error}); is it CSV, JSON or parquet?") from None
    return Reading(_questions(path, *_csv_rows(path, text)), {}, [path])


def _row(where: str, record: dict[str, str], video: str) -> Row:
    """A row whose fields are all there, none of them damaged by a spreadsheet."""
    for key in (video, *_COLUMNS):
        if not record[key]:
            raise UserError(f"{where}: field {key!r} is empty")
        text_of(record, key, where)
    for key in (video, "qid"):
        name_of(record, key, where)
    return where, record, lettered_options([record[key] for key in _OPTIONS], where)


def _parquet_rows(path: Path) -> tuple[list[Row], str]:
    """The rows of the parquet form {video, question, answer (an index), qid, type, a0 … a4}, ids and index numbers."""
    rows = load_parquet(path, _COLUMNS)
    video = "video_id" if rows and "video_id" in rows[0] else "video"
    found = []
    for number, row in enumerate(rows):
        where = f"{path}: record {number}"
        record = {key: id_of(row, [key], where, 2**63) for key in (video, "answer", "qid")}
        where = f"{where}, video {record[video]!a:.40}, qid {record['qid']!a:.20}"
        record |= {key: text_of(row, key, where) for key in ("question", "type", *_OPTIONS)}
        found.append(_row(where, record, video))
    if not found:
        raise UserError(f"{path}: no question in it")
    return found, video


def _csv_rows(path: Path, text: str) -> tuple[list[Row], str]:
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise UserError(f"{path}: not a CSV file with commas and double quotes ({error})") from None
    if not rows:
        raise UserError(f"{path}: empty")
    header = [name.strip() for name in rows[0][1]]
    video_column = "video_id" if "video_id" in header else "video"
    missing = [name for name in (video_column, *_COLUMNS) if name not in header]
    if missing:
        wrong = next((f"; it seems to be separated by {mark!r}" for mark in ";\t|" if mark in text.split("\n")[0]), "")
        raise UserError(f"{path}: line 1 lacks the columns {', '.join(missing)}{wrong}; expected commas")
    if len(set(header)) < len(header):
        raise UserError(f"{path}: line 1 names a column twice")
    records = []
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise UserError(f"{path}: line {line} has {len(row)} fields, expected {len(header)} as in line 1")
        record = dict(zip(header, (field.strip() for field in row), strict=True))
        where = f"{path}: line {line}, video {record[video_column]!a:.40}, qid {record['qid']!a:.20}"
        records.append(_row(where, record, video_column))
    if not records:
        raise UserError(f"{path}: a header and no question")
    return records, video_column


def _questions(path: Path, rows: list[Row], video: str) -> list[Question]:
    """The forms differ in what `answer` means, a text or an index. It must mean the same in the whole file."""
    by_text = sum(bool(text_positions(record["answer"], options)) for _, record, options in rows)
    by_index = sum(record["answer"] in _INDICES for _, record, _ in rows)
    indexed = by_index > by_text or by_index == by_text and video == "video"
    return [_question(where, record, options, video, indexed) for where, record, options in rows]


def _question(where: str, record: dict[str, str], options: tuple[str, ...], video: str, indexed: bool) -> Question:
    answer = record["answer"]
    if indexed and answer not in _INDICES:
        raise UserError(f"{where}: 'answer' is {answer!a:.60}, expected an index 0 to 4 as elsewhere in this file")
    if not indexed and not text_positions(answer, options):
        raise UserError(f"{where}: 'answer' is {answer!a:.60}, which is none of a0 to a4")
    return Question(
        where=where,
        question_id=f"{record[video]}_{record['qid']}",
        scene=record[video],
        video=record[video],
        text=question_of(record, "question", options, where),
        options=options,
        right=(int(answer),) if indexed else text_position(answer, options, where),
        kind=record["type"],
    )
