# SPDX-License-Identifier: Apache-2.0
"""What qai_nextgqa.py and qai_star.py share: options of the inversion, what is inverted, what the report says of it.

A data set is a name and a reader; the rest of the run is data_prep/write/run.py.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data_prep.invert.invert import DROPPED, LEAKS, ON_INVALID, STYLES, Policy, invert, right_of, wrong_options
from data_prep.read.question import Question, Reading
from data_prep.read.records import refuse_duplicates
from data_prep.read.video_r1 import OTHER_DATA_SETS
from data_prep.videos.find import SPLITS, VideoFinder, read_map
from data_prep.write.options import add_arguments
from data_prep.write.run import Done, Pair, Plan, run
from recipe.tw_grpo.toolbox.command_line import Parser, probability
from recipe.tw_grpo.toolbox.errors import UserError

Reader = Callable[[Path], Reading]
_OVERLAPS_SHOWN = 200


def leak_set(text: str) -> frozenset[str]:
    """An argparse type: "none", "all" or names of LEAKS separated by commas."""
    names = {"none": [], "all": list(LEAKS)}.get(text, text.split(","))
    unknown = [name for name in names if name not in LEAKS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of none, all, {', '.join(LEAKS)}")
    return frozenset(names)


def build_parser(dataset: str, title: str) -> Parser:
    """The command line of both scripts."""
    example = (
        f"example: python data_prep/qai_{dataset}.py --annotations train.{'csv' if dataset == 'nextgqa' else 'json'} "
        f"--video-root videos --output data/{dataset}.parquet --style exclusion --seed 0"
    )
    parser = Parser(description=f"{title} questions, some of them inverted -> parquet for verl.", epilog=example)
    add = parser.add_argument
    add("--annotations", type=Path, required=True, help="CSV or JSON of the data set, or a derived JSON form")
    add("--video-root", type=Path, required=True, help="folder of the videos, in any layout")
    add("--video-map", type=Path, help="NExT-QA's map_vid_vidorID.json; only needed with --videos-later")
    add("--style", choices=list(STYLES), default="exclusion", help="how a question is negated; see docs/data.md")
    add("--invert-probability", type=probability, default=0.5, help="of each record, by --seed and its id")
    add("--on-invalid", choices=ON_INVALID, help="what to do with a record to be inverted whose negation denies the "
        "event or means nothing: keep, drop, or use the exclusion style; default: exclusion, paper: keep")  # fmt: skip
    add("--leaks", type=leak_set, help="leaks of the published procedure to leave in: none, all, or some of "
        + ", ".join(LEAKS) + "; default: none, paper: all")  # fmt: skip
    add("--overlaps", choices=("remove", "keep"), help="wrong options that repeat or imply the right one; default: "
        "remove, paper: keep; reported either way")  # fmt: skip
    add("--split", choices=SPLITS, help="column split; default: the file's name says it, else train")
    add_arguments(parser, f"{dataset}_qai")
    return parser


def main(dataset: str, title: str, read: Reader, argv: Sequence[str] | None) -> int:
    """The whole script; raises UserError for anything the user has to correct, and then writes nothing."""

    def plan(args: argparse.Namespace, root: Path) -> Plan:
        policy = Policy.of_style(
            args.style,
            dataset=dataset,
            seed=args.seed,
            probability=args.invert_probability,
            on_invalid=args.on_invalid,
            leaks=args.leaks,
            keep_overlaps=None if args.overlaps is None else args.overlaps == "keep",
        )
        reading = read(args.annotations)
        refuse_bad_set(reading.questions)
        questions = reading.questions
        split = args.split or next((name for name in SPLITS if name[:3] in args.annotations.stem.lower()), "train")
        inputs = [*reading.inputs, *([args.video_map] if args.video_map else [])]
        folders = read_map(args.video_map) if args.video_map else None

        def describe(done: Done) -> tuple[list[str], list[str], dict]:
            counts = {
                "read": len(questions),
                **{OTHER_DATA_SETS: 0, **reading.left_out},
                "of bad videos": done.unusable,
                "written": len(done.rows),
            }
            report = {
                "policy": policy.summary(),
                "counts": counts,
                "notes": reading.notes,
                **statistics(done.pairs, policy),
            }
            return summary(args, report), [f"written to {args.output}: {len(done.rows):,} records"], report

        finder = VideoFinder(root, [question.video for question in questions], split, folders)
        pairs = [(question, invert(question, policy)) for question in questions]
        clips = bool(questions) and questions[0].clip is not None
        return Plan(pairs, inputs, split, args.data_source, clips, finder.find, finder.expected, describe)

    return run(build_parser(dataset, title).parse_args(argv), plan)


def refuse_bad_set(questions: Sequence[Question]) -> None:
    """Raise UserError for two questions of one id, several right options, or clips for some questions only."""
    refuse_duplicates(questions)
    for question in questions:
        if len(question.right) > 1:
            raise UserError(f"{question.where}: the answer names several options; is this file inverted already?")
        if len(question.options) < 2:
            raise UserError(f"{question.where}: 'options' has 1 entry, expected 2 or more")
        if (question.clip is None) != (questions[0].clip is None):
            raise UserError(f"{question.where}: a file must have start and end in all records or in none")


def statistics(pairs: Sequence[Pair], policy: Policy) -> dict[str, Any]:
    """What the report says about the inversion: coverage per question type, what was done and why, sizes, overlaps."""
    by_type: dict[str, Counter] = defaultdict(Counter)
    why: Counter = Counter()
    sizes: dict[str, Counter] = {"inverted": Counter(), "not inverted": Counter()}
    right, wrong = Counter(), Counter()
    overlapping = []
    for question, outcome in pairs:
        negation = policy.negate(question.text, policy.dataset)
        counts = by_type[question.kind or "all"]
        counts["questions"] += 1
        counts["the style can negate"] += negation is not None
        counts["of these invalid"] += negation is not None and negation.problem != ""
        if negation is not None and negation.problem:
            counts[f"invalid: {negation.problem}"] += 1
        why[outcome.why if outcome else DROPPED] += 1
        if outcome:
            counts["inverted"] += outcome.inverted
            sizes["inverted" if outcome.inverted else "not inverted"][len(outcome.options)] += 1
            if outcome.inverted:
                right[len(outcome.right)] += 1
                wrong[len(outcome.options) - len(outcome.right)] += 1
        free = wrong_options(question, keep_overlaps=False)
        if len(free) < len(question.options) - 1:
            overlapping.append({
                "question_id": question.question_id,
                "right": question.options[right_of(question)],
                "overlapping": [o for i, o in enumerate(question.options) if i not in question.right and o not in free],
            })  # fmt: skip
    return {
        "coverage": sum(c["the style can negate"] for c in by_type.values()) / len(pairs),
        "by_type": {kind: dict(sorted(counts.items())) for kind, counts in sorted(by_type.items())},
        "why": dict(sorted(why.items())),
        "options": {name: _plain(counts) for name, counts in sizes.items()},
        "right_options_of_inverted": _plain(right),
        "wrong_options_of_inverted": _plain(wrong),
        "questions_with_overlaps": len(overlapping),
        "overlaps": overlapping[:_OVERLAPS_SHOWN],
    }


def _plain(counts: Counter) -> dict[str, int]:
    return {str(key): counts[key] for key in sorted(counts)}


def summary(args: argparse.Namespace, report: dict[str, Any]) -> list[str]:
    """The report's figures in words."""
    counts, policy = report["counts"], report["policy"]
    lines = [f"read {counts['read']:,} questions from {args.annotations}"]
    lines += [
        f"  left out: {n:,} records {what}" for what, n in counts.items() if n and what not in ("read", "written")
    ]
    lines += [f"  note: {note}" for note in report["notes"][:10]]
    leaks = ", ".join(policy["leaks"]) or "none"
    lines.append(f"style {policy['style']}; on invalid: {policy['on_invalid']}; leaks left in: {leaks}")
    lines.append(f"  {report['coverage']:.1%} of the questions can be negated in this style")
    lines += [f"  {count:8,} {why}" for why, count in report["why"].items()]
    sizes = {f"options, {name}": by_size for name, by_size in report["options"].items()}
    sizes |= {f"{name} options of inverted": report[f"{name}_options_of_inverted"] for name in ("right", "wrong")}
    for name, by_size in sizes.items():
        lines.append(f"  {name}: " + ", ".join(f"{n}: {count:,}" for n, count in by_size.items()))
    return [*lines, f"  overlapping options in {report['questions_with_overlaps']:,} questions: {policy['overlaps']}"]
