# SPDX-License-Identifier: Apache-2.0
"""What the readers hand to the inversion, and what a negation style hands back."""

from __future__ import annotations

from typing import NamedTuple


class Question(NamedTuple):
    """One question with one right option, as its data set asks it."""

    where: str  # file and record, for messages
    question_id: str  # text, unique in its file
    scene: str  # what the video is called there
    video: str  # its place relative to the folder of the videos, as the data set says it
    text: str
    options: tuple[str, ...]  # without letters
    right: int  # position in options
    kind: str  # the data set's question type: "CW", "Interaction_T1"
    clip: tuple[float, float] | None = None  # seconds
