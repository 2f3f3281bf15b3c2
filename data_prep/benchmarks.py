# SPDX-License-Identifier: Apache-2.0
"""The six benchmarks of the paper's tables, in the forms in which they are published -> parquet files for verl.

One table names each benchmark's reader, how many questions it must have, and the protocol, which becomes the column
data_source: verl reports metrics by it, so figures of different protocols never share a name.
"""

import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

if not __package__:  # run as a file: find `data_prep` in this clone even when the package is not installed
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_prep.read import mvbench, published, tempcompass, video_r1
from data_prep.read.answers import Question, Reading, refuse_duplicates
from data_prep.read.records import load_json
from data_prep.videos.folder import VideoFolder
from data_prep.videos.places import check_published, find_published, unique_names
from data_prep.videos.sampling import TOKEN_PIXELS
from data_prep.write.options import add_frame_arguments, check_output, finish_videos, sampling_of
from data_prep.write.prompts import multi_answer_prompt
from data_prep.write.provenance import provenance
from data_prep.write.schema import build_record, write_parquet
from recipe.tw_grpo.toolbox.command_line import Parser, integer, run_main
from recipe.tw_grpo.toolbox.errors import UserError

EVALUATION_PIXELS = 256 * TOKEN_PIXELS  # the paper evaluates at twice the pixels of training
WHOLE_VIDEO = (0.0, 1e6)  # seconds; qwen-vl-utils cuts the end to the video's


@dataclass(frozen=True)
class Benchmark:
    """A row of the table.

    Args:
        questions: how many the benchmark has, as evaluated in the paper.
        protocol: data_source; `{videos}` is "clips" or "whole_videos".
        split: of extra_info.
        read: reader of the benchmark's own form (the Video-R1 family's JSON is recognised for all).
        files: what --annotations is in that form.
    """

    questions: int
    protocol: str
    split: str
    read: Callable[[Path], Reading]
    files: str


BENCHMARKS = {
    "mmvu": Benchmark(625, "mmvu_multiple_choice", "validation", published.read_mmvu, "validation.json"),
    "mvbench": Benchmark(4000, "mvbench_{videos}", "test", mvbench.read, "folder of 20 json files"),
    "tempcompass": Benchmark(7540, "tempcompass_four_tasks", "test", tempcompass.read, "folder of 4 json files"),
    "videomme": Benchmark(2700, "videomme_no_subtitles", "test", published.read_videomme, "test-*.parquet"),
    "nextgqa": Benchmark(5553, "nextgqa_multiple_choice", "test", published.read_nextgqa, "test.csv"),
    "clevrer": Benchmark(
        9238, "clevrer_counterfactual_multi_answer", "validation", published.read_clevrer, "validation.json"
    ),
}


def read_benchmark(name: str, path: Path) -> tuple[Reading, str]:
    """The questions of benchmark `name` in `path`, and the form: "video_r1" or "published".

    Raises:
        UserError: anything that is not as published, named with file, record and field.
    """
    if not path.exists():
        raise UserError(f"--annotations {path}: no such file or folder")
    form = "published"
    if path.suffix in (".json", ".jsonl") and path.is_file():
        form = "video_r1" if video_r1.recognises(load_json(path)) else form
    reading = video_r1.read(path) if form == "video_r1" else BENCHMARKS[name].read(path)
    if not reading.questions:
        raise UserError(f"{path}: no multiple-choice question of {name} in it; nothing to write")
    refuse_duplicates(reading.questions)
    return reading, form


def count_line(name: str, found: int, path: Path) -> str:
    """Whether the number of questions is that of the benchmark."""
    expected = BENCHMARKS[name].questions
    if found == expected:
        return f"{name}: {found:,} questions, as published"
    return f"WARNING: {name} has {expected:,} questions, {path} gives {found:,}; figures will not compare"


def locate(
    questions: Sequence[Question], unique: set[str], root: Path, decode: bool
) -> tuple[dict[str, Path], dict[str, str]]:
    """Per published video: where it lies, or what is wrong with it. `unique`: names that need no folder."""
    good: dict[str, Path] = {}
    bad: dict[str, str] = {}
    first = {question.video: question for question in reversed(questions)}
    anywhere = VideoFolder(root)
    for video in tqdm(dict.fromkeys(q.video for q in questions), desc="videos", unit="video", disable=None):
        path = find_published(root, video, unique)
        try:
            if path is None and "/" in video:
                raise UserError(f"video {video!a} is not below {root}; check --video-root")
            path = path or anywhere.find(video)  # published without a folder: NExT-QA without its map
            check_published(path, decode)
            str(path).encode("utf-8")  # a parquet text must be
            good[video] = path
        except (UserError, ValueError) as error:  # ValueError: a name no file can have, or not UTF-8
            bad[video] = f"{first[video].where}: {error}"
    return good, bad


def sample(questions: list[Question], limit: int | None, seed: int) -> list[Question]:
    """`limit` of `questions`, chosen by `seed`, in their old order."""
    if limit is None or limit >= len(questions):
        return questions
    return [questions[i] for i in sorted(random.Random(seed).sample(range(len(questions)), limit))]


def build_parser() -> Parser:
    """The command line."""
    table = "; ".join(f"{name}: {b.files}, {b.questions:,} questions" for name, b in BENCHMARKS.items())
    parser = Parser(
        description="A published benchmark -> parquet for verl's validation.",
        epilog="example: python data_prep/benchmarks.py --benchmark mmvu --annotations MMVU/validation.json "
        f"--video-root MMVU --output mmvu.parquet -- own forms: {table}; the Video-R1 family's JSON for all.",
    )
    add = parser.add_argument
    add("--benchmark", choices=sorted(BENCHMARKS), required=True, help="which one; its form is recognised by content")
    add("--annotations", type=Path, required=True, help="file or folder as published, or the Video-R1 family's JSON")
    add("--video-root", type=Path, required=True, help="folder of the videos: of all benchmarks, of this one, or flat")
    add("--output", type=Path, required=True, help="parquet file to write; a FILE.report.json goes beside it")
    add("--clips", choices=("auto", "yes", "no"), default="auto", help="cut to start and end (MVBench): auto cuts in "
        "MVBench's own form and shows whole videos in the Video-R1 family's, as their authors do")  # fmt: skip
    add("--limit", type=integer(1), help="keep this many questions, sampled by --seed, in file order")
    add("--seed", type=int, default=0, help="of --limit")
    add("--check-videos", action="store_true", help="also decode the beginning of every video")
    add(
        "--skip-bad-videos", action="store_true", help="leave questions of missing or broken videos out, and count them"
    )
    add("--data-source", help="column data_source; default: the protocol's name")
    add_frame_arguments(parser, EVALUATION_PIXELS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Read, check, write, print a summary; raises UserError for anything the user has to correct."""
    args = build_parser().parse_args(argv)
    check_output(args.output)
    sampling = sampling_of(args)
    if not args.video_root.is_dir():
        raise UserError(f"--video-root {args.video_root}: no such folder")
    benchmark = BENCHMARKS[args.benchmark]
    reading, form = read_benchmark(args.benchmark, args.annotations)
    questions = reading.questions
    has_clips = any(question.clip for question in questions)
    clips = has_clips and (args.clips == "yes" or (args.clips == "auto" and form == "published"))
    protocol = args.data_source or benchmark.protocol.format(videos="clips" if clips else "whole_videos")

    chosen = questions if args.skip_bad_videos else sample(questions, args.limit, args.seed)
    unique = unique_names(question.video for question in questions)
    good, bad = locate(chosen, unique, args.video_root, args.check_videos)
    if args.frames_dir is None:
        for video, path in list(good.items()):
            if path.is_dir():
                bad[video] = f"video {path} is a folder of pictures; --frames-dir FOLDER makes listed frames of all"
                del good[video]
    if bad and not args.skip_bad_videos:
        more = f" (and {len(bad) - 1:,} more; --skip-bad-videos leaves them out)" if len(bad) > 1 else ""
        raise UserError(next(iter(bad.values())) + more)
    if args.skip_bad_videos:
        chosen = sample([question for question in questions if question.video in good], args.limit, args.seed)

    records = [_record(index, question, protocol, good, sampling, clips, benchmark) for index, question in
               enumerate(chosen)]  # fmt: skip
    rows, schema, unusable, about_frames = finish_videos(records, args, sampling, clips)
    if unusable and not args.skip_bad_videos:
        position, reason = next(iter(unusable.items()))
        raise UserError(f"{chosen[position].where}: {reason}")
    bad |= {chosen[position].video: reason for position, reason in unusable.items()}
    chosen = [question for position, question in enumerate(chosen) if position not in unusable]
    if not rows:
        raise UserError(f"{args.annotations}: no question with a usable video; nothing to write")

    counts = {
        "read": len(questions),
        "expected": benchmark.questions,
        "left_out": reading.left_out,
        "written": len(rows),
        "by_number_of_options": _distribution(len(question.options) for question in chosen),
        "by_right_answer": _distribution(row["reward_model"]["ground_truth"] for row in rows),
        "equal_options": [q.question_id for q in questions if len(set(q.options)) < len(q.options)],
        "single_option": [q.question_id for q in questions if len(q.options) == 1],
    }
    lines = [count_line(args.benchmark, len(questions), args.annotations)]
    lines += [f"  left out: {count:,} {reason}" for reason, count in sorted(reading.left_out.items())]
    lines += [f"  note: {note}" for note in reading.notes[:10]]
    if len(reading.notes) > 10:
        lines.append(f"  note: and {len(reading.notes) - 10} more, all in the report")
    if counts["equal_options"]:
        lines.append(f"  note: {len(counts['equal_options'])} questions have two options of the same text, kept as is")
    if counts["single_option"]:
        lines.append(f"  note: {len(counts['single_option'])} questions have one option only, kept as published")
    lines.append(f"videos: {len(good):,} found, {len(bad):,} missing or broken")
    lines += [line for line in [about_frames.pop("frames_line", None)] if line]
    lines.append(f"written to {args.output}: {len(rows):,} questions, data_source {protocol}")
    if len(rows) < len(questions) == benchmark.questions and args.limit is None:
        lines.append(f"WARNING: {benchmark.questions - len(rows):,} of {args.benchmark}'s questions are left out")
    report = {
        **provenance(args, reading.inputs),
        "summary": lines,
        "counts": counts,
        "bad_videos": bad,
        "form": form,
        "notes": reading.notes,
    }
    write_parquet(rows, schema, args.output, {**report, **about_frames})
    print("\n".join(lines))
    return 0


def _record(index, question: Question, protocol, good, sampling, clips, benchmark):
    try:
        return build_record(
            data_source=protocol,
            prompt=multi_answer_prompt(question.question, question.options),
            video=good[question.video],
            sampling=sampling,
            right=question.right,
            clip=(question.clip or WHOLE_VIDEO) if clips else None,
            extra_info={
                "index": index,
                "scene": question.scene,
                "question_id": question.question_id,
                "question": question.question,
                "options": list(question.options),
                "split": benchmark.split,
                "video": question.video,
            },
        )
    except UserError as error:
        raise UserError(f"{question.where}: {error}") from None


def _distribution(values) -> dict[str, int]:
    counts = Counter(values)
    return {str(value): counts[value] for value in sorted(counts)}


if __name__ == "__main__":
    run_main(main)
