# SPDX-License-Identifier: Apache-2.0
"""CLEVRER's counterfactual questions (or toy-CLEVRER's, the same format) -> a parquet file verl trains on.

Reads a split's json or the data set's folder, letters the options in choice_id order, leaves out and counts questions
of other types and questions without a right choice, and writes the paper's prompt. It checks videos, it changes none.
With --invert-probability or --double it also asks what will NOT happen: the labels are complete, so that is free data.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

if not __package__:  # run as a file: find `data_prep` in this clone even when the package is not installed
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_prep.invert import clevrer
from data_prep.invert.draw import Draw
from data_prep.read.records import load_json, need
from data_prep.videos.sampling import SPLITS, check_video, find_video
from data_prep.write.options import add_frame_arguments, check_output, finish_videos, sampling_of
from data_prep.write.prompts import multi_answer_prompt
from data_prep.write.provenance import provenance
from data_prep.write.schema import build_record, write_parquet
from recipe.tw_grpo.toolbox.command_line import Parser, integer, probability, run_main
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.letters import LETTERS

# The validation split as published: its scenes, and (one right, several right) questions after leaving out those
# without a right choice (the paper's 9,238).
OFFICIAL_SCENES = range(10000, 15000)
OFFICIAL_COUNTS = (3945, 5293)


@dataclass(frozen=True)
class Item:
    """One counterfactual question; `right` are positions in `options`. Inverted, it knows how it was `asked`."""

    scene: int
    video: str
    question_id: int
    question: str
    options: tuple[str, ...]
    right: tuple[int, ...]
    asked: str | None = None


def find_annotations(path: Path, split: str | None) -> tuple[Path, str]:
    """The json file and the name of its split, from a file or from the folder of the data set."""
    if path.is_dir():
        split = split or "train"
        for candidate in (path / "questions" / f"{split}.json", path / f"{split}.json"):
            if candidate.is_file():
                return candidate, split
        raise UserError(f"--annotations {path}: found neither questions/{split}.json nor {split}.json in this folder")
    if not path.is_file():
        raise UserError(f"--annotations {path}: no such file or folder")
    return path, split or next((name for name in SPLITS if name in path.stem), "train")


def load_scenes(path: Path) -> list[Any]:
    """The list of scenes in the json file `path`."""
    scenes = load_json(path)
    if not isinstance(scenes, list):
        raise UserError(f"{path}: expected a list of scenes as in CLEVRER's questions/train.json, found {type(scenes)}")
    return scenes


def parse_choices(question: dict[str, Any], where: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Option texts in choice_id order and the positions of the right ones."""
    found: dict[int, tuple[str, bool]] = {}
    choices = need(question, "choices", list, where)
    if not 1 <= len(choices) <= len(LETTERS):
        raise UserError(f"{where}: 'choices' has {len(choices)} entries, expected 1 to {len(LETTERS)}")
    for position, choice in enumerate(choices):
        choice_id = need(choice, "choice_id", int, f"{where}, choice at position {position}")
        inside = f"{where}, choice {choice_id}"
        answer = need(choice, "answer", str, inside)
        if answer not in ("correct", "wrong"):
            raise UserError(f"{inside}: 'answer' must be 'correct' or 'wrong', found {answer!a:.60}")
        if choice_id in found:
            raise UserError(f"{inside}: this choice_id occurs twice")
        found[choice_id] = need(choice, "choice", str, inside), answer == "correct"
    ordered = [found[choice_id] for choice_id in sorted(found)]
    return tuple(text for text, _ in ordered), tuple(i for i, (_, correct) in enumerate(ordered) if correct)


def read_items(path: Path) -> tuple[list[Item], Counter, set[int]]:
    """Counterfactual questions in file order, counts of everything, and the scene indices of the file.

    Raises:
        UserError: a key that is missing or of the wrong type, named with file, scene and question.
    """
    items: list[Item] = []
    counts: Counter = Counter()
    indices: set[int] = set()
    for number, scene in enumerate(tqdm(load_scenes(path), desc="scenes", unit="scene", disable=None)):
        index = need(scene, "scene_index", int, f"{path}: record {number}")
        where = f"{path}: scene {index}"
        video = need(scene, "video_filename", str, where)
        indices.add(index)
        for position, question in enumerate(need(scene, "questions", list, where)):
            inside = f"{where}, question at position {position}"
            kind = need(question, "question_type", str, inside)
            if kind != "counterfactual":
                counts["other types"] += 1
                continue
            question_id = need(question, "question_id", int, inside)
            inside = f"{where}, question {question_id}"
            text = need(question, "question", str, inside)
            options, right = parse_choices(question, inside)
            counts["without a right choice"] += not right
            counts["equal options"] += bool(right) and len(set(options)) < len(options)
            items.append(Item(index, video, question_id, text, options, right))
    counts["scenes"] = len(indices)
    return items, counts, indices


def invert(items: list[Item], probability: float, double: bool, seed: int, counts: Counter) -> list[Item]:
    """The questions to write, each with a right option; some asked the other way round, or all both ways if `double`.

    A question without a right choice has one once it is inverted; one whose choices are all right has none then.
    """
    result = []
    for item in items:
        drawn = double or Draw(seed, f"{item.scene} {item.question_id}").happens(probability)
        question = clevrer.negate(item.question) if drawn else None
        right = clevrer.complement(item.right, len(item.options))
        if drawn and question is None:
            counts["not inverted: no 'will happen' in the question"] += 1
        elif drawn and not right:
            counts["not inverted: all choices are right"] += 1
        inverted = question is not None and bool(right)
        if item.right and (double or not inverted):
            result.append(item)
        if question is not None and inverted:
            counts["inverted"] += 1
            result.append(replace(item, question=question, right=right, asked=item.question))
    return result


def sample(items: list[Item], limit: int | None, seed: int) -> list[Item]:
    """`limit` of `items`, chosen by `seed`, in their old order; all if there are no more than that."""
    if limit is None or limit >= len(items):
        return items
    return [items[i] for i in sorted(random.Random(seed).sample(range(len(items)), limit))]


def locate_videos(items: list[Item], root: Path, split: str, decode: bool) -> tuple[dict[str, Path], dict[str, str]]:
    """Per video name: its path, or what is wrong with it."""
    good: dict[str, Path] = {}
    bad: dict[str, str] = {}
    scenes = {item.video: item.scene for item in items}
    for name, scene in tqdm(scenes.items(), desc="videos", unit="video", disable=None):
        path = find_video(root, name, split)
        if path is None:
            bad[name] = f"video {name!a} of scene {scene} is missing below {root}; check --video-root"
            continue
        try:
            check_video(path, decode)
            str(path).encode("utf-8")  # a parquet text must be
            good[name] = path
        except (UserError, UnicodeEncodeError) as error:
            bad[name] = f"scene {scene}: {error}"
    return good, bad


def summary(name: str, items: list[Item]) -> list[str]:
    """Two lines about a set of questions."""
    options = Counter(len(item.options) for item in items)
    single = sum(len(item.right) == 1 for item in items)
    return [
        f"{name}: {len(items):,} questions = {single:,} with one right choice + {len(items) - single:,} with several",
        "  by number of options: " + ", ".join(f"{n}: {options[n]:,}" for n in sorted(options)),
    ]


def official_line(items: list[Item], indices: set[int]) -> str | None:
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
    add("--video-root", type=Path, help="folder of the videos, flat or CLEVRER's; default: the data set's folder")
    add("--output", type=Path, required=True, help="parquet file to write; a FILE.report.json goes beside it")
    add("--split", choices=SPLITS, help="which json of the folder; default: the file's name says it, else train")
    add("--limit", type=integer(1), help="keep this many questions, sampled by --seed, in file order")
    add("--invert-probability", type=probability, default=0.0, help="ask what will not happen, so often")
    add("--double", action="store_true", help="write every question both ways")
    add("--seed", type=int, default=0, help="of --limit and --invert-probability")
    add("--check-videos", action="store_true", help="also decode the beginning of every video")
    add(
        "--skip-bad-videos", action="store_true", help="leave questions of missing or broken videos out, and count them"
    )
    add("--data-source", default="clevrer_counterfactual", help="column data_source")
    add_frame_arguments(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Read, check, write, print a summary; raises UserError for anything the user has to correct."""
    args = build_parser().parse_args(argv)
    check_output(args.output)
    sampling = sampling_of(args)
    path, split = find_annotations(args.annotations, args.split)
    root = args.video_root or (args.annotations if args.annotations.is_dir() else None)
    if root is None or not root.is_dir():
        raise UserError(
            f"--video-root {root or ''}: a folder is needed, because --annotations is a file"
            if root is None
            else f"--video-root {root}: no such folder"
        )

    inverting = args.double or args.invert_probability > 0
    everything, counts, indices = read_items(path)
    asked = [item for item in everything if item.right]
    items = invert(everything, args.invert_probability, args.double, args.seed, counts)
    chosen = items if args.skip_bad_videos else sample(items, args.limit, args.seed)
    good, bad = locate_videos(chosen, root, split, args.check_videos)
    if bad and not args.skip_bad_videos:
        more = f" (and {len(bad) - 1} more; --skip-bad-videos leaves them out)" if len(bad) > 1 else ""
        raise UserError(next(iter(bad.values())) + more)
    if args.skip_bad_videos:
        chosen = sample([item for item in items if item.video in good], args.limit, args.seed)
    if not chosen:
        raise UserError(f"{path}: no counterfactual question with a right choice and a usable video; nothing to write")

    records = [
        build_record(
            data_source=args.data_source,
            prompt=multi_answer_prompt(item.question, item.options),
            video=good[item.video],
            sampling=sampling,
            right=item.right,
            extra_info={
                "index": index,
                "scene": item.scene,
                "question_id": item.question_id,
                "question": item.question,
                "options": list(item.options),
                "split": split,
                "video": item.video,
                "inverted": item.asked is not None,
                "style": "" if item.asked is None else "will not",
                "original_question": item.asked or item.question,
            },
        )
        for index, item in enumerate(chosen)
    ]
    records, schema, unusable, about_frames = finish_videos(records, args, sampling)
    if unusable and not args.skip_bad_videos:
        raise UserError(next(iter(unusable.values())))
    bad |= {chosen[position].video: reason for position, reason in unusable.items()}
    chosen = [item for position, item in enumerate(chosen) if position not in unusable]
    if not records:
        raise UserError(f"{path}: no counterfactual question with a video that can be decoded; nothing to write")
    lines = [*summary(f"read from {path} ({counts['scenes']:,} scenes)", asked)]
    lines.append(
        f"  left out: {counts['without a right choice']:,} without a right choice{' (unless inverted)' * inverting}, "
        f"{counts['other types']:,} of other types"
    )
    if inverting:
        reasons = [f"{count:,} {name}" for name, count in counts.items() if name.startswith("not inverted")]
        lines.append("  ".join([f"  inverted: {counts['inverted']:,}", *reasons]))
    if counts["equal options"]:
        lines.append(f"  note: {counts['equal options']:,} questions have two options of the same text")
    lines += [line for line in [official_line(asked, indices)] if line]
    lines.append(f"videos: {len(good):,} found, {len(bad):,} missing or broken")
    lines += [line for line in [about_frames.pop("frames_line", None)] if line]
    lines += summary(f"written to {args.output} (split {split})", chosen)
    report = {**provenance(args, [path]), "summary": lines, "counts": dict(counts), "bad_videos": bad}
    write_parquet(records, schema, args.output, report | about_frames)
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    run_main(main)
