# SPDX-License-Identifier: Apache-2.0
"""Options without the letters or numbers their file writes before them, and questions without the options they list.

"A. x", "A.x", "A、x", "(A) x", "a) x", "1. x" and "Option A: x" are one lettering if all options have it in order. A
lettering that is not whole is refused, because the prompt letters options anew and a second letter would stay in them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.letters import LETTERS

_WORD = r"(?:option|choice|answer|选项)"
_NAME = r"[A-Z]|[a-z]|\d\d?"
_MARK = r"[.):\]、．：）]"
_LABEL = re.compile(
    rf"\s*(?:(?i:{_WORD})\s*)?[(（\[]\s*(?P<bracket>{_NAME})\s*[)）\]]\s*[.:、．：]?\s*"
    rf"|\s*(?P<word>(?i:{_WORD})\s*)?(?P<name>{_NAME})(?:\s?{_MARK}|\s+[-–—]\s)\s*"
    rf"|\s*(?i:{_WORD})\s+(?P<alone>[A-Z]|\d)\b\s*"
)
_ABBREVIATION = re.compile(r"\s*(?:[A-Za-z]\.){2,}")  # "U.S. army", "a.m."
_ORDER = re.compile(rf"\s*(?:[(（\[](?:{_NAME})[)）\]][\s,;、→>-]*){{2,}}")  # "(b)(a)(c)" is a text, not a letter
_HEADING = r"(?i:\b(?:candidate |answer )?(?:options|choices|candidates|answers)(?: are)?\s?[:：])"
_LISTED = rf"[(（\[]?(?:{_NAME})\s?{_MARK}{{1,2}}\s*"  # a label inside a question


class TwoLetters(UserError):
    """Two letters before an option that contradict each other: which one an answer means cannot be known.

    Args:
        inner: the second letter of every option, None where there is none.
    """

    def __init__(self, message: str, inner: Sequence[Label | None]) -> None:
        super().__init__(message)
        self.inner = inner


class Label(NamedTuple):
    """What stands before an option: "A", "a" or "1", its position (0 for all three), and what stands behind it."""

    name: str
    position: int
    rest: str


def label_of(text: str) -> Label | None:
    """The letter or number before `text`, None if there is none.

    A number needs more than digits behind it ("1.5" and "3:00" are texts), every label needs something.
    """
    match = _LABEL.match(text)
    if not match or _ORDER.fullmatch(text):
        return None
    name, rest = match["bracket"] or match["name"] or match["alone"], text[match.end() :]
    digits = name.isdigit()
    if not rest.strip() and (digits or match["alone"] or match["word"]):
        return None
    if digits and match["name"] and not match["word"] and re.match(r"\d", rest):
        if ":" in match[0] or match[0][-1] == ".":
            return None
    return Label(name, int(name) - 1 if digits else LETTERS.index(name.upper()), rest)


def split_labels(options: Sequence[str], where: str, key: str) -> tuple[list[str], list[str]]:
    """The options without their labels, and the labels; ([…], []) if they have none.

    Raises:
        UserError: only some are labelled, the labels are not in order, or an option has two letters that contradict.
    """
    labels = [label_of(option) for option in options]
    if not any(labels) or all(re.fullmatch(_ABBREVIATION.pattern + r"\s*", option) for option in options):
        return list(options), []
    names = [label.name if label else "" for label in labels]
    counted = list(range(len(options)))
    positions = [label.position if label else None for label in labels]
    from_zero = all(name.isdigit() for name in names) and positions == [place - 1 for place in counted]
    one_kind = len({(name.isdigit(), name.isupper()) for name in names}) == 1
    if not one_kind or positions != counted and not from_zero:
        _refuse_broken(options, labels, where, key)
        return list(options), []
    rests = [label.rest for label in labels]
    if not names[0].isdigit():
        rests = _second_letters(rests, where, key)
    return rests, names


def _refuse_broken(options: Sequence[str], labels: Sequence[Label | None], where: str, key: str) -> None:
    """Raise UserError unless what looks like labels are the first characters of single texts ("I. Newton")."""
    seen = {
        place: label
        for place, (option, label) in enumerate(zip(options, labels, strict=True))
        if label and not _ABBREVIATION.match(option)
    }
    if 2 * len(seen) <= len(options) and not any(label.position == place for place, label in seen.items()):
        return
    if not seen:
        return
    missing = next((place for place in range(len(options)) if labels[place] is None), None)
    if missing is not None:
        raise UserError(f"{where}: {key}[{missing}] has no letter, others have: {ascii(options[missing]):.60}")
    names = "".join(label.name for label in labels if label)
    raise UserError(f"{where}: {key!r} must be lettered {LETTERS[: len(options)]}, found {ascii(names)[1:-1]:.60}")


def _second_letters(rests: list[str], where: str, key: str) -> list[str]:
    """`rests` without a second letter that repeats the first; raises UserError for one that contradicts it."""
    inner = [label_of(rest) for rest in rests]
    inner = [None if label and (label.name.isdigit() or _ABBREVIATION.match(rest)) else label
             for label, rest in zip(inner, rests, strict=True)]  # fmt: skip
    if all(label and label.position == place for place, label in enumerate(inner)):
        return [label.rest for label in inner if label]
    own = [bool(label) and label.position == place for place, label in enumerate(inner)]
    meant = len(rests) if not (all(inner) and any(own)) else len(LETTERS)  # "D." of two options is an initial
    for place, label in enumerate(inner):
        if label and not own[place] and label.position < meant:
            raise TwoLetters(
                f"{where}: {key}[{place}] has two letters, {LETTERS[place]} and {label.name}: {rests[place]!a:.60}",
                inner,
            )
    return rests


def without_options(question: str, options: Sequence[str], where: str, key: str = "question") -> str:
    """`question` without its options where it ends in a list of them, lettered in any form or a line each.

    Raises:
        UserError: it lists options in another order, or not at its end, or nothing else.
    """
    flat = " ".join(question.split())
    if len(options) < 2 or sum(" ".join(option.split()) in flat for option in options) < 2:
        return question
    for labelled in (True, False):
        bare = _cut(question, options, labelled)
        if bare is not None:
            if not bare:
                raise UserError(f"{where}: {key!r} holds nothing but the options")
            return bare
    texts = map(re.escape, options)
    held = re.findall(rf"(?<!\w)(?=({_LISTED})(?:{'|'.join(texts)})(?!\w))", question)
    letters = {name for name in (label_of(f"{one} x") for one in held) if name and not name.name.isdigit()}
    if len(letters) > 1:
        raise UserError(f"{where}: {key!r} lists options with letters of its own, which are not those of 'options'; "
                        "take them out of the question")  # fmt: skip
    return question


def _cut(question: str, options: Sequence[str], labelled: bool) -> str | None:
    """`question` before a list of `options` at its end, labelled or a line each; None if it ends in no such list."""
    mark = rf"(?<!\w){_LISTED}\Z" if labelled else r"\n\s*(?:[-*•]\s*)?\Z"
    word = False
    rest = question  # 24 characters of it hold any label
    for option in reversed(options):
        rest, text = rest.rstrip(" \t\r\n.,;"), option.rstrip(" .,;")
        if labelled and not rest.endswith(text):  # "… Option B: y": the word before the label
            rest, word = _without_word(rest), True
        end = re.search(mark, rest[: len(rest) - len(text)][-24:]) if rest.endswith(text) else None
        if not end:
            return None
        rest = rest[: len(rest) - len(text) - len(end[0])]
    rest = _without_word(rest) if word else rest.rstrip()
    start = max(0, len(rest) - 32)  # no heading is longer
    return (rest[:start] + re.sub(rf"{_HEADING}\Z", "", rest[start:])).rstrip()


def _without_word(text: str) -> str:
    """`text` without "Option" at its end."""
    text = text.rstrip()
    return (text[:-12] + re.sub(rf"(?i:\b{_WORD})\Z", "", text[-12:])).rstrip(" \t\r\n.,;")
