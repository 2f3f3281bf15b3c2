# SPDX-License-Identifier: Apache-2.0
"""Inverted questions as a text to read one by one, and the share a reader called right.

`python -m data_prep.invert.review --annotations F --style S --output S.md` writes them; the reader's verdicts are
kept in docs/review/S.csv (id, verdict, remark; no text of the data set), and `--verdicts` counts them and checks that
they are about the questions this command writes.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_prep.invert.draw import Draw
from data_prep.invert.invert import ON_INVALID, STYLES, Policy, invert, right_of
from data_prep.read import nextgqa, star
from data_prep.read.question import Outcome, Question
from recipe.tw_grpo.toolbox.command_line import Parser, integer, run_main
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.letters import LETTERS

READERS = {"nextgqa": nextgqa.read, "star": star.read}
VERDICTS = ("right", "doubtful", "wrong")


def chosen(questions: Sequence[Question], policy: Policy, count: int) -> Iterator[tuple[Question, Outcome]]:
    """The first `count` questions that `policy` inverts, in an order drawn by its seed."""
    order = sorted(questions, key=lambda question: Draw(policy.seed, f"review {question.question_id}").below(2**64))
    for question in order:
        outcome = invert(question, policy)
        if count and outcome is not None and outcome.inverted:
            count -= 1
            yield question, outcome


def listing(pairs: Sequence[tuple[Question, Outcome]]) -> str:
    """Markdown: per question what was asked, what is asked now, every option with its label."""
    lines = []
    for number, (question, outcome) in enumerate(pairs, 1):
        lines += [f"{number}. `{question.question_id}` {question.text}", f"   * **{outcome.question}**"]
        for place, option in enumerate(outcome.options):
            lines.append(f"   * {LETTERS[place]} {'right' if place in outcome.right else 'WRONG'}: {option}")
        if question.options[right_of(question)] not in outcome.options:
            lines.append(f"   * (left out, the right one of the original: {question.options[right_of(question)]})")
    return "\n".join(lines) + "\n"


def count_verdicts(path: Path, pairs: Sequence[tuple[Question, Outcome]]) -> Counter:
    """How often each verdict was given.

    Raises:
        UserError: a verdict that is none, or ids that are not those of `pairs`.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row.get("verdict") not in VERDICTS:
            raise UserError(f"{path}: id {row.get('id')}: verdict {row.get('verdict')!r} is none of {VERDICTS}")
    read = {row["id"] for row in rows}
    if read != {question.question_id for question, _ in pairs}:
        raise UserError(f"{path}: these verdicts are about other questions; read the list again")
    return Counter(row["verdict"] for row in rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the list and, given verdicts, print their shares."""
    parser = Parser(
        description=(__doc__ or "").splitlines()[0],
        epilog="example: python -m data_prep.invert.review --annotations val.csv --style paper --output paper.md",
    )
    parser.add_argument("--annotations", type=Path, required=True, help="as for qai_nextgqa.py or qai_star.py")
    parser.add_argument("--dataset", choices=list(READERS), default="nextgqa", help="which of the two")
    parser.add_argument("--style", choices=list(STYLES), default="exclusion", help="how questions are negated")
    parser.add_argument("--on-invalid", choices=ON_INVALID, help="as for qai_nextgqa.py")
    parser.add_argument("--count", type=integer(1), default=200, help="so many inverted questions")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    parser.add_argument("--output", type=Path, help="markdown file to write; default: print it")
    parser.add_argument("--verdicts", type=Path, help="csv with id, verdict, remark; then nothing is listed")
    args = parser.parse_args(argv)
    questions = READERS[args.dataset](args.annotations).questions
    policy = Policy.of_style(
        args.style, dataset=args.dataset, seed=args.seed, probability=1.0, on_invalid=args.on_invalid
    )
    pairs = list(chosen(questions, policy, args.count))
    if args.verdicts:
        counts = count_verdicts(args.verdicts, pairs)
        shares = ", ".join(f"{name} {counts[name]} ({counts[name] / len(pairs):.1%})" for name in VERDICTS)
        print(f"{args.style}: {len(pairs)} questions read: {shares}")
    elif args.output:
        args.output.write_text(listing(pairs), encoding="utf-8")
        print(f"{args.output}: {len(pairs)} inverted questions")
    else:
        print(listing(pairs), end="")
    return 0


if __name__ == "__main__":
    run_main(main)
