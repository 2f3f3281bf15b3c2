# SPDX-License-Identifier: Apache-2.0
"""What of verl's configuration TW-GRPO needs, checked in the driver before Ray starts and any model is loaded.

Settings that would give wrong or no token weights are refused in one line with the way out; each check is one function
of the whole verl configuration. The settings of the method itself are checked by `config.py`.
"""

from __future__ import annotations

import logging
import os
from importlib.metadata import version
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recipe.tw_grpo.config import ESTIMATOR, REWARD_MANAGER, GuardConfig, RewardConfig, TWGRPOConfig
from recipe.tw_grpo.integration import freezing, qwen3_vl, schedule
from recipe.tw_grpo.policy_loss import POLICY_LOSS
from recipe.tw_grpo.toolbox.errors import UserError

VERL_VERSION = "0.9.1"
TRAINER_MODES = ("sync", "colocate_async", "separate_async")  # each shown by an end-to-end run


def settings_of(config: DictConfig) -> TWGRPOConfig | None:
    """The method's settings when this verl configuration turns it on, else None.

    Raises:
        UserError: unknown or impossible settings under `algorithm.tw_grpo`.
    """
    if config.algorithm.adv_estimator != ESTIMATOR:
        return None
    return TWGRPOConfig.from_mapping(_plain(config.algorithm.get("tw_grpo")))


def check(config: DictConfig) -> None:
    """Refuse a verl configuration that cannot work with this plugin; silent when it does not use it.

    Raises:
        UserError: one line that names the setting and the way out.
    """
    if config.reward.reward_manager.name == REWARD_MANAGER:
        RewardConfig.from_mapping(_plain(config.reward.get("reward_kwargs")))
    GuardConfig.from_mapping(_plain(config.trainer.get("tw_grpo")))
    _check_freezing(config)
    _check_schedule(config)
    _check_validation(config)
    settings = settings_of(config)
    if settings is not None or config.reward.reward_manager.name == REWARD_MANAGER:  # a baseline is trained alike
        qwen3_vl.refuse_videos(config)
    if settings is None:
        if config.actor_rollout_ref.actor.policy_loss.loss_mode == POLICY_LOSS:
            raise UserError(
                f"actor_rollout_ref.actor.policy_loss.loss_mode={POLICY_LOSS} needs token weights: set "
                f"algorithm.adv_estimator={ESTIMATOR}, or another loss_mode"
            )
        if config.algorithm.get("tw_grpo") is not None:
            raise UserError(
                f"algorithm.tw_grpo.* is set but algorithm.adv_estimator={config.algorithm.adv_estimator}: "
                f"set algorithm.adv_estimator={ESTIMATOR} or leave those settings out"
            )
        return
    if (found := version("verl")) != VERL_VERSION:
        raise UserError(f"tw_grpo is made for verl {VERL_VERSION}, found {found}: pip install verl=={VERL_VERSION}")
    _check_groups(config)
    _check_engine(config)
    _check_trainer(config)
    _check_placement(config, settings)
    mode = config.actor_rollout_ref.actor.loss_agg_mode
    if settings.loss_normalization == "prompt" and mode != "token-mean":
        raise UserError(
            f"actor_rollout_ref.actor.loss_agg_mode={mode} is not the paper's per-prompt token mean: set it to "
            "token-mean, or keep it with +algorithm.tw_grpo.loss_normalization=batch"
        )


def _check_placement(config: DictConfig, settings: TWGRPOConfig) -> None:
    mode = config.actor_rollout_ref.actor.policy_loss.loss_mode
    if settings.weight_placement == "outside":
        if mode == POLICY_LOSS:
            raise UserError(
                f"actor_rollout_ref.actor.policy_loss.loss_mode={POLICY_LOSS} puts the weight inside min(): also "
                "set +algorithm.tw_grpo.weight_placement=inside, or leave loss_mode as it is"
            )
        return
    if mode != POLICY_LOSS:
        raise UserError(
            f"algorithm.tw_grpo.weight_placement=inside needs the loss that puts it there: set "
            f"actor_rollout_ref.actor.policy_loss.loss_mode={POLICY_LOSS} (found {mode})"
        )
    correction = config.algorithm.get("rollout_correction")
    if correction and correction.get("rollout_is"):
        raise UserError(
            f"algorithm.rollout_correction.rollout_is={correction.rollout_is} takes the place where verl hands weights "
            "to a loss, and weight_placement=inside needs it: set it to null, or the placement to outside"
        )


def _check_validation(config: DictConfig) -> None:
    """verl 0.9.1 reads val_only inside val_before_train only (trainer_base.py:453), and trains without it."""
    if config.trainer.get("val_only") and not config.trainer.get("val_before_train", True):
        raise UserError(
            "trainer.val_only=True trains while trainer.val_before_train=False: set val_before_train=True to validate "
            "and stop (examples/eval_qwen25vl_7b.sh does), or leave val_only out"
        )


def _check_freezing(config: DictConfig) -> None:
    actor = config.actor_rollout_ref.actor
    if actor.get(freezing.OPTION) and actor.strategy == "fsdp" and not actor.fsdp_config.use_orig_params:
        raise UserError(
            f"actor_rollout_ref.actor.{freezing.OPTION}=True: FSDP1 flattens frozen and trained parameters together: "
            "set actor_rollout_ref.actor.strategy=fsdp2, or actor_rollout_ref.actor.fsdp_config.use_orig_params=True"
        )


def _check_schedule(config: DictConfig) -> None:
    """verl refuses another schedule by an assertion without words, and knows no linear one (schedule.py)."""
    known = ("constant", "cosine", schedule.LINEAR)
    name = "optim.lr_scheduler_type"
    actor, critic = config.actor_rollout_ref.actor, config.get("critic") or {}
    if actor.strategy in ("fsdp", "fsdp2"):
        optim = actor.optim
        if optim.lr_scheduler_type not in known:
            raise UserError(f"actor_rollout_ref.actor.{name}={optim.lr_scheduler_type} is none of {', '.join(known)}")
        if optim.lr_scheduler_type == schedule.LINEAR and optim.get("min_lr_ratio"):
            raise UserError(
                f"actor_rollout_ref.actor.{name}={schedule.LINEAR} ends at 0: leave optim.min_lr_ratio out, or set "
                "lr_scheduler_type=cosine"
            )
    if critic.get("strategy") in ("fsdp", "fsdp2") and critic.optim.lr_scheduler_type == schedule.LINEAR:
        raise UserError(f"critic.{name}={schedule.LINEAR}: only the actor has it: set it to constant or cosine")


def _check_groups(config: DictConfig) -> None:
    n = config.actor_rollout_ref.rollout.n
    if n < 2:
        raise UserError(
            f"actor_rollout_ref.rollout.n={n}: it needs responses to compare: set it to 2 or more (paper: 8)"
        )
    devices = config.trainer.n_gpus_per_node * config.trainer.nnodes
    of_one_sequence = config.actor_rollout_ref.actor.get("ulysses_sequence_parallel_size", 1)
    if devices < 1 or devices % of_one_sequence:
        raise UserError(
            f"actor_rollout_ref.actor.ulysses_sequence_parallel_size={of_one_sequence} does not divide the {devices} "
            "devices (trainer.n_gpus_per_node * trainer.nnodes): make it a divisor"
        )
    ranks = devices // of_one_sequence
    setting, prompts = "data.train_batch_size", config.data.train_batch_size
    if config.trainer.v1.trainer_mode == "separate_async":  # verl's trainer takes one mini-batch at a time
        setting, prompts = (
            "actor_rollout_ref.actor.ppo_mini_batch_size",
            config.actor_rollout_ref.actor.ppo_mini_batch_size,
        )
    if prompts % ranks:
        raise UserError(
            f"{setting}={prompts} prompts cannot be shared evenly by {ranks} data-parallel ranks without splitting a "
            "prompt's responses: make it a multiple"
        )


def _check_engine(config: DictConfig) -> None:
    strategy = config.actor_rollout_ref.actor.strategy
    if strategy not in ("fsdp", "fsdp2"):
        raise UserError(
            f"actor_rollout_ref.actor.strategy={strategy} gives no hidden states to TW-GRPO: set it to fsdp2 (or fsdp)"
        )


def _check_trainer(config: DictConfig) -> None:
    if not config.trainer.use_v1:
        raise UserError("trainer.use_v1=False is verl's legacy trainer, without token weights: set it to True")
    mode = config.trainer.v1.trainer_mode
    if mode not in TRAINER_MODES:
        raise UserError(
            f"trainer.v1.trainer_mode={mode} has not been shown to give exact token weights: set it to "
            + " or ".join(TRAINER_MODES)
        )
    if mode == "separate_async":
        _check_separate_async(config)
    correction = config.algorithm.get("rollout_correction")
    if correction and correction.get("bypass_mode", False):
        raise UserError(
            "algorithm.rollout_correction.bypass_mode=True skips the forward pass that token weights come from: "
            "set it to False"
        )


def _check_separate_async(config: DictConfig) -> None:
    """What would stop verl 0.9.1 after minutes, or make it train another policy than it says (docs/upstream.md)."""
    if not config.actor_rollout_ref.hybrid_engine:
        level = logging.getLevelName(os.environ.get("VERL_LOGGING_LEVEL", "INFO"))
        if isinstance(level, int) and level <= logging.INFO:
            raise UserError(
                "actor_rollout_ref.hybrid_engine=False stops verl 0.9.1 at a log line of its own "
                "(trainer_separate_async.py:181): set the environment variable VERL_LOGGING_LEVEL=WARN, or "
                "hybrid_engine to True"
            )
    actor = config.actor_rollout_ref.actor
    if config.trainer.v1.separate_async.parameter_sync_step > 1 and actor.strategy == "fsdp2":
        for name in ("param_offload", "offload_policy"):
            if actor.fsdp_config.get(name):
                raise UserError(
                    f"actor_rollout_ref.actor.fsdp_config.{name}=True: verl 0.9.1 then loses the old or the new policy "
                    "between the updates of a step (fsdp_utils.py:1180): set it to False, or "
                    "trainer.v1.separate_async.parameter_sync_step to 1"
                )


def _plain(section: Any) -> Any:
    return OmegaConf.to_container(section, resolve=True) if OmegaConf.is_config(section) else section
