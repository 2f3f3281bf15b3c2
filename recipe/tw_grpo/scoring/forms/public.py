# SPDX-License-Identifier: Apache-2.0
"""The public evaluation scripts of TW-GRPO, Video-R1 and R1-V: a question, what it was answered, and its score.

    {"question": {"problem_id": 7, "problem": "Where?", "options": ["A. left", "B. right"], "video": "/data/v1.mp4"},
     "ground_truth": "<answer>B</answer>", "model_output": "<think>…</think><answer>B</answer>",
     "extracted_answer": "B", "accuracy_score": 1.0}

R1-V's lists (`image_path`, `is_correct`) often have no options: what has no right letters is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from recipe.tw_grpo.scoring.sample import Sample, make_sample, number, text_of, truth_of
from recipe.tw_grpo.toolbox.letters import listed_options


def fits(record: Mapping[str, Any]) -> bool:
    """Whether this is a record of the form."""
    return "model_output" in record


def samples(record: dict[str, Any], where: str, line: int) -> Iterator[Sample]:
    """The response in a record."""
    question = record.get("question")
    question = question if isinstance(question, dict) else {"question": question}
    response = text_of(record, "model_output", where)
    asked = question.get("problem") or question.get("question")
    video = question.get("video") or question.get("image_path")
    listed = question.get("options") or listed_options(str(asked or ""))
    # Not the folder of the video and not fields that scripts add: two models' logs come from two machines.
    identity = [*map(question.get, ("problem_id", "question_id", "id")), Path(str(video)).name, asked, listed]
    key = json.dumps(identity, ensure_ascii=False) if record.get("question") is not None else None
    yield make_sample(
        question,
        where,
        line,
        response=response,
        truth=truth_of(record, "ground_truth", where=where),
        key=key,
        question=asked,
        options=listed,
        video=video,
        # Only the scripts without extraction copy the whole output there; the others cut it out of something longer.
        untagged=bool(response) and record.get("extracted_answer") == response,
        recorded=_scores(record),
    )


def _scores(record: Mapping[str, Any]) -> dict[str, float]:
    return {name: s for name in ("accuracy_score", "is_correct") if (s := number(record.get(name))) is not None}
