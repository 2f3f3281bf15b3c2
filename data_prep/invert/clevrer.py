# SPDX-License-Identifier: Apache-2.0
"""Inversion of CLEVRER's counterfactual questions: will / will not. Their labels are complete, so nothing is assumed.

The options stay as they are and in their order; the right ones become the wrong ones and the other way round.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from data_prep.invert.draw import Draw
from data_prep.read.question import Outcome, Question, as_published

_WILL = re.compile(r"\b(will)( not)? (happen|occur|take place)\b")


def negate(text: str) -> str | None:
    """ "what will happen if …" <-> "what will not happen if …"; None unless it holds exactly one such verb."""
    if len(found := list(_WILL.finditer(text))) != 1:
        return None
    will, negative, verb = found[0].groups()
    return f"{text[: found[0].start()]}{will}{'' if negative else ' not'} {verb}{text[found[0].end() :]}"


def complement(right: tuple[int, ...], options: int) -> tuple[int, ...]:
    """Positions of the other options."""
    return tuple(place for place in range(options) if place not in right)


def invert(
    questions: Sequence[Question], probability: float, double: bool, seed: int, counts: Counter
) -> list[tuple[Question, Outcome]]:
    """What to write, each with a right option: some asked the other way round, or all both ways if `double`.

    A question without a right choice has one once it is inverted; one whose choices are all right has none then.
    `counts` learns how many were inverted, and why others were not.
    """
    result = []
    for question in questions:
        drawn = double or Draw(seed, f"{question.scene} {question.question_id}").happens(probability)
        text = negate(question.text) if drawn else None
        right = complement(question.right, len(question.options))
        if drawn and text is None:
            counts["not inverted: no 'will happen' in the question"] += 1
        elif drawn and not right:
            counts["not inverted: all choices are right"] += 1
        inverted = text is not None and bool(right)
        if question.right and (double or not inverted):
            result.append((question, as_published(question)))
        if text is not None and inverted:
            counts["inverted"] += 1
            result.append((question, Outcome(text, question.options, right, True, "will not")))
    return result
