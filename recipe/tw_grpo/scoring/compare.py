# SPDX-License-Identifier: Apache-2.0
"""Two logs of the same questions, paired: the difference, its interval, and whether chance alone would give it.

Differences on a benchmark of a few hundred questions are often within noise; pairing takes the difficulty of the
questions out of it. The p-value is McNemar's exact test on the questions only one of the two got right.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from recipe.tw_grpo.reward import MULTI, SINGLE
from recipe.tw_grpo.scoring.reading import Log, categories
from recipe.tw_grpo.scoring.score import Scored, score
from recipe.tw_grpo.toolbox.bootstrap import DRAWS, Clusters
from recipe.tw_grpo.toolbox.errors import UserError

Pair = tuple[Scored, Scored]


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided exact McNemar p-value: with no difference, either log is equally likely to be the one that is right."""
    from scipy.stats import binomtest  # a second to import, and only needed here

    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0


def pairs_of(a: Log, b: Log, rule: str, by: str | None = None) -> tuple[list[tuple[Pair, str | None]], str | None, int]:
    """The samples both logs have, scored, each with its category; the field of the categories; how many more have no
    right letters.

    Raises:
        UserError: no sample in common, or one with other right letters in B than in A.
    """
    of_b = {sample.key: sample for sample in b.samples}
    common = [(sample, of_b[sample.key]) for sample in a.samples if sample.key in of_b]
    if not common:
        raise UserError(
            f"{a.path} and {b.path} have no question in common: are they logs of the same benchmark and form?"
        )
    pairs = [(score(x, rule), score(y, rule)) for x, y in common]
    for x, y in pairs:
        if x.truth != y.truth:
            raise UserError(
                f"{a.path}: line {x.sample.line} and {b.path}: line {y.sample.line} are one question with other right "
                f"letters, {letters(x.truth)} and {letters(y.truth)}: the two logs used different files of questions"
            )
    field, names = categories([x.sample for x, _ in pairs], by)
    known = [(pair, name) for pair, name in zip(pairs, names, strict=True) if pair[0].soft is not None]
    if not known:
        raise UserError(f"{a.path} and {b.path}: no common question has right letters")
    return known, field, len(pairs) - len(known)


def compare(a: Log, b: Log, rule: str, *, by: str | None = None, draws: int = DRAWS, seed: int = 0) -> dict[str, Any]:
    """B against A on the samples both have.

    Returns:
        a, b (paths), rule, only_in_a, only_in_b; parts: all, single, multi and every category, each with n, videos,
        acc_a, acc_b, difference (b - a), difference_interval, the same of soft accuracy, both, only_a, only_b, neither
        (right), p; changed: the samples whose soft score differs, the largest gain of B first.

    Raises:
        UserError: as `pairs_of`.
    """
    known, field, without = pairs_of(a, b, rule, by)
    parts: dict[str, list[Pair]] = {"all": [pair for pair, _ in known]}
    for kind in (SINGLE, MULTI):
        parts[kind] = [pair for pair, _ in known if pair[0].kind == kind]
    for value in sorted({name for _, name in known if name is not None}):
        parts[f"{field}: {value}"] = [pair for pair, name in known if name == value]
    changed = [pair for pair, _ in known if pair[0].soft != pair[1].soft]
    changed.sort(key=lambda pair: (pair[0].soft - pair[1].soft, pair[0].sample.line))
    return {
        "a": str(a.path),
        "b": str(b.path),
        "rule": rule,
        "only_in_a": len(a.samples) - len(known) - without,
        "only_in_b": len(b.samples) - len(known) - without,
        "without_truth": without,
        "parts": _numbers(parts, draws, seed),
        "changed": [_row(x, y) for x, y in changed],
    }


def _numbers(parts: dict[str, list[Pair]], draws: int, seed: int) -> dict[str, dict[str, Any]]:
    videos = Clusters(len(parts), 2)
    for p, pairs in enumerate(parts.values()):
        for x, y in pairs:
            videos.add(x.sample.video, p, (y.right - x.right, y.soft - x.soft))
    result = {}
    for (name, pairs), (several, limits) in zip(parts.items(), videos.intervals(draws=draws, seed=seed), strict=True):
        n, table = len(pairs), Counter((x.right, y.right) for x, y in pairs)
        only_a, only_b = table[True, False], table[False, True]
        right_a, right_b = table[True, True] + only_a, table[True, True] + only_b
        soft_a, soft_b = sum(x.soft for x, _ in pairs), sum(y.soft for _, y in pairs)
        result[name] = {
            "n": n,
            "videos": several,
            "acc_a": right_a / n if n else None,
            "acc_b": right_b / n if n else None,
            "difference": (right_b - right_a) / n if n else None,
            "difference_interval": limits[0],
            "soft_acc_a": soft_a / n if n else None,
            "soft_acc_b": soft_b / n if n else None,
            "soft_difference": (soft_b - soft_a) / n if n else None,
            "soft_difference_interval": limits[1],
            "both": table[True, True],
            "only_a": only_a,
            "only_b": only_b,
            "neither": table[False, False],
            "p": mcnemar(only_a, only_b) if n else None,
        }
    return result


def _row(x: Scored, y: Scored) -> dict[str, Any]:
    return {
        "question": " ".join(x.sample.question.split()),
        "video": x.sample.video,
        "truth": letters(x.truth),
        "a": letters(x.predicted),
        "b": letters(y.predicted),
        "soft_a": x.soft,
        "soft_b": y.soft,
        "response_a": x.sample.response,
        "response_b": y.sample.response,
        "line_a": x.sample.line,
        "line_b": y.sample.line,
    }


def letters(chosen: frozenset[str]) -> str:
    """A set of letters as text, "A,C"."""
    return ",".join(sorted(chosen))
