# SPDX-License-Identifier: Apache-2.0
"""The parquet verl's generation writes: the records of a data set with a list of responses each.

{"prompt": [{"role": "user", "content": "<video>Where?\\nA. left\\nB. right"}], "responses": ["…", "…"],
 "reward_model": {"style": "rule", "ground_truth": "B"}, "extra_info": {"index": 7, "options": ["left", "right"]}}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recipe.tw_grpo.scoring.sample import Sample, make_sample, truth_of, user_text
from recipe.tw_grpo.toolbox.errors import UserError


def fits(record: Mapping[str, Any]) -> bool:
    """Whether this is a record of the form."""
    return isinstance(record.get("responses"), list) and isinstance(record.get("reward_model"), dict)


def samples(record: dict[str, Any], where: str, line: int) -> Iterator[Sample]:
    """The responses to one prompt, each on its own."""
    if not fits(record):
        raise UserError(f"{where}: 'responses' must be a list and 'reward_model' an object")
    about = record["extra_info"] if isinstance(record.get("extra_info"), dict) else {}
    key = about.get("index", line)
    for place, response in enumerate(record["responses"], 1):
        if not isinstance(response, str) and response is not None:
            raise UserError(f"{where}: response {place} is no text: {response!r:.60}")
        yield make_sample(
            record,
            where,
            line,
            response=response or "",
            truth=truth_of(record["reward_model"], "ground_truth", where=where),
            key=f"{key}#{place}",
            question=user_text(record.get("prompt")),
            options=about.get("options"),
            video=about.get("video"),
            more=about,
        )
