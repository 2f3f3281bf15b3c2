# SPDX-License-Identifier: Apache-2.0
"""How many questions a second one core inverts (negation, draw, options, overlap), each style.

Every question of the file is timed once under each of several ids, in one pass; reading, finding videos and writing
parquet are not in it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from data_prep.invert.invert import STYLES, Policy, invert
from data_prep.read import nextgqa

TITLE = "Question-Answer Inversion on one core"
REPEATS = 10  # ids a question gets


def run(annotations: Path) -> list[dict[str, Any]]:
    """One record a style and probability, from a NExT-GQA file."""
    questions = nextgqa.read(annotations).questions
    many = [q._replace(question_id=f"{q.question_id} {i}") for i in range(REPEATS) for q in questions]
    records = []
    for style in STYLES:
        for probability in (0.5, 1.0):
            policy = Policy.of_style(style, dataset="nextgqa", probability=probability)
            start = time.process_time()
            for question in many:
                invert(question, policy)
            rate = len(many) / (time.process_time() - start)
            records.append({"style": style, "probability": probability, "questions": len(many), "a_second": rate})
    return records


def rows(records: list[dict[str, Any]]) -> list[list[str]]:
    """The table of `run`'s records."""
    table = [["style", "invert probability", "questions timed", "questions a second"]]
    for r in records:
        table.append([r["style"], str(r["probability"]), f"{r['questions']:,}", f"{r['a_second']:,.0f}"])
    return table
