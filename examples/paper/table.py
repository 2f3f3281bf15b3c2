# SPDX-License-Identifier: Apache-2.0
"""The numbers of several rows and seeds: mean and standard deviation over seeds, and paired tests against one row.

Seeds are the sample, not questions or responses: what another seed would give is what the tests are about. With few
seeds they cannot find much, so the number of pairs and the smallest p-value it allows stand beside them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipe.tw_grpo.report.reading import read_run
from recipe.tw_grpo.report.run_report import summarize
from recipe.tw_grpo.scoring.reading import read_log
from recipe.tw_grpo.scoring.score import summarize as score_log

# name of a number: its head in the table
MEASURES = {
    "acc": "acc %",
    "soft_acc": "soft %",
    "single_acc": "single %",
    "multi_acc": "multi %",
    "multi_soft_acc": "multi soft %",
    "training_soft_acc": "training, last fifth: soft %",
    "dead_group_rate": "dead groups %",
}
COMPARED = ("acc", "soft_acc", "training_soft_acc")


def measure(folder: Path, dump: Path) -> dict[str, float | None]:
    """The numbers of one finished run, as fractions: of its last validation, and of its training responses."""
    scored = score_log(read_log(dump), "tolerant", draws=1)  # intervals over questions are not used here
    trained = summarize(read_run(folder))
    return {
        "acc": scored["acc"],
        "soft_acc": scored["soft_acc"],
        "single_acc": scored["single"]["acc"],
        "multi_acc": scored["multi"]["acc"],
        "multi_soft_acc": scored["multi"]["soft_acc"],
        "training_soft_acc": trained["soft_acc_last_fifth"],
        "dead_group_rate": trained["dead_group_rate"],
    }


def mean_and_std(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and standard deviation (n - 1) over seeds; None where there are too few."""
    if not values:
        return None, None
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def paired(row: Mapping[int, float], reference: Mapping[int, float]) -> dict[str, Any]:
    """`row` against `reference` on the seeds both have.

    Args:
        row, reference: value by seed.

    Returns:
        n (pairs), difference (mean of row - reference), std (of the differences), p_t (paired t-test) and p_exact
        (paired permutation test: every way of swapping the two rows within seeds, up to 13 pairs), two-sided. None
        where they are not defined: fewer than two pairs; p_t when all differences are one number other than 0 (its
        spread would be 0, its p-value 0).
    """
    from scipy import stats  # a second to import

    seeds = sorted(row.keys() & reference.keys())
    differences = np.array([row[seed] - reference[seed] for seed in seeds], dtype=np.float64)
    differences[np.abs(differences) < 1e-12] = 0.0
    difference, std = mean_and_std(list(differences))
    result = {"n": len(seeds), "difference": difference, "std": std, "p_t": None, "p_exact": None}
    if len(seeds) < 2:
        return result
    if not differences.any():
        return result | {"p_t": 1.0, "p_exact": 1.0}
    if np.ptp(differences) > 1e-12:
        result["p_t"] = float(stats.ttest_1samp(differences, 0.0).pvalue)
    swapped = stats.permutation_test(
        (differences, np.zeros_like(differences)),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        rng=0,  # only drawn from beyond 13 pairs
    )
    return result | {"p_exact": float(swapped.pvalue)}


def smallest_exact(pairs: int) -> float:
    """The smallest two-sided p-value the permutation test of so many pairs can give."""
    return min(1.0, 2.0 / 2**pairs)


def table(
    numbers: Mapping[str, Mapping[int, Mapping[str, float | None]]],
    labels: Mapping[str, str],
    reference: str,
    missing: Mapping[str, Mapping[int, str]],
) -> dict[str, Any]:
    """Everything the table says, as JSON.

    Args:
        numbers: of `measure`, by row and seed; finished runs only.
        labels: what a row is called, by row, in the order of the table.
        reference: the row the others are compared with.
        missing: why a run has no numbers, by row and seed.
    """

    def values(name: str, key: str) -> dict[int, float]:
        return {seed: run[key] for seed, run in numbers.get(name, {}).items() if run[key] is not None}

    rows = []
    for name, label in labels.items():
        row: dict[str, Any] = {"row": name, "label": label, "seeds": sorted(numbers.get(name, {}))}
        row["runs"] = {str(seed): dict(run) for seed, run in sorted(numbers.get(name, {}).items())}
        for key in MEASURES:
            mean, std = mean_and_std([value for _, value in sorted(values(name, key).items())])
            row[key] = {"mean": mean, "std": std, "n": len(values(name, key))}
        if name != reference:
            row["against_reference"] = {key: paired(values(name, key), values(reference, key)) for key in COMPARED}
        row["missing"] = {str(seed): why for seed, why in missing.get(name, {}).items()}
        rows.append(row)
    return {"reference": reference, "rows": rows}


def cells(result: Mapping[str, Any]) -> list[tuple[str, list[list[str]]]]:
    """The two tables of texts, (title, rows with head): means over seeds, and differences with their tests."""
    means = [["row", "seeds", *MEASURES.values()]]
    tests = [["against the reference", "", "pairs", "difference", "std", "t-test p", "exact p"]]
    fewest = math.inf
    for row in result["rows"]:
        seeds = ", ".join(map(str, row["seeds"])) or "none yet"
        means.append([f"{row['label']} ({row['row']})", seeds, *(_spread(row[key]) for key in MEASURES)])
        for key, test in row.get("against_reference", {}).items():
            if not test["n"]:
                continue
            fewest = min(fewest, test["n"])
            cell = [row["label"], MEASURES[key], str(test["n"]), _percent(test["difference"], "+.1f")]
            tests.append([*cell, _percent(test["std"], ".1f"), _p(test["p_t"]), _p(test["p_exact"])])
    tables = [("mean ± standard deviation over seeds", means)]
    if len(tests) > 1:
        least = smallest_exact(int(fewest))
        title = f"paired by seed, against {result['reference']}; with {fewest} pairs the exact p is {least:.2g} or more"
        tables.append((title, tests))
    return tables


def _spread(number: Mapping[str, Any]) -> str:
    if number["mean"] is None:
        return "-"
    return _percent(number["mean"], ".1f") + (f" ± {_percent(number['std'], '.1f')}" if number["n"] > 1 else "")


def _percent(value: float | None, form: str) -> str:
    return "-" if value is None else format(100 * value, form)


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
