# SPDX-License-Identifier: Apache-2.0
"""Eq. 4 as printed: the dense float64 definition that everything else is compared with."""

import math

import pytest
import torch

from recipe.tw_grpo.divergence import group_divergence_reference


def test_reference_with_masked_logits():
    """-inf logits are probability 0: no NaN, and the same as leaving the entry out."""
    logits = torch.randn(3, 4, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    lengths = torch.tensor([4, 4, 4])
    shorter = group_divergence_reference(logits[..., :7], lengths)
    logits[..., 7:] = -math.inf
    masked = group_divergence_reference(logits, lengths)
    torch.testing.assert_close(masked, shorter, rtol=1e-12, atol=1e-14)
    logits[0, :, 1:] = -math.inf  # one-hot, the others cover it
    one_hot = group_divergence_reference(logits, lengths)
    assert torch.isfinite(one_hot).all() and (one_hot > masked).all()


def test_reference_ignores_logits_behind_the_end():
    logits = torch.randn(2, 5, 10, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([2, 5])
    before = group_divergence_reference(logits, lengths)
    logits[0, 2:] = math.nan
    assert torch.equal(group_divergence_reference(logits, lengths), before)
    assert before.dtype == torch.float64


def test_reference_by_hand():
    """Two responses, V = 2, p = (3/4, 1/4) and (1/4, 3/4), m = (1/2, 1/2): D = 2 (3/4 ln 3/2 + 1/4 ln 1/2); then the
    second has ended: p = (3/4, 1/4) and (1/2, 1/2), m = (5/8, 3/8)."""
    logits = torch.tensor([[[3.0, 1.0], [3.0, 1.0]], [[1.0, 3.0], [9.9, 0.1]]]).log()
    found = group_divergence_reference(logits, torch.tensor([2, 1]))
    first = 2 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    second = 0.75 * math.log(6 / 5) + 0.25 * math.log(2 / 3) + 0.5 * math.log(4 / 5) + 0.5 * math.log(4 / 3)
    assert found.tolist() == pytest.approx([first, second], rel=1e-6)
