# SPDX-License-Identifier: Apache-2.0
"""One benchmark with one model: verl's validation part by part, whole answers only, then the scores.

`python -m recipe.tw_grpo.evaluation --out DIR --data FILE … -- COMMAND…` adds to a verl command which questions it
validates and where its files go. What generates, and how, is entirely the command's; the numbers are recipe.tw_grpo's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipe.tw_grpo.config import CHOICES
from recipe.tw_grpo.evaluation.dump import Incomplete, read_complete, read_questions
from recipe.tw_grpo.evaluation.questions import write_parts
from recipe.tw_grpo.runs.folder import versions
from recipe.tw_grpo.scoring.reading import read_log
from recipe.tw_grpo.scoring.score import summarize
from recipe.tw_grpo.toolbox.command_line import Parser, integer, run_main
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.files import move_aside, write_whole
from recipe.tw_grpo.toolbox.supervise import supervise

ANSWERS, CONFIG, RECORD, SCORES = "answers.jsonl", "config.yaml", "evaluation.json", "scores.json"
_PATIENCE = 4 * 3600.0  # seconds; verl says nothing while it validates


def fingerprint(model: str) -> dict[str, Any]:
    """What tells a model from another of the same name: of a folder the names, sizes and times of its files."""
    folder = Path(model)
    if not folder.is_dir():
        return {"model": model}
    files = sorted(path for path in folder.iterdir() if path.is_file())
    stats = [f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return {"model": str(folder.resolve()), "files": hashlib.sha256("\n".join(stats).encode()).hexdigest()}


def claim(out: Path, identity: dict[str, Any]) -> bool:
    """Make `out` the folder of this evaluation; whether its scores are there already.

    Another evaluation's folder is moved aside, never deleted.

    Raises:
        UserError: the folder holds something else.
    """
    record = out / RECORD
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not record.exists())):
        raise UserError(f"{out} holds no evaluation: name another folder with OUT")
    if record.exists() and json.loads(record.read_text(encoding="utf-8"))["identity"] != identity:
        print(f"the evaluation that was in {out} had other settings and is now in {move_aside(out)}", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(record, json.dumps({"identity": identity, "versions": versions()}, indent=1) + "\n")
    return (out / SCORES).exists()


def validate(command: list[str], questions: Path, folder: Path) -> tuple[int, list[dict[str, Any]]]:
    """Answers to one part: from its dump when that is whole, else from verl; exit code and lines.

    Raises:
        Incomplete: verl ended well, but did not answer every question.
    """
    asked, dump = read_questions(questions), folder / "validation" / "0.jsonl"
    try:
        return 0, read_complete(dump, asked)
    except Incomplete:
        shutil.rmtree(folder, ignore_errors=True)  # a part of a part is worth nothing
    folder.mkdir(parents=True)
    metrics = folder / "metrics.jsonl"
    os.environ["VERL_FILE_LOGGER_PATH"] = str(metrics)
    command = [
        *command,
        f"data.train_files={questions}",  # verl wants one; nothing is trained
        f"data.val_files={questions}",
        f"trainer.validation_data_dir={dump.parent}",
        f"hydra.run.dir={folder}/hydra",
    ]
    code = supervise(command, log=folder / "validation.log", metrics=metrics, steps=1, patience=_PATIENCE)
    return (code, []) if code else (0, read_complete(dump, asked))


def evaluate(out: Path, parts: list[tuple[Path, int]], command: list[str], rule: str) -> int:
    """Validate all parts, then write answers, configuration and scores, the scores last."""
    answers: list[dict[str, Any]] = []
    for number, (questions, count) in enumerate(parts):
        print(f"part {number + 1} of {len(parts)}: {count} questions; {out}/parts/{number:03d}", flush=True)
        code, lines = validate(command, questions, out / "parts" / f"{number:03d}")
        if code:
            return code
        answers += lines
    write_whole(out / ANSWERS, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in answers))
    shutil.copyfile(out / "parts/000/hydra/.hydra/config.yaml", out / CONFIG)
    write_whole(out / SCORES, json.dumps(summarize(read_log(out / ANSWERS), rule), indent=1, allow_nan=False) + "\n")
    return 0


def optional_number(text: str) -> int | None:
    """An argparse type: a number, or nothing for "as the file has it"."""
    return integer(1)(text) if text else None


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; the exit code of verl when it failed."""
    parser = Parser(prog="python -m recipe.tw_grpo.evaluation.launch", description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of this benchmark and model")
    add("--benchmark", required=True, help="its name in the table")
    add("--data", type=Path, required=True, help="parquet of data_prep")
    add("--model", required=True, help="recorded; what is loaded is the command's")
    add("--frames", type=optional_number, help="of a video, at most; empty: as the file has it")
    add("--pixels", type=optional_number, help="of a frame, at most; empty: as the file has it")
    add("--part", type=integer(0), default=0, help="questions one start of verl answers; 0: all")
    add("--rule", choices=CHOICES["rule"], default="tolerant", help="how answers are read")
    add("command", nargs=argparse.REMAINDER, help="-- and the verl command")
    args = parser.parse_args(argv)
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    out = args.out.resolve()
    identity = {
        "benchmark": args.benchmark,
        **fingerprint(args.model),
        "data": str(args.data.resolve()),
        "data_sha256": hashlib.sha256(args.data.read_bytes()).hexdigest(),
        "frames": args.frames,
        "pixels": args.pixels,
        "part": args.part,
        "rule": args.rule,
        "overrides": [word for word in command if "=" in word],  # not which Python runs them
    }
    if claim(out, identity):
        print(f"{args.benchmark}: done already, {out}/{SCORES}", flush=True)
        return 0
    parts = write_parts(args.data, out / "data", frames=args.frames, pixels=args.pixels, largest=args.part)
    return evaluate(out, parts, command, args.rule)


if __name__ == "__main__":
    run_main(main)
