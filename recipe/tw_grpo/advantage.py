# SPDX-License-Identifier: Apache-2.0
"""Eq. 1: the group-relative advantage A_i = (R_i - mean R) / std R, registered in verl as adv_estimator `tw_grpo`.

The token weights are not here: verl gives an estimator rewards and masks only; `integration/trainer.py` multiplies
them in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from recipe.tw_grpo.config import TWGRPOConfig
from recipe.tw_grpo.groups import rows_by_group


def group_advantages(
    rewards: torch.Tensor, groups: Sequence[Any], *, epsilon: float = 1e-6, divide_by_std: bool = True
) -> torch.Tensor:
    """Advantage of each response relative to the responses of the same prompt, Eq. 1 with ddof = 1.

    Args:
        rewards: [B] float.
        groups: B hashable labels; responses with equal labels are of one prompt, in any order.
        epsilon: added to the standard deviation.
        divide_by_std: False leaves A = R - mean R (verl's algorithm.norm_adv_by_std_in_grpo).

    Returns:
        [B] in the dtype of `rewards`. Exactly 0 in a group of equal rewards and for a response without siblings.
    """
    advantages = torch.zeros_like(rewards)
    for members in rows_by_group(groups).values():
        group = rewards[members].double()
        if group.max() > group.min():
            scale = group.std() + epsilon if divide_by_std else 1.0
            advantages[members] = ((group - group.mean()) / scale).to(rewards.dtype)
    return advantages


def estimate(
    token_level_rewards: torch.Tensor,
    response_mask: torch.Tensor,
    config: Mapping[str, Any] | None = None,
    index: Sequence[Any] | None = None,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """verl's estimator interface for `group_advantages`.

    Args:
        token_level_rewards: [B, T] float; a response's reward is their sum.
        response_mask: [B, T] 1 for tokens that are trained on.
        config: verl's `algorithm` section; its `tw_grpo` part and `norm_adv_by_std_in_grpo` are read.
        index: B prompt ids (verl's uid).

    Returns:
        advantages and returns, both [B, T] and equal, 0 outside the mask.

    Raises:
        ValueError: verl gave no prompt ids.
    """
    if index is None:
        raise ValueError("adv_estimator=tw_grpo needs the uid of each response to know its group")
    config = {} if config is None else config
    settings = TWGRPOConfig.from_mapping(config.get("tw_grpo"))
    with torch.no_grad():
        advantages = group_advantages(
            token_level_rewards.sum(dim=-1),
            list(index),
            epsilon=settings.epsilon,
            divide_by_std=config.get("norm_adv_by_std_in_grpo", True),
        )
        advantages = advantages[:, None] * response_mask
    return advantages, advantages
