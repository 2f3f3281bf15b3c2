# SPDX-License-Identifier: Apache-2.0
"""The derived JSON forms: options with their letters in front, an answer that is a letter, ids as the maker liked.

{id, video, question, options ["(A) …"], answer "(C)"} and the Video-R1 family's {problem_id, path, problem, options
["A. …"], solution "<answer>B</answer>", data_source}. Both data sets are found in both.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from data_prep.inversion.question import Question
from data_prep.prompts import LETTERS
from data_prep.records import need
from recipe.tw_grpo.errors import UserError

_OPTION = re.compile(r"\s*(?:\(([A-Z])\)|([A-Z])[.:)])\s*", re.ASCII)
_ANSWER = re.compile(r"\s*(?:<answer>\s*)?\(?([A-Za-z])\)?[.:]?\s*(?:</answer>)?\s*", re.ASCII)


def load_json(path: Path) -> list[Any]:
    """The list of records in a JSON file.

    Raises:
        UserError: not JSON, not a list, or an empty one.
    """
    try:
        records = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise UserError(f"{path}: not a JSON file ({error}); download it again") from None
    if not isinstance(records, list):
        raise UserError(f"{path}: expected a list of questions, found {type(records).__name__}")
    if not records:
        raise UserError(f"{path}: an empty list; there is no question in it")
    return records


def is_video_r1(record: Any) -> bool:
    """Whether a record is of the Video-R1 family, by its keys."""
    return isinstance(record, dict) and "solution" in record and "problem" in record and "path" in record


def without_letters(options: list[Any], where: str) -> tuple[str, ...]:
    """["(A) x", "(B) y"] or ["A. x", …] -> ("x", "y"); texts without letters stay as they are.

    Raises:
        UserError: too few or too many, an empty or broken one, letters that are not A, B, C … in this order.
    """
    if not 2 <= len(options) <= len(LETTERS):
        raise UserError(f"{where}: 'options' has {len(options)} entries, expected 2 to {len(LETTERS)}")
    texts = [need(dict(enumerate(options)), place, str, f"{where}, options") for place in range(len(options))]
    matches = [_OPTION.match(text) for text in texts]
    found = [match and (match[1] or match[2]) for match in matches]
    if all(found):
        if "".join(str(letter) for letter in found) != LETTERS[: len(found)]:
            raise UserError(f"{where}: 'options' are lettered {', '.join(map(str, found))}, expected A, B, C …")
        texts = [text[match.end() :] for text, match in zip(texts, matches, strict=True) if match]
    elif sum(letter == own for letter, own in zip(found, LETTERS, strict=False)) > 1:
        raise UserError(f"{where}: option {found.index(None) + 1} has no letter where others have one")
    return clean_options(texts, where)


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


def text_of(record: Any, key: str, where: str) -> str:
    """A text that is more than blanks."""
    text = need(record, key, str, where)
    if not text.strip():
        raise UserError(f"{where}: {key!r} is empty")
    return text.strip()


def read_lettered(record: Any, where: str) -> Question:
    """A record of the form {id, video, question, options, answer}."""
    inside = f"{where}, id {text_of(record, 'id', where)!a:.60}"
    options = without_letters(need(record, "options", list, inside), inside)
    video = text_of(record, "video", inside)
    return Question(
        where=inside,
        question_id=record["id"].strip(),
        scene=Path(video).stem,
        video=video,
        text=text_of(record, "question", inside),
        options=options,
        right=letter_of(record, "answer", options, inside),
        kind=text_of(record, "type", inside) if "type" in record else "",
    )


def read_video_r1(record: Any, where: str) -> Question:
    """A record of the Video-R1 family."""
    number = record.get("problem_id")
    identity = str(number) if isinstance(number, int) and not isinstance(number, bool) else ""
    identity = identity or text_of(record, "problem_id", where)
    inside = f"{where}, problem_id {identity!a:.60}"
    options = without_letters(need(record, "options", list, inside), inside)
    video = text_of(record, "path", inside)
    return Question(
        where=inside,
        question_id=identity,
        scene=Path(video).stem,
        video=video,
        text=text_of(record, "problem", inside),
        options=options,
        right=letter_of(record, "solution", options, inside),
        kind="",
    )
