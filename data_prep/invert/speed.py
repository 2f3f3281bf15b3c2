# SPDX-License-Identifier: Apache-2.0
"""How many questions a second one core inverts: `python -m data_prep.invert.speed --annotations nextgqa_val.csv`.

It times `invert` alone (negation, draw, options, overlap), every record inverted, no caches warm: the questions are
timed once, in one pass. Reading, finding videos and writing parquet are not in it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from data_prep.invert.invert import STYLES, Policy, invert
from data_prep.read import nextgqa, star
from recipe.tw_grpo.toolbox.command_line import Parser, integer, run_main

READERS = {"nextgqa": nextgqa.read, "star": star.read}


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line per style."""
    parser = Parser(
        description="Speed of the inversion on one core.",
        epilog="example: python -m data_prep.invert.speed --annotations val.csv",
    )
    parser.add_argument("--annotations", type=Path, required=True, help="as for qai_nextgqa.py or qai_star.py")
    parser.add_argument("--dataset", choices=list(READERS), default="nextgqa", help="which of the two")
    parser.add_argument("--repeat", type=integer(1), default=10, help="times the file is taken, every time other ids")
    args = parser.parse_args(argv)
    questions = READERS[args.dataset](args.annotations).questions
    for style in STYLES:
        for probability in (0.5, 1.0):
            policy = Policy.of_style(style, dataset=args.dataset, probability=probability)
            many = [q._replace(question_id=f"{q.question_id} {i}") for i in range(args.repeat) for q in questions]
            started = time.process_time()
            for question in many:
                invert(question, policy)
            rate = len(many) / (time.process_time() - started)
            print(f"{style:12s} invert-probability {probability}: {rate:9,.0f} questions/s ({len(many):,} timed)")
    return 0


if __name__ == "__main__":
    run_main(main)
