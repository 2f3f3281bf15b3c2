# SPDX-License-Identifier: Apache-2.0
"""Eq. 5: from the divergence D_t of a group to the weight w_t of each position, and the position modes of Table A2.

The weights are numbers, not functions of the policy: nothing here carries a gradient. `weigh_groups` does it for a
whole batch; fetching D_t and storing w_t is `integration/trainer.py`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch

from recipe.tw_grpo.config import CHOICES, TWGRPOConfig

ROUNDING = 1e-8  # nats; where responses share all they have read, D_t is rounding, and minmax would blow it up


def position_mask(lengths: torch.Tensor, positions: str) -> torch.Tensor:
    """Positions at which weights apply.

    Args:
        lengths: [G] integer, tokens of each response; all >= 1.
        positions: "all", "content" (t < min length), "padding" (min length <= t < max length) or "none".

    Returns:
        [T] bool with T = max(lengths). "content" and "padding" partition "all".

    Raises:
        ValueError: unknown mode.
    """
    if positions not in CHOICES["positions"]:
        raise ValueError(f"positions={positions!r} is none of {', '.join(CHOICES['positions'])}")
    t = torch.arange(int(lengths.max()), device=lengths.device)
    content = t < lengths.min()
    if positions == "content":
        return content
    if positions == "padding":
        return ~content
    return torch.full_like(content, positions == "all")


def token_weights(
    divergence: torch.Tensor,
    lengths: torch.Tensor,
    *,
    alpha: float = 0.7,
    positions: str = "all",
    weight_form: str = "offset",
) -> torch.Tensor:
    """Weight of each token position of one group, Eq. 5.

    minmax(D)_t = (D_t - D_min) / (D_max - D_min) over the chosen positions, 0 where they are all equal up to rounding
    (the responses do not disagree anywhere, so no position is more important than another).

    Args:
        divergence: [T] float, D_t of the group, T = max(lengths).
        lengths: [G] integer, tokens of each response.
        alpha: strength; 0 gives weights of 1 with "offset".
        positions: see `position_mask`; positions left out have weight 1.
        weight_form: "offset" w_t = 1 + alpha * minmax(D)_t, or "literal" w_t = (1 + alpha) * minmax(D)_t as printed.

    Returns:
        [T] in the dtype of `divergence`, without gradient.

    Raises:
        ValueError: unknown mode or form, a shape that does not fit, or a divergence that is not finite.
    """
    lengths = torch.as_tensor(lengths)
    if divergence.shape != (int(lengths.max()),):
        raise ValueError(f"divergence has shape {tuple(divergence.shape)}, expected [{int(lengths.max())}]")
    if weight_form not in CHOICES["weight_form"]:
        raise ValueError(f"weight_form={weight_form!r} is none of {', '.join(CHOICES['weight_form'])}")
    divergence = divergence.detach()
    if not torch.isfinite(divergence).all():
        raise ValueError("the divergence is not finite: the policy's hidden states or its LM head hold NaN or inf")
    mask = position_mask(lengths.to(divergence.device), positions)
    weights = torch.ones_like(divergence)
    if not mask.any():
        return weights
    chosen = divergence[mask]
    spread = chosen.max() - chosen.min()
    if spread > ROUNDING:
        minmax = ((chosen - chosen.min()) / spread).clamp(0, 1)
    else:  # 0/0 in the printed equation; "literal" would silence the whole group
        minmax = torch.zeros_like(chosen) if weight_form == "offset" else torch.full_like(chosen, 1 / (1 + alpha))
    weights[mask] = 1 + alpha * minmax if weight_form == "offset" else (1 + alpha) * minmax
    return weights


def weigh_groups(
    groups: Mapping[Hashable, Sequence[int]], divergence: Sequence[torch.Tensor], settings: TWGRPOConfig
) -> tuple[list[torch.Tensor], int]:
    """Weigh every response of a batch within its group.

    Args:
        groups: rows of each prompt, of any number; rows in no group get weights of 1.
        divergence: B tensors [length] float32, D_t of the group for each token of the response.
        settings: the method's settings.

    Returns:
        w_t of each response, B tensors [length] float32, and the number of groups whose divergence is not finite, which
        get weights of 1.

    Raises:
        RuntimeError: the responses of one prompt come with different D_t, so they were not computed together.
    """
    weights = [torch.ones_like(row) for row in divergence]
    not_finite = 0
    for uid, rows in groups.items():
        whole = divergence[max(rows, key=lambda row: divergence[row].shape[0])]
        if not torch.isfinite(whole).all():
            not_finite += 1
            continue
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
    return weights, not_finite
