# SPDX-License-Identifier: Apache-2.0
"""verl's rollout and validation dumps, read by `runs/dump.py`; all responses to a question count.

{"input": "user\\nWhere?\\nA. left\\nB. right\\nassistant\\n", "output": "<think>…</think><answer>B</answer>",
 "gts": "B", "score": 1.0, "uid": "u_0_0", "soft_acc": 1.0, "video": "v1"}
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from recipe.tw_grpo.runs.dump import read_line
from recipe.tw_grpo.scoring.sample import Sample, number, short_fields
from recipe.tw_grpo.toolbox.letters import listed_options


def fits(record: Mapping[str, Any]) -> bool:
    """Whether this is a record of the form."""
    return "input" in record and "output" in record


def samples(record: dict[str, Any], where: str, line: int) -> Iterator[Sample]:
    """The response in a line of a dump, none for a row that verl added to fill a batch."""
    read = read_line(record, where)
    if read is None:
        return
    key = json.dumps([read.index, read.video, read.prompt, read.truth], ensure_ascii=False)
    yield Sample(
        key=key,
        question=read.prompt.strip(),
        video=read.video or key,
        response=read.response,
        truth=read.truth,
        options=tuple(listed_options(read.prompt)) or None,
        untagged=False,
        recorded={name: s for name in ("soft_acc", "acc") if (s := number(read.parts.get(name))) is not None},
        fields=short_fields(record),
        line=line,
    )
