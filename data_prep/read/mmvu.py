# SPDX-License-Identifier: Apache-2.0
"""MMVU in its own form, validation.json: {id, video (an address), question_type, question, choices {A: …}, answer}."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_prep.read.answers import letter_positions, lettered_options, options_of_certain, plain_options, question_of
from data_prep.read.lettering import TwoLetters
from data_prep.read.question import Question, Reading
from data_prep.read.records import load_json, need, read_records, records_of, text_of
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.letters import LETTERS


def read(path: Path) -> Reading:
    """validation.json: multiple-choice questions; open-ended ones are left out and counted."""
    content = records_of(path, load_json(path), "the list of MMVU's validation.json")
    return read_records(path, content, _record)


def _record(record: Any, where: str) -> Question | str:
    question_id = text_of(record, "id", where)
    where = f"{where} (id {ascii(question_id)[1:-1]:.40})"
    if text_of(record, "question_type", where) != "multiple-choice":
        return "not multiple choice"
    choices = need(record, "choices", dict, where)
    if list(choices) != list(LETTERS[: len(choices)]):
        raise UserError(f"{where}: 'choices' must be lettered A, B, C, ..., found {ascii(list(choices)):.60}")
    answer = text_of(record, "answer", where)
    texts = plain_options(list(choices.values()), where, "choices")
    try:  # some texts begin with a letter of their own
        options = lettered_options([f"{letter}. {text}" for letter, text in zip(choices, texts, strict=True)], where)
    except TwoLetters as error:
        options = options_of_certain(error, answer, where, "answer")
    # .../resolve/main/videos/Art/0.mp4 as an address, or a path
    video = text_of(record, "video", where).partition("/resolve/main/")
    right = letter_positions(answer, options, where)
    if right is None or len(right) > 1:
        raise UserError(f"{where}: 'answer' must be one letter, found {ascii(record['answer']):.60}")
    scene = (video[2] or video[0]).removeprefix("videos/").removesuffix(".mp4")
    text = question_of(record, "question", options, where)
    return Question(where, question_id, scene, video[2] or video[0], text, options, right)
