# SPDX-License-Identifier: Apache-2.0
"""verl's validation dump against the questions it was asked: whole or refused, and joined with their records.

verl writes the dump when all questions have been asked, in an order of its own, and leaves out those whose generation
failed; the reward manager `multi_answer` puts the index of the record into each line.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recipe.tw_grpo.runs.dump import Incomplete, read_dump
from recipe.tw_grpo.toolbox.errors import UserError

# Of a record's extra_info, what the scorer can group by or draw together.
COLUMNS = ("question_id", "scene", "video", "kind", "split", "category")


def read_questions(parquet: Path) -> dict[str, dict[str, Any]]:
    """The records of a parquet of data_prep by their index (as text): data_source, truth and COLUMNS.

    Raises:
        UserError: no such file, not of data_prep, or an index that occurs twice.
    """
    try:
        table = pq.read_table(parquet, columns=["data_source", "reward_model", "extra_info"])
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise UserError(f"{parquet}: no parquet written by data_prep ({error})") from None
    found: dict[str, dict[str, Any]] = {}
    for number, record in enumerate(table.to_pylist()):
        extra = record["extra_info"] or {}
        index = str(extra.get("index"))
        if "index" not in extra or index in found:
            what = "is missing" if "index" not in extra else f"{index} occurs twice"
            raise UserError(f"{parquet}: record {number}: extra_info.index {what}; every question needs its own")
        kept = {name: str(extra[name]) for name in COLUMNS if extra.get(name) is not None}
        truth = record["reward_model"]["ground_truth"]
        found[index] = {"data_source": record["data_source"], "truth": truth, **kept}
    return found


def read_complete(dump: Path, questions: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines of a dump in the order of the questions, each with what its record says.

    Args:
        dump: {step}.jsonl in trainer.validation_data_dir.
        questions: of `read_questions`.

    Raises:
        Incomplete: the dump is missing or broken off, or does not answer every question exactly once.
        UserError: its lines do not name their records, or answer other questions.
    """
    rows: dict[str, dict[str, Any]] = {}
    counts: Counter[str] = Counter()
    for where, line in read_dump(dump):
        index = line.index
        if not index:
            raise UserError(f"{where} names no record: reward.reward_manager.name must be multi_answer")
        if index not in questions or questions[index]["truth"] != line.truth:
            raise UserError(f"{where} answers record {index}, which is another one or not asked here")
        rows[index] = line.record
        counts[index] += 1
    twice = [index for index, count in counts.items() if count > 1]
    if twice:
        raise Incomplete(f"{dump}: record {twice[0]} is answered {counts[twice[0]]} times; one answer each is scored")
    if len(rows) < len(questions):
        raise Incomplete(f"{dump}: {len(rows)} of {len(questions)} questions are answered")
    return [rows[index] | {k: v for k, v in said.items() if k != "truth"} for index, said in questions.items()]
