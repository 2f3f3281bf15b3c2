# SPDX-License-Identifier: Apache-2.0
"""The evaluation script's configuration by verl's own code, and what it refuses before anything is loaded."""

import os
import subprocess
from pathlib import Path

import pytest

from recipe.tw_grpo.doctor.dry_run import compose_checked

ROOT = Path(__file__).resolve().parents[2]
OURS = ("MODEL", "BENCHMARKS", "DATA", "OUT", "DEVICE", "DRY_RUN", "TEMPERATURE", "TOP_P", "PART", "RULE", "SEED")


def script(*overrides, **variables):
    clean = {name: value for name, value in os.environ.items() if name not in OURS}
    command = ["bash", str(ROOT / "examples/eval_qwen25vl_7b.sh"), *overrides]
    return subprocess.run(command, env=clean | variables, capture_output=True, text=True, cwd=ROOT, timeout=120)


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_it_validates_only_and_decodes_as_the_paper(device):
    printed = script("actor_rollout_ref.rollout.max_model_len=9000", DRY_RUN="args", DEVICE=device)
    assert printed.returncode == 0, printed.stderr
    config = compose_checked(printed.stdout.splitlines())
    assert config.trainer.val_only and config.trainer.val_before_train and config.trainer.resume_mode == "disable"
    decoding = config.actor_rollout_ref.rollout.val_kwargs
    assert (decoding.n, decoding.do_sample, decoding.temperature, decoding.top_p) == (1, True, 0.01, 0.001)
    assert (config.data.max_prompt_length, config.data.max_response_length) == (4096, 4096)
    assert config.data.filter_overlong_prompts is False  # no question is left out before it is asked
    assert config.reward.reward_manager.name == "multi_answer"  # names the question in the dump
    assert config.actor_rollout_ref.rollout.max_model_len == 9000  # the user's overrides come last
    assert config.trainer.device == device


@pytest.mark.parametrize(
    "variables, message",
    [
        ({"DEVICE": "tpu"}, "DEVICE=tpu is neither cuda nor cpu"),
        ({"BENCHMARKS": "mmvu;rm"}, "BENCHMARKS=mmvu;rm must be names"),
        ({"DATA": "/nowhere", "BENCHMARKS": "mmvu"}, "/nowhere/mmvu.parquet is missing"),
        ({"MODEL": str(ROOT / "docs")}, "docs holds no weights"),
    ],
)
def test_mistakes_are_one_line(variables, message):
    done = script(**variables)
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
