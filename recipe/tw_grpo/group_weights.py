# SPDX-License-Identifier: Apache-2.0
"""From the D_t of a whole batch to the factor of each token's advantage: weights (Eq. 5) times the normaliser of Eq. 6.

Pure torch on the driver, a few numbers per token; fetching and storing them is `trainer.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from recipe.tw_grpo.config import TWGRPOConfig
from recipe.tw_grpo.token_weights import token_weights


@dataclasses.dataclass
class BatchWeights:
    """Result of `weigh_batch`; lists are in the order of the batch.

    Attributes:
        token_weights: w_t of each response, B tensors [length] float32.
        factor: what each token's advantage is multiplied by, B tensors [length] float32.
        metrics: numbers for verl's loggers, by name.
    """

    token_weights: list[torch.Tensor]
    factor: list[torch.Tensor]
    metrics: dict[str, float]


def weigh_batch(
    *,
    uids: Sequence[Any],
    divergence: Sequence[torch.Tensor],
    response_mask: Sequence[torch.Tensor],
    rewards: torch.Tensor,
    real: Sequence[bool],
    settings: TWGRPOConfig,
) -> BatchWeights:
    """Weigh every response of a batch within its group.

    Args:
        uids: B prompt ids; equal ids are one group, in any order and of any size.
        divergence: B tensors [length], D_t of the group for each token of the response.
        response_mask: B tensors [length], 1 for tokens that are trained on.
        rewards: [B].
        real: False for the placeholder rows verl adds to fill a batch; their weights are 1 and count nowhere.
        settings: the method's settings.

    Returns:
        Weights, factors and metrics. A group whose divergence is not finite gets weights of 1 and is counted.

    Raises:
        RuntimeError: the responses of one prompt come with different D_t, so they were not computed together.
    """
    weights = [torch.ones_like(row) for row in divergence]
    factor = [torch.ones_like(row) for row in divergence]
    groups: dict[Any, list[int]] = {}
    for row, uid in enumerate(uids):
        if real[row]:
            groups.setdefault(uid, []).append(row)
    trained = {uid: sum(float(response_mask[row].sum()) for row in rows) for uid, rows in groups.items()}
    mean_trained = sum(trained.values()) / max(1, len(groups))
    not_finite = 0
    for uid, rows in groups.items():
        whole = divergence[max(rows, key=lambda row: divergence[row].shape[0])]
        if not torch.isfinite(whole).all():
            not_finite += 1
        else:
            if any(not torch.equal(divergence[row], whole[: divergence[row].shape[0]]) for row in rows):
                raise RuntimeError(
                    f"tw_grpo: the responses of prompt {uid} were not together on one data-parallel rank, "
                    "so their divergence is not that of the group"
                )
            of_group = token_weights(
                whole,
                torch.tensor([divergence[row].shape[0] for row in rows]),
                alpha=settings.alpha,
                positions=settings.positions,
                weight_form=settings.weight_form,
            )
            for row in rows:
                weights[row] = of_group[: divergence[row].shape[0]]
        # verl divides the batch by all its tokens; this makes every prompt count the same (Eq. 6).
        share = mean_trained / trained[uid] if settings.loss_normalization == "prompt" and trained[uid] else 1.0
        for row in rows:
            factor[row] = weights[row] * share
    every = [row for rows in groups.values() for row in rows]
    metrics = _group_metrics(groups, rewards)
    if every:
        metrics |= _spread("tw_grpo/divergence", torch.cat([divergence[row] for row in every]))
        metrics |= _spread("tw_grpo/token_weight", torch.cat([weights[row] for row in every]))
    metrics["tw_grpo/groups_not_finite"] = float(not_finite)
    return BatchWeights(weights, factor, metrics)


def advantage_metrics(advantages: torch.Tensor, factor: torch.Tensor) -> dict[str, float]:
    """How much larger the weighted advantages are than plain GRPO's, as a ratio of norms (1 when all are 0)."""
    plain = advantages.float().norm()
    return {"tw_grpo/advantage_norm_ratio": float((advantages * factor).float().norm() / plain) if plain > 0 else 1.0}


def _spread(name: str, values: torch.Tensor) -> dict[str, float]:
    values = values[torch.isfinite(values)]
    if not values.numel():
        return {}
    return {
        f"{name}/mean": float(values.mean()),
        f"{name}/max": float(values.max()),
        f"{name}/min": float(values.min()),
    }


def _group_metrics(groups: dict[Any, list[int]], rewards: torch.Tensor) -> dict[str, float]:
    if not groups:
        return {}
    of_groups = [rewards[rows].float() for rows in groups.values()]
    dead = sum(float(group.max() == group.min()) for group in of_groups)
    return {
        "tw_grpo/dead_group_rate": dead / len(of_groups),
        "tw_grpo/reward_std_within_group": sum(float(group.std(correction=0)) for group in of_groups) / len(of_groups),
    }
