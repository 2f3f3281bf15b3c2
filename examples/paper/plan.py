# SPDX-License-Identifier: Apache-2.0
"""One run of a row with one seed: its command on the tiny world or on a cluster, its folder, and whether it is done.

A run is done when verl's validation after its last step has answered every question and the record beside its folder
says that this is what was asked for. Running it is `run.py`, what its numbers say is `table.py`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from examples.paper.catalogue import LAUNCHER, TRAIN_FILE, Row, runs_as
from recipe.tw_grpo import evaluation
from recipe.tw_grpo.evaluation.dump import Incomplete, read_complete, read_questions
from recipe.tw_grpo.toolbox.files import read_args

TINY, CLUSTER = "tiny", "cluster"
STEPS = {TINY: 36, CLUSTER: 500}  # of examples/run_tiny_cpu.sh and examples/run_qwen25vl_7b_twgrpo.sh
TINY_LAUNCHER = "examples/run_tiny_cpu.sh"
ESTIMATOR = "algorithm.adv_estimator="
# The same for all rows of a cluster: validate once, after the last step, decoding as the paper evaluates.
MEASURE = (
    "trainer.test_freq=1000000",
    "trainer.val_before_train=False",
    'trainer.logger=["console","file","tensorboard"]',
    "data.val_batch_size=256",
    *read_args(Path(evaluation.__file__).with_name("decoding.args")),
)


@dataclasses.dataclass(frozen=True)
class Run:
    """One row with one seed.

    Attributes:
        row: the first row with these settings, see `catalogue.runs_as`.
        where: "tiny" or "cluster".
        folder: run folder; the record FOLDER.json lies beside it.
        validation: parquet with the questions of the last validation.
        tiny_file: what stands for the row's own training file on the tiny world, None for the world's own.
        extra: overrides that all runs of this table have.
    """

    row: Row
    seed: int
    steps: int
    where: str
    folder: Path
    validation: Path
    tiny_file: Path | None = None
    extra: tuple[str, ...] = ()

    @property
    def record(self) -> Path:
        """What the run was asked for, written before it starts; `done` is added when its validation is whole."""
        return self.folder.with_name(f"{self.folder.name}.json")

    @property
    def dump(self) -> Path:
        """verl's validation after the last step."""
        return self.folder / "validation" / f"{self.steps}.jsonl"

    def overrides(self) -> list[str]:
        """What follows the launch script: the row, what measuring needs, the seed, what the user added."""
        chosen = list(self.row.overrides)
        if self.where == TINY:
            chosen = [f"{TRAIN_FILE}{self.tiny_file}" if o.startswith(TRAIN_FILE) else o for o in chosen]
            return [*(o for o in chosen if not o.startswith(ESTIMATOR)), *self.extra]
        seeds = [f"data.seed={self.seed}", f"actor_rollout_ref.rollout.seed={self.seed}"]
        seeds.append(f"actor_rollout_ref.actor.data_loader_seed={self.seed}")
        files = [f"trainer.validation_data_dir={self.folder}/validation", f"data.val_files={self.validation}"]
        return [*chosen, *MEASURE, *seeds, *files, *self.extra]

    def environment(self) -> dict[str, str]:
        """Variables of the launch script."""
        if self.where == TINY:
            named = [o.removeprefix(ESTIMATOR) for o in self.row.overrides if o.startswith(ESTIMATOR)]
            return {
                "OUT": str(self.folder),
                "STEPS": str(self.steps),
                "SEED": str(self.seed),
                "ESTIMATOR": named[-1] if named else "tw_grpo",
                "RESUME": "auto",
            }
        return {
            "OUTPUT_DIR": str(self.folder),
            "EXPERIMENT": f"{self.row.name}-seed-{self.seed}",
            "STEPS": str(self.steps),
            "ROW": "",  # the row's overrides are on the command line
            "DRY_RUN": "0",
        }

    def command(self) -> list[str]:
        """Program and arguments, to be started in the root of the repository."""
        return ["bash", TINY_LAUNCHER if self.where == TINY else LAUNCHER, *self.overrides()]

    def shell(self) -> str:
        """The same as a line to type."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.environment().items()]
        return " ".join([*variables, shlex.join(self.command())])

    def identity(self) -> dict[str, Any]:
        """What makes two runs the same."""
        outside = ("MODEL_PATH", "TRAIN_FILE", "NNODES", "GPUS_PER_NODE") if self.where == CLUSTER else ()
        return {
            "row": self.row.name,
            "seed": self.seed,
            "steps": self.steps,
            "where": self.where,
            "command": self.command(),
            "validation": str(self.validation),
            "environment": {name: os.environ[name] for name in outside if name in os.environ},
        }

    def recorded(self) -> dict[str, Any] | None:
        """The record, None when there is none that can be read."""
        try:
            return json.loads(self.record.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None

    def missing(self) -> str | None:
        """Why this run has no numbers yet; None when it is done.

        Raises:
            UserError: its dump answers other questions than those of the validation file.
        """
        recorded = self.recorded()
        if recorded is None or not self.folder.is_dir():
            return "not started"
        if recorded.get("identity") != self.identity():
            return "was made with other settings"
        try:
            read_complete(self.dump, read_questions(self.validation))
        except Incomplete as error:
            return str(error)
        return None


def plan(
    rows: list[Row],
    seeds: list[int],
    *,
    where: str,
    out: Path,
    steps: int,
    validation: Path,
    tiny_files: Mapping[str, Path] = MappingProxyType({}),
    extra: tuple[str, ...] = (),
) -> dict[tuple[str, int], Run]:
    """The run of every row and seed; rows with the same settings share one.

    `tiny_files`: what stands for a training file of the catalogue on the tiny world.
    """
    runs = {}
    for seed in seeds:  # a seed at a time, so that an unfinished table has whole pairs
        for row in rows:
            same = runs_as(row)
            folder = out / same.name / f"seed-{seed}"
            tiny_file = tiny_files.get(same.train_file)
            runs[row.name, seed] = Run(same, seed, steps, where, folder, validation, tiny_file, extra)
    return runs
