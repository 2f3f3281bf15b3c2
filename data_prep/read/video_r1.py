# SPDX-License-Identifier: Apache-2.0
"""The derived JSON forms, for any data set: options with their letters, an answer that is a letter or a text.

The Video-R1 family's (Video-R1, TW-GRPO, Video-MME as it asks it) {problem_id, problem, options ["A. …"], solution
"<answer>B</answer>", path or video, problem_type, data_source} and VideoChat-R1's {id, question, options, answer
"(B)", video, type}. Where a record has both `solution` and `answer`, they must agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from data_prep.read.answers import (
    answer_positions,
    labelled_options,
    options_of_certain,
    question_of,
    refuse_disagreement,
)
from data_prep.read.data_sets import refuse_other_data_set
from data_prep.read.lettering import TwoLetters
from data_prep.read.question import Question, Reading
from data_prep.read.records import id_of, load_json, name_of, read_records, records_of, seconds_of, text_of
from recipe.tw_grpo.toolbox.errors import UserError

MULTIPLE_CHOICE = {"multiple choice", "multi choice"}  # in small letters, without hyphens
NOT_MULTIPLE_CHOICE = "not multiple choice"
OTHER_DATA_SETS = "of other data sets"


def recognises(content: Any) -> bool:
    """Whether `content` (a parsed file) is of this form: a list in which a record has options and a question."""
    return isinstance(content, list) and any(map(_recognises, content[:1000]))  # the first may be a free-form one


def _recognises(record: Any) -> bool:
    if isinstance(record, dict) and isinstance(record.get("question"), dict):  # an evaluation log wraps the record
        record = record["question"]
    return isinstance(record, dict) and "options" in record and ("problem" in record or "glue" in record)


def read(path: Path) -> Reading:
    """Every multiple-choice record of the file; records of other types are left out and counted."""
    content = records_of(path, load_json(path), "a list of records with `problem`, `options` and `solution`")
    return read_records(path, content, read_record)


def read_mixed(
    path: Path, data_set: str, ours: Callable[[str], bool], own: Callable[[Any, str], Question] | None = None
) -> Reading:
    """The records of one data set in a JSON file that may hold others; at least one.

    Args:
        data_set: its name, for messages.
        ours: whether a `data_source` is this data set; a record without one is, unless data_sets.py knows better.
        own: reader of a record of the data set's own form, which has no `options`.
    """
    content = records_of(path, load_json(path), "a list of questions")
    reading = read_records(path, content, partial(_read_ours, data_set=data_set, ours=ours, own=own))
    if not reading.questions:
        raise UserError(f"{path}: none of its {len(content):,} records is a multiple-choice question of {data_set}")
    return reading


def _read_ours(
    record: Any, where: str, data_set: str, ours: Callable[[str], bool], own: Callable | None
) -> Question | str:
    if own and not (isinstance(record, dict) and "options" in record and "choices" not in record):
        return own(record, where)
    claimed = isinstance(record, dict) and "data_source" in record
    if claimed and not ours(text_of(record, "data_source", where)):
        return OTHER_DATA_SETS
    question = read_record(record, where)
    return question if claimed or isinstance(question, str) else refuse_other_data_set(question, data_set)


def read_record(record: Any, where: str) -> Question | str:
    """One record, or why it is left out."""
    if isinstance(record, dict) and isinstance(record.get("question"), dict):
        record = record["question"]
    if not isinstance(record, dict):
        raise UserError(f"{where}: expected an object, found {type(record).__name__}")
    if record.get("data_type", "video") != "video":
        return f"of {text_of(record, 'data_type', where)}s, not videos"
    kind = next((key for key in ("problem_type", "question_type") if key in record), None)
    if kind and re.sub(r"[-_ ]+", " ", text_of(record, kind, where).lower()) not in MULTIPLE_CHOICE:
        return NOT_MULTIPLE_CHOICE
    if not kind and "options" in record and record["options"] in (None, [], {}, ""):
        return NOT_MULTIPLE_CHOICE
    if "image" in record and not ("video" in record or "path" in record):
        return "of images, not videos"
    # A Video-MME record has `video_id` 001 and `question_id` 001-1; NExT-GQA's `id` is <video>_<number>.
    keys = [key for key in ("question_id", "id", "problem_id") if key in record] or ["problem_id"]
    question_id = id_of(record, keys, where)
    where = f"{where}, {keys[0]} {question_id!a:.60}"
    if "options" not in record:
        raise UserError(f"{where}: key 'options' is missing; is this a file of another data set?")
    label = "solution" if "solution" in record else "answer"
    try:
        options, labels = labelled_options(record["options"], where)
    except TwoLetters as error:
        options, labels = options_of_certain(error, text_of(record, label, where), where, label), ()
    right = answer_positions(text_of(record, label, where), options, where, label, labels)
    if label == "solution" and record.get("answer") not in (None, ""):
        refuse_disagreement(text_of(record, "answer", where), right, options, where)
    video = name_of(record, "path" if "video" not in record and "path" in record else "video", where)
    return Question(
        where=where,
        question_id=question_id,
        scene=video.rsplit("/", 1)[-1].rsplit(".", 1)[0],
        video=video,
        text=question_of(record, "problem" if "problem" in record else "question", options, where),
        options=options,
        right=right,
        kind=text_of(record, "type", where) if "type" in record else "",
        clip=seconds_of(record, where),
    )
