# SPDX-License-Identifier: Apache-2.0
"""The words of a report, the same on a terminal and in a page: the verdict on the reward and the cells of tables."""

from __future__ import annotations

from typing import Any

from recipe.tw_grpo.report.reading import PARTS

NAMES = {
    "reward": "reward",
    "soft_acc": "soft accuracy",
    "acc": "exact set",
    "format": "format",
    "response_length": "response length (tokens)",
}


def verdict(summary: dict[str, Any]) -> str:
    """Whether the reward rose, in one sentence; it rose only if the whole interval says so."""
    change, interval = summary["reward_rise"], summary["reward_rise_interval"]
    if summary["steps"] == 1:
        return "one step only: nothing to compare the reward with"
    if interval is None:
        return f"reward changed by {change:+.2f} between the first and the last fifth; too few prompts for an interval"
    where = f"95 % interval {interval[0]:.2f}..{interval[1]:.2f}"
    if interval[0] > 0:
        return f"reward rose by {change:.2f} ({where}) from the first to the last fifth of the steps"
    if interval[1] < 0:
        return f"reward FELL by {-change:.2f} (change {change:.2f}, {where}) from the first to the last fifth"
    return f"reward did not clearly rise: it changed by {change:+.2f} ({where}) from the first to the last fifth"


def fifths(summary: dict[str, Any], part: str) -> tuple[float | None, float | None]:
    """Mean of a part in the first and in the last fifth of the steps."""
    key = "reward_mean" if part == "reward" else part
    return summary[f"{key}_first_fifth"], summary[f"{key}_last_fifth"]


def whole_run(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and texts of what is said of all steps together."""
    return [
        ("reward of the best constant answer", number(summary["best_constant_reward"])),
        ("dead groups", f"{summary['dead_group_rate']:.1%} of {summary['groups']}"),
        ("prompts, responses that failed", failed(summary)),
        ("token weight, mean", number(summary["token_weight_mean"])),
        ("token weight, max", number(summary["token_weight_max"])),
        ("seconds per step, median", number(summary["seconds_per_step"], ".2f")),
    ]


def failed(summary: dict[str, Any]) -> str:
    """Prompts and responses that failed in all steps, "-" where the logs do not say."""
    counts = summary["failed_prompts"], summary["failed_responses"]
    return "-" if None in counts else f"{counts[0]}, {counts[1]}"


def steps(summary: dict[str, Any]) -> str:
    """Steps done, and of how many when that is another number."""
    asked = summary["steps_asked"]
    return str(summary["steps"]) + (f" of {asked}" if asked not in (None, summary["steps"]) else "")


def number(value: float | None, form: str = ".3f") -> str:
    """A number, "-" for one that is not known."""
    return "-" if value is None else format(value, form)


def interval(limits: list[float] | None) -> str:
    """An interval of a difference, "-" for one that is not known."""
    return "-" if limits is None else f"{limits[0]:+.3f} .. {limits[1]:+.3f}"


def rises_table(summary: dict[str, Any]) -> list[list[str]]:
    """First and last fifth of every part of the reward, with the interval of their difference."""
    rows = [["", "first fifth", "last fifth", "change", "95 % interval"]]
    for part in PARTS:
        first, last = fifths(summary, part)
        change, limits = number(summary[f"{part}_rise"], "+.3f"), interval(summary[f"{part}_rise_interval"])
        rows.append([NAMES[part], number(first), number(last), change, limits])
    return rows
