# SPDX-License-Identifier: Apache-2.0
"""How a question is asked, in one place: the prompt the paper prints, and prompts from files of the user.

A prompt is one user message: the video, the question, the lettered options, the instruction. It holds no chat template;
that belongs to the model's processor. The words of others' prompts are not here: docs/data.md says where they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recipe.tw_grpo.toolbox.errors import UserError
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


@dataclass(frozen=True)
class Prompt:
    """Words around a question. `text` holds {question} and {options} once each, the options on lines of their own."""

    name: str
    text: str

    def ask(self, question: str, options: Sequence[str]) -> str:
        """The whole user message."""
        parts = {"{question}": question, "{options}": "\n".join(lettered(options))}
        return VIDEO_TAG + re.sub("|".join(map(re.escape, parts)), lambda found: parts[found[0]], self.text)


PRINTED = Prompt("printed", "{question}\n{options}\n" + MULTI_ANSWER)


def read_prompt(path: Path) -> Prompt:
    """The prompt in a UTF-8 text file, named as the file; line breaks at its end are no part of it.

    Raises:
        UserError: a name or text that cannot be used, with what is missing.
    """
    name = path.stem
    if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", name) or name == PRINTED.name:
        raise UserError(
            f"--prompt-file {path}: its name becomes the protocol's: small letters, digits and _ (video_r1.txt), and "
            f"not {PRINTED.name}"
        )
    try:
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--prompt-file {path}: cannot be read as UTF-8 text ({error})") from None
    for place in ("{question}", "{options}"):
        if text.count(place) != 1:
            raise UserError(f"--prompt-file {path}: {place} stands in it {text.count(place)} times, expected once")
    if "{options}" not in text.splitlines():
        raise UserError(f"--prompt-file {path}: {{options}} must be a line of its own: it becomes one line an option")
    if any(tag in text for tag in MEDIA_TAGS):
        raise UserError(f"--prompt-file {path}: leave {', '.join(MEDIA_TAGS)} out: the video is put in front")
    return Prompt(name, text)


def multi_answer_prompt(question: str, options: Sequence[str]) -> str:
    """The whole user message of a question in the prompt that the paper prints."""
    return PRINTED.ask(question, options)
