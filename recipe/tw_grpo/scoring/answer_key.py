# SPDX-License-Identifier: Apache-2.0
"""Right answers from a file beside the log (`--truths`), for logs that hold none: outputs of batch requests.

    {"custom_id": "q7", "truth": "B", "options": ["left", "right"], "video": "v1.mp4", "category": "space"}

Records are found by id; what the log itself says is never replaced.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from recipe.tw_grpo.scoring.containers import records_of
from recipe.tw_grpo.scoring.forms.generic import IDS, TRUTHS
from recipe.tw_grpo.scoring.sample import Sample, make_sample, truth_of
from recipe.tw_grpo.toolbox.errors import UserError

_IDS = ("custom_id", *IDS)


def read_key(path: Path) -> dict[str, Sample]:
    """Right answers, options, videos and categories by id, each a sample without a response.

    Raises:
        UserError: the file cannot be read, or a record has no id, no right answer, or the id of another one.
    """
    known: dict[str, Sample] = {}
    for number, record in records_of(path):
        where = f"{path}: line {number}"
        if record is None:
            raise UserError(f"{where}: not a whole JSON object")
        name = next((record[name] for name in _IDS if record.get(name) is not None), None)
        truth = truth_of(record, *TRUTHS, where=where)
        if name is None or truth is None:
            raise UserError(f"{where}: needs an id ({', '.join(_IDS)}) and a right answer ({', '.join(TRUTHS)})")
        if str(name) in known:
            raise UserError(f"{where}: {name!r} stands in line {known[str(name)].line} already")
        listed = next((record[n] for n in ("options", "choices", "candidates") if record.get(n)), None)
        known[str(name)] = make_sample(
            record,
            where,
            number,
            response="",
            truth=truth,
            key=name,
            question=record.get("question"),
            options=listed,
            video=record.get("video"),
        )
    return known


def with_key(sample: Sample, known: dict[str, Sample]) -> Sample:
    """A sample with what the file of right answers adds to it."""
    name = sample.key.rpartition("#")[0] if sample.key not in known else sample.key  # one of several responses
    if (found := known.get(name)) is None:
        return sample
    changes: dict[str, Any] = {"fields": found.fields | sample.fields}
    if sample.truth is None:
        changes["truth"] = found.truth
    if sample.options is None:
        changes |= {"options": found.options, "open_ended": sample.open_ended and found.options is None}
    if sample.video == sample.key:
        changes["video"] = found.video
    if sample.question == sample.key:
        changes["question"] = found.question
    return dataclasses.replace(sample, **changes)
