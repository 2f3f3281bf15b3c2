# SPDX-License-Identifier: Apache-2.0
"""The evaluation output of Video-R1 and of what grew from it (VideoChat-R1 and others): the list "results".

    {"results": [{"problem_id": 7, "problem": "Where?", "problem_type": "multiple choice",
                  "options": ["A. left", "B. right"], "solution": "<answer>B</answer>", "path": "v1.mp4",
                  "output": "<think>…</think><answer>B</answer>", "prediction": "B", "reward": 1.0, "correct": true}],
     "final_acc": [{"mean_acc": 1.0}]}

Numerical, regression, OCR and free-form problems are open-ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recipe.tw_grpo.scoring.sample import Sample, make_sample, text_of, truth_of


def fits(record: Mapping[str, Any]) -> bool:
    """Whether this is a record of the form."""
    return "solution" in record and "output" in record


def samples(record: dict[str, Any], where: str, line: int) -> Iterator[Sample]:
    """The response in a record."""
    response = text_of(record, "output", where)
    yield make_sample(
        record,
        where,
        line,
        response=response,
        truth=truth_of(record, "solution", where=where),
        key=record.get("problem_id", record.get("id")),
        question=record.get("problem") or record.get("question"),
        options=record.get("options"),
        video=record.get("path") or record.get("video"),
        untagged=bool(response) and record.get("prediction") == response,
    )
