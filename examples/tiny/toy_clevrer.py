# SPDX-License-Identifier: Apache-2.0
"""Writes a toy-CLEVRER data set in CLEVRER's own layout and annotation format: questions/, video_*/, annotation_*/.

Every scene follows from (seed, scene index) alone, so the number of workers changes nothing. `program` fields are ours,
["remove", id] and ["collision", id, id]: they name objects of the annotation. The folder appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data_prep.videos.find import clevrer_path
from examples.tiny.physics import slower
from examples.tiny.render import render_frames, video_codec, write_mp4
from examples.tiny.world import LEVELS, Question, Scene, make_scene, questions, simulate
from recipe.tw_grpo.toolbox.command_line import Parser, integer, run_main
from recipe.tw_grpo.toolbox.errors import UserError

SETTINGS = "toy_clevrer.json"  # marks a folder as ours; only such a folder is ever overwritten
FIRST_INDEX = {"train": 0, "validation": 10_000}  # CLEVRER's numbering
MAX_SCENES = {"train": 10_000, "validation": 5_000}


@dataclass(frozen=True)
class Job:
    """One scene to make; plain values, because it travels to a worker process."""

    folder: str
    split: str
    index: int
    seed: int
    level: int
    questions: int
    height: int
    width: int
    frames: int
    fps: int
    slower: int = 1
    picture_width: int | None = None


def scene_seed(seed: int, index: int) -> int:
    """Seed of scene `index` of data set `seed`: hashed and at least 2**61, so never a small number used elsewhere."""
    digest = hashlib.sha256(f"toy-clevrer {seed} {index}".encode()).digest()
    return 2**61 | int.from_bytes(digest[:8], "big") >> 3


def question_entry(number: int, question: Question) -> dict[str, Any]:
    """A question in CLEVRER's format."""
    return {
        "question_id": number,
        "question": question.text,
        "question_type": "counterfactual",
        "program": ["remove", str(question.removed)],
        "choices": [
            {
                "choice_id": i,
                "choice": choice.text,
                "program": ["collision", *map(str, choice.pair)],
                "answer": "correct" if choice.correct else "wrong",
            }
            for i, choice in enumerate(question.choices)
        ],
    }


def annotation_entry(scene: Scene, index: int, filename: str) -> dict[str, Any]:
    """Ground truth of the video in CLEVRER's format, in px of the world and px/frame, plus lane, mass."""
    simulation = simulate(scene)
    positions, velocities = (np.round(a, 4).tolist() for a in (simulation.positions, simulation.velocities))
    return {
        "scene_index": index,
        "video_filename": filename,
        "object_property": [
            {
                "object_id": body.object_id,
                "color": body.color,
                "material": body.material,
                "shape": body.shape,
                "lane": body.lane,
                "mass": body.mass,
            }
            for body in scene.bodies
        ],
        "motion_trajectory": [
            {
                "frame_id": frame,
                "objects": [
                    {
                        "object_id": body.object_id,
                        "location": positions[frame][i],
                        "velocity": velocities[frame][i],
                        "inside_camera_view": bool(simulation.inside[frame, i]),
                    }
                    for i, body in enumerate(scene.bodies)
                ],
            }
            for frame in range(scene.frames)
        ],
        "collision": [
            {
                "object_ids": list(collision.pair),
                "frame_id": int(collision.time),
                "location": [round(value, 4) for value in collision.location],
                "inside_camera_view": collision.visible,
            }
            for collision in simulation.collisions
        ],
    }


def make_one(job: Job) -> tuple[dict[str, Any], list[tuple[int, int, bool]]]:
    """Write video and annotation of one scene; return its entry of the question file and, per question, what to count:
    number of options, number of right ones, whether the counterfactual differs from the video."""
    seed = scene_seed(job.seed, job.index)
    scene = make_scene(seed, job.level, height=job.height, width=job.width, frames=job.frames, fps=job.fps)
    if job.slower > 1:
        scene = slower(scene, job.slower, job.fps)
    asked = questions(scene, random.Random(f"toy-clevrer questions {seed}"), job.questions)
    filename = f"video_{job.index:05d}.mp4"
    video, annotation = (
        Path(job.folder, clevrer_path(kind, job.split, job.index, suffix))
        for kind, suffix in (("video", "mp4"), ("annotation", "json"))
    )
    for path in (video, annotation):
        path.parent.mkdir(parents=True, exist_ok=True)
    scale = (job.picture_width or job.width) / job.width
    parts = [range(start, min(start + 16, scene.frames)) for start in range(0, scene.frames, 16)]  # canvases are large
    frames = np.concatenate([render_frames(scene, frames=part, scale=scale) for part in parts])
    write_mp4(frames, video, job.fps)
    annotation.write_text(json.dumps(annotation_entry(scene, job.index, filename)) + "\n", encoding="utf-8")
    entry = {
        "scene_index": job.index,
        "video_filename": filename,
        "questions": [question_entry(i, question) for i, question in enumerate(asked)],
    }
    return entry, [(len(q.choices), len(q.letters), q.changed) for q in asked]


def _ignore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent ends the workers


def run_jobs(jobs: Sequence[Job], workers: int) -> Iterator[tuple[dict[str, Any], list[tuple[int, int, bool]]]]:
    """make_one of every job, in order, in this process or in `workers` others."""
    if workers == 1:
        yield from map(make_one, jobs)
        return
    context = multiprocessing.get_context("spawn")  # encoders have threads; forking them is not safe
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupt)
    try:
        yield from pool.map(make_one, jobs, chunksize=16)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def statistics(counted: Sequence[tuple[int, int, bool]]) -> dict[str, Any]:
    """Counts of a split, for its summary and the settings file."""
    return {
        "questions": len(counted),
        "options": dict(sorted(Counter(options for options, _, _ in counted).items())),
        "right": dict(sorted(Counter(right for _, right, _ in counted).items())),
        "changed": sum(changed for _, _, changed in counted),
    }


def write_dataset(folder: Path, jobs: dict[str, list[Job]], settings: dict[str, Any], workers: int) -> dict[str, Any]:
    """Fill `folder` with all splits; returns statistics by split."""
    counts: dict[str, Any] = {}
    (folder / "questions").mkdir(parents=True)
    everything = [job for split in jobs.values() for job in split]
    results = run_jobs(everything, workers)
    with tqdm(total=len(everything), desc="scenes", unit="scene", disable=None) as bar:
        for split, split_jobs in jobs.items():
            entries, counted = [], []
            for _ in split_jobs:
                entry, numbers = next(results)
                entries.append(entry)
                counted += numbers
                bar.update()
            text = json.dumps(entries, indent=1) + "\n"
            (folder / "questions" / f"{split}.json").write_text(text, encoding="utf-8")
            counts[split] = {"scenes": len(split_jobs), **statistics(counted)}
    results.close()
    (folder / SETTINGS).write_text(json.dumps({**settings, "counts": counts}, indent=1) + "\n", encoding="utf-8")
    return counts


def replace_folder(new: Path, target: Path) -> None:
    """Put `new` in the place of `target`: nothing, an empty folder, or an older data set of ours."""
    if target.is_dir() and any(target.iterdir()):
        old = target.with_name(f".{target.name}.{os.getpid()}.old")
        os.rename(target, old)
        os.rename(new, target)
        shutil.rmtree(old)
    else:
        os.replace(new, target)


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description="Write a toy-CLEVRER data set.", prog="toy_clevrer")
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder to create")
    add("--scenes", type=integer(1, MAX_SCENES["train"]), default=500, help="training scenes")
    add("--validation-scenes", type=integer(0, MAX_SCENES["validation"]), default=50, help="validation scenes")
    add("--level", type=int, choices=LEVELS, default=1, help="1 lanes, 2 speeds, 3 chains, 4 free motion")
    add("--seed", type=int, default=0, help="same seed, same data set")
    add("--questions-per-scene", type=integer(1, 100), default=4, help="at most this many, about different objects")
    add("--frames", type=integer(4, 1000), default=16, help="length of a video")
    add("--slower", type=integer(1, 100), default=1, help="the same motion in this many times as many frames")
    add(
        "--picture-width", type=integer(28, 4096), help="px of the drawn picture (default: --width); its height follows"
    )
    add("--fps", type=integer(1, 240), default=8, help="frames per second of a video")
    add("--height", type=integer(28, 4096), default=112, help="px, a multiple of 28, one lane per 28")
    add("--width", type=integer(28, 4096), default=140, help="px, a multiple of 28")
    add("--workers", type=integer(1, 256), default=min(2, os.cpu_count() or 1), help="processes")
    add("--overwrite", action="store_true", help="replace an older toy-CLEVRER data set in --out")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Make the data set and print what is in it; raises UserError for anything the user has to correct."""
    args = build_parser().parse_args(argv)
    out = Path(os.path.abspath(args.out))
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: there is a file of this name")
    if out.is_dir() and any(out.iterdir()):
        if not (out / SETTINGS).is_file():
            raise UserError(f"--out {out}: the folder is not empty and no toy-CLEVRER data set; choose another")
        if not args.overwrite:
            raise UserError(f"--out {out}: a data set is there already; --overwrite replaces it")
    sizes = {name: getattr(args, name) for name in ("height", "width", "frames", "fps")}
    try:
        make_scene(0, args.level, **sizes)
    except ValueError as error:
        raise UserError(str(error)) from None
    folder = out.with_name(f".{out.name}.{os.getpid()}.part")
    per_scene = args.questions_per_scene
    drawn = {} if args.slower == 1 else {"slower": args.slower}
    if args.picture_width is not None:
        height = args.picture_width * args.height / args.width
        if args.picture_width % 2 or height % 2:
            raise UserError(f"--picture-width {args.picture_width}: width and height {height:g} must be even numbers")
        drawn["picture_width"] = args.picture_width
    settings = {
        "seed": args.seed,
        "level": args.level,
        "questions_per_scene": per_scene,
        **sizes,
        **drawn,
        "codec": video_codec(),
    }
    wanted = {"train": args.scenes, "validation": args.validation_scenes}
    jobs = {
        split: [
            Job(str(folder), split, FIRST_INDEX[split] + i, args.seed, args.level, per_scene, **sizes, **drawn)
            for i in range(wanted[split])
        ]
        for split in wanted
        if wanted[split]
    }
    start = time.perf_counter()
    try:
        counts = write_dataset(folder, jobs, settings, args.workers)
        replace_folder(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds = time.perf_counter() - start
    total = sum(split["questions"] for split in counts.values())
    for split, numbers in counts.items():
        print(
            f"{split}: {numbers['scenes']:,} scenes, {numbers['questions']:,} questions; right choices "
            f"{numbers['right']}; options {numbers['options']}; "
            f"{numbers['changed'] / max(1, numbers['questions']):.0%} differ from what the video shows"
        )
    print(f"{out}: level {args.level}, {total:,} questions in {seconds:.1f} s ({total / seconds:,.0f} questions/s)")
    return 0


if __name__ == "__main__":
    run_main(main)
