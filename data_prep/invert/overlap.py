# SPDX-License-Identifier: Apache-2.0
"""Wrong options that repeat or imply the right one ("run", "running fast"), or the other way round.

Labels of the inverted question rest on a closed world: an option that is not the answer is not so. For these options
that is doubtful, so they are kept out. It compares words, their stems and a few groups of synonyms; it knows no world.
"""

from __future__ import annotations

import string
from functools import cache

from data_prep.invert.words import FINITE, VERBS, participle

# Words that do not tell two options apart.
_EMPTY = frozenset(
    "a an the to of and with in on at his her its their he she it they him them is are was be being been s up down out "
    "for by from very so too some something into onto then while that this as off over around there has have had also "
    "him himself herself itself do does did doing wants want trying try tries start starts continue continues "
    "continued began".split()
)
# One word stands for each group, written as stems.
_GROUPS = """
happy happily joy joyful joyfully excited excitedly enjoy fun delight delighted smile laugh glad pleased amused cheerful
child kid toddler children
baby infant
man guy male
person people
lady woman female women
dog puppy
cat kitten
look see watch stare observe gaze glance view
walk move go run approach come
hold grab carry grip take clutch
talk speak say chat communicate converse
scared afraid frightened fear scare frighten nervous
tired exhausted sleepy rest resting relax
curious interested curiosity interest
support balance stable stability steady
fall drop fell
picture photo photograph
film record recording video
hit knock bump
touch pat feel stroke caress
slide ride
play tickle
gesture signal
listen hear
bathe wash clean
"""
_PAST_TO_BASE = {participle(base): base for base in VERBS} | {form: base for form, (base, _) in FINITE.items()}


@cache
def _stem(word: str) -> str:
    word = _PAST_TO_BASE.get(word, word)
    if word in VERBS:
        return word
    for ending in ("ing", "ed", "es", "s", "ly"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            stem = word[: -len(ending)]
            if stem + "e" in VERBS and ending in ("ing", "ed"):
                return stem + "e"
            if len(stem) > 3 and stem[-1] == stem[-2] and stem[:-1] in VERBS:
                return stem[:-1]
            return stem
    return word


_SYNONYM: dict[str, str] = {}
for _line in _GROUPS.strip().splitlines():
    for _one in _line.split():
        _SYNONYM.setdefault(_one, _line.split()[0])
        _SYNONYM.setdefault(_stem(_one), _line.split()[0])


class _Tells(dict):
    """Word of an option as written -> its stem or its group's name; "" if it tells nothing apart. Fills itself."""

    def __missing__(self, written: str) -> str:
        word = written.lower().strip(string.punctuation)
        stem = _SYNONYM.get(word) or _stem(word)
        stem = _SYNONYM.get(stem, stem)
        self[written] = "" if word in _EMPTY or stem in _EMPTY else stem
        return self[written]


_tell = _Tells().__getitem__


def meaning(option: str) -> set[str]:
    """What of an option tells it from others: stems of its words, synonyms made one; and "", so that none is empty."""
    told = set(map(_tell, option.split()))
    told.add("")
    if len(told) == 1:
        told.add(option.lower().strip(string.punctuation))
    return told


def overlaps(truth: set[str], other: set[str]) -> bool:
    """Whether of two meanings one says all the other says."""
    return truth <= other or other <= truth
