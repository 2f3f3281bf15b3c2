# SPDX-License-Identifier: Apache-2.0
"""The prompts of the paper (section 4 of docs/PAPER.md in the project's shared notes), in one place.

A prompt is one user message: the video, the question, the lettered options, the instruction. It holds no chat template;
that belongs to the model's processor.
"""

from __future__ import annotations

from collections.abc import Sequence

from recipe.tw_grpo.toolbox.letters import LETTERS

VIDEO_TAG = "<video>"
MEDIA_TAGS = ("<image>", "<video>", "<audio>")  # what verl's RLHFDataset cuts a message at

# Printed in the paper for CLEVRER counterfactual.
MULTI_ANSWER = (
    "Output the thinking process in <think></think> and the final answer "
    "(letters separated by commas, if multiple) in <answer></answer> tags."
)


def lettered(options: Sequence[str]) -> list[str]:
    """["x", "y"] -> ["A. x", "B. y"]; at most 26 options."""
    return [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]


def multi_answer_prompt(question: str, options: Sequence[str]) -> str:
    """The whole user message of a question with one or several right options."""
    return "\n".join([f"{VIDEO_TAG}{question}", *lettered(options), MULTI_ANSWER])
