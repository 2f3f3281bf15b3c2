# SPDX-License-Identifier: Apache-2.0
"""With another estimator and without the repairs a run with the plugin is the run without it: same seed, same metrics,
same names."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
NOT_REPEATABLE = ("timing", "perf/", "actor/perf/", "global_seqlen/")  # seconds, memory


def metrics_of(run, out, plugins):
    """Two steps of verl's own GRPO with verl's own reward manager; the command is that of the TW-GRPO run."""
    command = shlex.split(json.loads((run.out / "run.json").read_text())["command"])
    command += [
        "algorithm.adv_estimator=grpo",
        "reward.reward_manager.name=naive",
        f"reward.custom_reward_function.path={Path(__file__).parent / 'plain_reward.py'}",
        "actor_rollout_ref.actor.freeze_vision_tower=False",  # stock verl does not know how
        "trainer.save_freq=-1",
        "trainer.val_before_train=False",
        "trainer.test_freq=-1",
    ]
    launch = [sys.executable, "-m", "examples.tiny.launch", "--out", out, "--steps=2", "--seed=1", "--estimator=grpo"]
    done = subprocess.run(
        [*launch, "--model=policy", "--", *command],
        env=os.environ | {"VERL_USE_EXTERNAL_PLUGINS": plugins, "TW_GRPO_REPAIRS": "off"},
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    lines = (out / "metrics" / "000.jsonl").read_text().splitlines()
    return {record["step"]: record["data"] for record in map(json.loads, lines)}


def test_grpo_is_the_same_with_and_without_the_plugin(run, tmp_path):
    with_plugin = metrics_of(run, tmp_path / "with", "auto")
    without = metrics_of(run, tmp_path / "without", "cpu_platform")
    assert with_plugin.keys() == without.keys() == {1, 2}
    for step in with_plugin:
        ours, theirs = with_plugin[step], without[step]
        assert ours.keys() == theirs.keys()
        for name in ours:
            if not name.startswith(NOT_REPEATABLE):
                # Rows of a batch arrive in any order, so sums differ in their last bits; nothing else may.
                assert ours[name] == pytest.approx(theirs[name], rel=1e-3, abs=1e-4), name
