# SPDX-License-Identifier: Apache-2.0
"""Which data-parallel rank gets which prompt: the G responses of a prompt stay together, because D_t needs all of them.

Ranks get equal numbers of rows (verl's dispatch splits evenly) and similar work. Pure arithmetic: applying the order to
a batch is `trainer.py`.
"""

from __future__ import annotations

from collections.abc import Sequence


def pack_groups(sizes: Sequence[int], workloads: Sequence[float], ranks: int, rows: int) -> list[list[int]] | None:
    """Distribute groups over ranks that hold `rows` responses each.

    Args:
        sizes: responses of each group, >= 1.
        workloads: cost of each group, any unit.
        ranks: number of data-parallel ranks.
        rows: responses a rank can hold.

    Returns:
        The groups of each rank, or None when they were not made to fit. Room that stays free is for placeholder rows.
        Groups of equal size fit whenever their number allows it.
    """
    order = sorted(range(len(sizes)), key=lambda group: (-sizes[group], -workloads[group], group))
    free = [rows] * ranks
    load = [0.0] * ranks
    packed: list[list[int]] = [[] for _ in range(ranks)]
    for group in order:
        fitting = [rank for rank in range(ranks) if free[rank] >= sizes[group]]
        if not fitting:
            return None
        rank = min(fitting, key=lambda rank: (load[rank], -free[rank], rank))
        packed[rank].append(group)
        free[rank] -= sizes[group]
        load[rank] += workloads[group]
    return packed


def rows_per_rank(sizes: Sequence[int], workloads: Sequence[float], ranks: int, multiple: int) -> int:
    """Smallest number of rows a rank for which `pack_groups` succeeds, the batch staying a multiple of `multiple`.

    Args:
        sizes: responses of each group.
        workloads: cost of each group.
        ranks: number of data-parallel ranks.
        multiple: what verl needs the number of rows in the whole batch to be divisible by; itself divisible by `ranks`.

    Returns:
        Rows a rank; more than sum(sizes) / ranks means placeholder rows have to be added.
    """
    step = multiple // ranks
    rows = step * -(-sum(sizes) // (step * ranks))
    while pack_groups(sizes, workloads, ranks, rows) is None:
        rows += step
    return rows
