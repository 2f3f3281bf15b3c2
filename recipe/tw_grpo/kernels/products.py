# SPDX-License-Identifier: Apache-2.0
"""Logits of one tile, in full precision from states and an LM head of any dtype.

Half-precision states and head are multiplied as they are where the device gives float32 results of such products; a
product of two bfloat16 numbers is exact in float32, so nothing is lost. Elsewhere a tile of the head is raised first.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import torch


def compute_dtype(hidden_states: torch.Tensor) -> torch.dtype:
    """float64 for float64 states, else float32."""
    return torch.float64 if hidden_states.dtype == torch.float64 else torch.float32


@contextlib.contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """No autocast (verl calls from inside its own) and no TF32 or bfloat16 passes for float32 products."""
    before = torch.get_float32_matmul_precision()
    try:
        if before != "highest":
            torch.set_float32_matmul_precision("highest")
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        if before != "highest":
            torch.set_float32_matmul_precision(before)


@functools.cache
def multiplies_natively(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the device multiplies matrices of this half-precision dtype into a float32 result.

    torch has `out_dtype` for CUDA only (2.13), and older versions not at all: so one product of 16 x 16 is tried.
    """
    if dtype not in (torch.bfloat16, torch.float16):
        return False
    ones = torch.ones(16, 16, dtype=dtype, device=device)
    try:
        product = torch.mm(ones, ones, out_dtype=torch.float32)
    except (RuntimeError, TypeError):  # NotImplementedError is a RuntimeError
        return False
    return product.dtype == torch.float32 and bool((product == 16).all())


class Logits:
    """Logits of blocks of states, tile by tile of the vocabulary.

    Args:
        hidden: [N, d] float, on the device that computes.
        weight: [V, d] float, on any device.
        temperature: logits are divided by it.
        rows: the most states of a block.
        columns: vocabulary entries of a tile.
    """

    def __init__(
        self, hidden: torch.Tensor, weight: torch.Tensor, temperature: float, *, rows: int, columns: int, native: bool
    ) -> None:
        self.weight = weight
        self.columns = columns
        self.native = native
        self.temperature = temperature
        dtype = hidden.dtype if native else compute_dtype(hidden)
        self.states = hidden.new_empty(rows, hidden.shape[1], dtype=dtype)
        self.stays = weight.dtype == dtype and weight.device == hidden.device
        self.tile = None if self.stays else hidden.new_empty(columns, hidden.shape[1], dtype=dtype)

    def load(self, pieces: list[torch.Tensor]) -> torch.Tensor:
        """Make [n, d] pieces, one after the other, the states of the next block; returns them [rows, d]."""
        row = 0
        for piece in pieces:
            self.states[row : row + piece.shape[0]].copy_(piece)
            row += piece.shape[0]
        self.block = self.states[:row]
        if not self.native and self.temperature != 1:
            self.block.div_(self.temperature)
        return self.block

    def tile_into(self, index: int, out: torch.Tensor) -> torch.Tensor:
        """Logits of tile `index` of the block: `out` [rows, columns of the tile], filled."""
        rows = self.weight[index * self.columns : (index + 1) * self.columns]
        if self.tile is not None:
            rows = self.tile[: rows.shape[0]].copy_(rows)
        if not self.native:
            return torch.mm(self.block, rows.T, out=out)
        torch.mm(self.block, rows.T, out_dtype=torch.float32, out=out)
        return out.div_(self.temperature) if self.temperature != 1 else out
