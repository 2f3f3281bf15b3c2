# SPDX-License-Identifier: Apache-2.0
"""Chance that belongs to one record: a function of the seed and the record's id alone.

So the order of records, the number of workers and which other records a file holds change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """Numbers drawn one after the other from 256 bits: enough for a dozen options, with a bias below 2**-100."""

    def __init__(self, seed: int, record: str) -> None:
        self._bits = int.from_bytes(blake2b(f"{seed}\0{record}".encode(), digest_size=32).digest(), "big")

    def below(self, n: int) -> int:
        """An integer from 0 to n - 1."""
        self._bits, number = divmod(self._bits, n)
        return number

    def happens(self, probability: float) -> bool:
        """True with this probability (in steps of 2**-32)."""
        return self.below(1 << 32) < probability * (1 << 32)

    def some(self, items: Sequence[T], n: int) -> list[T]:
        """`n` of `items` in random order."""
        rest = list(items)
        bits, chosen = self._bits, []
        for left in range(len(rest), len(rest) - n, -1):
            bits, place = divmod(bits, left)
            chosen.append(rest.pop(place))
        self._bits = bits
        return chosen
