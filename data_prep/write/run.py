# SPDX-License-Identifier: Apache-2.0
"""The one run of all five commands: find the videos, choose, make records, store frames, write parquet and report.

A command gives a `Plan`: which question is asked how, and what its report says. Everything the commands have in common,
options included (options.py), has its meaning here.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data_prep.read.question import Outcome, Question
from data_prep.videos import frames
from data_prep.videos.files import check_video, check_whole_video
from data_prep.write.options import check_arguments, sampling_of
from data_prep.write.prompts import PRINTED, Prompt
from data_prep.write.provenance import provenance
from data_prep.write.schema import arrow_schema, build_record, frames_schema, write_parquet
from recipe.tw_grpo.toolbox.errors import UserError

WHOLE_VIDEO = (0.0, 1e6)  # seconds; qwen-vl-utils cuts the end to the video's
Pair = tuple[Question, Outcome | None]


@dataclass
class Done:
    """What a run made. `pairs`: the chosen questions that have a usable video, dropped ones (None)
    included; `unusable`: how many questions were left out because of their video.
    """

    pairs: list[Pair]
    rows: list[dict[str, Any]]
    unusable: int


@dataclass
class Plan:
    """What a command wants written.

    Args:
        pairs: every question with what becomes of it, None where it is dropped; a question may come twice.
        inputs: the files that were read.
        split, data_source: columns of every record.
        clips: whether videos are cut to the questions' clips; a question without one then gets its whole video.
        find: where a video lies; UserError if nowhere or at two places.
        expected: where it would lie, for --videos-later.
        describe: lines of the summary before and behind those of the run, and the command's own part of the report.
        prompt: how every question is asked.
    """

    pairs: list[Pair]
    inputs: list[Path]
    split: str
    data_source: str
    clips: bool
    find: Callable[[str], Path]
    expected: Callable[[str], Path]
    describe: Callable[[Done], tuple[list[str], list[str], dict[str, Any]]]
    prompt: Prompt = PRINTED


def run(args: argparse.Namespace, make_plan: Callable[[argparse.Namespace, Path], Plan]) -> int:
    """The whole command behind its command line: a summary on stdout, a parquet file and its report.

    Args:
        args: of a parser with options.add_arguments.
        make_plan: reads the annotations, given `args` and the folder of the videos.

    Raises:
        UserError: for anything the user has to correct, and then nothing is written.
    """
    root = check_arguments(args)
    sampling = sampling_of(args)
    plan = make_plan(args, root)
    pairs = plan.pairs if args.skip_bad_videos else sample(plan.pairs, args.limit, args.seed)
    good, bad = locate([question for question, _ in pairs], plan, args)
    if args.skip_bad_videos:
        pairs = sample([pair for pair in pairs if pair[0].video in good], args.limit, args.seed)
    left_out = sum(question.video in bad for question, _ in plan.pairs)
    source = args.annotations
    if not pairs:
        raise UserError(f"{source}: no question with a right option and a usable video; nothing to write")

    chosen = [(question, outcome) for question, outcome in pairs if outcome is not None]
    if not chosen:
        raise UserError(f"{source}: every record was dropped; nothing to write")
    rows = [_record(index, *pair, good, sampling, plan) for index, pair in enumerate(chosen)]
    schema, about, frames_lines = arrow_schema(sampling, plan.clips), {}, []
    if args.frames_dir is not None:
        schema = frames_schema()
        rows, unusable, about = frames.store(rows, args.frames_dir, args.frames_format, args.workers)
        for position, reason in unusable.items():
            question = chosen[position][0]
            bad[question.video] = f"{question.where}: {reason}"
        refuse(bad, args)
        left_out += len(unusable)
        written = [place for place, (_, outcome) in enumerate(pairs) if outcome is not None]
        lost = {written[position] for position in unusable}
        pairs = [pair for place, pair in enumerate(pairs) if place not in lost]
        if not rows:
            raise UserError(f"{source}: no question with a video that can be decoded; nothing to write")
        frames_lines, about = [frames.summary_line(about, args.frames_dir)], {"frames": about}
    before, behind, report = plan.describe(Done(pairs, rows, left_out))
    videos = f"videos: {len(good):,} found, {len(bad):,} missing or broken"
    if args.videos_later:
        videos = f"videos: {len(good):,} expected, not looked for"
    lines = [*before, videos, *frames_lines, *behind]
    common = {**provenance(args, plan.inputs), "summary": lines, "bad_videos": bad}
    write_parquet(rows, schema, args.output, {**common, **report, **about})
    print("\n".join(lines))
    return 0


def sample(pairs: list[Pair], limit: int | None, seed: int) -> list[Pair]:
    """`limit` of `pairs`, chosen by `seed`, in their old order; all if there are no more than that."""
    if limit is None or limit >= len(pairs):
        return pairs
    return [pairs[i] for i in sorted(random.Random(seed).sample(range(len(pairs)), limit))]


def locate(
    questions: Sequence[Question], plan: Plan, args: argparse.Namespace
) -> tuple[dict[str, Path], dict[str, str]]:
    """Per published video: where it lies, or what is wrong with it; a bad one raises unless they are skipped."""
    good: dict[str, Path] = {}
    bad: dict[str, str] = {}
    users: dict[str, list[Question]] = {}
    for question in questions:
        users.setdefault(question.video, []).append(question)
    for name, asking in tqdm(users.items(), desc="videos", unit="video", disable=None):
        try:
            path = plan.expected(name) if args.videos_later else plan.find(name)
            if not args.videos_later:
                clips = [question.clip for question in asking if question.clip and plan.clips]
                check_video(path, args.check_videos or args.check_whole_videos, max(clips, default=None))
                if args.check_whole_videos:
                    whole = not plan.clips or any(question.clip is None for question in asking)
                    check_whole_video(path, None if whole else max(end for _, end in clips))
                if path.is_dir() and args.frames_dir is None:
                    raise UserError(
                        f"video {path} is a folder of pictures; --frames-dir FOLDER makes listed frames of all"
                    )
            str(path).encode("utf-8")  # a parquet text must be
            good[name] = path
        except ValueError as error:  # UserError, a name no file can have, a path that is not UTF-8
            bad[name] = f"{asking[0].where}: {error}"
    refuse(bad, args)
    return good, bad


def refuse(bad: dict[str, str], args: argparse.Namespace) -> None:
    """Raise UserError for the first bad video, unless --skip-bad-videos."""
    if bad and not args.skip_bad_videos:
        more = f" (and {len(bad) - 1:,} more; --skip-bad-videos leaves them out)" if len(bad) > 1 else ""
        raise UserError(next(iter(bad.values())) + more)


def _record(
    index: int,
    question: Question,
    outcome: Outcome,
    videos: dict[str, Path],
    sampling: dict[str, int | float],
    plan: Plan,
) -> dict[str, Any]:
    if outcome.inverted and outcome.question == question.text:
        raise AssertionError(f"{question.where}: inverted without a negated question")
    try:
        return build_record(
            data_source=plan.data_source,
            prompt=plan.prompt.ask(outcome.question, outcome.options),
            video=videos[question.video],
            sampling=sampling,
            right=outcome.right,
            clip=(question.clip or WHOLE_VIDEO) if plan.clips else None,
            extra_info={
                "index": index,
                "scene": question.scene,
                "question_id": question.question_id,
                "question": outcome.question,
                "options": list(outcome.options),
                "split": plan.split,
                "video": question.video,
                "inverted": outcome.inverted,
                "style": outcome.style,
                "original_question": question.text,
                "original_options": list(question.options),
            },
        )
    except UserError as error:
        raise UserError(f"{question.where}: {error}") from None
