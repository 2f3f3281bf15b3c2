# SPDX-License-Identifier: Apache-2.0
"""Evaluation logs of VideoChat-R1 and R1.5: the prompt, the truth as an object, no id and no list of options.

    {"video_path": "v1.mp4", "prompt": "… Where? … Select the answer from :A.left\\nB.right\\n…",
     "gt": {"answer": "B", "glue": [[0, 2]]}, "pred": "<think>…</think><answer>B</answer>", "acc": 1.0}

R1.5 looks several times: `pred` and `acc` are lists, and the last look is the answer.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

from recipe.tw_grpo.scoring.sample import Sample, make_sample, number, text_of, truth_of
from recipe.tw_grpo.toolbox.letters import LETTERS

_LINE = re.compile(r"(?:^|[:\n]) ?([A-Z])\. ?(\S[^\n]*)")
_LIST = re.compile(r"""\[(?:'[^\n]*'|"[^\n]*")\]""")


def fits(record: Mapping[str, Any]) -> bool:
    """Whether this is a record of the form."""
    return "prompt" in record and "pred" in record and isinstance(record.get("gt"), dict)


def samples(record: dict[str, Any], where: str, line: int) -> Iterator[Sample]:
    """The last answer of a record."""
    last = {name: _last(value) for name, value in record.items() if name in ("pred", "acc")}
    score, prompt = number(last.get("acc")), record.get("prompt")
    prompt = prompt if isinstance(prompt, str) else ""
    video = record.get("video_path")
    gt = record.get("gt")
    yield make_sample(
        record,
        where,
        line,
        response=text_of(last, "pred", where),
        truth=truth_of(gt, "answer", where=where) if isinstance(gt, dict) else None,
        question=prompt,
        options=_options(prompt),
        video=_first(video),
        recorded={} if score is None else {"acc": score},
    )


def _last(value: Any) -> Any:
    return (value[-1] if value else None) if isinstance(value, list) else value


def _first(value: Any) -> Any:
    return (value[0] if value else None) if isinstance(value, list) else value


def _options(prompt: str) -> list[str] | None:
    """Options of a prompt: lines "A.left" (the first on the line that asks), or a list in Python's notation."""
    if match := _LIST.search(prompt):
        try:
            listed = ast.literal_eval(match.group())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            listed = None
        if isinstance(listed, list) and len(listed) > 1 and all(isinstance(option, str) for option in listed):
            return listed
    found: list[str] = []
    for letter, text in _LINE.findall(prompt):
        if len(found) < len(LETTERS) and letter == LETTERS[len(found)]:
            found.append(text.strip())
    return found if len(found) > 1 else None
