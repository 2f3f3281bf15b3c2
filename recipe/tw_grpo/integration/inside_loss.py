# SPDX-License-Identifier: Apache-2.0
"""verl's policy loss `tw_grpo`: `policy_loss.inside_objective` behind verl's interface."""

from __future__ import annotations

from typing import Any

import torch
from verl.trainer.ppo.core_algos import agg_loss

from recipe.tw_grpo.policy_loss import inside_objective


def weight_inside(
    old_log_prob: torch.Tensor,
    log_prob: torch.Tensor,
    advantages: torch.Tensor,
    response_mask: torch.Tensor,
    loss_agg_mode: str = "token-mean",
    config: Any = None,
    rollout_is_weights: torch.Tensor | None = None,
) -> tuple[torch.Tensor, dict[str, float]]:
    """verl's policy-loss interface for `inside_objective`; all tensors [B, T].

    verl hands a loss one tensor besides advantages, `rollout_is_weights`. With `weight_placement=inside` the trainer
    puts the token weights there, and validation keeps verl's own use of it (rollout correction) away.

    Raises:
        RuntimeError: no token weights came along.
    """
    if rollout_is_weights is None:
        raise RuntimeError("policy loss tw_grpo got no token weights: it needs algorithm.adv_estimator=tw_grpo")
    objective = inside_objective(
        log_prob,
        old_log_prob,
        advantages,
        rollout_is_weights,
        clip_low=config.clip_ratio if config.clip_ratio_low is None else config.clip_ratio_low,
        clip_high=config.clip_ratio if config.clip_ratio_high is None else config.clip_ratio_high,
    )
    loss = agg_loss(
        loss_mat=-objective, loss_mask=response_mask, loss_agg_mode=loss_agg_mode, **config.global_batch_info
    )
    with torch.no_grad():
        log_ratio = (log_prob - old_log_prob)[response_mask.bool()]
        clipped = (objective != rollout_is_weights * (log_prob - old_log_prob).exp() * advantages)[response_mask.bool()]
        metrics = {
            "actor/ppo_kl": float(-log_ratio.mean()) if log_ratio.numel() else 0.0,
            "actor/pg_clipfrac": float(clipped.float().mean()) if clipped.numel() else 0.0,
        }
    return loss, metrics
