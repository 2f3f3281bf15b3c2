# SPDX-License-Identifier: Apache-2.0
"""The published rule (PAPER.md section 3): a table of words to contract at the place the public scripts look at.

Faithful on purpose, faults included: "why didn't he fall" denies that he fell. The one thing left out is the worst: a
question the table does not fit is not returned, so it can never be inverted without being negated.
"""

from __future__ import annotations

from data_prep.invert.negation import COUNT, DENIES, MAY_DENY, NEGATIVE_ALREADY, YES_NO, Negation
from data_prep.invert.words import CONTRACTED, DO, NEGATIVE, SUBORDINATE

# What stands second in a question, per data set.
_SECOND_WORD = {
    "nextgqa": {word: CONTRACTED[word] for word in ("did", "does", "do", "is", "are", "was", "were")},
    "star": {word: CONTRACTED[word] for word in ("did", "was", "would")} | {"able": "unable"},
}
# What a question begins with.
_BEGINNING = {"star": {"what will": "what won't", "what happened": "what didn't happen"}, "nextgqa": {}}

_REACTIONS = frozenset("react reacted reacts respond responded feel feeling interact behave".split())


def negate(text: str, dataset: str = "nextgqa") -> Negation | None:
    """The contraction, with the question's own capital and spacing; None if the table does not fit."""
    words = text.split()
    lower = [word.lower() for word in words[:2]]
    if len(lower) < 2:
        return None
    start = " ".join(lower)
    if start in _BEGINNING[dataset]:
        new = _BEGINNING[dataset][start].split()
    elif lower[1] in _SECOND_WORD[dataset]:
        new = [lower[0], _SECOND_WORD[dataset][lower[1]]]
    else:
        return None
    if words[0][0].isupper():
        new[0] = new[0].capitalize()
    tail = text.split(None, 2)[2:]
    first_gap = text[len(text) - len(text.lstrip()) :].removeprefix(words[0])
    gap = first_gap[: len(first_gap) - len(first_gap.lstrip())]
    behind = first_gap.lstrip()[len(words[1]) :]
    negated = text[: len(text) - len(text.lstrip())] + new[0] + gap + " ".join(new[1:]) + behind
    return Negation(negated, problem(lower[0], lower[1], tail[0].lower().split() if tail else []))


def as_published(text: str) -> str:
    """How the public scripts write a negated question: lower case, single spaces. It betrays the inversion."""
    return " ".join(text.lower().split())


def problem(first: str, second: str, rest: list[str]) -> str:
    """Why a question that starts with `first second` should not be negated by its auxiliary; "" if it can be."""
    if not NEGATIVE.isdisjoint(rest) or "n't" in " ".join(rest):
        for word in rest:
            if word in SUBORDINATE:
                break
            if word in NEGATIVE or word.endswith("n't"):
                return NEGATIVE_ALREADY
    if first == "why":
        return DENIES
    if first == "how" and second in ("many", "much", "old", "long", "often", "far", "tall", "big", "high"):
        return COUNT
    if first == "how":  # of a reaction or a feeling one may ask which it was not; of a deed it sounds as if it failed
        return "" if not _REACTIONS.isdisjoint(rest) else MAY_DENY
    return YES_NO if first in DO or first in CONTRACTED else ""
