# SPDX-License-Identifier: Apache-2.0
"""STAR questions, in the data set's own JSON (question about start..end of a Charades video) and in the Video-R1 form.

The test split has no answers; it is refused, because nothing can be inverted without knowing what is right.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from data_prep.read.lettered import clean_options, is_video_r1, load_records, read_lettered, read_video_r1
from data_prep.read.question import Question, Reading
from data_prep.read.records import need, text_of
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.letters import LETTERS


def read(path: Path) -> Reading:
    """Questions in file order, and how many records of other data sets were left out.

    Raises:
        UserError: whatever is wrong, with file, record and field.
    """
    questions, others = [], 0
    for number, record in enumerate(load_records(path)):
        where = f"{path}: record {number}"
        if is_video_r1(record):
            if need(record, "data_source", str, where).upper() != "STAR":
                others += 1
                continue
            questions.append(read_video_r1(record, where))
        elif isinstance(record, dict) and "choices" not in record and "options" in record:
            questions.append(read_lettered(record, where))
        else:
            questions.append(_own(record, where))
    if not questions:
        raise UserError(f"{path}: none of its {others:,} records has the 'data_source' STAR")
    return Reading(questions, {"of other data sets": others} if others else {}, [path])


def _own(record: Any, where: str) -> Question:
    identity = text_of(record, "question_id", where)
    inside = f"{where}, question_id {identity!a:.60}"
    if "answer" not in record:
        raise UserError(f"{inside}: key 'answer' is missing; STAR's test split has no answers, take train or val")
    choices: dict[int, str] = {}
    for position, choice in enumerate(need(record, "choices", list, inside)):
        number = need(choice, "choice_id", int, f"{inside}, choice at position {position}")
        if number in choices:
            raise UserError(f"{inside}: choice_id {number} occurs twice")
        choices[number] = need(choice, "choice", str, f"{inside}, choice {number}")
    if not 2 <= len(choices) <= len(LETTERS):
        raise UserError(f"{inside}: 'choices' has {len(choices)} entries, expected 2 to {len(LETTERS)}")
    options = clean_options([choices[number] for number in sorted(choices)], inside)
    answer = text_of(record, "answer", inside)
    if answer not in options:
        raise UserError(f"{inside}: 'answer' is {answer!a:.60}, which is none of the choices")
    video = text_of(record, "video_id", inside)
    start, end = (_seconds(record, key, inside) for key in ("start", "end"))
    if not start < end:
        raise UserError(f"{inside}: 'start' is {start:g} s and 'end' is {end:g} s; expected start < end")
    return Question(
        where=inside,
        question_id=identity,
        scene=video,
        video=video,
        text=text_of(record, "question", inside),
        options=options,
        right=(options.index(answer),),
        kind="_".join(identity.split("_")[:2]),
        clip=(start, end),
    )


def _seconds(record: dict[str, Any], key: str, where: str) -> float:
    if key not in record:
        raise UserError(f"{where}: key {key!r} is missing")
    value = record[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"{where}: {key!r} must be a number of seconds, found {value!a:.60}")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not 0 <= seconds < 10**6:
        raise UserError(f"{where}: {key!r} must lie in 0 to a million seconds, found {seconds:g}")
    return seconds
