# SPDX-License-Identifier: Apache-2.0
"""A user's own questions: JSON lines {"id", "video", "question", "options": [texts], "answers": ["A", "C"]}.

"start" and "end" (seconds) may follow. `answers` are letters: A is the first option. Keys that are none of these are
refused, so that a misspelt one is not ignored.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from data_prep.read.answers import lettered_options, question_of
from data_prep.read.question import Question, Reading
from data_prep.read.records import id_of, name_of, need, seconds_of
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.letters import LETTERS

REQUIRED = ("id", "video", "question", "options", "answers")
KEYS = (*REQUIRED, "start", "end")


def read(path: Path) -> Reading:
    """The question of every line, in order; blank lines are passed over.

    Raises:
        UserError: the first line that cannot be used, by its number, and what is wrong with it.
    """
    questions: list[Question] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        question = _question(_record(line, where), where)
        if question.question_id in seen:
            first = seen[question.question_id]
            raise UserError(f"{where}: id {question.question_id!a:.60} occurs twice, also in line {first}")
        seen[question.question_id] = number
        questions.append(question)
    if not questions:
        raise UserError(f"{path}: no question in it")
    return Reading(questions, {}, [path])


def _record(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line.decode("utf-8"), object_pairs_hook=lambda pairs: _once(pairs, where))
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not a JSON object on one line ({error})") from None
    if not isinstance(record, dict):
        raise UserError(f"{where}: expected an object, found {type(record).__name__}")
    unknown = [key for key in record if key not in KEYS]
    if unknown:
        raise UserError(f"{where}: key {unknown[0]!a:.40} is none of {', '.join(KEYS)}")
    missing = [key for key in REQUIRED if key not in record]
    if missing:
        raise UserError(f"{where}: key {missing[0]!r} is missing")
    return record


def _once(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        raise UserError(f"{where}: key {next(key for key in keys if keys.count(key) > 1)!a:.40} occurs twice")
    return record


def _question(record: dict[str, Any], where: str) -> Question:
    identity = id_of(record, ["id"], where, 2**63)
    where = f"{where}, id {identity!a:.60}"
    video = name_of(record, "video", where)
    options = lettered_options(record["options"], where)
    if len(options) < 2:
        raise UserError(f"{where}: 'options' has 1 entry, expected 2 or more")
    if len(set(options)) < len(options):
        twice = next(option for option in options if options.count(option) > 1)
        raise UserError(f"{where}: 'options' has the same text twice: {twice!a:.60}")
    return Question(
        where=where,
        question_id=identity,
        scene=video.rsplit("/", 1)[-1].rsplit(".", 1)[0],
        video=video,
        text=question_of(record, "question", options, where),
        options=options,
        right=_right(record, len(options), where),
        clip=seconds_of(record, where),
    )


def _right(record: dict[str, Any], count: int, where: str) -> tuple[int, ...]:
    answers = need(record, "answers", list, where)
    letters = LETTERS[:count]
    for answer in answers:
        if not isinstance(answer, str) or len(answer) != 1 or answer not in letters:
            raise UserError(
                f"{where}: 'answers' must be letters from {letters[0]} to {letters[-1]}, found {answer!a:.60}"
            )
    if not answers:
        raise UserError(f"{where}: 'answers' is empty, a question needs a right option")
    if len(set(answers)) < len(answers):
        raise UserError(f"{where}: 'answers' names an option twice")
    return tuple(sorted(letters.index(answer) for answer in answers))
