# SPDX-License-Identifier: Apache-2.0
"""Options without their letters, and which option an answer means.

Every function either gives the one meaning of its input or raises one line that names file, record and field. Nothing
is guessed: a label is never made from an answer that fits two options or none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from data_prep.read.lettering import TwoLetters, label_of, split_labels, without_options
from data_prep.read.records import text_of
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.letters import LETTERS


def plain_options(texts: Any, where: str, key: str = "options") -> tuple[str, ...]:
    """Options as they stand: 1 to 26 texts, none of them blank."""
    if not isinstance(texts, list):
        raise UserError(f"{where}: {key!r} must be a list, found {type(texts).__name__}")
    if not 1 <= len(texts) <= len(LETTERS):
        raise UserError(f"{where}: {key!r} has {len(texts)} entries, expected 1 to {len(LETTERS)}")
    named = {f"{key}[{number}]": text for number, text in enumerate(texts)}
    return tuple(text_of(named, name, where) for name in named)


def lettered_options(texts: Any, where: str, key: str = "options") -> tuple[str, ...]:
    """Options without their letters or numbers, which all of them have in order, or none; see lettering.py."""
    return labelled_options(texts, where, key)[0]


def labelled_options(texts: Any, where: str, key: str = "options") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The same, and the letters or numbers as they are written ("a", "1"); () where there are none."""
    bare, labels = split_labels(plain_options(texts, where, key), where, key)
    return (plain_options(bare, where, key) if labels else tuple(bare)), tuple(labels)


def options_of_certain(error: TwoLetters, answer: str, where: str, key: str) -> tuple[str, ...]:
    """Options without either of their two letters, where both name the same option as `answer`; else raises `error`."""
    if not all(error.inner) or len({label.position for label in error.inner if label}) < len(error.inner):
        raise error
    texts = plain_options([label.rest for label in error.inner if label], where)
    right = letter_positions(answer, texts, where, key)
    if right and all(error.inner[i].position == i for i in right):
        return texts
    raise error


def question_of(record: Any, key: str, options: Sequence[str], where: str) -> str:
    """The question, without the options where it ends in a list of them."""
    return without_options(text_of(record, key, where), options, where, key)


def letter_positions(answer: str, options: Sequence[str], where: str, key: str = "answer") -> tuple[int, ...] | None:
    """Positions for "B", "(B)", "B.", "A,C", each also inside <answer></answer>; None if `answer` is no letters.

    Raises:
        UserError: a letter beyond the options, or one twice.
    """
    bare = _bare(answer)
    if not re.fullmatch(r"\(?[A-Z]\)?[.):]?(\s*,\s*\(?[A-Z]\)?[.):]?)*", bare):
        return None
    positions = tuple(sorted(LETTERS.index(letter) for letter in re.findall(r"[A-Z]", bare)))
    if len(set(positions)) < len(positions):
        raise UserError(f"{where}: {key!r} names an option twice: {ascii(answer):.60}")
    if positions[-1] >= len(options):
        raise UserError(f"{where}: {key!r} is {ascii(answer):.60}, but there are {len(options)} options")
    return positions


def text_positions(answer: str, options: Sequence[str]) -> list[int]:
    """Positions of the options whose text is `answer`, with or without the option's letter before it."""
    bare = _bare(answer)
    label = label_of(bare)
    number = label.position if label else -1
    return [i for i, option in enumerate(options) if bare == option or number == i and label.rest.strip() == option]


def answer_positions(
    answer: str, options: Sequence[str], where: str, key: str = "answer", labels: Sequence[str] = ()
) -> tuple[int, ...]:
    """Positions of the options that `answer` names: letters, or else the text of exactly one option.

    Args:
        labels: what the file writes before the options, where that is not A, B, …: "b" or "2" is an answer then.

    Raises:
        UserError: it names none, or one option by its label and another by its text.
    """
    label = re.sub(r"^(?:option|choice)\s+", "", _bare(answer), flags=re.IGNORECASE).strip("().:[] ")
    if label in labels and label.isupper():
        return (labels.index(label),)
    if label in labels:
        texts = [i for i in text_positions(answer, options) if i != labels.index(label)]
        if texts:
            raise UserError(f"{where}: {key!r} is the label of one option and the text of another: {answer!a:.60}")
        return (labels.index(label),)
    positions = letter_positions(answer, options, where, key)
    return text_position(answer, options, where, key) if positions is None else positions


def text_position(answer: str, options: Sequence[str], where: str, key: str = "answer") -> tuple[int, ...]:
    """The same where answers are always texts; a text like "A" is then no letter.

    Of options with the same text the first is taken: NExT-GQA's test set has such questions, and any of them is right.
    """
    found = text_positions(answer, options)
    if len({options[i] for i in found}) != 1:
        problem = "fits several options" if found else "is neither a letter nor the text of an option"
        raise UserError(f"{where}: {key!r} {problem}: {ascii(answer):.80}")
    return (found[0],)


def refuse_disagreement(answer: str, right: tuple[int, ...], options: Sequence[str], where: str) -> None:
    """Raise UserError if the further field `answer` names other options than `right`; if it names none, ignore it."""
    letters = None if text_positions(answer, options) else letter_positions(answer, options, where)
    meanings = [(i,) for i in text_positions(answer, options)] + ([letters] if letters else [])
    if meanings and right not in meanings:
        raise UserError(f"{where}: the label says option {right[0] + 1}, 'answer' says {ascii(answer):.60}")


def _bare(answer: str) -> str:
    inside = re.fullmatch(r"\s*<answer>(.*)</answer>\s*", answer, re.DOTALL)
    return (inside[1] if inside else answer).strip()
