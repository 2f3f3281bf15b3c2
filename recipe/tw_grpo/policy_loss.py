# SPDX-License-Identifier: Apache-2.0
"""Eq. 6 as printed, with the weight inside min(); integration/inside_loss.py registers it as policy loss `tw_grpo`.

The default placement (`outside`) needs no loss of its own: there w_t multiplies the advantages, and any policy loss of
verl's does the rest. Here min(w r A, clip(r) A) is not w min(r A, clip(r) A): with r = 1 and w >= 1 a positive one
keeps its size and only negative advantages grow. That is what is printed, and it is offered as printed.
"""

from __future__ import annotations

import torch

POLICY_LOSS = "tw_grpo"  # the value of actor_rollout_ref.actor.policy_loss.loss_mode
_LARGEST_LOG_RATIO = 20.0  # exp of more says nothing but overflows soon; clipped ratios are near 1


def inside_objective(
    log_prob: torch.Tensor,
    old_log_prob: torch.Tensor,
    advantages: torch.Tensor,
    weights: torch.Tensor,
    *,
    clip_low: float,
    clip_high: float,
) -> torch.Tensor:
    """min(w r A, clip(r, 1 - clip_low, 1 + clip_high) A) of each token, to be maximised (Eq. 6).

    Args:
        log_prob: [B, T] float, of the policy that is trained; the result has its gradient.
        old_log_prob: [B, T] float, of the policy that sampled; r is the ratio of the probabilities.
        advantages: [B, T] float.
        weights: [B, T] float, w_t of Eq. 5.
        clip_low: verl's actor.clip_ratio_low.
        clip_high: verl's actor.clip_ratio_high.

    Returns:
        [B, T] in the dtype of `log_prob`.
    """
    ratio = (log_prob - old_log_prob).clamp(-_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO).exp()
    return torch.minimum(weights * ratio * advantages, ratio.clamp(1 - clip_low, 1 + clip_high) * advantages)
