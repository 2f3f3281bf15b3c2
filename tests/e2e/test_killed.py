# SPDX-License-Identifier: Apache-2.0
"""kill -9 in the middle of step 2, then the same command: it goes on from the last whole checkpoint."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from stop_at import PLACES  # noqa: E402

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ["trainer.save_freq=1", "trainer.val_before_train=False", "trainer.max_actor_ckpt_to_keep=2"]
# Who dies: the command the user typed, or the one process where it happened, as the kernel does when memory is short.
VICTIM = {"rollout": "command", "log-prob pass": "process", "update": "process", "checkpoint": "command"}


def started(out: Path, train_file: Path, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        ["bash", "examples/run_tiny_cpu.sh", f"data.train_files={train_file}", *SETTINGS],
        cwd=ROOT,
        env=os.environ | {"OUT": str(out), "STEPS": "3", "PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("place", PLACES)
def test_the_same_command_goes_on(tiny_assets, train_file, tmp_path, place):
    out, mark = tmp_path / "run", tmp_path / "mark"
    search = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    stopping = {"VERL_USE_EXTERNAL_MODULES": "stop_at", "STOP_AT": place, "STOP_FILE": str(mark), "PYTHONPATH": search}
    command = started(out, train_file, **stopping)
    end = time.monotonic() + 600
    while not mark.exists():
        assert command.poll() is None, command.stdout.read()
        assert time.monotonic() < end, f"{place} was not met"
        time.sleep(0.2)
    family = psutil.Process(command.pid).children(recursive=True)
    os.kill(command.pid if VICTIM[place] == "command" else int(mark.read_text()), signal.SIGKILL)
    said, _ = command.communicate(timeout=120)
    assert command.returncode != 0
    if VICTIM[place] == "process":
        assert "the whole log is" in said, said
    _, left = psutil.wait_procs(family, timeout=180)  # Ray's agents look for their parent now and then
    assert not left, f"{place}: {left}"
    if place == "checkpoint":
        assert (out / "checkpoints/global_step_2").exists(), "nothing half-written to be met"
    assert (out / "checkpoints/latest_checkpointed_iteration.txt").read_text() == "1"

    again = started(out, train_file)
    said, _ = again.communicate(timeout=600)
    assert again.returncode == 0, said
    of_start = {file.name: {json.loads(line)["step"] for line in file.open()} for file in (out / "metrics").iterdir()}
    assert of_start["001.jsonl"] >= {2, 3} and 1 not in of_start["001.jsonl"], of_start
    assert (out / "checkpoints/latest_checkpointed_iteration.txt").read_text() == "3"
