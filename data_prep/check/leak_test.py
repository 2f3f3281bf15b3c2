# SPDX-License-Identifier: Apache-2.0
"""Can anything but the words of the question tell whether a record was inverted?

`python -m data_prep.check.leak_test FILE…` fits a logistic regression on what a policy sees of a record besides those
words: the number of options, their words, lengths, places, casing and punctuation, the casing and punctuation of the
question, the clip. Right answers are not seen by a policy, so they are not used. It prints the area under the ROC curve
of five-fold cross-validation by video: 0.5 is chance, three standard errors above it a leak.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.optimize import minimize
from scipy.stats import rankdata

from recipe.tw_grpo.toolbox.command_line import Parser, run_main
from recipe.tw_grpo.toolbox.errors import UserError

FOLDS = 5
REPEATS = 4  # other folds each time, the mean counts: with few records one cut says little
_MOST = 6  # options with features of their own; further ones count in the means
_HASHED = 64  # buckets for the words of the options
_RIDGE = 1e-2


def visible(record: Mapping[str, Any]) -> list[float]:
    """Features of one parquet row that a policy sees and that are no words of its question."""
    info = record["extra_info"]
    question, options = info["question"], info["options"]
    characters = [len(option) for option in options]
    words = [len(option.split()) for option in options]
    order = np.argsort(np.argsort(characters))
    features = [float(len(options) == n) for n in range(2, _MOST + 1)]
    features += [np.mean(characters), np.std(characters), np.min(characters), np.max(characters), np.mean(words)]
    for place in range(_MOST):
        there = place < len(options)
        features += [characters[place], order[place], options[place][:1].isupper()] if there else [0, 0, 0]
    features += [sum(option[:1].isupper() for option in options) / len(options)]
    features += [sum(option.endswith(".") for option in options) / len(options)]
    features += [len(set(options)) / len(options), len({option.split()[0] for option in options}) / len(options)]
    features += [question[:1].isupper(), question.endswith("?"), "  " in question]
    video = record["videos"][0]
    features += [video.get("video_start") or 0.0, (video.get("video_end") or 0.0) - (video.get("video_start") or 0.0)]
    buckets = np.zeros(_HASHED)
    for option in options:
        for word in option.lower().split():
            buckets[hashlib.blake2b(word.encode(), digest_size=1).digest()[0] % _HASHED] += 1 / len(options)
    return [float(feature) for feature in features] + buckets.tolist()


def fit(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Weights [D + 1] of a ridge logistic regression on features [N, D] (standardised) and labels [N] of 0 and 1."""
    rows = np.hstack([features, np.ones((len(features), 1))])

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = rows @ weights
        value = np.mean(np.logaddexp(0, scores) - labels * scores) + _RIDGE * weights[:-1] @ weights[:-1]
        gradient = rows.T @ (1 / (1 + np.exp(-scores)) - labels) / len(rows)
        gradient[:-1] += 2 * _RIDGE * weights[:-1]
        return value, gradient

    return minimize(loss, np.zeros(rows.shape[1]), jac=True, method="L-BFGS-B").x


def held_out_scores(features: np.ndarray, labels: np.ndarray, groups: Sequence[str], seed: int) -> np.ndarray:
    """Score [N] of each record by a model that saw no record of its group (its video)."""
    names = sorted(set(groups))
    fold_of = dict(zip(names, np.random.default_rng(seed).permutation(len(names)) % FOLDS, strict=True))
    folds = np.array([fold_of[name] for name in groups])
    scores = np.zeros(len(labels))
    for fold in range(FOLDS):
        train, test = folds != fold, folds == fold
        if not test.any() or len(set(labels[train])) < 2:
            continue
        centre, spread = features[train].mean(0), features[train].std(0) + 1e-9
        weights = fit((features[train] - centre) / spread, labels[train])
        # Ranks within the fold: the models of two folds need not agree on what a score means.
        held = (features[test] - centre) / spread @ weights[:-1]
        scores[test] = rankdata(held) / (len(held) + 1)
    return scores


def area(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Area under the ROC curve and its standard error (Hanley and McNeil 1982)."""
    positive, negative = int(labels.sum()), int((1 - labels).sum())
    value = (rankdata(scores)[labels == 1].sum() - positive * (positive + 1) / 2) / (positive * negative)
    first, second = value / (2 - value), 2 * value**2 / (1 + value)
    variance = value * (1 - value) + (positive - 1) * (first - value**2) + (negative - 1) * (second - value**2)
    return value, float(np.sqrt(variance / (positive * negative)))


def leak(rows: Sequence[Mapping[str, Any]], seed: int = 0) -> tuple[float, float]:
    """Area under the curve and its standard error for parquet rows, some of them inverted.

    Raises:
        UserError: fewer than 50 records of either kind.
    """
    labels = np.array([float(row["extra_info"]["inverted"]) for row in rows])
    if min(labels.sum(), (1 - labels).sum()) < 50:
        raise UserError(f"{int(labels.sum())} of {len(labels)} records are inverted; 50 of each kind are needed")
    features = np.array([visible(row) for row in rows])
    groups = [row["extra_info"]["scene"] for row in rows]
    areas = [area(held_out_scores(features, labels, groups, seed * REPEATS + i), labels) for i in range(REPEATS)]
    return float(np.mean([value for value, _ in areas])), float(np.mean([error for _, error in areas]))


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line per file."""
    parser = Parser(
        description=(__doc__ or "").splitlines()[0],
        epilog="example: python -m data_prep.check.leak_test data/nextgqa_exclusion.parquet data/nextgqa_paper.parquet",
    )
    parser.add_argument("files", type=Path, nargs="+", help="parquet files of qai_nextgqa.py or qai_star.py")
    parser.add_argument("--seed", type=int, default=0, help="of the folds")
    args = parser.parse_args(argv)
    for path in args.files:
        try:
            rows = pq.read_table(path).to_pylist()
            value, error = leak(rows, args.seed)
        except (pa.ArrowInvalid, KeyError, TypeError) as problem:
            raise UserError(f"{path}: not a parquet file of these scripts ({problem!a:.80})") from None
        except UserError as problem:
            raise UserError(f"{path}: {problem}") from None
        verdict = "no better than chance" if value < 0.5 + 3 * error else "LEAKS"
        print(f"{path}: AUC {value:.3f} +- {error:.3f} on {len(rows):,} records: {verdict}")
    return 0


if __name__ == "__main__":
    run_main(main)
