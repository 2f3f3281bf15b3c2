# SPDX-License-Identifier: Apache-2.0
"""Other ways to train than the default's: each a real run of two steps whose dumped weights are the definition's."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from recipe.tw_grpo.toolbox.files import read_args

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
SEPARATE_ASYNC = list(read_args(ROOT / "recipe/cpu_platform/separate_async.args"))

WAYS = {
    "two mini-batches, two epochs, importance weights of verl's rollout correction": [
        "actor_rollout_ref.actor.ppo_mini_batch_size=4",
        "actor_rollout_ref.actor.ppo_epochs=2",
        "algorithm.rollout_correction.rollout_is=token",
    ],
    "weights inside min(), logspace_k3 for the divergence, verl's token mean": [
        "+algorithm.tw_grpo.weight_placement=inside",
        "+algorithm.tw_grpo.divergence=logspace_k3",
        "+algorithm.tw_grpo.loss_normalization=batch",
        "actor_rollout_ref.actor.policy_loss.loss_mode=tw_grpo",
    ],
    "groups without a difference filtered out": [
        "algorithm.filter_groups.enable=True",
        "algorithm.filter_groups.metric=reward",
    ],
    "dead groups left out, states in host memory": [
        "+algorithm.tw_grpo.skip_dead_groups=True",
        "+algorithm.tw_grpo.offload_states=True",
    ],
    "asynchronous rollout on the same devices": ["trainer.v1.trainer_mode=colocate_async"],
    "two data-parallel ranks": ["trainer.n_gpus_per_node=2"],
    # Two updates a step, so that the old policy is set aside and restored; one batch ahead, so that step 2 is stale.
    "asynchronous rollout on separate devices": [
        *SEPARATE_ASYNC,
        "trainer.v1.separate_async.parameter_sync_step=2",
        "actor_rollout_ref.actor.ppo_mini_batch_size=4",
        "actor_rollout_ref.hybrid_engine=False",
        "trainer.save_freq=1",
        "trainer.max_actor_ckpt_to_keep=2",
    ],
}


@pytest.mark.parametrize("way", WAYS)
def test_weights_are_the_definition(start, tiny_assets, tmp_path, way):
    overrides = WAYS[way]
    environment = {"VERL_LOGGING_LEVEL": "WARN"} if "actor_rollout_ref.hybrid_engine=False" in overrides else {}
    # Prompts of the whole data set: eight would not refill what filtering takes out.
    other = start(tmp_path / "run", tiny_assets / "train.parquet", *overrides, STEPS="2", **environment)
    assert other.code == 0, f"{other.stdout}\n{other.stderr}\n{other.log[-5000:]}"
    for step in (1, 2):
        metrics = other.metrics[step]
        assert metrics["actor/grad_norm"] > 0 and metrics["tw_grpo/groups_not_finite"] == 0
        groups = {}
        for row in other.rollouts(step):
            groups.setdefault(row["uid"].rsplit("_", 2)[0], []).append(row)
        assert len(groups) == 8 and {len(rows) for rows in groups.values()} == {8}
        if "filtered" in way:
            assert all(len({row["score"] for row in rows}) > 1 for rows in groups.values())
            assert metrics["tw_grpo/dead_group_rate"] == 0
        left_out = [rows for rows in groups.values() if all(row["token_divergence"] == [] for row in rows)]
        assert metrics["tw_grpo/groups_left_out"] == len(left_out)
        if "left out" in way:
            assert left_out == [rows for rows in groups.values() if len({row["score"] for row in rows}) == 1]
            assert {w for rows in left_out for row in rows for w in row["token_weights"]} <= {1.0}
        else:
            assert not left_out
        for rows in groups.values():
            if rows in left_out:
                continue
            longest = max(rows, key=lambda row: len(row["response_ids"]))
            low, high = min(longest["token_divergence"]), max(longest["token_divergence"])
            assert "logspace" in way or 0 <= low <= high <= 8 * math.log(8)
            for row in rows:
                expected = [1 + 0.7 * (d - low) / (high - low) for d in row["token_divergence"]]
                assert row["token_weights"] == pytest.approx(expected, abs=1e-5)
    count = 8 - other.metrics[1]["tw_grpo/groups_left_out"]
    recomputed(other, 1, tiny_assets / "policy", "logspace_k3" if "logspace" in way else "kl", count)
    if "separate" in way:
        assert other.metrics[2]["training/off_policy/trajectory_staleness/min"] == 1
        # Responses of the first policy; their D_t and weights are those of the policy that step 2 started from.
        recomputed(other, 2, other.out / "checkpoints/global_step_1/actor/huggingface", "kl")
        first, last = (greedy_responses(other, step) for step in (0, 2))
        assert first.keys() == last.keys() and first != last, "the rollout worker's weights have not been updated"


def recomputed(other, step, policy, divergence, groups=8):
    """The dump of a step has the D_t and weights of `policy` (a Hugging Face folder), in all groups with D_t."""
    command = [sys.executable, "-m", "recipe.tw_grpo.recompute", f"--divergence={divergence}"]
    command += [policy, other.out / f"rollouts/{step}.jsonl", other.train_file]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('"G": 8') == groups


def greedy_responses(other, step):
    """Responses of verl's validation at temperature 0, by prompt."""
    lines = (other.out / f"validation/{step}.jsonl").read_text().splitlines()
    return {row["input"]: row["output"] for row in map(json.loads, lines)}
