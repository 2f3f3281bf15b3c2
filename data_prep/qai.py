# SPDX-License-Identifier: Apache-2.0
"""What qai_nextgqa.py and qai_star.py share: read, find videos, invert, write the parquet and its report.

A dataset is a name and a reader; everything else is here.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data_prep.invert.invert import DROPPED, LEAKS, ON_INVALID, STYLES, Outcome, Policy, invert, wrong_options
from data_prep.read.question import Question
from data_prep.videos.folder import VideoFolder, check_clip, read_map
from data_prep.videos.sampling import SPLITS
from data_prep.write.options import add_frame_arguments, check_output, finish_videos, sampling_of
from data_prep.write.prompts import multi_answer_prompt
from data_prep.write.provenance import provenance
from data_prep.write.schema import build_record, write_parquet
from recipe.tw_grpo.toolbox.command_line import Parser, integer, probability
from recipe.tw_grpo.toolbox.errors import UserError

Reader = Callable[[Path], tuple[list[Question], int]]
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
    add("--output", type=Path, required=True, help="parquet file to write; a FILE.report.json goes beside it")
    add("--style", choices=list(STYLES), default="exclusion", help="how a question is negated; see docs/data.md")
    add("--invert-probability", type=probability, default=0.5, help="of each record, by --seed and its id")
    add("--on-invalid", choices=ON_INVALID, help="what to do with a record to be inverted whose negation denies the "
        "event or means nothing: keep, drop, or use the exclusion style; default: exclusion, paper: keep")  # fmt: skip
    add("--leaks", type=leak_set, help="leaks of the published procedure to leave in: none, all, or some of "
        + ", ".join(LEAKS) + "; default: none, paper: all")  # fmt: skip
    add("--overlaps", choices=("remove", "keep"), help="wrong options that repeat or imply the right one; default: "
        "remove, paper: keep; reported either way")  # fmt: skip
    add("--seed", type=int, default=0, help="same seed, same bytes, whatever else the file holds")
    add("--limit", type=integer(1), help="read only this many questions, from the beginning of the file")
    add("--split", choices=SPLITS, help="column split; default: the file's name says it, else train")
    add("--check-videos", action="store_true", help="also decode the beginning of every video")
    add(
        "--skip-bad-videos", action="store_true", help="leave questions of missing or broken videos out, and count them"
    )
    add("--videos-later", action="store_true", help="do not look for the videos: write where they are expected")
    add("--data-source", default=f"{dataset}_qai", help="column data_source")
    add_frame_arguments(parser)
    return parser


def run(dataset: str, title: str, read: Reader, argv: Sequence[str] | None) -> int:
    """The whole script; raises UserError for anything the user has to correct, and then writes nothing."""
    args = build_parser(dataset, title).parse_args(argv)
    check_output(args.output)
    if args.videos_later and args.frames_dir:
        raise UserError("--frames-dir needs the videos now; leave out --videos-later")
    if not args.annotations.is_file():
        raise UserError(f"--annotations {args.annotations}: no such file")
    if not args.videos_later and not args.video_root.is_dir():
        raise UserError(f"--video-root {args.video_root}: no such folder; --videos-later writes without looking")
    sampling = sampling_of(args)
    policy = Policy.of_style(
        args.style,
        dataset=dataset,
        seed=args.seed,
        probability=args.invert_probability,
        on_invalid=args.on_invalid,
        leaks=args.leaks,
        keep_overlaps=None if args.overlaps is None else args.overlaps == "keep",
    )
    questions, others = read(args.annotations)
    refuse_bad_set(args.annotations, questions)
    questions = questions[: args.limit]
    split = args.split or next((name for name in SPLITS if name[:3] in args.annotations.stem.lower()), "train")
    inputs = [args.annotations, *([args.video_map] if args.video_map else [])]
    folder = VideoFolder(args.video_root, read_map(args.video_map) if args.video_map else None)
    videos, bad = locate(questions, folder, args)

    usable = [question for question in questions if question.video in videos]
    if not usable:
        raise UserError(f"{args.annotations}: no question with a usable video; nothing to write")
    started = time.perf_counter()
    outcomes = [invert(question, policy) for question in usable]
    seconds = time.perf_counter() - started
    records = []
    for question, outcome in zip(usable, outcomes, strict=True):
        if outcome is not None:
            video = videos[question.video]
            records.append(_record(len(records), question, outcome, video, split, sampling, args.data_source))
    if not records:
        raise UserError(f"{args.annotations}: every record was dropped; nothing to write")
    records, schema, unusable, about_frames = finish_videos(records, args, sampling, questions[0].clip is not None)
    if unusable and not args.skip_bad_videos:
        raise UserError(next(iter(unusable.values())))
    if not records:
        raise UserError(f"{args.annotations}: no question with a video that can be decoded; nothing to write")
    report = {
        **provenance(args, inputs),
        "policy": {"style": policy.style, "on_invalid": policy.on_invalid, "leaks": sorted(policy.leaks),
                   "overlaps": "keep" if policy.keep_overlaps else "remove"},
        "counts": {"read": len(questions), "of other data sets": others, "of bad videos": len(questions) - len(usable),
                   "written": len(records)},
        "bad_videos": bad | {f"record {position}": reason for position, reason in unusable.items()},
        **about_frames,
        **statistics(usable, outcomes, policy),
    }  # fmt: skip
    write_parquet(records, schema, args.output, report)
    _print_summary(args, report, len(outcomes) / max(seconds, 1e-9))
    return 0


def refuse_bad_set(path: Path, questions: Sequence[Question]) -> None:
    """Raise UserError for two questions of one id, or clips for some questions only."""
    seen: dict[str, str] = {}
    for question in questions:
        if question.question_id in seen:
            raise UserError(f"{question.where}: this id occurred before, at {seen[question.question_id]}")
        seen[question.question_id] = question.where
        if (question.clip is None) != (questions[0].clip is None):
            raise UserError(f"{question.where}: a file must have start and end in all records or in none")


def locate(
    questions: Sequence[Question], folder: VideoFolder, args: argparse.Namespace
) -> tuple[dict[str, Path], dict[str, str]]:
    """Per video name: its path, or what is wrong with it; the first bad one raises unless they may be skipped."""
    good: dict[str, Path] = {}
    bad: dict[str, str] = {}
    clips: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        clips[question.video].append(question)
    for name, users in tqdm(clips.items(), desc="videos", unit="video", disable=None):
        if args.videos_later:
            good[name] = folder.expected(name)
            continue
        try:
            path = folder.find(name)
            ends = [question.clip for question in users if question.clip]
            check_clip(path, args.check_videos, max(ends) if ends else None)
            str(path).encode("utf-8")  # a parquet text must be
            good[name] = path
        except (UserError, UnicodeEncodeError, ValueError) as error:
            bad[name] = f"{users[0].where}: {error}"
    if bad and not args.skip_bad_videos:
        more = f" (and {len(bad) - 1} more; --skip-bad-videos leaves them out)" if len(bad) > 1 else ""
        raise UserError(next(iter(bad.values())) + more)
    return good, bad


def _record(
    index: int, question: Question, outcome: Outcome, video: Path, split: str, sampling: dict[str, Any], source: str
) -> dict[str, Any]:
    if outcome.inverted and outcome.question == question.text:
        raise AssertionError(f"{question.where}: inverted without a negated question")
    return build_record(
        data_source=source,
        prompt=multi_answer_prompt(outcome.question, outcome.options),
        video=video,
        sampling=sampling,
        right=outcome.right,
        clip=question.clip,
        extra_info={
            "index": index,
            "scene": question.scene,
            "question_id": question.question_id,
            "question": outcome.question,
            "options": list(outcome.options),
            "split": split,
            "video": question.video,
            "inverted": outcome.inverted,
            "style": outcome.style,
            "original_question": question.text,
            "original_options": list(question.options),
        },
    )


def statistics(questions: Sequence[Question], outcomes: Sequence[Outcome | None], policy: Policy) -> dict[str, Any]:
    """What the report says about the inversion: coverage per question type, what was done and why, sizes, overlaps."""
    by_type: dict[str, Counter] = defaultdict(Counter)
    why: Counter = Counter()
    sizes: dict[str, Counter] = {"inverted": Counter(), "not inverted": Counter()}
    right: Counter = Counter()
    wrong: Counter = Counter()
    overlapping = []
    for question, outcome in zip(questions, outcomes, strict=True):
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
                "right": question.options[question.right],
                "overlapping": [o for i, o in enumerate(question.options) if i != question.right and o not in free],
            })  # fmt: skip
    return {
        "coverage": sum(c["the style can negate"] for c in by_type.values()) / len(questions),
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


def _print_summary(args: argparse.Namespace, report: dict[str, Any], rate: float) -> None:
    counts, policy = report["counts"], report["policy"]
    print(f"read {counts['read']:,} questions from {args.annotations}")
    if counts["of other data sets"]:
        print(f"  left out: {counts['of other data sets']:,} records of other data sets")
    if counts["of bad videos"]:
        print(f"  left out: {counts['of bad videos']:,} questions of {len(report['bad_videos']):,} bad videos")
    leaks = ", ".join(policy["leaks"]) or "none"
    print(f"style {policy['style']}; on invalid: {policy['on_invalid']}; leaks left in: {leaks}")
    print(f"  {report['coverage']:.1%} of the questions can be negated in this style")
    for why, count in report["why"].items():
        print(f"  {count:8,} {why}")
    for name, sizes in report["options"].items():
        print(f"  options, {name}: " + ", ".join(f"{n}: {count:,}" for n, count in sizes.items()))
    for name in ("right", "wrong"):
        sizes = report[f"{name}_options_of_inverted"]
        print(f"  {name} options of inverted: " + ", ".join(f"{n}: {count:,}" for n, count in sizes.items()))
    print(f"  overlapping options in {report['questions_with_overlaps']:,} questions: {policy['overlaps']}")
    if "frames_line" in report:
        print(report["frames_line"])
    print(f"written to {args.output}: {counts['written']:,} records ({rate:,.0f} questions/s inverted)")
