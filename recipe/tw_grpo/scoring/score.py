# SPDX-License-Identifier: Apache-2.0
"""From the samples of a log to its numbers: exact and soft accuracy for single, multi, all and per category.

Answers are read by `answers.py` and worth what `reward.py` says, as in training. Intervals are 95 % percentile
bootstraps in which all answers about one video are drawn together.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

from recipe.tw_grpo.answers import parse_answer, parse_truth, strict_pieces
from recipe.tw_grpo.reward import MULTI, SINGLE, format_reward, kind_of, soft_reward
from recipe.tw_grpo.scoring.kinds import KINDS, malformed
from recipe.tw_grpo.scoring.reading import Log, Sample, categories
from recipe.tw_grpo.scoring.truths import right_or_soft
from recipe.tw_grpo.toolbox.bootstrap import DRAWS, Clusters


@dataclasses.dataclass(slots=True)
class Scored:
    """One sample and what it is worth; `soft` is None when the log names no right letters.

    Attributes:
        predicted: the letters answered (pieces of text under the strict rule).
        soft: Eq. 7; the answer is right when it is 1.
        kind: "single" or "multi" by the number of right letters.
        malformed: kind of malformed output, None for a well-formed one.
    """

    sample: Sample
    predicted: frozenset[str]
    truth: frozenset[str]
    soft: float | None
    kind: str | None
    format: float
    malformed: str | None

    @property
    def right(self) -> bool:
        """Whether the set of letters is exactly right."""
        return self.soft == 1.0


def score(sample: Sample, rule: str) -> Scored:
    """What one sample is worth under `rule`, "tolerant" or "strict" (see `answers.parse_answer`)."""
    options = list(sample.options) if sample.options else None
    tolerant = parse_answer(sample.response if sample.answer is None else sample.answer, options)
    predicted = tolerant
    if rule == "strict":
        untagged = sample.untagged
        predicted = strict_pieces(sample.response) if untagged else parse_answer(sample.response, rule=rule)
    truth = frozenset() if sample.truth is None else parse_truth(sample.truth, options, rule)
    return Scored(
        sample=sample,
        predicted=predicted,
        truth=truth,
        soft=soft_reward(predicted, truth) if truth else None,
        kind=kind_of(len(truth)),
        format=format_reward(sample.response),
        malformed=malformed(sample.response, len(sample.options) if sample.options else None, tolerant),
    )


def summarize(log: Log, rule: str, *, by: str | None = None, draws: int = DRAWS, seed: int = 0) -> dict[str, Any]:
    """The numbers of one log; accuracies are fractions, None where nothing could be scored.

    Args:
        by: field of the categories, see `reading.categories`.

    Returns:
        log, form, rule, responses, n (scored), duplicates, unreadable, open_ended, without_truth, correct, acc,
        soft_acc, their intervals, format, videos; the same of "single" and "multi" and of every category; "malformed":
        how many by kind; "recorded": how many scores that the log itself gives (duplicates too) were compared, and
        differ; "scores": the same by the name of the score.
    """
    scored = [score(sample, rule) for sample in log.samples]
    field, names = categories(log.samples, by)
    known = [(row, name) for row, name in zip(scored, names, strict=True) if row.soft is not None]
    values = sorted({name for _, name in known if name is not None})
    groups = [
        [row for row, _ in known],
        *([row for row, _ in known if row.kind == kind] for kind in (SINGLE, MULTI)),
        *([row for row, name in known if name == value] for value in values),
    ]
    numbers = _numbers(groups, draws, seed)
    dropped = [score(sample, rule) for sample in log.duplicates]
    duplicates = Counter(row.kind for row in dropped)
    for kind, part in zip((SINGLE, MULTI), numbers[1:3], strict=True):
        part["duplicates"] = duplicates[kind]
    scores = _recorded(scored + dropped)
    counts = Counter(row.malformed for row in scored)
    return {
        "log": str(log.path),
        "form": log.form,
        "rule": rule,
        "responses": len(scored),
        **numbers[0],
        "duplicates": len(log.duplicates),
        "unreadable": log.unreadable,
        "open_ended": log.open_ended,
        "without_truth": len(scored) - len(known),
        "format": sum(row.format for row in scored) / len(scored) if scored else None,
        SINGLE: numbers[1],
        MULTI: numbers[2],
        "by": field,
        "categories": dict(zip(values, numbers[3:], strict=True)),
        "malformed": {kind: counts[kind] for kind in KINDS if counts[kind]},
        "recorded": {key: sum(part[key] for part in scores.values()) for key in ("compared", "differ")},
        "scores": scores,
    }


def _recorded(rows: list[Scored]) -> dict[str, dict[str, int]]:
    """For every score of the log by name: how many were compared with ours, how many differ."""
    result: dict[str, dict[str, int]] = {}
    for row in rows:
        if row.soft is None:
            continue
        for name, value in (row.sample.recorded or {}).items():
            part = result.setdefault(name, {"compared": 0, "differ": 0})
            part["compared"] += 1
            part["differ"] += abs(right_or_soft(name, row.soft) - value) > 1e-9
    return result


def _numbers(groups: list[list[Scored]], draws: int, seed: int) -> list[dict[str, Any]]:
    """n, correct, acc, soft_acc, intervals and number of videos of each group; all groups in the same draws."""
    videos = Clusters(len(groups), 2)
    for g, rows in enumerate(groups):
        for row in rows:
            videos.add(row.sample.video, g, (row.right, row.soft))
    result = []
    for rows, (several, (acc, soft)) in zip(groups, videos.intervals(draws=draws, seed=seed), strict=True):
        n = len(rows)
        result.append(
            {
                "n": n,
                "correct": sum(row.right for row in rows),
                "acc": sum(row.right for row in rows) / n if n else None,
                "soft_acc": sum(row.soft for row in rows) / n if n else None,
                "acc_interval": acc,
                "soft_acc_interval": soft,
                "videos": several,
            }
        )
    return result
