# SPDX-License-Identifier: Apache-2.0
"""Bad records among good ones, on two ranks with micro-batches of one: the run is the run without the bad ones."""

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from bad_records import KINDS, write_with_bad  # noqa: E402

from recipe.tw_grpo.toolbox.files import read_args  # noqa: E402

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

STEPS = 4
ROOT = Path(__file__).resolve().parents[2]
SETTINGS = [
    "trainer.n_gpus_per_node=2",
    "data.shuffle=False",
    "data.train_batch_size=4",
    "data.truncation=error",
    "actor_rollout_ref.actor.ppo_mini_batch_size=4",
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1",
    "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=1",
    "trainer.v1.sampler.sync_refill_failed_groups=True",
    "trainer.val_before_train=False",
    "trainer.save_freq=-1",
]


def answers(run, step):
    """{(index of the record, response tokens)} of a step's rollouts, with how often each stands there."""
    return sorted((row["index"], tuple(row["response_ids"])) for row in run.rollouts(step))


@pytest.mark.parametrize("estimator", ["tw_grpo", "grpo"])
def test_a_run_with_bad_records_is_the_run_without_them(start, tiny_assets, tmp_path, estimator):
    good = pq.read_table(tiny_assets / "train.parquet").slice(0, 24)
    kinds = write_with_bad(good, tmp_path / "train.parquet", every=4)  # all six kinds are met within four steps
    pq.write_table(good, tmp_path / "good.parquet")
    runs = {
        name: start(tmp_path / name, tmp_path / f"{name}.parquet", *SETTINGS, STEPS=str(STEPS), ESTIMATOR=estimator)
        for name in ("train", "good")
    }
    for run in runs.values():
        assert run.code == 0, f"{run.stdout}\n{run.stderr}\n{run.log[-5000:]}"
    bad, clean = runs["train"], runs["good"]
    lines = [line for line in bad.stderr.splitlines() if "cannot be used" in line]
    named = {index: [line for line in lines if f"record {index} " in line] for index in kinds}
    met = {index: kind for index, kind in kinds.items() if named[index]}
    assert len(met) >= 5 and all(len(named[index]) == 1 for index in met), lines
    for index, kind in met.items():
        assert {"missing": "no such file", "long": "max_prompt_length", "truth": "ground_truth"}.get(kind, "") in named[
            index
        ][0]
    total = {name: sum(bad.metrics[step][name] for step in range(1, STEPS + 1)) for name in ("tw_grpo/failed_prompts",)}
    assert total["tw_grpo/failed_prompts"] == len(met)
    assert "cannot be used" not in clean.stderr
    for step in range(1, STEPS + 1):
        assert bad.metrics[step]["training/rollout_probs_diff_mean"] < 1e-5
        if estimator == "tw_grpo":  # verl's dump names the records with this estimator only
            assert answers(bad, step) == answers(clean, step)
        for name in ("actor/grad_norm", "critic/score/mean", "actor/entropy"):
            assert bad.metrics[step][name] == pytest.approx(clean.metrics[step][name], rel=1e-3), (step, name)
    assert json.loads((bad.out / "summary.json").read_text())
    assert set(kinds.values()) == set(KINDS)


SEPARATE = [*read_args(ROOT / "recipe/cpu_platform/separate_async.args"), "actor_rollout_ref.hybrid_engine=False"]


@pytest.mark.parametrize("mode", ["colocate_async", "separate_async"])
def test_the_asynchronous_trainers_survive_them(start, tiny_assets, tmp_path, mode):
    good = pq.read_table(tiny_assets / "train.parquet").slice(0, 40)
    kinds = write_with_bad(good, tmp_path / "train.parquet", every=4)
    settings = [one for one in SETTINGS if not one.startswith(("trainer.n_gpus", "trainer.v1."))]
    settings += SEPARATE if mode == "separate_async" else ["trainer.v1.trainer_mode=colocate_async"]
    run = start(tmp_path / "run", tmp_path / "train.parquet", *settings, STEPS="3", VERL_LOGGING_LEVEL="WARN")
    assert run.code == 0, f"{run.stdout}\n{run.stderr}\n{run.log[-5000:]}"
    lines = [line for line in run.stderr.splitlines() if "cannot be used" in line]
    named = [sum(f"record {index} " in line for line in lines) for index in kinds]
    assert max(named) == 1 and sum(named) >= 3, lines
    for step in (1, 2, 3):
        assert run.metrics[step]["actor/grad_norm"] > 0
        assert run.metrics[step]["training/rollout_probs_diff_mean"] < 1e-5 or mode == "separate_async"
