# SPDX-License-Identifier: Apache-2.0
"""The JSON form of the Video-R1 family (Video-R1, TW-GRPO, VideoChat-R1's NExT-GQA): one list for any benchmark.

Records have `problem` (or `question`), lettered `options`, `solution` ("<answer>B</answer>") or `answer` ("(B)", "B",
or the text), `video` or `path`, and problem_type. Where a record has both `solution` and `answer`, they must agree.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_prep.read.answers import answer_positions, lettered_options, refuse_disagreement
from data_prep.read.question import Question, Reading
from data_prep.read.records import id_of, load_json, read_records, records_of, seconds_of, text_of
from recipe.tw_grpo.toolbox.errors import UserError

MULTIPLE_CHOICE = {"multiple choice", "multiple-choice", "multi-choice"}


def recognises(content: Any) -> bool:
    """Whether `content` (a parsed file) is of this form: a list whose first record has options and a question."""
    first = content[0] if isinstance(content, list) and content else None
    if isinstance(first, dict) and isinstance(first.get("question"), dict):  # an evaluation log wraps the record
        first = first["question"]
    return isinstance(first, dict) and "options" in first and ("problem" in first or "glue" in first)


def read(path: Path) -> Reading:
    """Every multiple-choice record of the file; records of other types are left out and counted."""
    content = records_of(path, load_json(path), "a list of records with `problem`, `options` and `solution`")
    return read_records(path, content, read_record)


def read_record(record: Any, where: str) -> Question | str:
    """One record, or why it is left out."""
    if isinstance(record, dict) and isinstance(record.get("question"), dict):
        record = record["question"]
    if not isinstance(record, dict):
        raise UserError(f"{where}: expected an object, found {type(record).__name__}")
    if "problem_type" in record and text_of(record, "problem_type", where) not in MULTIPLE_CHOICE:
        return "not multiple choice"
    # A Video-MME record has `video_id` 001 and `question_id` 001-1; NExT-GQA's `id` is <video>_<number>.
    question_id = id_of(
        record, [k for k in ("question_id", "id", "problem_id") if k in record] or ["problem_id"], where
    )
    where = f"{where} (id {ascii(question_id)[1:-1]:.40})"
    options = lettered_options(record.get("options"), where)
    label = "solution" if "solution" in record else "answer"
    right = answer_positions(text_of(record, label, where), options, where, label)
    if label == "solution" and record.get("answer") not in (None, ""):
        refuse_disagreement(text_of(record, "answer", where), right, options, where)
    video = text_of(record, "path" if "video" not in record and "path" in record else "video", where)
    return Question(
        where=where,
        question_id=question_id,
        scene=video.rsplit("/", 1)[-1].rsplit(".", 1)[0],
        video=video,
        text=text_of(record, "problem" if "problem" in record else "question", where),
        options=options,
        right=right,
        clip=seconds_of(record, where),
    )
