# SPDX-License-Identifier: Apache-2.0
"""CLEVRER's counterfactual questions (or toy-CLEVRER's, the same format) -> a parquet file verl trains on.

Reads a split's json or the data set's folder, letters the options in choice_id order, leaves out and counts questions
of other types and questions without a right choice, and writes the paper's prompt. It checks videos, it changes none.
With --invert-probability or --double it also asks what will NOT happen: the labels are complete, so that is free data.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a file: find `data_prep` in this clone even when the package is not installed
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_prep.invert.clevrer import invert
from data_prep.read import clevrer
from data_prep.read.question import Outcome, Question
from data_prep.videos.find import SPLITS, VideoFinder
from data_prep.write.options import add_arguments
from data_prep.write.run import Done, Plan, run
from recipe.tw_grpo.toolbox.command_line import Parser, probability, run_main

# The validation split as published: its scenes, and (one right, several right) questions after leaving out those
# without a right choice (the paper's 9,238).
OFFICIAL_SCENES = range(10000, 15000)
OFFICIAL_COUNTS = (3945, 5293)


def summary(name: str, items: Sequence[Question | Outcome]) -> list[str]:
    """Two lines about a set of questions."""
    options = Counter(len(item.options) for item in items)
    single = sum(len(item.right) == 1 for item in items)
    return [
        f"{name}: {len(items):,} questions = {single:,} with one right choice + {len(items) - single:,} with several",
        "  by number of options: " + ", ".join(f"{n}: {options[n]:,}" for n in sorted(options)),
    ]


def official_line(items: Sequence[Question], indices: set[int]) -> str | None:
    """Whether the official validation split, recognised by its scene numbers, counts as published; None for others."""
    if indices != set(OFFICIAL_SCENES):
        return None
    single = sum(len(item.right) == 1 for item in items)
    counted = single, len(items) - single
    line, expected = (f"{sum(c):,} = {c[0]:,} + {c[1]:,}" for c in (counted, OFFICIAL_COUNTS))
    if counted == OFFICIAL_COUNTS:
        return f"CLEVRER validation split, complete: {line}, as published"
    return f"WARNING: these are the scenes of the CLEVRER validation split, but {line} where {expected} is published"


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        description="CLEVRER counterfactual questions -> parquet for verl.",
        epilog="example: python data_prep/clevrer_counterfactual.py --annotations CLEVRER --split train --limit 1000 "
        "--double --output data/clevrer_train.parquet",
    )
    add = parser.add_argument
    add("--annotations", type=Path, required=True, help="json of a split, or the folder of the data set")
    add("--video-root", type=Path, help="folder of the videos, in any layout; default: the data set's folder")
    add("--split", choices=SPLITS, help="which json of the folder; default: the file's name says it, else train")
    add("--invert-probability", type=probability, default=0.0, help="ask what will not happen, so often")
    add("--answers", choices=("any", "one"), default="any", help="one: only questions with exactly one right choice")
    add("--double", action="store_true", help="write every question both ways")
    add_arguments(parser, "clevrer_counterfactual")
    return parser


def plan(args: argparse.Namespace, root: Path) -> Plan:
    """Read, invert where that is wanted, and say what the summary tells about it."""
    path, split = clevrer.find_annotations(args.annotations, args.split)
    reading = clevrer.read(path)
    counts = Counter({"scenes": len(reading.scenes), **reading.left_out})
    for question in reading.questions:
        counts["without a right choice"] += not question.right
        counts["equal options"] += bool(question.right) and len(set(question.options)) < len(question.options)
    asked = [question for question in reading.questions if question.right]
    inverting = args.double or args.invert_probability > 0
    kept = [question for question in reading.questions if args.answers == "any" or len(question.right) == 1]
    pairs = invert(kept, args.invert_probability, args.double, args.seed, counts)

    def describe(done: Done) -> tuple[list[str], list[str], dict]:
        lines = [*summary(f"read from {path} ({counts['scenes']:,} scenes)", asked)]
        lines.append(
            f"  left out: {counts['without a right choice']:,} without a right choice"
            f"{' (unless inverted)' * inverting}, {counts['other types']:,} of other types"
        )
        if args.answers == "one":
            lines.append(f"  left out: {sum(len(q.right) > 1 for q in asked):,} with several right choices")
        if inverting:
            reasons = [f"{count:,} {name}" for name, count in counts.items() if name.startswith("not inverted")]
            lines.append("  ".join([f"  inverted: {counts['inverted']:,}", *reasons]))
        if counts["equal options"]:
            lines.append(f"  note: {counts['equal options']:,} questions have two options of the same text")
        lines += [line for line in [official_line(asked, reading.scenes)] if line]
        outcomes = [outcome for _, outcome in done.pairs if outcome]
        written = summary(f"written to {args.output} (split {split})", outcomes)
        return lines, written, {"counts": dict(counts)}

    finder = VideoFinder(root, [question.video for question, _ in pairs], split)
    return Plan(pairs, reading.inputs, split, args.data_source, False, finder.find, finder.expected, describe)


def main(argv: Sequence[str] | None = None) -> int:
    """Read, check, write, print a summary; raises UserError for anything the user has to correct."""
    return run(build_parser().parse_args(argv), plan)


if __name__ == "__main__":
    run_main(main)
