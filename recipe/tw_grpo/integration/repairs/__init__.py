# SPDX-License-Identifier: Apache-2.0
"""Defects of verl and vLLM that hit a user on any device, repaired from outside: one small file each.

The repairs apply to every estimator, so that a baseline is trained as the method is. They are chosen by the installed
versions; `TW_GRPO_REPAIRS=off`, or a comma-separated list of their names, leaves them out.
`python -m recipe.tw_grpo.integration.repairs` prints the list. Nothing here imports verl, vLLM or torch.
"""

from __future__ import annotations

import os

from recipe.tw_grpo.integration.repairs import (
    fused_head,
    placeholder_row,
    poll_interval,
    ragged_positions,
    time_positions,
    time_positions_vllm,
)
from recipe.tw_grpo.toolbox import repair
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.repair import Repair

SWITCH = "TW_GRPO_REPAIRS"
VARIABLES = (SWITCH, time_positions.VARIABLE)  # what every process of a run has to agree on

REPAIRS: tuple[Repair, ...] = (
    time_positions.REPAIR,
    time_positions_vllm.REPAIR,
    placeholder_row.REPAIR,
    ragged_positions.REPAIR,
    fused_head.REPAIR,
    poll_interval.REPAIR,
)
NAMES = tuple(dict.fromkeys(one.name for one in REPAIRS))


def left_out() -> frozenset[str]:
    """Names of the repairs that `TW_GRPO_REPAIRS` leaves out; words that name none are kept for `check`."""
    words = frozenset(word.strip() for word in os.environ.get(SWITCH, "").lower().split(",") if word.strip())
    return frozenset(NAMES) | words if "off" in words else words


def install(*packages: str) -> None:
    """Apply the chosen repairs of these top-level packages when their modules arrive; nothing is imported now."""
    without = left_out()
    repair.install(one for one in REPAIRS if one.package in packages and one.name not in without)


def applies(one: Repair) -> bool:
    """True when this repair is chosen and written for the installed version of its package."""
    return one.name not in left_out() and one.misfit() is None


def active() -> list[str]:
    """Names of the repairs that are chosen and written for the installed versions, in every package they touch."""
    return [name for name in NAMES if all(applies(one) for one in REPAIRS if one.name == name)]


def identity() -> dict[str, object]:
    """What of the repairs decides the numbers of a run, for its record: their names and the rule of the positions."""
    return {"repairs": active(), "time_positions": time_positions.rule()}


def check() -> None:
    """Refuse settings of the repairs that mean nothing or cannot be kept.

    Raises:
        UserError: one line that names the variable and the way out.
    """
    if unknown := sorted(left_out() - {*NAMES, "off"}):
        raise UserError(f"{SWITCH} names no repair {unknown[0]!r}: set it to off, or to some of {', '.join(NAMES)}")
    name = time_positions.REPAIR.name
    if time_positions.rule() != time_positions.SAMPLING and name not in active():
        raise UserError(
            f"{time_positions.VARIABLE}={time_positions.rule()} is kept by the repair {name}, which is not active "
            f"({'; '.join(misfits(name)) or SWITCH}): unset {time_positions.VARIABLE}"
        )


def misfits(name: str) -> list[str]:
    """Why a repair is not for the installed versions, empty when it is."""
    return list(dict.fromkeys(why for one in REPAIRS if one.name == name and (why := one.misfit())))


def announcement() -> list[str]:
    """Lines for the log of a run: which repairs are active, and loudly which were not written for these versions."""
    without = left_out()
    names = ", ".join(active()) or "none"
    lines = [f"tw_grpo: active repairs of verl and vLLM: {names} (time positions: {time_positions.rule()})"]
    if missing := [name for name in NAMES if name in without]:
        lines.append(f"tw_grpo: left out by {SWITCH}: {', '.join(missing)}")
    lines += [
        f"tw_grpo: WARNING: the repair {name} is not complete here, because {'; '.join(why)}; "
        "docs/upstream.md says what it is for"
        for name in NAMES
        if name not in without and (why := misfits(name))
    ]
    return lines
