# SPDX-License-Identifier: Apache-2.0
"""Seeds derived from what they are for, so that no two things of a run share one and none depends on an order."""

from __future__ import annotations

import hashlib


def response_seed(run_seed: int, step: int, prompt: int, response: int) -> int:
    """Seed of one response, 31 bits, from what identifies it in a run."""
    name = f"{run_seed}/{step}/{prompt}/{response}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 1
