# SPDX-License-Identifier: Apache-2.0
"""Negation by grammar: find the finite verb of the main clause and negate it, with do-support where it needs that.

"what happened …" -> "what did not happen …", "which object was taken …" -> "which object was not taken …", "what did
the boy do …" -> "what didn't the boy do …". Case, punctuation and spacing of everything else stay. It negates the main
clause whatever that means; `problem` says where the result asks for something that never was ("why didn't he fall").
"""

from __future__ import annotations

import re
from itertools import islice

from data_prep.invert.negation import NEGATIVE_ALREADY, Negation
from data_prep.invert.negation_paper import problem
from data_prep.invert.words import (
    ADVERBS,
    BE,
    CONTRACTED,
    DETERMINERS,
    DO,
    FINITE,
    PARTICIPLES,
    PREPOSITIONS,
    PRONOUNS,
    SUBORDINATE,
)

_WH = frozenset("what which who whom whose why how where when".split())
_WH_IS = frozenset(f"{word}'s" for word in _WH - {"whose", "which"})
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_PLAIN = re.compile(r"[a-z0-9 ]*\??")
_HAS = frozenset("been done got gone become".split())
_LAST_PLACE = 7  # "which part of the man's body was …": the finite verb is within so many words
_PREPOSITIONS = PREPOSITIONS - {"wearing", "holding", "carrying", "using", "riding", "playing", "like", "not", "nt"}


def negate(text: str, dataset: str = "") -> Negation | None:
    """The negated question; None if there is no question word or no finite verb this grammar knows."""
    words = _words(text)
    if len(words) < 2:
        return None
    if words[0].replace("’", "'") in _WH_IS:  # "what's the boy doing"
        return _contracted(text, words)
    first = _question_word(words)
    if first is None:
        return _yes_no(text, words)
    place = _finite(words, first)
    if place is None:
        return None
    doubt = problem(words[first], words[first + 1], words[first + 1 :])
    if doubt == NEGATIVE_ALREADY:
        return None
    word, (start, end) = words[place], _span(text, place)
    able = _able(words, place)
    if able is not None:  # "is the person able to" -> "is the person not able to"
        at = _span(text, able)[0]
        return Negation(f"{text[:at]}not {text[at:]}", doubt)
    if word not in CONTRACTED:  # a full verb without auxiliary: the question word is its subject
        base, do = FINITE[word]
        return Negation(f"{text[:start]}{do} not {base}{text[end:]}", doubt)
    following = words[place + 1] if place + 1 < len(words) else ""
    if following in ("not", "nt"):
        return None
    if _is_predicate(word, following, words[first]) or place == len(words) - 1:
        return Negation(f"{text[:end]} not{text[end:]}", doubt)
    return Negation(f"{text[:start]}{_like(text[start:end], CONTRACTED[word])}{text[end:]}", doubt)


def _words(text: str) -> list[str]:
    """The words in lower case, as `_WORD` finds them; quicker where the text is plain."""
    lower = text.lower()
    if _PLAIN.fullmatch(lower):
        return lower.rstrip("?").split()
    return [word.lower() for word in _WORD.findall(text)]


def _span(text: str, place: int) -> tuple[int, int]:
    """Where the word at `place` stands in `text`."""
    return next(islice(_WORD.finditer(text), place, None)).span()


def _question_word(words: list[str]) -> int | None:
    """Place of the question word: at the beginning, or behind a preposition or a clause ("Without …, what will …")."""
    if words[0] in _WH:
        return 0
    if words[0] in _PREPOSITIONS and len(words) > 2 and words[1] in _WH:
        return 1
    if words[0] in ("without", "if", "in", "at", "after", "before", "when", "during", "while"):
        for place in range(len(words) - 2, 0, -1):
            if words[place] in ("what", "which", "who") and words[place - 1] not in ("of", "to"):
                return place
    return None


def _finite(words: list[str], first: int) -> int | None:
    """Place of the main clause's finite verb."""
    for place in range(first + 1, min(first + 1 + _LAST_PLACE, len(words))):
        if words[place] in CONTRACTED:
            return place
        if words[place] in SUBORDINATE - {"so"} and place > first + 1:
            break
    # No auxiliary: "what happened", "who gave", "what makes", "which dog ran", "which of the dogs ran".
    for place in range(first + 1, min(first + 1 + _LAST_PLACE, len(words))):
        if words[place] in SUBORDINATE:
            break
        if words[place] in FINITE and words[first] in ("what", "which", "who", "whose", "how"):
            if words[place - 1] not in DETERMINERS:
                return place
    return None


def _able(words: list[str], place: int) -> int | None:
    if words[place] in BE:
        for later in range(place + 1, min(place + 12, len(words) - 1)):
            if words[later] in SUBORDINATE:
                break
            if words[later] == "able" and words[later + 1] == "to":
                return later
    return None


def _is_predicate(auxiliary: str, following: str, question_word: str) -> bool:
    """Whether no subject stands between the auxiliary and what is said of the question word."""
    if not following or following in PRONOUNS or question_word in ("why", "how", "where", "when"):
        return False
    if auxiliary in DO:
        return False
    if auxiliary in BE or auxiliary in ("has", "have", "had"):
        return following in PARTICIPLES or following.endswith(("ing", "ed")) or following in _PREPOSITIONS | ADVERBS
    return following not in DETERMINERS and following in ("happen", "be", "have") or following in ADVERBS


def _yes_no(text: str, words: list[str]) -> Negation | None:
    if words[0] not in CONTRACTED:
        return None
    start, end = _span(text, 0)
    doubt = problem(words[0], words[1], words[1:])
    return (
        None
        if doubt == NEGATIVE_ALREADY
        else Negation(_like(text[start:end], CONTRACTED[words[0]]) + text[end:], doubt)
    )


def _contracted(text: str, words: list[str]) -> Negation | None:
    doubt = problem(words[0][:-2], "is", words[1:])
    if doubt == NEGATIVE_ALREADY or not _HAS.isdisjoint(words):  # "what's he done" is "what has he done"
        return None
    end = _span(text, 0)[1]
    return Negation(f"{text[: end - 2]} isn't{text[end:]}", doubt)


def _like(old: str, new: str) -> str:
    if len(old) > 1 and old.isupper():
        return new.upper()
    return new.capitalize() if old[0].isupper() else new
