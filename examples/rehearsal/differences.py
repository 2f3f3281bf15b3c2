# SPDX-License-Identifier: Apache-2.0
"""Which overrides of the launch script a rehearsal replaces or adds, and why.

The reasons stand where the overrides do: the comment above an override in an .args file. The script's own variables
(model, files, steps) have theirs here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from recipe.tw_grpo.toolbox.errors import UserError

# What the script takes from the environment, and Hydra's folder.
OF_VARIABLES = {
    "actor_rollout_ref.model.path": "The model: small, of the same structure.",
    "data.train_files": "Questions about videos that the small model can read.",
    "data.val_files": "Questions about videos that the small model can read.",
    "trainer.total_training_steps": "Few steps.",
    "trainer.default_local_dir": "The folder of the rehearsal.",
    "trainer.rollout_data_dir": "The folder of the rehearsal.",
    "hydra.run.dir": "The folder of the rehearsal.",
    "algorithm.adv_estimator": "ESTIMATOR names the baseline.",
    "trainer.experiment_name": "ESTIMATOR names the baseline.",
}
YOURS = "Given on the command line."


@dataclass(frozen=True)
class Difference:
    """`before` is the script's value, None where it sets none (verl's default holds); `after` the rehearsal's."""

    key: str
    before: str | None
    after: str
    reason: str


def read_args(path: Path) -> dict[str, str]:
    """The overrides of an .args file in its order, each with its reason.

    Raises:
        UserError: an override without a comment above it, or two comments' worth of blank lines away.
    """
    overrides: dict[str, str] = {}
    comment: list[str] = []
    fresh = False  # the comment lines read last belong to what follows
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("#"):
            comment = [*comment, line[1:].strip()] if fresh else [line[1:].strip()]
            fresh = True
        elif not line:
            comment, fresh = [], False
        elif not comment:
            raise UserError(f"{path}:{number}: {line} has no comment above it that says why")
        else:
            overrides[line] = " ".join(comment)
            fresh = False
    return overrides


def parsed(overrides: Iterable[str]) -> dict[str, str]:
    """Hydra overrides as key -> value, the last one wins."""
    pairs = (override.lstrip("+").partition("=") for override in overrides)
    return {key: value for key, _, value in pairs}


def differences(script: Iterable[str], rehearsal: Iterable[str], reasons: Mapping[str, str]) -> list[Difference]:
    """What `rehearsal` sets otherwise than `script`, both as lists of overrides, in the order of `rehearsal`.

    Args:
        reasons: override as it stands in an .args file -> why.
    """
    before, after = parsed(script), parsed(rehearsal)
    why = {override.lstrip("+").partition("=")[0]: reason for override, reason in reasons.items()}
    return [
        Difference(key, before.get(key), value, why.get(key) or OF_VARIABLES.get(key, YOURS))
        for key, value in after.items()
        if before.get(key) != value
    ]


def table(found: Iterable[Difference]) -> list[str]:
    """Lines for people: each reason once, the overrides below it."""
    by_reason: dict[str, list[Difference]] = {}
    for one in found:
        by_reason.setdefault(one.reason, []).append(one)
    lines = []
    for reason, ones in by_reason.items():
        lines.append(f"  {reason}")
        lines += [f"      {one.key}: {one.before or '(not set)'} -> {one.after}" for one in ones]
    return lines
