# SPDX-License-Identifier: Apache-2.0
"""A training step of TW-GRPO against one of GRPO: pairs of real runs of examples/run_tiny_cpu.sh, one after the other.

Both members of a pair train on the same prompts in the same order. The first steps, in which things are compiled and
caches fill, do not count.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from recipe.tw_grpo.toolbox.errors import UserError

TITLE = "A step of the tiny run"
ROOT = Path(__file__).resolve().parents[1]
_WARM = 4  # steps that do not count
_PARTS = ("step", "gen", "old_log_prob", "adv", "update_actor")


def run(pairs: int = 3, steps: int = 24) -> list[dict[str, Any]]:
    """One record a pair: median seconds of a step and its parts, for both estimators.

    Raises:
        UserError: a run failed.
    """
    records = []
    for pair in range(pairs):
        order = ("tw_grpo", "grpo") if pair % 2 == 0 else ("grpo", "tw_grpo")
        records.append({"pair": pair + 1, "steps": steps - _WARM, **{name: _seconds(name, steps) for name in order}})
    return records


def _seconds(estimator: str, steps: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as place:
        out = Path(place, "run")
        environment = os.environ | {"ESTIMATOR": estimator, "STEPS": str(steps), "OUT": str(out)}
        command = ["bash", "examples/run_tiny_cpu.sh", "trainer.val_before_train=False", "trainer.save_freq=-1"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"the {estimator} run ended with {done.returncode}: {done.stderr.strip()[-500:]}")
        by_step = [json.loads(line) for file in (out / "metrics").iterdir() for line in file.open()]
    counted = [one["data"] for one in by_step if one["step"] > _WARM and "timing_s/step" in one["data"]]
    known = [name for name in _PARTS if f"timing_s/{name}" in counted[0]]
    return {name: statistics.median(data[f"timing_s/{name}"] for data in counted) for name in known}


def rows(records: list[dict[str, Any]]) -> list[list[str]]:
    """The table of `run`'s records; the last line is the median of the ratios."""
    table = [["pair", "part", "TW-GRPO, s", "GRPO, s", "ratio"]]
    ratios = []
    for record in records:
        for part in record["tw_grpo"].keys() & record["grpo"].keys():
            ours, theirs = record["tw_grpo"][part], record["grpo"][part]
            ratios += [ours / theirs] if part == "step" else []
            table.append([str(record["pair"]), part, f"{ours:.3f}", f"{theirs:.3f}", f"{ours / theirs:.3f}"])
    table[1:] = sorted(table[1:], key=lambda row: (row[0], _PARTS.index(row[1])))
    return [*table, ["all", "step, median", "", "", f"{statistics.median(ratios):.3f}"]]
