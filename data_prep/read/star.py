# SPDX-License-Identifier: Apache-2.0
"""STAR questions, in the data set's own JSON (question about start..end of a Charades video) and in the derived forms.

{question_id "Interaction_T1_0", question, video_id, start, end, choices [{choice_id, choice}], answer (a text)}. The
test split has no answers; it is refused, because nothing can be inverted without knowing what is right.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_prep.read.answers import lettered_options, question_of, text_position, text_positions
from data_prep.read.question import Question, Reading
from data_prep.read.records import name_of, need, seconds_of, text_of
from data_prep.read.video_r1 import read_mixed
from recipe.tw_grpo.toolbox.errors import UserError


def read(path: Path) -> Reading:
    """Questions in file order; records of other data sets are left out and counted.

    Raises:
        UserError: whatever is wrong, with file, record and field.
    """
    return read_mixed(path, "STAR", lambda source: source.upper() == "STAR", _own)


def _own(record: Any, where: str) -> Question:
    identity = name_of(record, "question_id", where)
    inside = f"{where}, question_id {identity!a:.60}"
    if "answer" not in record:
        raise UserError(f"{inside}: key 'answer' is missing; STAR's test split has no answers, take train or val")
    choices: dict[int, str] = {}
    for position, choice in enumerate(need(record, "choices", list, inside)):
        number = need(choice, "choice_id", int, f"{inside}, choice at position {position}")
        if number in choices:
            raise UserError(f"{inside}: choice_id {number} occurs twice")
        choices[number] = need(choice, "choice", str, f"{inside}, choice {number}")
    options = lettered_options([choices[number] for number in sorted(choices)], inside, "choices")
    answer = text_of(record, "answer", inside)
    if not text_positions(answer, options):
        raise UserError(f"{inside}: 'answer' is {answer!a:.60}, which is none of the choices")
    video = name_of(record, "video_id", inside)
    clip = seconds_of(record, inside)
    if clip is None:
        raise UserError(f"{inside}: keys 'start' and 'end' are missing")
    return Question(
        where=inside,
        question_id=identity,
        scene=video,
        video=video,
        text=question_of(record, "question", options, inside),
        options=options,
        right=text_position(answer, options, inside),
        kind="_".join(identity.split("_")[:2]),
        clip=clip,
    )
