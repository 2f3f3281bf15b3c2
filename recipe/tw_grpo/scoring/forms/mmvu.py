# SPDX-License-Identifier: Apache-2.0
"""MMVU's own result form: the records of the benchmark with a response each; its open-ended questions have no choices.

[{"id": "validation_0", "video": "https://…/Chemistry/0.mp4", "question_type": "multiple-choice",
  "question": "How much?", "choices": {"A": "10.0", "B": "5.0", "C": ""}, "answer": "A",
  "response": "The answer is A.", "metadata": {"subject": "Chemistry"}, "correct": true}]

Its evaluation writes `ground_truth_answer`, `extracted_answer` and `correct` instead of `answer`, type and video.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recipe.tw_grpo.scoring.sample import Sample, make_sample, option_texts, text_of, truth_of

_TRUTHS = ("answer", "ground_truth_answer")


def fits(record: Mapping[str, Any]) -> bool:
    """Whether this is a record of the form."""
    return "response" in record and "choices" in record and any(name in record for name in _TRUTHS)


def samples(record: dict[str, Any], where: str, line: int) -> Iterator[Sample]:
    """The response in a record."""
    metadata = record.get("metadata")
    options = option_texts(record.get("choices"), where)
    yield make_sample(
        record,
        where,
        line,
        response=text_of(record, "response", where),
        truth=truth_of(record, *_TRUTHS, where=where),
        key=record.get("id"),
        question=record.get("question"),
        options=options,
        video=record.get("video") or record.get("video_path"),
        # Its evaluation keeps no type; without choices a question is an open-ended one.
        more={**(metadata if isinstance(metadata, dict) else {}), **({} if options else {"type": "open-ended"})},
    )
