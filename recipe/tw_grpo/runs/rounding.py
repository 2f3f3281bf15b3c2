# SPDX-License-Identifier: Apache-2.0
"""How far D_t and w_t may lie from their definition when a model's layers round: the limits of recompute and tests.

Let no log-probability of a group be off by more than delta. Moving p_i to p_i exp(s e_i) with |e_i| <= delta changes
Eq. 4 at the rate sum_i E_{p_i}[log(p_i / m) (e_i - E e_i)] <= 2 delta sum_i E_{p_i}|log(p_i / m)|. With
E_p|log(p / m)| <= KL + sqrt(2 KL) (its negative part is at most the total variation, Pinsker) and Cauchy-Schwarz over
the G responses this is <= 2 delta (D + sqrt(2 G D)), so y = sqrt(D) obeys y' <= delta (y + sqrt(2 G)) and moves by at
most (exp(delta) - 1) (y + sqrt(2 G)). A small D_t may thus lose many digits, whatever computes the layers. For the
public code's formula the same holds with the V words of the vocabulary for G, since |exp(d) - 1| <= k + sqrt(2 k) for
its terms k = exp(d) - d - 1.
"""

from __future__ import annotations

import math

import torch

from recipe.tw_grpo.config import TWGRPOConfig
from recipe.tw_grpo.token_weights import ROUNDING, position_mask

STREAMING = 1e-5  # relative: what group_divergence in float32 may add to the layers (docs/exactness.md)
OTHER_ORDER = 4  # layers that sum in another order round elsewhere, as much; so much room above what one order shows
_FLOAT32 = 1e-6  # a weight or a minmax as it is stored


def layer_rounding(rounded: torch.Tensor, exact: torch.Tensor) -> float:
    """delta: largest difference of the log-probabilities of logits [..., V], with room for another order of sums."""
    gap = rounded.double().log_softmax(dim=-1) - exact.double().log_softmax(dim=-1)
    return OTHER_ORDER * gap.abs().max().item()


def divergence_limit(exact: torch.Tensor, delta: float, spread: int) -> torch.Tensor:
    """Largest error of each D_t that rounding explains.

    Args:
        exact: [T] float64, D_t by definition.
        delta: of `layer_rounding`.
        spread: G for "kl", V for "logspace_k3".
    """
    root = exact.clamp_min(0).sqrt()  # a D_t of 0 may round below it
    moved = math.expm1(delta) * (root + math.sqrt(2 * spread))
    return moved * (2 * root + moved) + STREAMING * root**2


def weight_limit(exact: torch.Tensor, limit: torch.Tensor, lengths: torch.Tensor, settings: TWGRPOConfig) -> float:
    """Largest error of a w_t of a group that errors of its D_t up to `limit` [T] explain (Eq. 5)."""
    mask = position_mask(lengths, settings.positions)
    if not mask.any():
        return 0.0
    chosen, error = exact[mask], limit[mask].max().item()
    slope = settings.alpha if settings.weight_form == "offset" else 1 + settings.alpha
    width = (chosen.max() - chosen.min()).item() - 2 * error
    # minmax is (D_t - D_min) / (D_max - D_min): four errors over the width; below ROUNDING it says nothing.
    return slope * min(1.0, 4 * error / width + _FLOAT32) if width > ROUNDING else slope
