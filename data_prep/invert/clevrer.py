# SPDX-License-Identifier: Apache-2.0
"""Inversion of CLEVRER's counterfactual questions: will / will not. Their labels are complete, so nothing is assumed.

The options stay as they are and in their order; the right ones become the wrong ones and the other way round.
"""

from __future__ import annotations

import re

_WILL = re.compile(r"\b(will)( not)? (happen|occur|take place)\b")


def negate(text: str) -> str | None:
    """ "what will happen if …" <-> "what will not happen if …"; None unless it holds exactly one such verb."""
    if len(found := list(_WILL.finditer(text))) != 1:
        return None
    will, negative, verb = found[0].groups()
    return f"{text[: found[0].start()]}{will}{'' if negative else ' not'} {verb}{text[found[0].end() :]}"


def complement(right: tuple[int, ...], options: int) -> tuple[int, ...]:
    """Positions of the other options."""
    return tuple(place for place in range(options) if place not in right)
