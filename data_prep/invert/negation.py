# SPDX-License-Identifier: Apache-2.0
"""What a negation style hands back, and why it may be wrong to negate a question."""

from __future__ import annotations

from typing import NamedTuple


class Negation(NamedTuple):
    """A question that asks for the contrary. `problem` says why it may be wrong to ask that; "" if nothing is."""

    text: str
    problem: str = ""


DENIES = "denies the event"  # "why didn't he fall" where he fell
MAY_DENY = "may deny the event"  # "how didn't he get down" where he got down
COUNT = "asks for a number"
YES_NO = "asks for yes or no"
NEGATIVE_ALREADY = "is negative already"
