# SPDX-License-Identifier: Apache-2.0
"""How long one core takes to score a response (Eq. 7 and format), for real responses and for ones made to be slow.

The texts are those of `python -m recipe.tw_grpo.scoring speed`, which names the slowest one; here they grow.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipe.tw_grpo.reward import score_response
from recipe.tw_grpo.scoring.reading import read_log
from recipe.tw_grpo.scoring.speed import HOSTILE, OPTIONS, hostile, seconds

TITLE = "Scoring on one core"
LENGTHS = (1_000, 10_000, 100_000)


def run(log: Path) -> list[dict[str, Any]]:
    """Seconds of one core a response: the log's own, and hostile ones of each length.

    Raises:
        UserError: the log cannot be read.
    """
    samples = [(sample.response, sample.truth or "A", sample.options) for sample in read_log(log).samples]
    records = [_timed(f"{len(samples):,} responses of {log.name}", samples)]
    for length in LENGTHS:
        made = [(hostile(name, length), "A,C", OPTIONS) for name in HOSTILE]
        records.append(_timed(f"{len(made)} made to be slow", made))
    return records


def _timed(name: str, responses: Sequence[tuple[str, str, Any]]) -> dict[str, Any]:
    used = [seconds(lambda one=one: score_response(*one), times=1) for one in responses]
    return {
        "texts": name,
        "characters": statistics.mean(len(text) for text, _, _ in responses),
        "median": statistics.median(used),
        "longest": max(used),
    }


def rows(records: list[dict[str, Any]]) -> list[list[str]]:
    """The table of `run`'s records."""
    table = [["responses", "characters, mean", "median, µs", "longest, µs", "median, ns a character"]]
    for r in records:
        numbers = [r["characters"], 1e6 * r["median"], 1e6 * r["longest"], 1e9 * r["median"] / r["characters"]]
        table.append([r["texts"], *(f"{number:,.0f}" for number in numbers)])
    return table
