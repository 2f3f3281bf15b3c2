# SPDX-License-Identifier: Apache-2.0
"""NExT-GQA and NExT-QA questions, in the data sets' own CSV (answer = text or index) and in the derived JSON forms.

The form is told by the content, never by the file's name.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from data_prep.read.answers import plain_options
from data_prep.read.question import Question, Reading
from data_prep.read.video_r1 import read_mixed
from recipe.tw_grpo.toolbox.errors import UserError

_OPTIONS = ("a0", "a1", "a2", "a3", "a4")
_COLUMNS = ("question", "answer", "qid", "type", *_OPTIONS)


def read(path: Path) -> Reading:
    """Questions in file order; records of other data sets are left out and counted.

    Raises:
        UserError: whatever is wrong, with file, record and field.
    """
    raw = path.read_bytes()
    if raw.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"[", b"{") or path.suffix == ".json":
        return read_mixed(path, "NExT-QA", lambda source: "next" in source.lower())
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error}); is it CSV or JSON?") from None
    return Reading(_read_csv(path, text), {}, [path])


def _read_csv(path: Path, text: str) -> list[Question]:
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
        for key in (video_column, *_COLUMNS):
            if not record[key]:
                raise UserError(f"{where}: field {key!r} is empty")
        records.append((where, record, plain_options([record[key] for key in _OPTIONS], where)))
    if not records:
        raise UserError(f"{path}: a header and no question")
    # The two CSV forms differ in what `answer` means. It must mean the same in the whole file.
    by_text = sum(record["answer"] in options for _, record, options in records)
    by_index = sum(record["answer"] in ("0", "1", "2", "3", "4") for _, record, _ in records)
    indexed = by_index > by_text or by_index == by_text and video_column == "video"
    return [_question(where, record, options, video_column, indexed) for where, record, options in records]


def _question(where: str, record: dict[str, str], options: tuple[str, ...], video: str, indexed: bool) -> Question:
    answer = record["answer"]
    if indexed and answer not in ("0", "1", "2", "3", "4"):
        raise UserError(f"{where}: 'answer' is {answer!a:.60}, expected an index 0 to 4 as elsewhere in this file")
    if not indexed and answer not in options:
        raise UserError(f"{where}: 'answer' is {answer!a:.60}, which is none of a0 to a4")
    return Question(
        where=where,
        question_id=f"{record[video]}_{record['qid']}",
        scene=record[video],
        video=record[video],
        text=record["question"],
        options=options,
        right=(int(answer) if indexed else options.index(answer),),
        kind=record["type"],
    )
