# SPDX-License-Identifier: Apache-2.0
"""How long one core takes to score a response (Eq. 7 and format), for real responses and for longer and longer ones."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

from recipe.tw_grpo.reward import score_response
from recipe.tw_grpo.toolbox.errors import UserError

TITLE = "Scoring on one core"
OPTIONS = ["The cube collides with the sphere", "The cylinder enters", "The sphere stays", "Nothing moves"]
_PIECES = ("so the answer could be A, ", "(B) or C. ", "<answer>", "option D: ", "答案 ", "\\boxed{A} ", "x" * 25)


def run(log: Path) -> list[dict[str, Any]]:
    """Seconds of one core a response: the log's own, and longer and longer ones of pieces that look like answers.

    Raises:
        UserError: a line of the log without an output.
    """
    texts = []
    for number, line in enumerate(log.read_text(encoding="utf-8").split("\n"), 1):
        if line:
            try:
                texts.append(json.loads(line)["output"])
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(f"{log}:{number}: a line of a rollout log has an output") from error
    records = [_timed(f"{len(texts):,} responses of {log.name}", texts)]
    for length in (1_000, 10_000, 100_000):
        texts = ["<think>" + f"{i}" + piece * (length // len(piece)) for piece in _PIECES for i in range(3)]
        records.append(_timed(f"{len(texts)} of pieces that look like answers", texts))
    return records


def _timed(name: str, texts: list[str]) -> dict[str, Any]:
    seconds = []
    for text in texts:
        start = time.process_time()
        score_response(text, "A,C", OPTIONS)
        seconds.append(time.process_time() - start)
    return {
        "texts": name,
        "characters": statistics.mean(map(len, texts)),
        "median": statistics.median(seconds),
        "longest": max(seconds),
    }


def rows(records: list[dict[str, Any]]) -> list[list[str]]:
    """The table of `run`'s records."""
    table = [["responses", "characters, mean", "median, µs", "longest, µs", "median, ns a character"]]
    for r in records:
        of_character = f"{1e9 * r['median'] / r['characters']:.0f}"
        table.append(
            [
                r["texts"],
                f"{r['characters']:,.0f}",
                f"{1e6 * r['median']:,.0f}",
                f"{1e6 * r['longest']:,.0f}",
                of_character,
            ]
        )
    return table
