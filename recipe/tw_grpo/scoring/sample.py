# SPDX-License-Identifier: Apache-2.0
"""One response of a log, and how a reader of a form takes texts, options, truths and scores out of a record.

The readers in `forms/` say which field means what; what all of them do alike is here.
"""

from __future__ import annotations

import ast
import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.letters import LETTERS, listed_options

# Fields in which a log says what a response is worth. "format_score" and the like are about something else.
SCORES = (
    "soft_acc",
    "acc",
    "accuracy",
    "accuracy_score",
    "acc_score",
    "exact_match",
    "score",
    "correct",
    "is_correct",
    "rating",
    "reward",
    "hit",
)
SOFT = ("soft_acc", "accuracy_score")  # partly right answers count there; everywhere else they are wrong
TYPES = ("problem_type", "question_type", "original_question_type", "answer_type", "type", "dim")
_OPEN = frozenset("open openended freeform freetext numerical regression ocr captioning caption".split())
_LETTERS_ONLY = re.compile(r"\s*(?:<answer>)?\s*[A-Z](?:\s*,\s*[A-Z])*\s*(?:</answer>)?\s*")
_LETTERED = r"^\s*(?:option\s+)?\(?{letter}\s*(?:[.):：、．]|\))\s*"


@dataclasses.dataclass(slots=True)
class Sample:
    """One response of a log.

    Attributes:
        key: what tells its question (and, of several responses to it, which one) from the others of the log.
        question: its text, as far as the log has it, for people.
        video: what is drawn together in a bootstrap; the question where the log names no video.
        response: the text the model wrote, "" where the log has null.
        truth: text of the right letters, None when the log has none.
        options: texts of the options, None when they are not known.
        untagged: written by one of the public scripts that take the whole output for the answer.
        recorded: the scores the log itself gives, by the name of their field.
        fields: the short fields of its record, for categories.
        line: line number, or number of the record in a list or table.
        asked: question and options as the log has them, "" when it has none: rows of one id are told apart by it.
        open_ended: a question without options, by its type.
        answer: the part of the response that is its answer, where a form has a rule of its own for that.
    """

    key: str
    question: str
    video: str
    response: str
    truth: str | None
    options: tuple[str, ...] | None
    untagged: bool
    recorded: Mapping[str, float] | None
    fields: dict[str, Any]
    line: int
    asked: str = ""
    open_ended: bool = False
    answer: str | None = None


def make_sample(
    record: Mapping[str, Any],
    where: str,
    line: int,
    *,
    response: str,
    truth: str | None,
    key: Any = None,
    question: Any = None,
    options: Any = None,
    video: Any = None,
    untagged: bool = False,
    recorded: Mapping[str, float] | None = None,
    more: Mapping[str, Any] | None = None,
    answer: str | None = None,
) -> Sample:
    """The sample of a record whose reader has found out which fields mean what.

    Args:
        record: categories and the type of the question are taken from it; `more` adds fields.
        key: id of the question; None when the record has none, then its line is one, and nothing repeats it.
        question: its text; options that are not given are looked for in it.
        options: a list, a table {"A": text} or either written as text; None or empty if the record has none.
        recorded: scores; by default those of SCORES that stand in the record.

    Raises:
        UserError: the options are something else.
    """
    question = question if isinstance(question, str) else ""
    texts = option_texts(options, where) or tuple(listed_options(question)) or None
    name = f"line {line}" if is_missing(key) else str(key)
    return Sample(
        key=name,
        question=question or name,
        video=name if is_missing(video) else str(video),
        response=response,
        truth=truth,
        options=texts,
        untagged=untagged,
        recorded=scores_of(record) if recorded is None else recorded,
        fields=short_fields(record) | short_fields(more or {}),
        line=line,
        asked="\n".join([question, *(texts or ()), "" if is_missing(video) else Path(str(video)).name]).strip(),
        open_ended=texts is None and is_open({**record, **(more or {})}) and not _LETTERS_ONLY.fullmatch(truth or ""),
        answer=answer,
    )


def is_missing(value: Any) -> bool:
    """Whether a field holds nothing: null, no text, or the NaN that tables have for it."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def field(record: Mapping[str, Any], name: str, where: str) -> Any:
    """A field that every record of a form has.

    Raises:
        UserError: this one does not.
    """
    if name not in record:
        raise UserError(f"{where}: {name!r} is missing; every record of a log must have it")
    return record[name]


def text_of(record: Mapping[str, Any], name: str, where: str) -> str:
    """A response: the text of a field, "" where it is null.

    Raises:
        UserError: the field is missing or is no text.
    """
    value = field(record, name, where)
    if is_missing(value):
        return ""
    if not isinstance(value, str):
        raise UserError(f"{where}: {name!r} is no text: {value!r:.60}")
    return value


def truth_of(record: Mapping[str, Any], *names: str, where: str) -> str | None:
    """The right answer: the first field that holds one, a text, a number or a list of texts.

    Raises:
        UserError: the field holds something else.
    """
    for name in names:
        value = record.get(name)
        if is_missing(value):
            continue
        if isinstance(value, list | tuple) and all(isinstance(part, str | int) for part in value):
            return ",".join(map(str, value))
        if isinstance(value, float) and value.is_integer():  # an index in a column with gaps
            return str(int(value))
        if not isinstance(value, str | int | float):
            raise UserError(f'{where}: {name!r} must be a text such as "A,C" or a list of letters, found {value!r:.60}')
        return str(value)
    return None


def user_text(messages: Any) -> str:
    """What the last message of the user says, its parts of text one after the other; "" if these are no messages."""
    if not isinstance(messages, list):
        return ""
    asked = [message for message in messages if isinstance(message, dict) and message.get("role") == "user"]
    content = asked[-1].get("content") if asked else ""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def option_texts(listed: Any, where: str) -> tuple[str, ...] | None:
    """Texts of options given as a list, as {"A": text, …}, or as either in the notation of Python or JSON.

    Raises:
        UserError: anything else.
    """
    given = listed
    if isinstance(listed, str) and listed.strip()[:1] in ("[", "{", "("):
        try:
            listed = ast.literal_eval(listed.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            listed = given
    if isinstance(listed, dict):
        names = [str(name).strip().upper() for name in listed]
        by_letter = dict(zip(names, listed.values(), strict=True))
        if not set(by_letter) <= set(LETTERS):
            raise UserError(f"{where}: 'options' must be a list of texts or a table by letter, found {given!r:.60}")
        listed = [by_letter.get(letter) for letter in LETTERS[: 1 + max(map(LETTERS.find, by_letter), default=-1)]]
        while listed and is_missing(listed[-1]):
            listed.pop()
        listed = ["" if is_missing(option) else option for option in listed]
    if is_missing(listed) or (isinstance(listed, list | tuple) and not listed):
        return None
    if not isinstance(listed, list | tuple) or not all(isinstance(option, str | int | float) for option in listed):
        raise UserError(f"{where}: 'options' must be a list of texts, found {given!r:.60}")
    return without_letters([str(option) for option in listed])


def without_letters(options: list[str]) -> tuple[str, ...]:
    """Options without the letters before them ("A、", "Option A:", "a)"), if every one has its own."""
    cut = []
    for letter, option in zip(LETTERS, options, strict=False):
        match = re.match(_LETTERED.format(letter=letter), option, re.IGNORECASE)
        if match is None or match.end() == len(option):
            return tuple(options)
        cut.append(option[match.end() :])
    return tuple(cut) if len(cut) == len(options) else tuple(options)


def number(value: Any) -> float | None:
    """A score from 0 to 1, also as the text of a table; None for anything else, as for the -1 of a failed judge."""
    if isinstance(value, str):
        word = value.strip().lower()
        value = {"true": 1.0, "false": 0.0}.get(word, word)
        try:
            value = float(value)
        except ValueError:
            return None
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else None


def scores_of(record: Mapping[str, Any]) -> dict[str, float]:
    """The scores a record itself gives, by field."""
    return {name: value for name in SCORES if (value := number(record.get(name))) is not None}


def is_open(record: Mapping[str, Any]) -> bool:
    """Whether a record says that its question has no options."""
    return any("".join(filter(str.isalpha, str(record.get(name)).lower())) in _OPEN for name in TYPES)


def short_fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record by which it can be put into a category."""
    return {
        key: value
        for key, value in record.items()
        if isinstance(value, int | float) or (isinstance(value, str) and len(value) <= 200)
    }
