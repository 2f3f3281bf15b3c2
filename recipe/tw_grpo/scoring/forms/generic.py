# SPDX-License-Identifier: Apache-2.0
"""Ours, for anything else: one object a response.

    {"id": "q7", "video": "v1.mp4", "question": "Where?", "options": ["left", "right"], "category": "space",
     "truth": "B", "response": "<think>…</think><answer>B</answer>"}

Other names of the two texts are known as well: `output`, `prediction`, `pred`; `ground_truth`, `gt`, `label`, …
MVBench's own result list {"res_list": [{"pred": "(B) right", "gt": "(B) right"}]} is read so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recipe.tw_grpo.scoring.sample import Sample, make_sample, text_of, truth_of

KEYS = 'response (text), truth ("A,C"), and optionally id, question, options, video, category'
_RESPONSES = ("response", "output", "prediction", "pred", "model_response", "generated_text", "completion")
TRUTHS = ("truth", "ground_truth", "gt", "target", "labels", "label", "correct_answer", "solution", "answer")
IDS = ("id", "question_id", "qid", "problem_id", "index")


def fits(record: Mapping[str, Any]) -> bool:
    """Whether this is a record of the form."""
    return any(name in record for name in _RESPONSES)


def samples(record: dict[str, Any], where: str, line: int) -> Iterator[Sample]:
    """The response in a record."""
    name = next((name for name in _RESPONSES if name in record), "response")
    yield make_sample(
        record,
        where,
        line,
        response=text_of(record, name, where),
        truth=truth_of(record, *TRUTHS, where=where),
        key=next((record[name] for name in IDS if record.get(name) is not None), None),
        question=record.get("question") or record.get("problem"),
        options=next((record[name] for name in ("options", "choices", "candidates") if record.get(name)), None),
        video=record.get("video"),
    )
