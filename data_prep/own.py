# SPDX-License-Identifier: Apache-2.0
"""Your own questions, one JSON object a line -> a parquet file verl trains on or validates with.

The form is that of data_prep/read/own.py and docs/data.md, "Your own questions"; the rest is data_prep/write/run.py.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

if not __package__:  # run as a file: find `data_prep` in this clone even when the package is not installed
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_prep.read import own
from data_prep.read.question import as_published
from data_prep.videos.find import SPLITS, VideoFinder
from data_prep.write.options import add_arguments
from data_prep.write.run import Done, Plan, run
from recipe.tw_grpo.toolbox.command_line import Parser, run_main
from recipe.tw_grpo.toolbox.errors import UserError


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        description="Your own questions -> parquet for verl.",
        epilog="example: python data_prep/own.py questions.jsonl --video-root videos --output data/own.parquet -- "
        'a line: {"id": "1", "video": "a.mp4", "question": "What is lifted?", "options": ["a cup", "a box", "a hat"], '
        '"answers": ["A", "C"]}',
    )
    add = parser.add_argument
    add("annotations", type=Path, metavar="questions.jsonl", help="one question a line, see docs/data.md")
    add("--video-root", type=Path, help="folder of the videos, in any layout; default: the folder of the questions")
    add("--split", choices=SPLITS, default="train", help="column split")
    add_arguments(parser, "own")
    return parser


def plan(args: argparse.Namespace, root: Path) -> Plan:
    """Read the questions, and say how many have how many right options."""
    reading = own.read(args.annotations)
    questions = reading.questions

    def describe(done: Done) -> tuple[list[str], list[str], dict]:
        counts = {
            "read": len(questions),
            "of bad videos": done.unusable,
            "written": len(done.rows),
            "by_number_of_options": _counted(len(question.options) for question, _ in done.pairs),
            "by_number_of_right_options": _counted(len(question.right) for question, _ in done.pairs),
        }
        shares = ", ".join(f"{n}: {count:,}" for n, count in counts["by_number_of_right_options"].items())
        lines = [
            f"read {len(questions):,} questions from {args.annotations}",
            f"  by number of right options: {shares}",
        ]
        return lines, [f"written to {args.output}: {len(done.rows):,} questions"], {"counts": counts}

    clips = any(question.clip for question in questions)
    finder = VideoFinder(root, [question.video for question in questions], args.split)
    pairs = [(question, as_published(question)) for question in questions]
    return Plan(pairs, reading.inputs, args.split, args.data_source, clips, finder.find, finder.expected, describe)


def main(argv: Sequence[str] | None = None) -> int:
    """Read, check, write, print a summary; raises UserError for anything the user has to correct."""
    args = build_parser().parse_args(argv)
    if not args.annotations.is_file():
        raise UserError(f"{args.annotations}: no such file")
    args.video_root = args.video_root or args.annotations.parent
    return run(args, plan)


def _counted(numbers: Iterable[int]) -> dict[str, int]:
    counts = Counter(numbers)
    return {str(number): counts[number] for number in sorted(counts)}


if __name__ == "__main__":
    run_main(main)
