# SPDX-License-Identifier: Apache-2.0
"""The default style: ask which option is NOT the answer. The event itself is never denied.

"why did the boy hold a racket" -> "which of the following is NOT a reason why the boy held a racket". Where the words
are not surely understood, the question is left as it is and put behind "which of the following is NOT a right answer
to the question:", which is true of every wrong option whatever was asked. So every question can be inverted.
"""

from __future__ import annotations

import re

from data_prep.invert.clauses import Clause, as_statement, split_base_verb
from data_prep.invert.negation import Negation
from data_prep.invert.words import BE, DO, MODAL, NEGATIVE, PARTICIPLES, PREPOSITIONS, PRONOUNS, SUBORDINATE

_HEAD = "which of the following"
_ANY = f"{_HEAD} is NOT a right answer to the question:"
_DOING = frozenset({"do", "doing"})
_PLURAL = {"object": "objects", "side": "sides", "direction": "directions", "gesture": "gestures", "part": "parts"}
_PLURAL |= {"action": "actions", "place": "places", "color": "colors", "colour": "colours", "animal": "animals"}
_PLURAL |= {"person": "people", "item": "items", "way": "ways", "event": "events", "toy": "toys", "hand": "hands"}
_HOW_NOT = frozenset("many much long old often far tall big high come fast close heavy large about else".split())
_ING_NO = frozenset("the a an his her its their of wearing holding carrying sitting standing lying".split())
_THINGS = frozenset(
    "nearing something everything building ceiling clothing railing painting wedding morning string".split()
)
_UNUSUAL = re.compile(r"""[.,;:!?"\t\n\r]|  |n't""")


def negate(text: str, dataset: str = "") -> Negation:
    """Never None and never a problem: some form is true of every question."""
    core = text.strip()
    end = "?" if core.endswith("?") else ""
    body = core[:-1].rstrip() if end else core
    asked = None
    if body.isascii() and not _UNUSUAL.search(body):
        asked = _asked(body.split(" "))
    if asked is None:
        first = body[:1].lower() + body[1:] if body[1:2].islower() or body[1:2] == "'" else body
        asked = f"{_ANY} {first}"
    if body[:1].isupper():
        asked = asked[0].upper() + asked[1:]
    return Negation(asked + core[len(body) :])


def _asked(original: list[str]) -> str | None:
    """The natural form of a question given as words without its question mark; None in doubt."""
    words = [original[0].lower(), *original[1:]]
    if len(words) < 3 or _negative(words):
        return None
    first, second = words[0], words[1]
    if first == "what":
        if second in ("happened", "happens"):
            return _join(f"{_HEAD} {'did' if second == 'happened' else 'does'} NOT happen", words[2:])
        if second == "else":
            return _what(words[2], words[3:])
        return _what(second, words[2:])
    if first == "which" and second == "other":
        return _which(words[2], words[3:]) if len(words) > 4 else None
    if first == "which":
        return _which(second, words[2:])
    if first == "why":
        return _reason(f"{_HEAD} is NOT a reason why", second, words[2:])
    if first == "how" and second not in _HOW_NOT:
        return _reason(f"{_HEAD} is NOT how", second, words[2:])
    if first == "where" and words[-1] not in PREPOSITIONS:
        return _reason(f"{_HEAD} is NOT where", second, words[2:])
    return None


def _what(auxiliary: str, words: list[str]) -> str | None:
    """what | did | the boy do after … -> Which of the following did the boy NOT do after …"""
    if auxiliary in MODAL and words[:1] == ["happen"]:
        return _join(f"{_HEAD} {auxiliary} NOT", words)
    if auxiliary not in DO and auxiliary not in BE and auxiliary not in MODAL:
        return None
    place = _able(words) if auxiliary in BE else None
    if place is None:
        wanted = "doing" if auxiliary in BE else "do"
        place = next((i for i, word in enumerate(words) if word in _DOING), None)
        if place is None and auxiliary in BE:  # what is | the girl wearing …
            place = 0 if words[0] == "happening" else _progressive(words)
            return None if place is None else _join(f"{_HEAD} {auxiliary}", words[:place], ["NOT"], words[place:])
        if place is None:
            return _not_inside(f"{_HEAD} {auxiliary}", words)
        if words[place] != wanted or place == 0:
            return None
        if place > 1 and words[place - 1] in ("to", "and", "trying"):
            return None
    return _join(f"{_HEAD} {auxiliary}", words[:place], ["NOT"], words[place:])


def _which(noun: str, words: list[str]) -> str | None:
    """which | object | was taken by … -> Which of the following objects was NOT taken by …"""
    if noun not in _PLURAL or len(words) < 2:
        return None
    head, auxiliary, rest = f"{_HEAD} {_PLURAL[noun]}", words[0], words[1:]
    if auxiliary in BE:
        if rest[0] in PARTICIPLES or rest[0].endswith("ing"):
            return _join(f"{head} {auxiliary} NOT", rest)
        place = _able(rest)
        return None if place is None else _join(f"{head} {auxiliary}", rest[:place], ["NOT"], rest[place:])
    return _not_inside(f"{head} {auxiliary}", rest) if auxiliary in DO or auxiliary in MODAL else None


def _reason(head: str, auxiliary: str, words: list[str]) -> str | None:
    """why | did | the boy hold a racket -> … NOT a reason why the boy held a racket"""
    if auxiliary in DO or auxiliary in MODAL:
        clause = split_base_verb(words)
        if clause is None:
            return None
        statement = as_statement(auxiliary, clause)
        if auxiliary in MODAL and statement is not None:
            return _join(head, clause.subject, [auxiliary], clause.adverbs, [clause.verb], clause.rest)
        return None if statement is None else f"{head} {statement}"
    if auxiliary in BE:
        if words[0] == "there":
            return _join(head, ["there", auxiliary], words[1:])
        place = _progressive(words)
        return None if place is None else _join(head, words[:place], [auxiliary], words[place:])
    return None


def _progressive(words: list[str]) -> int | None:
    """Place of the -ing form that is the predicate: "the man wearing blue | carving …"; None in doubt."""
    forms = []
    for place, word in enumerate(words):
        if word in SUBORDINATE:
            break
        if (
            place
            and word.endswith("ing")
            and len(word) > 5
            and word not in _THINGS
            and words[place - 1] not in PREPOSITIONS | _ING_NO
        ):
            forms.append(place)
    if words[0] in PRONOUNS and len(words) > 1:
        return 1
    return forms[0] if len(forms) == 1 else None


def _not_inside(head: str, words: list[str]) -> str | None:
    clause: Clause | None = split_base_verb(words)
    if clause is None:
        return None
    return _join(head, clause.subject, ["NOT"], clause.adverbs, [clause.verb], clause.rest)


def _able(words: list[str]) -> int | None:
    place = words.index("able") if "able" in words else 0
    return place if place and words[place + 1 : place + 2] == ["to"] else None


def _negative(words: list[str]) -> bool:
    """Whether the question itself is negative: a second "not" would be hard to read."""
    return not NEGATIVE.isdisjoint(words)


def _join(head: str, *parts: tuple[str, ...] | list[str]) -> str:
    return " ".join([head, *(word for part in parts for word in part)])
