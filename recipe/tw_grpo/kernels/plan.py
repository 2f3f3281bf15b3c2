# SPDX-License-Identifier: Apache-2.0
"""Which tokens and which vocabulary entries are worked on together: tiles from one memory budget, whatever T and V are.

The tokens of a group are cut into rectangles of responses x positions, within which the same responses are alive, so no
tile needs a mask. Pure arithmetic, no torch.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

_LEAST_COLUMNS = 64


@dataclasses.dataclass(frozen=True)
class Budget:
    """Elements of working memory on one kind of device.

    Attributes:
        kept: logits that may stay in memory between the two passes over the vocabulary.
        tile: one tile of the element-wise work. On a CPU a few tiles fit into its caches.
        raised: one tile of the LM head raised to a wider dtype.
        least_rows: rows that make one more reading of the LM head as cheap as one more product of these rows.
    """

    kept: int
    tile: int
    raised: int
    least_rows: int


# 64 MiB and 256 MiB of float32. On a GPU a product of 200 rows takes about as long as reading the head (an H100: some
# 700 TFLOP/s and 3.3 TB/s); on a CPU raising the head from bfloat16 takes as long as a product of about 40 rows.
CPU = Budget(kept=1 << 24, tile=1 << 18, raised=1 << 21, least_rows=48)
GPU = Budget(kept=1 << 26, tile=1 << 23, raised=1 << 25, least_rows=256)


@dataclasses.dataclass(frozen=True)
class Rectangle:
    """Tokens of some responses at some positions, in a block of rows.

    Attributes:
        row: its first row in the block; rows are response by response.
        responses: [A] the responses that are alive at all its positions.
        start: its first position.
        stop: the position behind its last.
    """

    row: int
    responses: tuple[int, ...]
    start: int
    stop: int

    @property
    def shape(self) -> tuple[int, int]:
        """Responses and positions."""
        return len(self.responses), self.stop - self.start

    @property
    def rows(self) -> slice:
        """Its rows in the block."""
        return slice(self.row, self.row + len(self.responses) * (self.stop - self.start))


@dataclasses.dataclass(frozen=True)
class Plan:
    """Sizes of the tiles of one group.

    Attributes:
        rows: tokens of a block.
        columns: vocabulary entries of a tile; the last tile may be narrower.
        tiles: tiles of the vocabulary.
        keeps: whether the logits of a block stay in memory, so that each product is computed once and not twice.
    """

    rows: int
    columns: int
    tiles: int
    keeps: bool


def make_plan(
    sizes: Sequence[int], vocabulary: int, budget: Budget, *, raised_width: int = 0, fused: bool = False
) -> Plan:
    """Choose the tiles.

    Args:
        sizes: [G] tokens of each response.
        vocabulary: V.
        budget: of the device.
        raised_width: d when tiles of the LM head must be raised to a wider dtype, else 0.
        fused: the element-wise work needs no buffers, so a kept block may be one tile.

    Returns:
        A plan whose buffers hold at most `budget.kept` and a few times `budget.tile` elements, but at least one
        position of all responses and 64 vocabulary entries.
    """
    tokens, responses = sum(sizes), len(sizes)
    rows = budget.kept // vocabulary
    keeps = rows >= min(tokens, max(responses, budget.least_rows))
    if not keeps:
        rows = 2 * math.isqrt(budget.tile)
    if rows > 128:
        rows -= rows % 128  # what tensor cores work on at a time
    rows = max(responses, min(tokens, rows))
    rows = max(responses, -(-tokens // -(-tokens // rows)))  # blocks of similar size
    columns = vocabulary if keeps and fused else max(_LEAST_COLUMNS, budget.tile // rows)
    if raised_width:
        columns = min(columns, max(_LEAST_COLUMNS, budget.raised // raised_width))
    columns = min(columns, vocabulary)
    return Plan(rows=rows, columns=columns, tiles=-(-vocabulary // columns), keeps=keeps)


def blocks(sizes: Sequence[int], rows: int) -> Iterator[list[Rectangle]]:
    """Cut the tokens of a group into blocks of rectangles.

    Args:
        sizes: [G] tokens of each response, >= 1.
        rows: tokens a block may hold; at least G.

    Yields:
        Blocks, their rectangles in order of positions; every token is in exactly one rectangle.
    """
    block: list[Rectangle] = []
    used = start = 0
    for stop in sorted(set(sizes)):
        alive = tuple(i for i, size in enumerate(sizes) if size > start)
        while start < stop:
            room = (rows - used) // len(alive)
            if not room:
                yield block
                block, used = [], 0
                continue
            end = min(stop, start + room)
            block.append(Rectangle(used, alive, start, end))
            used += len(alive) * (end - start)
            start = end
    yield block
