# SPDX-License-Identifier: Apache-2.0
"""What the warm start teaches, as prompt and response texts: to name what is in a video, in the right format.

Questions about what is *seen* get the right answer. Counterfactual questions get a think text that says where the
objects of each option are, and then an answer drawn at random: which options are right is left to reinforcement
learning.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from data_prep.prompts import LETTERS, VIDEO_TAG, multi_answer_prompt
from examples.tiny.physics import CELL
from examples.tiny.world import Question, Scene, object_names, questions

ROWS = ("top", "upper", "lower", "bottom", "fifth", "sixth")  # lanes of a picture, from above
SAME, APART = "same", "apart"
PAIRS_QUESTION = "Which pairs are in the same row?"
KINDS = ("counterfactual", "pairs")


@dataclass(frozen=True)
class Lesson:
    """`prompt` is the user message without the video tag; `truth` the right letters.

    `choices` counts the options, `items` are the parts of the think text, one an option.
    """

    kind: str
    prompt: str
    response: str
    truth: frozenset[str]
    choices: int
    items: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """Names of the objects of the first frame -> (row word, lane, column)."""

    scene: Scene
    names: tuple[str, ...]
    rows: dict[str, str]

    @classmethod
    def of(cls, scene: Scene) -> View:
        names = object_names(scene)
        return cls(
            scene, names, {n: ROWS[int(b.y // CELL) % len(ROWS)] for n, b in zip(names, scene.bodies, strict=True)}
        )


def _pairs_text(view: View, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """ "A red disc top, blue square lower apart" for each lettered pair."""
    texts = []
    for letter, (one, two) in zip(LETTERS, pairs, strict=False):
        relation = SAME if view.rows[one] == view.rows[two] else APART
        texts.append(f"{letter} {one} {view.rows[one]} {two} {view.rows[two]} {relation}")
    return texts


def _response(items: Sequence[str], answer: frozenset[str]) -> str:
    return f"<think>{'; '.join(items)}</think><answer>{', '.join(sorted(answer))}</answer>"


def random_answer(choices: int, rng: random.Random) -> frozenset[str]:
    """A non-empty subset of the first `choices` letters; every one equally likely."""
    bits = rng.randrange(1, 2**choices)
    return frozenset(LETTERS[i] for i in range(choices) if bits >> i & 1)


def counterfactual(view: View, question: Question, rng: random.Random) -> Lesson:
    """The prompt that reinforcement learning will see; the answer does not depend on the truth."""
    pairs = [tuple(_in_order(choice.text, [view.names[i] for i in choice.pair])) for choice in question.choices]
    items = _pairs_text(view, pairs)
    response = _response(items, random_answer(len(pairs), rng))
    prompt = _prompt(question.text, [choice.text for choice in question.choices])
    return Lesson("counterfactual", prompt, response, frozenset(question.letters), len(pairs), tuple(items))


def _in_order(text: str, names: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: text.lower().index(name.lower()))


def _prompt(question: str, options: Sequence[str]) -> str:
    return multi_answer_prompt(question, options).removeprefix(VIDEO_TAG)


def pairs(view: View, rng: random.Random) -> Lesson | None:
    """Which pairs of objects are in one row? Answered rightly: it asks what is seen. None if no row has two objects."""
    together = [(a, b) for a in view.names for b in view.names if a < b and view.rows[a] == view.rows[b]]
    apart = [(a, b) for a in view.names for b in view.names if a < b and view.rows[a] != view.rows[b]]
    if not together or not apart:
        return None
    choices = rng.randint(2, 4)
    right = rng.randint(1, min(choices, len(together)))
    asked = rng.sample(together, right) + rng.sample(apart, min(choices - right, len(apart)))
    asked = [tuple(rng.sample(pair, 2)) for pair in rng.sample(asked, len(asked))]
    truth = frozenset(letter for letter, (a, b) in zip(LETTERS, asked, strict=False) if view.rows[a] == view.rows[b])
    items = _pairs_text(view, asked)
    prompt = _prompt(PAIRS_QUESTION, [f"The {a} and the {b}" for a, b in asked])
    return Lesson("pairs", prompt, _response(items, truth), truth, len(asked), tuple(items))


def make_lesson(kind: str, view: View, rng: random.Random) -> Lesson | None:
    """One lesson of a kind about a scene, None where the scene has none. Equal states of `rng` give equal lessons."""
    if kind == "pairs":
        return pairs(view, rng)
    asked = questions(view.scene, rng)
    return counterfactual(view, asked[0], rng) if asked else None
