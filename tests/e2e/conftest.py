# SPDX-License-Identifier: Apache-2.0
"""The one real training run all end-to-end tests look at, made by the README's own command."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
SCENE = SHARED / "clevrer_validation_video_12176.json"
STEPS = 3
LIMIT = 1500  # seconds for one run, set-up and policy included


class Run:
    """A finished run of examples/run_tiny_cpu.sh: its folder, exit code and output."""

    def __init__(self, out: Path, train_file: Path, *overrides: str, **environment: str) -> None:
        self.out = out
        self.train_file = train_file
        command = ["bash", str(ROOT / "examples/run_tiny_cpu.sh"), f"data.train_files={train_file}", *overrides]
        environment = os.environ | {"OUT": str(out), "STEPS": str(STEPS), "SEED": "1"} | environment
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT, cwd=ROOT)
        self.code, self.stdout, self.stderr = done.returncode, done.stdout, done.stderr
        log = out / "train.log"
        text = log.read_text(errors="replace") if log.exists() else ""
        self.log = re.sub(r"\x1b\[[0-9;]*m", "", text)

    @property
    def metrics(self) -> dict[int, dict]:
        """verl's metrics by step, of all starts of the run."""
        found = {}
        for file in sorted((self.out / "metrics").glob("*.jsonl")):
            for line in file.read_text().splitlines():
                record = json.loads(line)
                found.setdefault(record["step"], {}).update(record["data"])
        return found

    def rollouts(self, step: int) -> list[dict]:
        """The dumped responses of one step."""
        return [json.loads(line) for line in (self.out / "rollouts" / f"{step}.jsonl").read_text().splitlines()]


def assets() -> Path:
    """Folder with the toy parquet files and the policy; made if it is not there."""
    made = subprocess.run(
        ["bash", str(ROOT / "examples/run_tiny_cpu.sh")],
        env=os.environ | {"ASSETS_ONLY": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        cwd=ROOT,
    )
    assert made.returncode == 0, made.stderr
    return Path(made.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="session")
def real_scene() -> Path:
    """Annotations of a real CLEVRER scene; it may not be there."""
    return SCENE


@pytest.fixture(scope="session")
def start() -> type[Run]:
    """Makes a further run: start(folder, train file, *overrides, **environment)."""
    return Run


@pytest.fixture(scope="session")
def tiny_assets() -> Path:
    return assets()


@pytest.fixture(scope="session")
def train_file(tiny_assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven toy questions and, where ../shared/data is, the real CLEVRER scene with its real video."""
    folder = tmp_path_factory.mktemp("data")
    toy = pq.read_table(tiny_assets / "train.parquet")
    if not SCENE.exists():
        table = toy.slice(0, 8)
    else:
        real = folder / "real.parquet"
        frames = toy["videos"][0].as_py()[0]["max_frames"]
        subprocess.run(
            ["python", str(ROOT / "data_prep/clevrer_counterfactual.py"), f"--annotations={SCENE}"]
            + [f"--video-root={SHARED / 'videos'}", f"--output={real}", f"--num-frames={frames}"],
            check=True,
        )
        table = pa.concat_tables([toy.slice(0, 7), pq.read_table(real)])
    pq.write_table(table, folder / "train.parquet")
    return folder / "train.parquet"


@pytest.fixture(scope="session")
def run(train_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three steps of TW-GRPO with a checkpoint after the second."""
    finished = Run(
        tmp_path_factory.mktemp("run") / "tiny", train_file, "trainer.save_freq=2", "trainer.max_actor_ckpt_to_keep=2"
    )
    assert finished.code == 0, f"{finished.stdout}\n{finished.stderr}\n{finished.log[-5000:]}"
    return finished
