# SPDX-License-Identifier: Apache-2.0
"""Which checkpoints of a run stay: the newest ones and the best one, also across a resume.

verl's own `max_actor_ckpt_to_keep` knows only what this process has saved, and not which one validated best. The
decision is `superfluous`; guard.py calls it after a validation. Nothing is deleted unless the settings ask for it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from recipe.tw_grpo.toolbox.files import write_whole

BEST = "best.json"  # {"step": int, "metric": name, "value": float}, beside the checkpoints
_FOLDER = re.compile(r"global_step_(\d+)")


def value_of(metrics: Mapping[str, float], metric: str) -> float | None:
    """Mean over the data sources of a validation metric, `val-…/SOURCE/METRIC/mean@N`; None when there is none."""
    values = [value for name, value in metrics.items() if f"/{metric}/mean@" in name]
    return sum(values) / len(values) if values else None


def superfluous(steps: list[int], newest: int, best: int | None) -> list[int]:
    """Those of the saved steps that are neither among the `newest` last ones nor the best."""
    return [step for step in sorted(steps)[:-newest] if step != best] if newest > 0 else []


def note_best(folder: Path, step: int, metrics: Mapping[str, float], metric: str) -> None:
    """Write BEST when this saved step validated better than the one noted there; the earlier one wins a tie."""
    value = value_of(metrics, metric)
    if value is None or not (folder / f"global_step_{step}").is_dir():
        return
    noted = _noted(folder)
    if noted is None or noted["metric"] != metric or value > noted["value"]:
        write_whole(folder / BEST, json.dumps({"step": step, "metric": metric, "value": value}) + "\n")


def prune(folder: Path, newest: int) -> list[int]:
    """Delete superfluous checkpoints of complete steps below `folder`; the steps that went.

    What is newer than verl's own note of the last complete checkpoint is being written or was interrupted: it stays.
    """
    tracker = folder / "latest_checkpointed_iteration.txt"  # verl writes it last
    if not tracker.exists():
        return []
    complete = int(tracker.read_text())
    steps = [int(match.group(1)) for path in folder.iterdir() if (match := _FOLDER.fullmatch(path.name))]
    noted = _noted(folder)
    gone = superfluous([step for step in steps if step <= complete], newest, noted and noted["step"])
    for step in gone:
        shutil.rmtree(folder / f"global_step_{step}")
    return gone


def _noted(folder: Path) -> dict | None:
    try:
        return json.loads((folder / BEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
