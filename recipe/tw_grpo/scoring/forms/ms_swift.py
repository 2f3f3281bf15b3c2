# SPDX-License-Identifier: Apache-2.0
"""ms-swift's `swift infer` results; the options are those its prompt lists.

    {"response": "<think>…</think><answer>B</answer>", "labels": "B", "logprobs": null,
     "messages": [{"role": "user", "content": "<video>Where?\\nA. left\\nB. right"},
                  {"role": "assistant", "content": "…"}], "videos": ["v1.mp4"]}

Versions before 3 write `query` and `label`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recipe.tw_grpo.scoring.sample import Sample, make_sample, text_of, truth_of, user_text

_TRUTHS = ("labels", "label", "solution", "ground_truth", "truth", "answer")


def fits(record: Mapping[str, Any]) -> bool:
    """Whether this is a record of the form."""
    return "response" in record and ("labels" in record or "messages" in record or "query" in record)


def samples(record: dict[str, Any], where: str, line: int) -> Iterator[Sample]:
    """The response in a line."""
    videos = record.get("videos") or record.get("images")
    first = videos[0] if isinstance(videos, list) and videos else videos
    if isinstance(first, dict):
        first = first.get("path") or first.get("video")
    yield make_sample(
        record,
        where,
        line,
        response=text_of(record, "response", where),
        truth=truth_of(record, *_TRUTHS, where=where),
        key=record.get("id"),
        question=record.get("query") or user_text(record.get("messages")),
        options=record.get("options"),
        video=first if isinstance(first, str) else None,
    )
