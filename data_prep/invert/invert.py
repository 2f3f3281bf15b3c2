# SPDX-License-Identifier: Apache-2.0
"""What becomes of one record: whether it is inverted, which options stay, in which order, and which are right then.

Without leaks (the default) an inverted record and one that is not are made by the same draw: between two and all of the
options, shuffled; only the question's words tell them apart. Of an inverted record the once right option stays away now
and then, so its number of wrong options varies too. The paper's style leaves the published leaks in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from data_prep.invert import exclusion, negation_grammatical, negation_paper
from data_prep.invert.draw import Draw
from data_prep.invert.negation import Negation
from data_prep.invert.overlap import meaning, overlaps
from data_prep.read.question import Outcome, Question

Style = Callable[[str, str], Negation | None]
STYLES: dict[str, Style] = {
    "exclusion": exclusion.negate,
    "grammatical": negation_grammatical.negate,
    "paper": negation_paper.negate,
}
ON_INVALID = ("keep", "drop", "exclusion")
LEAKS = {
    "count": "a record that is not inverted keeps all its options",
    "order": "a record that is not inverted keeps their order",
    "wrong": "an inverted record has exactly one wrong option",
    "case": "an inverted question is written in lower case",
}
# How often, where there are options enough, the once right option is left out of an inverted record. One that is not
# inverted never lacks it, so where right options look different from wrong ones this betrays something: at 0.5 the
# leak test found it in data made so (area 0.52 to 0.53), at 0.25 it did not.
_TRUTH_AWAY = 0.25


@dataclass(frozen=True)
class Policy:
    """Everything that decides about a record besides the record. `dataset` names the paper style's table."""

    style: str = "exclusion"
    dataset: str = "nextgqa"
    seed: int = 0
    probability: float = 0.5
    on_invalid: str = "exclusion"
    leaks: frozenset[str] = frozenset()
    keep_overlaps: bool = False
    negate: Style = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "negate", STYLES[self.style])

    @classmethod
    def of_style(cls, style: str, **changes: object) -> Policy:
        """The defaults of a style: as published for `paper`, no leak and no overlapping option for the others."""
        published = {"on_invalid": "keep", "leaks": frozenset(LEAKS), "keep_overlaps": True}
        given = {key: value for key, value in changes.items() if value is not None}
        return cls(style=style, **{**(published if style == "paper" else {}), **given})

    def summary(self) -> dict[str, Any]:
        """What a report says of it."""
        overlapping = "keep" if self.keep_overlaps else "remove"
        rest = {"on_invalid": self.on_invalid, "leaks": sorted(self.leaks), "overlaps": overlapping}
        return {"style": self.style, **rest}


# Values of Outcome.why; the report counts them.
NOT_DRAWN = "not drawn"
INVERTED = "inverted"
BY_EXCLUSION = "inverted by exclusion instead"
NO_NEGATION = "drawn, but the style has no negation: not inverted"
NO_OPTION = "drawn, but no wrong option is free of overlap: not inverted"
DROPPED = "drawn, but dropped (--on-invalid drop)"


def right_of(question: Question) -> int:
    """The position of the one right option; a question with several is inverted elsewhere (clevrer.py)."""
    (right,) = question.right
    return right


def wrong_options(question: Question, keep_overlaps: bool) -> tuple[str, ...]:
    """The wrong options, each once, without those that repeat or imply the right one.

    With `keep_overlaps` only those that are the right one letter by letter go: they could never be labelled.
    """
    right = right_of(question)
    truth = question.options[right]
    wrong = question.options[:right] + question.options[right + 1 :]
    if keep_overlaps:
        return tuple([option for option in wrong if option != truth])
    told = meaning(truth)
    return tuple(dict.fromkeys([option for option in wrong if not overlaps(told, meaning(option))]))


def invert(question: Question, policy: Policy) -> Outcome | None:
    """The record `policy` makes of `question`; None if it drops it."""
    draw = Draw(policy.seed, question.question_id)
    wanted = draw.happens(policy.probability)
    wrong = wrong_options(question, policy.keep_overlaps)
    if not wanted:
        return _as_asked(question, policy, draw, wrong, NOT_DRAWN)
    if not wrong:
        return _as_asked(question, policy, draw, wrong, NO_OPTION)
    negation, style, why = policy.negate(question.text, policy.dataset), policy.style, INVERTED
    if negation is None or negation.text == question.text:
        return _as_asked(question, policy, draw, wrong, NO_NEGATION)
    if negation.problem and policy.on_invalid == "drop":
        return None
    if negation.problem and policy.on_invalid == "exclusion":
        negation, style, why = exclusion.negate(question.text), "exclusion", BY_EXCLUSION
    text = negation_paper.as_published(negation.text) if "case" in policy.leaks else negation.text

    truth = question.options[right_of(question)]
    if "count" in policy.leaks:
        kept, stays = 1 + draw.below(len(wrong)), True
    else:
        count = 2 + draw.below(len(wrong))
        stays = "wrong" in policy.leaks or count > len(wrong) or not draw.happens(_TRUTH_AWAY)
        kept = count - stays
    chosen = draw.some(wrong, kept)
    if stays:
        at = draw.below(kept + 1)
        chosen.insert(at, truth)
        right = tuple(place for place in range(kept + 1) if place != at)
    else:
        right = tuple(range(kept))
    return Outcome(text, tuple(chosen), right, True, style, why)


def _as_asked(question: Question, policy: Policy, draw: Draw, wrong: tuple[str, ...], why: str) -> Outcome:
    options, right = question.options, right_of(question)
    truth = options[right]
    if "count" not in policy.leaks and wrong:
        chosen = draw.some(wrong, 1 + draw.below(len(wrong)))
        if "order" not in policy.leaks:
            right = draw.below(len(chosen) + 1)
        else:
            chosen = [option for option in options if option in chosen]
            right = sum(option in chosen for option in options[:right])
        chosen.insert(right, truth)
        options = tuple(chosen)
    elif "order" not in policy.leaks:
        rest = draw.some(options[:right] + options[right + 1 :], len(options) - 1)
        right = draw.below(len(options))
        rest.insert(right, truth)
        options = tuple(rest)
    return Outcome(question.text, options, (right,), False, "", why)
