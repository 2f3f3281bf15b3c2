# SPDX-License-Identifier: Apache-2.0
"""VLMEvalKit's result tables (.tsv, .xlsx, or as JSON records), before and after their evaluation.

    index  video  question  A     B      answer  prediction  hit
    0      v1     Where?    left  right  B       "B. right"  1

Options stand in columns A, B, … or, for MVBench and Video-MME, in `candidates` ("['left', 'right']"); `answer` is the
letter or the text; a judge adds `hit` or `score`, -1 where it failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recipe.tw_grpo.scoring.sample import Sample, field, is_missing, make_sample, truth_of
from recipe.tw_grpo.toolbox.letters import LETTERS


def fits(record: Mapping[str, Any]) -> bool:
    """Whether this is a record of the form."""
    return "prediction" in record and "answer" in record and "response" not in record


def samples(record: dict[str, Any], where: str, line: int) -> Iterator[Sample]:
    """The response in a row."""
    prediction = field(record, "prediction", where)
    columns = {letter: record[letter] for letter in LETTERS if not is_missing(record.get(letter))}
    listed = next((record[n] for n in ("candidates", "options", "choices") if not is_missing(record.get(n))), columns)
    yield make_sample(
        record,
        where,
        line,
        response="" if is_missing(prediction) else str(prediction),  # a table turns "3" into a number
        truth=truth_of(record, "answer", where=where),
        key=next((record[n] for n in ("index", "question_id", "id") if not is_missing(record.get(n))), None),
        question=record.get("question"),
        options=listed,
        video=record.get("video"),
    )
