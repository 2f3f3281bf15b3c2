# SPDX-License-Identifier: Apache-2.0
"""From the D_t of a whole batch to the weight of each token (Eq. 5), group by group.

Pure torch on the driver, a few numbers per token; fetching and storing them is `trainer.py`, what is logged about them
`metrics.py`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch

from recipe.tw_grpo.config import TWGRPOConfig
from recipe.tw_grpo.token_weights import token_weights


def rows_by_group(uids: Sequence[Hashable], real: Sequence[bool] | None = None) -> dict[Hashable, list[int]]:
    """Rows of each prompt, prompts in the order of their first row; rows that are not `real` (verl's placeholders) are
    left out."""
    groups: dict[Hashable, list[int]] = {}
    for row, uid in enumerate(uids):
        if real is None or real[row]:
            groups.setdefault(uid, []).append(row)
    return groups


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
