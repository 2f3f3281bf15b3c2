# SPDX-License-Identifier: Apache-2.0
"""Video-MME in its own form: a parquet file (or the same as JSON) of {videoID, question_id, question, options, answer}.

Subtitles are another protocol and not read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_prep.read.answers import answer_positions, labelled_options, question_of
from data_prep.read.question import Question, Reading
from data_prep.read.records import id_of, load_json, load_parquet, need, read_records, records_of, text_of

COLUMNS = ("videoID", "question_id", "question", "options", "answer")


def read(path: Path) -> Reading:
    """The parquet file of Video-MME of Video-MME, or the same columns as JSON."""
    rows = load_parquet(path, COLUMNS) if path.suffix == ".parquet" else load_json(path)
    return read_records(path, records_of(path, rows, "a list of Video-MME's rows"), _record)


def _record(record: Any, where: str) -> Question:
    question_id = id_of(record, ["question_id"], where)
    where = f"{where} (question_id {ascii(question_id)[1:-1]:.40})"
    scene = text_of(record, "videoID", where)
    options, labels = labelled_options(need(record, "options", list, where), where)
    right = answer_positions(text_of(record, "answer", where), options, where, labels=labels)
    text = question_of(record, "question", options, where)
    return Question(where, question_id, scene, f"data/{scene}.mp4", text, options, right)
