# SPDX-License-Identifier: Apache-2.0
"""What flows through data_prep: a question as its data set asks it, how it is asked of the policy, a file of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Question(NamedTuple):
    """One question with lettered options, as its data set asks it."""

    where: str  # file and record, for messages
    question_id: str  # text, unique in its file
    scene: str  # what the data set calls its video
    video: str  # the path as published; data_prep/videos knows what to make of it
    text: str
    options: tuple[str, ...]  # without letters
    right: tuple[int, ...]  # positions in options, ascending
    kind: str = ""  # the data set's question type: "CW", "Interaction_T1"
    clip: tuple[float, float] | None = None  # seconds


class Outcome(NamedTuple):
    """A question as it will be written, inverted or not. `why`: what the draw wanted and what came of it."""

    question: str
    options: tuple[str, ...]
    right: tuple[int, ...]
    inverted: bool = False
    style: str = ""
    why: str = ""


def as_published(question: Question) -> Outcome:
    """The question as its data set asks it."""
    return Outcome(question.text, question.options, question.right)


@dataclass
class Reading:
    """Questions in file order, how many records were left out, by reason, and what a person should know of some."""

    questions: list[Question]
    left_out: dict[str, int]
    inputs: list[Path]
    notes: list[str] = field(default_factory=list)
    scenes: set[int] = field(default_factory=set)  # CLEVRER numbers its scenes; a split is known by them

    def add(self, part: Reading) -> None:
        """Take in the questions of another file, with what was left out there."""
        self.questions += part.questions
        self.notes += part.notes
        for reason, count in part.left_out.items():
            self.left_out[reason] = self.left_out.get(reason, 0) + count
