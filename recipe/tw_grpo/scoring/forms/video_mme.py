# SPDX-License-Identifier: Apache-2.0
"""Video-MME's own result form: a video with its questions, each with the response.

[{"video_id": "001", "duration": "short", "domain": "Knowledge", "sub_category": "Astronomy",
  "questions": [{"question_id": "001-1", "task_type": "Counting", "question": "How many?",
                 "options": ["A. two", "B. three"], "answer": "B", "response": "B. three"}]}]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recipe.tw_grpo.scoring.sample import Sample, make_sample, short_fields, text_of, truth_of
from recipe.tw_grpo.toolbox.errors import UserError


def fits(record: Mapping[str, Any]) -> bool:
    """Whether this is a record of the form."""
    questions = record.get("questions")
    return isinstance(questions, list) and bool(questions) and all(isinstance(question, dict) for question in questions)


def samples(record: dict[str, Any], where: str, line: int) -> Iterator[Sample]:
    """The responses to the questions about one video."""
    if not fits(record):
        raise UserError(f"{where}: 'questions' must be a list of objects; every record of a log must have it")
    about = short_fields(record)
    for place, question in enumerate(record["questions"], 1):
        yield make_sample(
            question,
            f"{where}, question {place}",
            line,
            response=text_of(question, "response", f"{where}, question {place}"),
            truth=truth_of(question, "answer", where=where),
            key=question.get("question_id") or f"{record.get('video_id', f'line {line}')} {place}",
            question=question.get("question"),
            options=question.get("options"),
            video=record.get("video_id") or record.get("videoID") or record.get("url"),
            more=about,
        )
