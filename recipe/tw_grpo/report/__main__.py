# SPDX-License-Identifier: Apache-2.0
"""`python -m recipe.tw_grpo.report OUT [OUT2 …]`: one folder gives its table, summary.json, report.html and pictures;
several give one table with a column a run, compare.html and pictures in the first. `--follow` serves the page while a
run trains. What could not be read goes to stderr, a line each.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from recipe.tw_grpo.report.reading import PARTS
from recipe.tw_grpo.report.run_report import REPORT, per_step, write_summary
from recipe.tw_grpo.report.tables import NAMES, fifths, interval, number, rises_table, steps, verdict, whole_run
from recipe.tw_grpo.toolbox.command_line import Parser, integer, run_main
from recipe.tw_grpo.toolbox.tables import print_table

COMPARISON = "compare.png"


def report(folder: Path, html: Path | None = None) -> None:
    """Write summary.json, report.html and the pictures into `folder` and print the table, the report's path last.

    Raises:
        UserError: the folder is not that of a run.
    """
    from recipe.tw_grpo.report.figures import draw_run
    from recipe.tw_grpo.report.html import read_for_page, write_page

    run, summary = read_for_page(folder)
    sentence = verdict(summary)
    draw_run(run, per_step(run), summary, sentence, run.folder / REPORT)
    page = html or run.folder / Path(REPORT).with_suffix(".html")
    write_page([(run, summary)], page)
    write_summary(run.folder / "summary.json", summary)
    _notes(run.notes)
    print_table(rises_table(summary), f"{summary['estimator']}, seed {summary['seed']}, {steps(summary)} steps")
    print()
    print_table([["", "whole run"], *([name, value] for name, value in whole_run(summary))])
    print()
    if summary["best_constant_answer"]:
        print(f"best constant answer (format right, never looking at the video): {summary['best_constant_answer']}")
    print(sentence)
    print(f"page: {page}")
    print(f"report: {run.folder / REPORT}")


def compare(folders: Sequence[Path], html: Path | None = None) -> None:
    """Print one table with a column per run and write compare.html and the pictures into the first folder.

    Raises:
        UserError: one of the folders is not that of a run.
    """
    from recipe.tw_grpo.report.figures import draw_comparison
    from recipe.tw_grpo.report.html import read_for_page, write_page

    read = [read_for_page(folder, len(folders)) for folder in folders]
    target = read[0][0].folder / COMPARISON
    labels = [f"{run.folder}: {summary['estimator']}, seed {summary['seed']}" for run, summary in read]
    draw_comparison(
        [(label, per_step(run), summary) for label, (run, summary) in zip(labels, read, strict=True)], target
    )
    page = html or target.with_suffix(".html")
    write_page(read, page)
    for run, _ in read:
        _notes(run.notes)
    columns: list[list[str]] = []
    for run, summary in read:
        column = [("", str(run.folder)), ("estimator", str(summary["estimator"])), ("seed", str(summary["seed"]))]
        column.append(("steps", steps(summary)))
        for part in PARTS:
            first, last = fifths(summary, part)
            column.append((NAMES[part], f"{number(first)} -> {number(last)}"))
            if part == "reward":
                column.append(("  change", number(summary["reward_rise"], "+.3f")))
                column.append(("  95 % interval", interval(summary["reward_rise_interval"])))
        column += whole_run(summary)
        columns = columns or [[name] for name, _ in column]
        for row, (_, value) in zip(columns, column, strict=True):
            row.append(value)
    print_table(columns)
    print(f"\npage: {page}")
    print(f"report: {target}")


def _notes(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"tw_grpo: note: {' '.join(note.split())}", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = Parser(prog="tw-grpo report", description="Report of one training run, or comparison of several.")
    add = parser.add_argument
    add("out", nargs="+", type=Path, metavar="RUN", help="output folder of a run (has rollouts/)")
    add("--html", type=Path, metavar="FILE", help="where the page goes; without it, RUN/report.html or compare.html")
    add("--follow", action="store_true", help="serve the page on this machine while the run trains; Ctrl-C ends it")
    add("--port", type=integer(0, 65535), default=0, help="of --follow; 0: one that is free")
    options = parser.parse_args(argv)
    if options.follow:
        from recipe.tw_grpo.report.follow import follow

        follow(options.out, options.port)
    elif len(options.out) == 1:
        report(options.out[0], options.html)
    else:
        compare(options.out, options.html)


if __name__ == "__main__":
    run_main(main)
