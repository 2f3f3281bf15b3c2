# SPDX-License-Identifier: Apache-2.0
"""The derived JSON forms: options with their letters in front, an answer that is a letter, ids as the maker liked.

{id, video, question, options ["(A) …"], answer "(C)"} and the Video-R1 family's {problem_id, path, problem, options
["A. …"], solution "<answer>B</answer>", data_source}. Both data sets are found in both.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from data_prep.read.answers import lettered_options
from data_prep.read.question import Question
from data_prep.read.records import load_json, need, text_of
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.letters import LETTERS

_ANSWER = re.compile(r"\s*(?:<answer>\s*)?\(?([A-Za-z])\)?[.:]?\s*(?:</answer>)?\s*", re.ASCII)


def load_records(path: Path) -> list[Any]:
    """The list of records in a JSON file.

    Raises:
        UserError: not JSON, not a list, or an empty one.
    """
    records = load_json(path)
    if not isinstance(records, list):
        raise UserError(f"{path}: expected a list of questions, found {type(records).__name__}")
    if not records:
        raise UserError(f"{path}: an empty list; there is no question in it")
    return records


def is_video_r1(record: Any) -> bool:
    """Whether a record is of the Video-R1 family, by its keys."""
    return isinstance(record, dict) and "solution" in record and "problem" in record and "path" in record


def several_options(record: dict[str, Any], where: str) -> tuple[str, ...]:
    """The texts of `options`, at least two, without letters in front of them."""
    options = lettered_options(record.get("options"), where)
    if len(options) < 2:
        raise UserError(f"{where}: 'options' has 1 entry, expected 2 or more")
    return options


def clean_options(texts: list[str], where: str) -> tuple[str, ...]:
    """The texts without blanks around them; none may be empty."""
    texts = [text.strip() for text in texts]
    if "" in texts:
        raise UserError(f"{where}: option {LETTERS[texts.index('')]} is empty")
    return tuple(texts)


def letter_of(record: dict[str, Any], key: str, options: tuple[str, ...], where: str) -> int:
    """Position of the option an answer such as "(C)", "C", "<answer>C</answer>" or its very text names."""
    answer = need(record, key, str, where)
    match = _ANSWER.fullmatch(answer)
    if match and match[1].upper() in LETTERS[: len(options)]:
        return LETTERS.index(match[1].upper())
    if answer.strip() in options:
        return options.index(answer.strip())
    if re.fullmatch(r"\W*[A-Z]\W+[A-Z]\b.*", re.sub(r"</?answer>", "", answer)):
        raise UserError(f"{where}: {key!r} names several options ({answer!a:.60}); is this file inverted already?")
    raise UserError(f"{where}: {key!r} is {answer!a:.60}, which names none of the {len(options)} options")


def read_lettered(record: Any, where: str) -> Question:
    """A record of the form {id, video, question, options, answer}."""
    inside = f"{where}, id {text_of(record, 'id', where)!a:.60}"
    options = several_options(record, inside)
    video = text_of(record, "video", inside)
    return Question(
        where=inside,
        question_id=record["id"].strip(),
        scene=Path(video).stem,
        video=video,
        text=text_of(record, "question", inside),
        options=options,
        right=(letter_of(record, "answer", options, inside),),
        kind=text_of(record, "type", inside) if "type" in record else "",
    )


def read_video_r1(record: Any, where: str) -> Question:
    """A record of the Video-R1 family."""
    number = record.get("problem_id")
    identity = str(number) if isinstance(number, int) and not isinstance(number, bool) else ""
    identity = identity or text_of(record, "problem_id", where)
    inside = f"{where}, problem_id {identity!a:.60}"
    options = several_options(record, inside)
    video = text_of(record, "path", inside)
    return Question(
        where=inside,
        question_id=identity,
        scene=Path(video).stem,
        video=video,
        text=text_of(record, "problem", inside),
        options=options,
        right=(letter_of(record, "solution", options, inside),),
        kind="",
    )
