# SPDX-License-Identifier: Apache-2.0
"""Where the subject of a question ends and its verb begins: "did | the man in white | hold | tightly to the boy".

It answers only when there is one plausible place; every caller has a form that needs no answer, so doubt costs style
and never a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from data_prep.invert.words import (
    ADVERBS,
    AMBIGUOUS,
    COLOURS,
    DETERMINERS,
    FINITE,
    PREPOSITIONS,
    PRONOUNS,
    SUBORDINATE,
    VERBS,
    past,
    third_person,
)

_BEFORE_NO_VERB = DETERMINERS | PREPOSITIONS
_OPENS_CLAUSE = SUBORDINATE - {"so"}
_FIRM = VERBS - AMBIGUOUS
# A finite verb where the subject should be: the question is broken English, or the cut is at the wrong verb.
_FINITE_FORMS = frozenset(form for form, (base, _) in FINITE.items() if base in _FIRM) - {"left", "saw", "felt", "rose"}
_FOLLOWS_VERB = frozenset(
    "the a an his her its their up down on off out in into onto over to towards toward at away back forward forwards "
    "backwards around against along across near after before when while with from for himself herself itself "
    "themselves him them it upwards downwards forth each one something both about through".split()
)


class Clause(NamedTuple):
    """Words of a question behind its auxiliary, cut in two in front of the verb (and of adverbs that go with it)."""

    subject: tuple[str, ...]
    adverbs: tuple[str, ...]
    verb: str
    rest: tuple[str, ...]


def split_base_verb(words: Sequence[str]) -> Clause | None:
    """Cut `words` (lower case, behind did / does / do / a modal) in front of the base verb; None in doubt."""
    if not words or words[0] not in DETERMINERS and words[0] not in PRONOUNS:
        return None
    for place in range(1, len(words)):
        word = words[place]
        if word in _OPENS_CLAUSE:
            return None
        if word not in VERBS:
            continue
        before = words[place - 1]
        if before in _BEFORE_NO_VERB and not (before in COLOURS and words[place - 2] == "in"):
            continue
        if before in COLOURS and (place < 2 or words[place - 2] != "in"):
            continue  # "the green stand"
        break
    else:
        return None
    follower = words[place + 1] if place + 1 < len(words) else "on"
    if words[place] not in _FIRM and follower not in _FOLLOWS_VERB:
        return None  # "the toy train move": train may be the verb or a thing
    start = place
    while start > 1 and words[start - 1] in ADVERBS:
        start -= 1
    subject = tuple(words[:start])
    if subject[-1] in _BEFORE_NO_VERB and subject[-1] not in COLOURS | PRONOUNS and len(subject) > 1:
        return None
    if not _FINITE_FORMS.isdisjoint(subject):
        return None
    if len(subject) == 1 and subject[0] not in PRONOUNS:
        return None
    return Clause(subject, tuple(words[start:place]), words[place], tuple(words[place + 1 :]))


def as_statement(auxiliary: str, clause: Clause) -> str | None:
    """ "did", the boy | pick | up … -> "the boy picked up …"; a second verb behind "and" follows; None in doubt."""
    inflect = {"did": past, "does": third_person}.get(auxiliary, str)
    rest = list(clause.rest)
    for place, word in enumerate(rest):
        if word in _OPENS_CLAUSE:
            break
        if word in ("and", "or", "not") and auxiliary != "do":
            following = rest[place + 1] if place + 1 < len(rest) else ""
            if word == "not" or following in AMBIGUOUS:
                return None
            if following in VERBS:
                rest[place + 1] = inflect(following)
    return " ".join([*clause.subject, *clause.adverbs, inflect(clause.verb), *rest])
