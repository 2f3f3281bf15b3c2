# SPDX-License-Identifier: Apache-2.0
"""`python -m recipe.tw_grpo.report OUT [OUT2 …]`: one folder gives its table, summary.json and report.png; several
give one table with a column a run, and compare.png in the first. What could not be read goes to stderr, a line each.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipe.tw_grpo.report.reading import PARTS, read_run
from recipe.tw_grpo.report.run_report import REPORT, per_step, summarize, write_summary
from recipe.tw_grpo.toolbox.command_line import Parser, run_main
from recipe.tw_grpo.toolbox.tables import print_table

COMPARISON = "compare.png"

_NAMES = {
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


def report(folder: Path) -> None:
    """Write summary.json and report.png into `folder` and print the table, the report's path last.

    Raises:
        UserError: the folder is not that of a run.
    """
    from recipe.tw_grpo.report.figures import draw_run

    run = read_run(folder)
    summary = summarize(run)
    sentence = verdict(summary)
    draw_run(run, per_step(run), summary, sentence, run.folder / REPORT)
    write_summary(run.folder / "summary.json", summary)
    _notes(run.notes)
    rows = [["", "first fifth", "last fifth", "change", "95 % interval"]]
    for part in PARTS:
        first, last = _fifths(summary, part)
        rows.append(
            [
                _NAMES[part],
                _number(first),
                _number(last),
                _number(summary[f"{part}_rise"], "+.3f"),
                _interval(summary[f"{part}_rise_interval"]),
            ]
        )
    print_table(rows, f"{summary['estimator']}, seed {summary['seed']}, {_steps(summary)} steps")
    print()
    print_table([["", "whole run"], *([name, value] for name, value in _whole_run(summary))])
    print()
    if summary["best_constant_answer"]:
        print(f"best constant answer (format right, never looking at the video): {summary['best_constant_answer']}")
    print(sentence)
    print(f"report: {run.folder / REPORT}")


def compare(folders: Sequence[Path]) -> None:
    """Print one table with a column per run and write compare.png into the first folder.

    Raises:
        UserError: one of the folders is not that of a run.
    """
    from recipe.tw_grpo.report.figures import draw_comparison

    runs = [read_run(folder) for folder in folders]
    summaries = [summarize(run) for run in runs]
    target = runs[0].folder / COMPARISON
    labels = [f"{run.folder}: {s['estimator']}, seed {s['seed']}" for run, s in zip(runs, summaries, strict=True)]
    draw_comparison(list(zip(labels, map(per_step, runs), summaries, strict=True)), target)
    for run in runs:
        _notes(run.notes)
    columns: list[list[str]] = []
    for run, summary in zip(runs, summaries, strict=True):
        column = [("", str(run.folder)), ("estimator", str(summary["estimator"])), ("seed", str(summary["seed"]))]
        column.append(("steps", _steps(summary)))
        for part in PARTS:
            first, last = _fifths(summary, part)
            column.append((_NAMES[part], f"{_number(first)} -> {_number(last)}"))
            if part == "reward":
                column.append(("  change", _number(summary["reward_rise"], "+.3f")))
                column.append(("  95 % interval", _interval(summary["reward_rise_interval"])))
        column += _whole_run(summary)
        columns = columns or [[name] for name, _ in column]
        for row, (_, value) in zip(columns, column, strict=True):
            row.append(value)
    print_table(columns)
    print(f"\nreport: {target}")


def _fifths(summary: dict[str, Any], part: str) -> tuple[float | None, float | None]:
    key = "reward_mean" if part == "reward" else part
    return summary[f"{key}_first_fifth"], summary[f"{key}_last_fifth"]


def _whole_run(summary: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("reward of the best constant answer", _number(summary["best_constant_reward"])),
        ("dead groups", f"{summary['dead_group_rate']:.1%} of {summary['groups']}"),
        ("prompts, responses that failed", _failed(summary)),
        ("token weight, mean", _number(summary["token_weight_mean"])),
        ("token weight, max", _number(summary["token_weight_max"])),
        ("seconds per step, median", _number(summary["seconds_per_step"], ".2f")),
    ]


def _steps(summary: dict[str, Any]) -> str:
    asked = summary["steps_asked"]
    return str(summary["steps"]) + (f" of {asked}" if asked not in (None, summary["steps"]) else "")


def _failed(summary: dict[str, Any]) -> str:
    counts = summary["failed_prompts"], summary["failed_responses"]
    return "-" if None in counts else f"{counts[0]}, {counts[1]}"


def _number(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, form)


def _interval(interval: list[float] | None) -> str:
    return "-" if interval is None else f"{interval[0]:+.3f} .. {interval[1]:+.3f}"


def _notes(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"tw_grpo: note: {' '.join(note.split())}", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = Parser(
        prog="python -m recipe.tw_grpo.report", description="Report of one training run, or comparison of several."
    )
    parser.add_argument("out", nargs="+", type=Path, metavar="OUT", help="output folder of a run (has rollouts/)")
    folders = parser.parse_args(argv).out
    if len(folders) == 1:
        report(folders[0])
    else:
        compare(folders)


if __name__ == "__main__":
    run_main(main)
