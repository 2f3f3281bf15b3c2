# SPDX-License-Identifier: Apache-2.0
"""The six benchmarks of the paper's tables, in the forms in which they are published -> parquet files for verl.

One table names each benchmark's reader, how many questions it must have, and the protocol. With a prompt from a file
its name is added to the protocol's. That is the column data_source: verl reports metrics by it, so figures of different
protocols never share a name.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a file: find `data_prep` in this clone even when the package is not installed
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_prep.read import clevrer, mmvu, mvbench, nextgqa, tempcompass, video_r1, videomme
from data_prep.read.data_sets import CLEVRER, NEXT, STAR, refuse_other_data_set
from data_prep.read.question import Reading, as_published
from data_prep.read.records import load_json, refuse_duplicates
from data_prep.videos.find import VideoFinder, clevrer_path, read_map
from data_prep.videos.sampling import TOKEN_PIXELS
from data_prep.write.options import add_arguments
from data_prep.write.prompts import PRINTED, read_prompt
from data_prep.write.run import Done, Plan, run
from recipe.tw_grpo.toolbox.command_line import Parser, run_main
from recipe.tw_grpo.toolbox.errors import UserError

EVALUATION_PIXELS = 256 * TOKEN_PIXELS  # the paper evaluates at twice the pixels of training
MVBENCH = ("MVBench", STAR, CLEVRER)  # its own form names folders of both
NEXT_MAP = "map_vid_vidorID.json"


def read_nextgqa(path: Path) -> Reading:
    """NExT-GQA's test.csv and NExT-QA's; folders by the map, if it lies beside it."""
    beside = path.with_name(NEXT_MAP)
    folders = read_map(beside) if beside.is_file() else {}
    reading = nextgqa.read(path)
    reading.questions = [q._replace(video=f"{folders.get(q.video, q.video)}.mp4", kind="") for q in reading.questions]
    reading.inputs += [beside] if folders else []
    return reading


def read_clevrer(path: Path) -> Reading:
    """CLEVRER's validation.json: counterfactual questions with a right choice; ids that are unique in the file."""
    reading = clevrer.read(path)
    kept = []
    for q in reading.questions:
        own = q.video == f"video_{int(q.scene):05d}.mp4"
        video = clevrer_path("video", "validation", int(q.scene), "mp4") if own else q.video
        if q.right:
            kept.append(q._replace(question_id=f"{q.scene}-{q.question_id}", video=video))
    reasons = {"not counterfactual": reading.left_out.get(clevrer.OTHER_TYPES, 0)}
    reasons["without a right choice"] = len(reading.questions) - len(kept)
    return Reading(kept, {reason: count for reason, count in reasons.items() if count}, reading.inputs)


@dataclass(frozen=True)
class Benchmark:
    """A row of the table.

    Args:
        questions: how many the benchmark has, as evaluated in the paper.
        protocol: data_source; `{videos}` is "clips" or "whole_videos".
        split: of extra_info.
        read: reader of the benchmark's own form (the Video-R1 family's JSON is recognised for all).
        files: what --annotations is in that form.
        names: which data sets of data_sets.py its questions may be from.
    """

    questions: int
    protocol: str
    split: str
    read: Callable[[Path], Reading]
    files: str
    names: tuple[str, ...]


BENCHMARKS = {
    "mmvu": Benchmark(625, "mmvu_multiple_choice", "validation", mmvu.read, "validation.json", ("MMVU",)),
    "mvbench": Benchmark(4000, "mvbench_{videos}", "test", mvbench.read, "folder of 20 json files", MVBENCH),
    "tempcompass": Benchmark(
        7540, "tempcompass_four_tasks", "test", tempcompass.read, "folder of 4 json files", ("TempCompass",)
    ),
    "videomme": Benchmark(2700, "videomme_no_subtitles", "test", videomme.read, "test-*.parquet", ("Video-MME",)),
    "nextgqa": Benchmark(5553, "nextgqa_multiple_choice", "test", read_nextgqa, "test.csv", (NEXT,)),
    "clevrer": Benchmark(
        9238, "clevrer_counterfactual_multi_answer", "validation", read_clevrer, "validation.json", (CLEVRER,)
    ),
}


def protocol_name(name: str, clips: bool, prompt: str) -> str:
    """data_source of a benchmark that is asked with a prompt of this name: PRINTED's is not named."""
    videos = BENCHMARKS[name].protocol.format(videos="clips" if clips else "whole_videos")
    return videos if prompt == PRINTED.name else f"{videos}_{prompt}"


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
    for question in reading.questions:
        refuse_other_data_set(question, *BENCHMARKS[name].names)
    refuse_duplicates(reading.questions)
    return reading, form


def count_line(name: str, found: int, path: Path) -> str:
    """Whether the number of questions is that of the benchmark."""
    expected = BENCHMARKS[name].questions
    if found == expected:
        return f"{name}: {found:,} questions, as published"
    return f"WARNING: {name} has {expected:,} questions, {path} gives {found:,}; figures will not compare"


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
    add("--clips", choices=("auto", "yes", "no"), default="auto", help="cut to start and end (MVBench): auto cuts in "
        "MVBench's own form and shows whole videos in the Video-R1 family's, as their authors do")  # fmt: skip
    add("--prompt-file", type=Path, help="ask in these words, with {question} and {options}, instead of the paper's "
        "printed prompt; the file's name joins the protocol's (docs/data.md)")  # fmt: skip
    add_arguments(parser, None, EVALUATION_PIXELS)
    return parser


def plan(args: argparse.Namespace, root: Path) -> Plan:
    """Read the benchmark, choose the protocol, and say what is odd about the file."""
    benchmark = BENCHMARKS[args.benchmark]
    reading, form = read_benchmark(args.benchmark, args.annotations)
    questions = reading.questions
    has_clips = any(question.clip for question in questions)
    clips = has_clips and (args.clips == "yes" or (args.clips == "auto" and form == "published"))
    prompt = read_prompt(args.prompt_file) if args.prompt_file else PRINTED
    protocol = args.data_source or protocol_name(args.benchmark, clips, prompt.name)

    def describe(done: Done) -> tuple[list[str], list[str], dict]:
        counts = {
            "read": len(questions),
            "expected": benchmark.questions,
            "left_out": reading.left_out,
            "written": len(done.rows),
            "by_number_of_options": _distribution(len(question.options) for question, _ in done.pairs),
            "by_right_answer": _distribution(row["reward_model"]["ground_truth"] for row in done.rows),
            "equal_options": [q.question_id for q in questions if len(set(q.options)) < len(q.options)],
            "single_option": [q.question_id for q in questions if len(q.options) == 1],
        }
        lines = [count_line(args.benchmark, len(questions), args.annotations)]
        lines += [f"  left out: {count:,} {reason}" for reason, count in sorted(reading.left_out.items())]
        lines += [f"  note: {note}" for note in reading.notes[:10]]
        if len(reading.notes) > 10:
            lines.append(f"  note: and {len(reading.notes) - 10} more, all in the report")
        odd = {"equal_options": "two options of the same text, kept as is", "single_option": "one option only, kept as "
               "published"}  # fmt: skip
        lines += [f"  note: {len(counts[key])} questions have {what}" for key, what in odd.items() if counts[key]]
        written = [f"written to {args.output}: {len(done.rows):,} questions, data_source {protocol}"]
        missing = benchmark.questions - len(done.rows)
        if len(done.rows) < len(questions) == benchmark.questions and args.limit is None:
            written.append(f"WARNING: {missing:,} of {args.benchmark}'s questions are left out")
        return lines, written, {"counts": counts, "form": form, "notes": reading.notes, "prompt": prompt.name}

    finder = VideoFinder(root, [question.video for question in questions], benchmark.split, several=True)
    pairs = [(question, as_published(question)) for question in questions]
    inputs = [*reading.inputs, *([args.prompt_file] if args.prompt_file else [])]
    return Plan(pairs, inputs, benchmark.split, protocol, clips, finder.find, finder.expected, describe, prompt)


def main(argv: Sequence[str] | None = None) -> int:
    """Read, check, write, print a summary; raises UserError for anything the user has to correct."""
    return run(build_parser().parse_args(argv), plan)


def _distribution(values: Iterable) -> dict[str, int]:
    counts = Counter(values)
    return {str(value): counts[value] for value in sorted(counts)}


if __name__ == "__main__":
    run_main(main)
