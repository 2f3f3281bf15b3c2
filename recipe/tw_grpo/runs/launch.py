# SPDX-License-Identifier: Apache-2.0
"""One training run in one folder: start it or go on with it, train under supervision, report.

`python -m recipe.tw_grpo.runs.launch --out DIR … -- COMMAND…` adds to a verl command where its files go and whether it
resumes, and keeps beside them what the run was: settings, data, repairs, versions. What is trained, and how, is
entirely the command's.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from recipe.tw_grpo.runs.folder import RECORD, identity_of, prepare, reward_settings, versions
from recipe.tw_grpo.toolbox.command_line import Parser, integer, run_main
from recipe.tw_grpo.toolbox.files import write_whole
from recipe.tw_grpo.toolbox.supervise import STALLED_AFTER, supervise

_SAID = re.compile(r"tw_grpo: (?!error).*")  # of the log, what the user is told while it trains


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = Parser(prog="python -m recipe.tw_grpo.runs.launch", description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--out", type=Path, required=True, help="run folder")
    add("--steps", type=integer(1), required=True, help="training steps")
    add("--seed", type=int, help="seed of the run, recorded and reported")
    add("--estimator", required=True, help="algorithm.adv_estimator, recorded and reported")
    add("--model", required=True, help="folder or name of the policy; its tokenizer labels the report")
    add(
        "--config",
        type=Path,
        help="the composed configuration (python -m recipe.tw_grpo.dry_run): what two runs differ in",
    )
    add("--resume", choices=("auto", "never", "always"), default="auto")
    add("--other", choices=("aside", "refuse"), default="aside", help="what becomes of another run in the folder")
    add(
        "--patience",
        type=integer(1),
        default=int(STALLED_AFTER),
        help="seconds without a sign of life that end the run",
    )
    add("command", nargs=argparse.REMAINDER, help="-- and the verl command")
    options = parser.parse_args(arguments)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    out = options.out.resolve()
    identity = {"estimator": options.estimator, "seed": options.seed, "command": shlex.join(command)}
    if options.config is not None:
        identity = identity_of(options.config)
    done = prepare(out, identity, options.steps, options.resume, options.other)
    if done >= options.steps:
        print(f"the run in {out} is finished: {done} of {options.steps} steps. Another folder starts another run")
        return 0
    for name in ("metrics", "rollouts"):
        (out / name).mkdir(exist_ok=True)
    run = {
        "estimator": options.estimator,
        "seed": options.seed,
        "steps": options.steps,
        "command": shlex.join(command),
        "tokenizer": options.model,
        "reward_kwargs": reward_settings(command),
        "versions": versions(),
        "identity": identity,
    }
    write_whole(out / RECORD, json.dumps(run, indent=1) + "\n")
    if options.config is not None:
        write_whole(out / "config.yaml", options.config.read_text(encoding="utf-8"))
    # verl truncates its metrics file at every start, so each start gets a file of its own, and its own log.
    start = len(list((out / "metrics").iterdir()))
    metrics, log = out / "metrics" / f"{start:03d}.jsonl", out / "train.log"
    if log.exists():
        log.rename(out / f"train.{start - 1:03d}.log")
    os.environ["VERL_FILE_LOGGER_PATH"] = str(metrics)
    os.environ.setdefault("TENSORBOARD_DIR", str(out / "tensorboard"))
    command += [
        f"trainer.total_training_steps={options.steps}",
        f"trainer.default_local_dir={out}/checkpoints",
        f"trainer.rollout_data_dir={out}/rollouts",
        f"trainer.validation_data_dir={out}/validation",
        f"trainer.resume_mode={'auto' if done else 'disable'}",
        f"hydra.run.dir={out}/hydra",
    ]
    print(f"training: {options.estimator}, {options.steps} steps; log {log}", flush=True)
    program = Path(sys.executable).with_name("tw-grpo")
    words = [str(program)] if program.exists() else [sys.executable, "-m", "recipe.tw_grpo"]
    print(f"see it while it trains: {shlex.join([*words, 'report', str(out), '--follow'])}", flush=True)
    code = supervise(
        command, log=log, metrics=metrics, steps=options.steps, first=done, patience=options.patience, say=_SAID
    )
    if code:
        return code
    # A program of its own: what reads a run stands above what makes one (tests/unit/test_layout.py).
    return subprocess.run([sys.executable, "-m", "recipe.tw_grpo.report", str(out)]).returncode


if __name__ == "__main__":
    run_main(main)
