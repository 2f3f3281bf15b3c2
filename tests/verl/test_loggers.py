# SPDX-License-Identifier: Apache-2.0
"""What reaches the loggers a user chose: the launch script asks verl for the samples of each validation."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_samples_of_a_validation_reach_the_launch_scripts_logger(tmp_path, monkeypatch):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from verl.utils.tracking import ValidationGenerationsLogger

    script = ["bash", str(ROOT / "examples/run_qwen25vl_7b_twgrpo.sh")]
    printed = subprocess.run(script, env=os.environ | {"DRY_RUN": "args"}, capture_output=True, text=True, check=True)
    settings = dict(line.lstrip("+").split("=", 1) for line in printed.stdout.splitlines())
    assert int(settings["trainer.log_val_generations"]) > 0  # 0, verl's default, logs none
    monkeypatch.setenv("TENSORBOARD_DIR", str(tmp_path))
    logger = ValidationGenerationsLogger(project_name="p", experiment_name="e")
    logger.log(settings["trainer.logger"], [("What happens?", "<answer>A</answer>", 1.5)], 3)
    logger.writer.flush()
    events = event_accumulator.EventAccumulator(str(tmp_path)).Reload()
    (tag,) = events.Tags()["tensors"]
    (event,) = events.Tensors(tag)
    text = event.tensor_proto.string_val[0].decode()
    assert event.step == 3 and "What happens?" in text and "<answer>A</answer>" in text
