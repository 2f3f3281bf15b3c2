# SPDX-License-Identifier: Apache-2.0
"""`python -m recipe.tw_grpo.scoring LOG…` scores logs; for its other commands see TOOLS and their --help.

Only the command line and the layout of its tables are here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recipe.tw_grpo.config import CHOICES
from recipe.tw_grpo.reward import MULTI, SINGLE
from recipe.tw_grpo.scoring.compare import compare, pairs_of
from recipe.tw_grpo.scoring.hacking import hacking_rows
from recipe.tw_grpo.scoring.published import published_rows
from recipe.tw_grpo.scoring.reading import Log, read_log
from recipe.tw_grpo.scoring.score import summarize
from recipe.tw_grpo.scoring.speed import speed_rows
from recipe.tw_grpo.toolbox.bootstrap import DRAWS
from recipe.tw_grpo.toolbox.command_line import Parser, integer, run_main
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.tables import latex, markdown, print_table

PROGRAM = "python -m recipe.tw_grpo.scoring"
Table = tuple[str | None, list[list[str]]]
_WIDEST_OUTPUT = 60


def percent(value: float | None) -> str:
    """0.6576 -> "65.76"; "-" for nothing."""
    return "-" if value is None else f"{100 * value:.2f}"


def with_interval(value: float | None, limits: Sequence[float] | None, sign: str = "") -> str:
    """A fraction in percent with its interval, "65.8 [61.9, 69.5]"."""
    if value is None:
        return "-"
    text = f"{100 * value:{sign}.1f}"
    return text if limits is None else f"{text} [{100 * limits[0]:{sign}.1f}, {100 * limits[1]:{sign}.1f}]"


def score_tables(summaries: Sequence[dict[str, Any]]) -> list[Table]:
    """Accuracies of all logs, then categories and malformed outputs of each."""
    names = [Path(summary["log"]).name for summary in summaries]
    names = [s["log"] if names.count(name) > 1 else name for s, name in zip(summaries, names, strict=True)]
    head = ["log", "n", "dup.", "correct", "acc %", "95 %", "soft %", "95 %", "single", "multi", "multi soft", "format"]
    rows = [head]
    for name, s in zip(names, summaries, strict=True):
        cells = [name, str(s["n"]), str(s["duplicates"]), str(s["correct"])]
        for key in ("acc", "soft_acc"):
            limits = s[f"{key}_interval"]
            cells += [percent(s[key]), f"{100 * limits[0]:.1f}..{100 * limits[1]:.1f}" if limits else "-"]
        cells += [percent(s[SINGLE]["acc"]), percent(s[MULTI]["acc"]), percent(s[MULTI]["soft_acc"])]
        rows.append([*cells, percent(s["format"])])
    tables: list[Table] = [(f"rule {summaries[0]['rule']}; 95 % intervals: bootstrap clustered by video", rows)]
    for name, s in zip(names, summaries, strict=True):
        if s["categories"]:
            part = [[s["by"], "n", "correct", "acc %", "soft %"]]
            for value, c in s["categories"].items():
                accuracies = [with_interval(c[key], c[f"{key}_interval"]) for key in ("acc", "soft_acc")]
                part.append([value, str(c["n"]), str(c["correct"]), *accuracies])
            tables.append((f"{name} by {s['by']}", part))
        if s["malformed"]:
            part = [["malformed outputs", "n", "%"]]
            for kind, count in s["malformed"].items():
                part.append([kind, str(count), percent(count / s["responses"])])
            tables.append((name, part))
    return tables


def notes(summaries: Sequence[dict[str, Any]]) -> list[str]:
    """What of a log was not scored or does not agree with it, a line each."""
    lines = []
    for s in summaries:
        if s["unreadable"]:
            lines.append(
                f"{s['log']}: {s['unreadable']} lines are not whole JSON (run killed while writing?), left out"
            )
        if s["duplicates"]:
            lines.append(
                f"{s['log']}: {s['duplicates']} rows are answered again by a later row (resumed run), left out"
            )
        if s["without_truth"]:
            lines.append(
                f"{s['log']}: {s['without_truth']} of {s['responses']} responses have no right letters, not in n"
            )
        if s["open_ended"]:
            lines.append(f"{s['log']}: {s['open_ended']} responses to open-ended questions, left out")
        for name, part in s["scores"].items():
            same = part["compared"] - part["differ"]
            lines.append(
                f"{s['log']}: {same} of {part['compared']} scores are those the log itself gives ({name}), "
                f"{part['differ']} differ"
            )
    return lines


def nothing_scorable(log: Log, summary: dict[str, Any]) -> str:
    """Why a log has no number: what is in it instead."""
    return (
        f"{log.path}: nothing in it can be scored (read as {log.form}): of {summary['responses'] + log.open_ended} "
        f"responses {log.open_ended} are to open-ended questions and {summary['without_truth']} have no right letters; "
        f"its fields are {', '.join(log.names)}; right answers in another file are given by --truths"
    )


def compare_tables(result: dict[str, Any], shown: int) -> list[Table]:
    """The table of differences, and the first `shown` samples that changed."""
    a, b = (
        Path(name).name if Path(result["a"]).name != Path(result["b"]).name else name
        for name in (result["a"], result["b"])
    )
    rows = [["", "n", "A acc %", "B acc %", "B - A [95 %]", "only A", "only B", "McNemar p", "soft B - A [95 %]"]]
    for name, part in result["parts"].items():
        if part["n"]:
            rows.append(
                [
                    name,
                    str(part["n"]),
                    percent(part["acc_a"]),
                    percent(part["acc_b"]),
                    with_interval(part["difference"], part["difference_interval"], "+"),
                    str(part["only_a"]),
                    str(part["only_b"]),
                    f"{part['p']:.4f}",
                    with_interval(part["soft_difference"], part["soft_difference_interval"], "+"),
                ]
            )
    tables: list[Table] = [(f"A: {a}\nB: {b}\nrule {result['rule']}, samples in both logs", rows)]
    changed = result["changed"]
    if shown and changed:
        rows = [["sample", "truth", "A", "B", "soft A", "soft B"]]
        for row in changed[:shown]:
            name = (
                row["question"]
                if len(row["question"]) <= _WIDEST_OUTPUT
                else row["question"][: _WIDEST_OUTPUT - 1] + "…"
            )
            rows.append(
                [name, row["truth"], row["a"] or "-", row["b"] or "-", f"{row['soft_a']:.2f}", f"{row['soft_b']:.2f}"]
            )
        tables.append((f"{len(changed)} samples changed, the first {min(shown, len(changed))}", rows))
    return tables


def show(tables: Sequence[Table], args: Any, data: Any) -> None:
    """Print as asked: tables, --markdown, --latex, or `data` as --json."""
    if args.json:
        print(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False))
        return
    form: Callable[..., str] | None = markdown if args.markdown else latex if args.latex else None
    for i, (title, rows) in enumerate(tables):
        if i:
            print()
        if form:
            print(form(rows, title), end="")
        else:
            print_table(rows, title)


def _output_options(parser: Parser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--json", action="store_true", help="print JSON")
    group.add_argument("--markdown", action="store_true", help="print Markdown tables")
    group.add_argument("--latex", action="store_true", help="print LaTeX tables (booktabs)")


def _scoring_options(parser: Parser) -> None:
    add = parser.add_argument
    add("--rule", choices=CHOICES["rule"], default="tolerant", help="how answers are read, see docs/scoring.md")
    add("--by", metavar="FIELD", help="field of the categories ('folder': the video's); default: the first there is")
    add("--truths", type=Path, metavar="FILE", help="right answers by id, for logs without them (batch outputs)")
    add("--draws", type=integer(1), default=DRAWS, help="of the bootstrap")
    add("--seed", type=integer(0), default=0, help="of the bootstrap")
    _output_options(parser)


def main_score(argv: Sequence[str]) -> None:
    """Score logs."""
    parser = Parser(
        prog=PROGRAM,
        description="What response logs are worth. Other commands: compare A B, hacking LOG…, published, speed.",
    )
    parser.add_argument("logs", nargs="+", type=Path, metavar="LOG", help="log of any form, see docs/scoring.md")
    _scoring_options(parser)
    args = parser.parse_args(argv)
    chosen = {"by": args.by, "draws": args.draws, "seed": args.seed}
    summaries = []
    for path in args.logs:
        log = read_log(path, args.truths)
        summaries.append(summarize(log, args.rule, **chosen))
        if not summaries[-1]["n"]:
            raise UserError(nothing_scorable(log, summaries[-1]))
    for note in notes(summaries):
        print(f"scoring: note: {note}", file=sys.stderr, flush=True)
    data = {"rule": args.rule, "draws": args.draws, "seed": args.seed, "logs": summaries}
    show(score_tables(summaries), args, data)


def main_compare(argv: Sequence[str]) -> None:
    """Compare two logs of the same questions."""
    parser = Parser(prog=f"{PROGRAM} compare", description="Two logs, question by question: B against A.")
    parser.add_argument("a", type=Path, metavar="A", help="log of the first model")
    parser.add_argument("b", type=Path, metavar="B", help="log of the second model")
    parser.add_argument("--html", type=Path, metavar="FILE", help="a page with both answers to every question")
    parser.add_argument("--data", type=Path, metavar="FILE", help="parquet of the questions, for the page's frames")
    parser.add_argument("--changed", type=integer(0), default=20, help="samples that changed to list in the table")
    _scoring_options(parser)
    args = parser.parse_args(argv)
    chosen = {"by": args.by, "draws": args.draws, "seed": args.seed}
    a, b = read_log(args.a, args.truths), read_log(args.b, args.truths)
    result = compare(a, b, args.rule, **chosen)
    for which in "ab":
        if result[f"only_in_{which}"]:
            many = result[f"only_in_{which}"]
            print(f"scoring: note: {many} samples are in {result[which]} only, left out", file=sys.stderr, flush=True)
    if args.html:
        from recipe.tw_grpo.scoring.page import write_comparison

        pairs, _, _ = pairs_of(a, b, args.rule, args.by)
        args.html.parent.mkdir(parents=True, exist_ok=True)
        write_comparison(args.html, result, compare_tables(result, 0)[0][1], pairs, args.data)
        print(f"scoring: written: {args.html}", file=sys.stderr, flush=True)
    show(compare_tables(result, args.changed), args, result)


# Command: its description, how many LOGs it takes and of which kind, what gives its title, table and JSON.
TOOLS = {
    "hacking": (
        "What answers earn that never look at the video.",
        ("+", "log or parquet the questions are taken from"),
        hacking_rows,
    ),
    "speed": (
        "Rewards a second on real logs, and hostile texts of 1 MB.",
        ("*", "logs whose responses are rewarded"),
        speed_rows,
    ),
    "published": ("The paper's CLEVRER totals, recomputed from its parts.", None, published_rows),
}


def main_tool(name: str, argv: Sequence[str]) -> None:
    """One of TOOLS."""
    description, logs, tool = TOOLS[name]
    parser = Parser(prog=f"{PROGRAM} {name}", description=description)
    if logs:
        parser.add_argument("logs", nargs=logs[0], type=Path, metavar="LOG", help=logs[1])
    _output_options(parser)
    args = parser.parse_args(argv)
    title, rows, data = tool(args.logs) if logs else tool()
    show([(title, rows)], args, data)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: `compare`, one of TOOLS, or logs to score."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["compare"]:
        main_compare(argv[1:])
    elif argv and argv[0] in TOOLS:
        main_tool(argv[0], argv[1:])
    else:
        main_score(argv)


if __name__ == "__main__":
    run_main(main)
