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
from examples.tiny.world import COLORS, SHAPES, Question, Scene, object_names, questions

ROWS = ("top", "upper", "lower", "bottom", "fifth", "sixth")  # lanes of a picture, from above
ABSENT, EMPTY, SAME, APART = "nowhere", "nothing", "same", "apart"
MAX_NAMED = 2  # objects a think text may name before it comes to the options


@dataclass(frozen=True)
class Lesson:
    """`prompt` is the user message without the video tag; `truth` the right letters, None where there are none.

    `choices` counts the options, `items` are the parts of the think text that say where something is.
    """

    kind: str
    prompt: str
    response: str
    truth: frozenset[str] | None
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

    def where(self, name: str) -> str:
        return self.rows.get(name, ABSENT)

    def missing(self) -> list[str]:
        """Names that no object of this scene has."""
        return [f"{c} {s}" for c in COLORS for s in SHAPES if f"{c} {s}" not in self.rows]


def _pairs_text(view: View, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """ "A red disc top, blue square lower apart" for each lettered pair."""
    texts = []
    for letter, (one, two) in zip(LETTERS, pairs, strict=False):
        relation = SAME if view.where(one) == view.where(two) else APART
        texts.append(f"{letter} {one} {view.where(one)} {two} {view.where(two)} {relation}")
    return texts


def _response(view: View, items: Sequence[str], answer: frozenset[str], rng: random.Random) -> str:
    # A few more objects at the end, so that responses to one prompt differ in length.
    named = rng.sample(view.names, rng.randint(0, MAX_NAMED))
    more = ", ".join(f"{name} {view.where(name)}" for name in named)
    think = "; ".join([*items, more] if more else items)
    return f"<think>{think}</think><answer>{', '.join(sorted(answer))}</answer>"


def random_answer(choices: int, rng: random.Random) -> frozenset[str]:
    """A non-empty subset of the first `choices` letters; every one equally likely."""
    bits = rng.randrange(1, 2**choices)
    return frozenset(LETTERS[i] for i in range(choices) if bits >> i & 1)


def counterfactual(view: View, question: Question, rng: random.Random) -> Lesson:
    """The prompt that reinforcement learning will see; the answer does not depend on the truth."""
    pairs = [tuple(_in_order(choice.text, [view.names[i] for i in choice.pair])) for choice in question.choices]
    items = _pairs_text(view, pairs)
    response = _response(view, items, random_answer(len(pairs), rng), rng)
    prompt = _prompt(question.text, [choice.text for choice in question.choices])
    return Lesson("counterfactual", prompt, response, frozenset(question.letters), len(pairs), tuple(items))


def _in_order(text: str, names: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: text.lower().index(name.lower()))


def _prompt(question: str, options: Sequence[str]) -> str:
    return multi_answer_prompt(question, options).removeprefix(VIDEO_TAG)


def _seen(view: View, rng: random.Random) -> Lesson:
    """Which pairs of objects are in the video at all?"""
    missing, pairs = view.missing(), []
    for _ in range(rng.randint(2, 4)):
        one = rng.choice(view.names)
        if rng.random() < 0.5:
            other = rng.choice(missing)
        else:
            other = rng.choice([name for name in view.names if name != one])
        pairs.append(tuple(rng.sample((one, other), 2)))
    truth = frozenset(letter for letter, pair in zip(LETTERS, pairs, strict=False) if all(n in view.rows for n in pair))
    if not truth:
        return _seen(view, rng)
    items = _pairs_text(view, pairs)
    prompt = _prompt("Which pairs are in the video?", [f"The {a} and the {b}" for a, b in pairs])
    return Lesson("seen", prompt, _response(view, items, truth, rng), truth, len(pairs), tuple(items))


def _row(view: View, rng: random.Random) -> Lesson:
    """Which of these objects are in a given row?"""
    names = rng.sample(view.names, rng.randint(2, min(4, len(view.names))))
    row = view.where(rng.choice(names))
    truth = frozenset(letter for letter, name in zip(LETTERS, names, strict=False) if view.where(name) == row)
    items = [f"{letter} {name} {view.where(name)}" for letter, name in zip(LETTERS, names, strict=False)]
    prompt = _prompt(f"Which objects are in the {row} row?", [f"The {name}" for name in names])
    return Lesson("row", prompt, _response(view, items, truth, rng), truth, len(names), tuple(items))


def _where(view: View, rng: random.Random) -> Lesson:
    """Every object and its row, in any order, with a few that are not there: many look-ups in few tokens."""
    names = [*view.names, *rng.sample(view.missing(), rng.randint(0, 2))]
    rng.shuffle(names)
    items = [f"{name} {view.where(name)}" for name in names]
    return Lesson("where", "Where is what?", " " + ", ".join(items), None, 0, tuple(items))


KINDS = ("where", "row", "seen", "counterfactual")


def make_lesson(kind: str, view: View, rng: random.Random) -> Lesson:
    """One lesson of a kind about a scene. Equal states of `rng` give equal lessons."""
    if kind == "counterfactual":
        asked = questions(view.scene, rng)
        # a scene without a question (rare) teaches something else
        return counterfactual(view, asked[0], rng) if asked else _where(view, rng)
    return {"seen": _seen, "row": _row, "where": _where}[kind](view, rng)
