# SPDX-License-Identifier: Apache-2.0
"""Which responses are of one prompt: the one grouping that advantage, divergence, weights, metrics and reports use.

Nothing but the order of rows is decided here; what a group's label is, the caller says (verl's uid of the prompt).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def grouped(items: Iterable[Item], label: Callable[[Item], Hashable]) -> dict[Hashable, list[Item]]:
    """Items of each label, labels in the order of their first item, items in their own order."""
    groups: dict[Hashable, list[Item]] = {}
    for item in items:
        groups.setdefault(label(item), []).append(item)
    return groups


def rows_by_group(uids: Sequence[Hashable], real: Sequence[bool] | None = None) -> dict[Hashable, list[int]]:
    """Rows of each prompt; rows that are not `real` (verl's placeholders) are left out."""
    return grouped((row for row in range(len(uids)) if real is None or real[row]), lambda row: uids[row])
