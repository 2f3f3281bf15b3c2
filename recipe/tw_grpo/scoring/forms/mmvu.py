# SPDX-License-Identifier: Apache-2.0
"""MMVU's own result form: the records of the benchmark with a response each; its open-ended questions have no choices.

[{"id": "validation_0", "video": "https://…/Chemistry/0.mp4", "question_type": "multiple-choice",
  "question": "How much?", "choices": {"A": "10.0", "B": "5.0", "C": ""}, "answer": "A",
  "response": "The answer is A.", "metadata": {"subject": "Chemistry"}, "correct": true}]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recipe.tw_grpo.scoring.sample import Sample, make_sample, text_of, truth_of


def fits(record: Mapping[str, Any]) -> bool:
    """Whether this is a record of the form."""
    return "response" in record and "choices" in record and "answer" in record


def samples(record: dict[str, Any], where: str, line: int) -> Iterator[Sample]:
    """The response in a record."""
    metadata = record.get("metadata")
    yield make_sample(
        record,
        where,
        line,
        response=text_of(record, "response", where),
        truth=truth_of(record, "answer", where=where),
        key=record.get("id"),
        question=record.get("question"),
        options=record.get("choices"),
        video=record.get("video") or record.get("video_path"),
        more=metadata if isinstance(metadata, dict) else None,
    )
