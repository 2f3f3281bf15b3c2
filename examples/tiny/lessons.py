# SPDX-License-Identifier: Apache-2.0
"""What the warm start teaches, as prompt and response texts: to name what is in a video, in the right format.

The think text goes through the options: where the two objects of each are seen, whether that is the same row, and a
verdict, yes or no, drawn at random; the answer is the letters with a yes. To see, to be consistent and the format are
taught so; which options deserve a yes is left to reinforcement learning.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from data_prep.write.prompts import VIDEO_TAG, multi_answer_prompt
from examples.tiny.physics import CELL
from examples.tiny.world import Question, Scene, object_names, questions
from recipe.tw_grpo.toolbox.letters import LETTERS

ROWS = ("top", "upper", "lower", "bottom", "fifth", "sixth")  # lanes of a picture, from above
WAYS = ("left", "right")  # which way an object moves at first, where a lesson says so
SAME, APART = "same", "apart"
YES, NO = "yes", "no"
YES_RATE = 1 / 2


@dataclass(frozen=True)
class Lesson:
    """`prompt` is the user message without the video tag; `truth` the right letters, which `response` does not know.

    `items` are the parts of the think text before the verdicts, one an option.
    """

    prompt: str
    response: str
    truth: frozenset[str]
    items: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """What can be seen of each object, by name: its row in the first frame, and its way where lessons say it."""

    scene: Scene
    names: tuple[str, ...]
    rows: dict[str, str]
    ways: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, scene: Scene, *, moving: bool = False) -> View:
        """`moving`: lessons say which way each object moves at first, which takes more than one frame to see."""
        names = object_names(scene)
        named = list(zip(names, scene.bodies, strict=True))
        rows = {name: ROWS[int(body.y // CELL) % len(ROWS)] for name, body in named}
        return cls(scene, names, rows, {name: WAYS[body.vx > 0] for name, body in named} if moving else {})

    def seen(self, name: str) -> str:
        """The words for an object: name, row, way."""
        return " ".join(word for word in (name, self.rows[name], self.ways.get(name)) if word)


def random_answer(choices: int, rng: random.Random) -> frozenset[str]:
    """A subset of the first `choices` letters, each with probability YES_RATE, drawn again while it is empty."""
    while True:
        drawn = frozenset(letter for letter in LETTERS[:choices] if rng.random() < YES_RATE)
        if drawn:
            return drawn


def response_text(items: Sequence[str], answer: frozenset[str]) -> str:
    """The think text with the verdicts that `answer` means, and the answer."""
    said = [f"{item} {YES if letter in answer else NO}" for letter, item in zip(LETTERS, items, strict=False)]
    return f"<think>{'; '.join(said)}</think><answer>{', '.join(sorted(answer))}</answer>"


def lesson_about(view: View, question: Question, rng: random.Random) -> Lesson:
    """The prompt that reinforcement learning will see, and a response whose verdicts do not depend on the truth."""
    items = []
    for letter, choice in zip(LETTERS, question.choices, strict=False):
        # An item reads like "A red disc top blue square lower apart", objects in the order of the option's text;
        # with ways, "A red disc top left blue square lower right apart".
        one, two = sorted((view.names[i] for i in choice.pair), key=lambda name: choice.text.lower().index(name))
        relation = SAME if view.rows[one] == view.rows[two] else APART
        items.append(f"{letter} {view.seen(one)} {view.seen(two)} {relation}")
    response = response_text(items, random_answer(len(items), rng))
    prompt = multi_answer_prompt(question.text, [choice.text for choice in question.choices]).removeprefix(VIDEO_TAG)
    return Lesson(prompt, response, frozenset(question.letters), tuple(items))


def make_lesson(view: View, rng: random.Random) -> Lesson | None:
    """A lesson about a scene, None where nothing can be asked. Equal states of `rng` give equal lessons."""
    asked = questions(view.scene, rng)
    return lesson_about(view, asked[0], rng) if asked else None
