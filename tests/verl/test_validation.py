# SPDX-License-Identifier: Apache-2.0
"""What the plugin refuses of verl's real Hydra configuration, each in one line that names the setting."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from recipe.tw_grpo.integration import validation
from recipe.tw_grpo.toolbox.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
GOOD = [
    "algorithm.adv_estimator=tw_grpo",
    "actor_rollout_ref.rollout.n=8",
    "data.train_batch_size=4",
    "trainer.n_gpus_per_node=2",
]
SEPARATE = ["trainer.v1.trainer_mode=separate_async", "actor_rollout_ref.actor.ppo_mini_batch_size=2"]
INSIDE = ["+algorithm.tw_grpo.weight_placement=inside", "actor_rollout_ref.actor.policy_loss.loss_mode=tw_grpo"]


def config(*overrides):
    with initialize_config_module(config_module="verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=[*GOOD, *overrides])


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["+algorithm.tw_grpo.alpha=0.3", "+algorithm.tw_grpo.positions=padding"],
        ["+algorithm.tw_grpo={alpha: 1.0, divergence: logspace_k3, weight_form: literal}"],
        ["actor_rollout_ref.actor.strategy=fsdp2"],
        ["trainer.v1.trainer_mode=colocate_async"],
        [*SEPARATE, "data.train_batch_size=3"],  # it is the mini-batch that two ranks share
        [
            *SEPARATE,
            "actor_rollout_ref.actor.strategy=fsdp2",
            "trainer.v1.separate_async.parameter_sync_step=1",
            "actor_rollout_ref.actor.fsdp_config.param_offload=True",
        ],
        INSIDE,
        ["algorithm.rollout_correction.rollout_is=token"],
        ["reward.reward_manager.name=multi_answer"],
        ["reward.reward_manager.name=multi_answer", "+reward.reward_kwargs.accuracy=fixed"],
        ["reward.reward_manager.name=naive", "+reward.reward_kwargs.anything=1"],
        ["actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean", "+algorithm.tw_grpo.loss_normalization=batch"],
        ["actor_rollout_ref.actor.ulysses_sequence_parallel_size=2", "data.train_batch_size=3"],
        ["actor_rollout_ref.actor.freeze_vision_tower=True", "actor_rollout_ref.actor.strategy=fsdp2"],
        ["algorithm.adv_estimator=grpo", "actor_rollout_ref.actor.optim.lr_scheduler_type=linear"],
        [
            "actor_rollout_ref.actor.freeze_vision_tower=True",
            "actor_rollout_ref.actor.fsdp_config.use_orig_params=True",
        ],
        ["algorithm.adv_estimator=grpo", "actor_rollout_ref.rollout.n=1", "trainer.use_v1=False"],
        ["algorithm.adv_estimator=gae", "trainer.v1.trainer_mode=separate_async"],
    ],
)
def test_accepted(overrides):
    validation.check(config(*overrides))


@pytest.mark.parametrize(
    "overrides, named",
    [
        (["+algorithm.tw_grpo.alfa=1"], ["algorithm.tw_grpo.alfa", "alpha"]),
        (["+algorithm.tw_grpo.alpha=-1"], ["algorithm.tw_grpo.alpha=-1"]),
        (["+algorithm.tw_grpo.max_weight=1.7"], ["algorithm.tw_grpo.max_weight", "alpha=0.7"]),
        (["+algorithm.tw_grpo=1"], ["algorithm.tw_grpo=1"]),
        (["+algorithm.tw_grpo.positions=some"], ["algorithm.tw_grpo.positions='some'", "padding"]),
        (["actor_rollout_ref.rollout.n=1"], ["actor_rollout_ref.rollout.n=1", "2 or more"]),
        (["data.train_batch_size=3"], ["data.train_batch_size=3", "2 data-parallel ranks", "multiple"]),
        (
            ["algorithm.adv_estimator=grpo", "actor_rollout_ref.actor.freeze_vision_tower=True"],
            ["freeze_vision_tower=True", "fsdp2", "use_orig_params=True"],
        ),
        (["actor_rollout_ref.actor.optim.lr_scheduler_type=lineal"], ["lr_scheduler_type=lineal", "linear"]),
        (
            [
                "actor_rollout_ref.actor.optim.lr_scheduler_type=linear",
                "actor_rollout_ref.actor.optim.min_lr_ratio=0.1",
            ],
            ["lr_scheduler_type=linear", "min_lr_ratio", "cosine"],
        ),
        (["critic.strategy=fsdp", "critic.optim.lr_scheduler_type=linear"], ["critic.optim.lr_scheduler_type=linear"]),
        (["trainer.nnodes=4"], ["data.train_batch_size=4", "8 data-parallel ranks"]),
        (["actor_rollout_ref.actor.strategy=megatron"], ["actor_rollout_ref.actor.strategy=megatron", "fsdp2"]),
        (["actor_rollout_ref.actor.strategy=veomni"], ["actor_rollout_ref.actor.strategy=veomni", "fsdp2"]),
        (["trainer.use_v1=False"], ["trainer.use_v1=False", "True"]),
        (
            ["+algorithm.tw_grpo.weight_placement=inside"],
            ["weight_placement=inside", "policy_loss.loss_mode=tw_grpo", "found vanilla"],
        ),
        (
            ["actor_rollout_ref.actor.policy_loss.loss_mode=tw_grpo"],
            ["policy_loss.loss_mode=tw_grpo", "weight_placement=inside"],
        ),
        (
            [*INSIDE, "algorithm.rollout_correction.rollout_is=token"],
            ["rollout_correction.rollout_is=token", "null", "outside"],
        ),
        (
            ["algorithm.adv_estimator=grpo", "actor_rollout_ref.actor.policy_loss.loss_mode=tw_grpo"],
            ["policy_loss.loss_mode=tw_grpo", "adv_estimator=tw_grpo"],
        ),
        (["trainer.v1.trainer_mode=another"], ["trainer_mode=another", "sync or colocate_async or separate_async"]),
        (
            [*SEPARATE, "actor_rollout_ref.actor.ppo_mini_batch_size=3"],
            ["actor_rollout_ref.actor.ppo_mini_batch_size=3", "2 data-parallel ranks", "multiple"],
        ),
        (
            [
                *SEPARATE,
                "actor_rollout_ref.actor.strategy=fsdp2",
                "actor_rollout_ref.actor.fsdp_config.param_offload=True",
            ],
            ["actor.fsdp_config.param_offload=True", "False", "parameter_sync_step to 1"],
        ),
        (
            [
                *SEPARATE,
                "actor_rollout_ref.actor.strategy=fsdp2",
                "actor_rollout_ref.actor.fsdp_config.offload_policy=True",
            ],
            ["actor.fsdp_config.offload_policy=True", "False", "parameter_sync_step to 1"],
        ),
        (
            ["algorithm.rollout_correction.bypass_mode=True"],
            ["algorithm.rollout_correction.bypass_mode=True", "False"],
        ),
        (
            ["actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-sum"],
            ["actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-sum", "token-mean", "loss_normalization=batch"],
        ),
        (
            ["algorithm.adv_estimator=grpo", "+algorithm.tw_grpo.alpha=0.7"],
            ["algorithm.tw_grpo", "algorithm.adv_estimator=grpo", "adv_estimator=tw_grpo"],
        ),
        (
            ["reward.reward_manager.name=multi_answer", "+reward.reward_kwargs.acuracy=fixed"],
            ["reward.reward_kwargs.acuracy", "accuracy"],
        ),
        (
            ["algorithm.adv_estimator=grpo", "reward.reward_manager.name=multi_answer", "+reward.reward_kwargs.rule=x"],
            ["reward.reward_kwargs.rule='x'", "tolerant, strict"],
        ),
    ],
)
def test_refused(overrides, named):
    with pytest.raises(UserError) as caught:
        validation.check(config(*overrides))
    assert all(part in str(caught.value) for part in named), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("level, refused", [("DEBUG", True), ("INFO", True), ("WARN", False), ("ERROR", False)])
def test_verls_broken_log_line_is_met_up_to_the_level_info(monkeypatch, level, refused):
    monkeypatch.setenv("VERL_LOGGING_LEVEL", level)
    without_hybrid = config(*SEPARATE, "actor_rollout_ref.hybrid_engine=False")
    if refused:
        with pytest.raises(UserError, match="hybrid_engine=False .* VERL_LOGGING_LEVEL=WARN, or hybrid_engine to True"):
            validation.check(without_hybrid)
    else:
        validation.check(without_hybrid)


def test_more_sequence_parallelism_than_ranks_is_refused_in_words():
    with pytest.raises(UserError, match="ulysses_sequence_parallel_size"):
        validation.check(config("actor_rollout_ref.actor.ulysses_sequence_parallel_size=4"))


def test_another_verl_is_refused(monkeypatch):
    monkeypatch.setattr(validation, "version", lambda name: "0.10.0" if name == "verl" else "1")
    with pytest.raises(UserError, match=r"made for verl 0\.9\.1, found 0\.10\.0"):
        validation.check(config())
    validation.check(config("algorithm.adv_estimator=grpo"))


def test_this_verl_is_the_one():
    assert importlib.metadata.version("verl") == validation.VERL_VERSION


def test_settings_of():
    assert validation.settings_of(config("algorithm.adv_estimator=grpo")) is None
    assert validation.settings_of(config("+algorithm.tw_grpo.alpha=2")).alpha == 2.0


def test_main_ppo_stops_with_one_line_before_ray():
    """The real command: exit code 2, the line, no traceback, no Ray."""
    overrides = [*GOOD, "+algorithm.tw_grpo.alfa=1", "trainer.device=cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "verl.trainer.main_ppo", *overrides],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HYDRA_FULL_ERROR": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2, done.stderr[-3000:]
    errors = [line for line in done.stderr.splitlines() if "tw_grpo" in line]
    assert errors == ["tw_grpo: error: algorithm.tw_grpo.alfa is not a setting: did you mean alpha?"]
    assert "Traceback" not in done.stderr + done.stdout
    assert "ray init kwargs" not in done.stdout and "Started a local Ray instance" not in done.stderr
