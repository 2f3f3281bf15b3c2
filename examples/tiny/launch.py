# SPDX-License-Identifier: Apache-2.0
"""One run folder: start over or resume, train under supervision, report.

`python -m examples.tiny.launch --out DIR … -- COMMAND…` adds to a verl command where its files go and whether it
resumes. What is trained, and how, is entirely the command's.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
from pathlib import Path

from recipe.tw_grpo.runs.folder import prepare, reward_settings, versions
from recipe.tw_grpo.toolbox.command_line import Parser, run_main
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.supervise import supervise


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = Parser(prog="python -m examples.tiny.launch", description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--steps", type=int, required=True, help="training steps")
    parser.add_argument("--seed", type=int, required=True, help="seed of the run, recorded and reported")
    parser.add_argument("--estimator", required=True, help="algorithm.adv_estimator, recorded and reported")
    parser.add_argument("--model", required=True, help="folder of the policy; its tokenizer labels the report")
    parser.add_argument("--resume", choices=("auto", "never", "always"), default="auto")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and the verl command")
    options = parser.parse_args(arguments)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    out = options.out.resolve()
    identity = {"estimator": options.estimator, "seed": options.seed, "command": shlex.join(command)}
    if options.steps < 1:
        raise UserError(f"STEPS={options.steps} must be 1 or more")
    done = prepare(out, identity, options.steps, options.resume)
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
    (out / "run.json").write_text(json.dumps(run, indent=1) + "\n")
    # verl truncates its metrics file at every start, so each start gets a file of its own.
    metrics = out / "metrics" / f"{len(list((out / 'metrics').iterdir())):03d}.jsonl"
    os.environ["VERL_FILE_LOGGER_PATH"] = str(metrics)
    command += [
        f"trainer.total_training_steps={options.steps}",
        f"trainer.default_local_dir={out}/checkpoints",
        f"trainer.rollout_data_dir={out}/rollouts",
        f"trainer.validation_data_dir={out}/validation",
        f"trainer.resume_mode={'auto' if done else 'disable'}",
        f"hydra.run.dir={out}/hydra",
    ]
    print(f"training: {options.estimator}, seed {options.seed}, {options.steps} steps; log {out}/train.log", flush=True)
    code = supervise(command, log=out / "train.log", metrics=metrics, steps=options.steps, first=done)
    if code:
        return code
    from recipe.tw_grpo.report.__main__ import main as report  # matplotlib only when there is something to draw

    return report([str(out)]) or 0


if __name__ == "__main__":
    run_main(main)
