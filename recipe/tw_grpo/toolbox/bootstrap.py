# SPDX-License-Identifier: Apache-2.0
"""Percentile bootstrap over clusters: what belongs together (a prompt, a video) is drawn together.

Answers about one video are not independent; drawing whole videos keeps their dependence in the interval. Seeded, so
that the same file gives the same interval.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

FEWEST_CLUSTERS = 5  # below that a bootstrap says nothing
DRAWS = 10_000
_AT_ONCE = 2_000_000  # numbers drawn at once: 16 MB


class Clusters:
    """Values of several columns, summed within clusters as they come in; a cluster is made by its first value."""

    def __init__(self, columns: int, values: int) -> None:
        self._rows: dict[Hashable, int] = {}
        self._shape = (columns, values)
        self._added: list[tuple[int, int, Sequence[float]]] = []

    def add(self, cluster: Hashable, column: int, values: Sequence[float]) -> None:
        """Add one observation; NaN is a value that is not known."""
        self._added.append((self._rows.setdefault(cluster, len(self._rows)), column, values))

    def sums_and_counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Sums of the known values and how many they are, both [clusters, columns, values]."""
        sums = np.zeros((len(self._rows), *self._shape))
        counts = np.zeros_like(sums)
        for row, column, values in self._added:
            known = np.asarray(values, dtype=np.float64)
            sums[row, column] += np.nan_to_num(known)
            counts[row, column] += ~np.isnan(known)
        return sums, counts

    def intervals(self, *, draws: int, seed: int) -> list[tuple[int, list[list[float] | None]]]:
        """Clusters with a value and the intervals of the values' means, of each column; all in the same draws."""
        sums, counts = self.sums_and_counts()
        if not len(sums):
            return [(0, [None] * self._shape[1])] * self._shape[0]
        means, known = drawn_means(sums, counts, draws=draws, seed=seed), (counts > 0).sum(axis=0).max(axis=-1)
        return [
            (int(n), [interval(means[:, column, value], n) for value in range(self._shape[1])])
            for column, n in enumerate(known)
        ]


def drawn_means(sums: np.ndarray, counts: np.ndarray, *, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Means over `draws` samples of clusters, drawn with replacement.

    Args:
        sums: [clusters, ...] sum of the values of each cluster.
        counts: how many values that were, of the same shape or one that broadcasts to it.

    Returns:
        [draws, ...] float64; NaN where a draw holds no value.
    """
    rng = np.random.default_rng(seed)
    clusters = len(sums)
    size = max(1, min(500, _AT_ONCE // clusters))
    drawn = []
    with np.errstate(invalid="ignore", divide="ignore"):
        for start in range(0, draws, size):
            rows = min(size, draws - start)
            chosen = rng.integers(clusters, size=(rows, clusters)) + clusters * np.arange(rows)[:, None]
            times = np.bincount(chosen.ravel(), minlength=chosen.size).reshape(chosen.shape).astype(np.float64)
            drawn.append(np.tensordot(times, sums, axes=1) / np.tensordot(times, counts, axes=1))
    return np.concatenate(drawn)


def interval(means: np.ndarray, clusters: int) -> list[float] | None:
    """95 % percentile interval of drawn means [draws]; None below five clusters."""
    known = means[np.isfinite(means)]
    if clusters < FEWEST_CLUSTERS or not known.size:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return [float(low), float(high)]
