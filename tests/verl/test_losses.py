# SPDX-License-Identifier: Apache-2.0
"""What our advantages and factors mean inside verl's real estimator, policy losses and loss aggregation."""

import numpy as np
import pytest
import torch
from verl.trainer.ppo.core_algos import agg_loss, compute_grpo_outcome_advantage, compute_policy_loss_vanilla
from verl.workers.config import FSDPActorConfig, FSDPOptimizerConfig

from recipe.tw_grpo.advantage import estimate
from recipe.tw_grpo.config import TWGRPOConfig
from recipe.tw_grpo.group_weights import weigh_batch


def batch(group_sizes, seed, n_tokens=12):
    """Token rewards, masks and prompt ids of random groups in random order."""
    g = torch.Generator().manual_seed(seed)
    rows = sum(group_sizes)
    lengths = torch.randint(1, n_tokens + 1, (rows,), generator=g)
    mask = (torch.arange(n_tokens) < lengths[:, None]).long()
    rewards = torch.zeros(rows, n_tokens)
    rewards[torch.arange(rows), lengths - 1] = torch.randint(0, 7, (rows,), generator=g) / 3
    ids = np.array([f"uid{i}" for i, size in enumerate(group_sizes) for _ in range(size)], dtype=object)
    return rewards, mask, ids[torch.randperm(rows, generator=g).numpy()], lengths


@pytest.mark.parametrize("group_sizes", [[8, 8], [2, 5, 3, 16], [4] * 6])
@pytest.mark.parametrize("seed", range(4))
def test_advantages_are_those_of_verls_grpo(group_sizes, seed):
    rewards, mask, ids, _ = batch(group_sizes, seed)
    ours, returns = estimate(rewards, mask, {"tw_grpo": None}, ids)
    theirs, _ = compute_grpo_outcome_advantage(rewards, mask, ids)
    assert (theirs != 0).any()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert torch.equal(ours, returns) and (ours[mask == 0] == 0).all()


def test_a_dead_group_is_exactly_zero_where_verls_is_rounding():
    rewards, mask = torch.full((3, 1), 0.1), torch.ones(3, 1)
    ids = np.array(["q"] * 3, dtype=object)
    assert (estimate(rewards, mask, {}, ids)[0] == 0).all()
    assert compute_grpo_outcome_advantage(rewards, mask, ids)[0].abs().max() < 0.1


def factors(ids, mask, lengths, *, alpha, seed=0):
    """Factor [B, T] for a random divergence per prompt."""
    g = torch.Generator().manual_seed(seed)
    longest = {uid: int(max(n for name, n in zip(ids, lengths, strict=True) if name == uid)) for uid in ids}
    of_prompt = {uid: torch.rand(n, generator=g) for uid, n in longest.items()}
    weights = weigh_batch(
        uids=list(ids),
        divergence=[of_prompt[uid][:n] for uid, n in zip(ids, lengths.tolist(), strict=True)],
        response_mask=[row[:n] for row, n in zip(mask, lengths.tolist(), strict=True)],
        rewards=torch.zeros(len(ids)),
        real=[True] * len(ids),
        settings=TWGRPOConfig(alpha=alpha),
    )
    pad = torch.nn.utils.rnn.pad_sequence
    shape = (0, mask.shape[1])
    factor = torch.zeros(len(ids), shape[1])
    padded = pad(weights.factor, batch_first=True)
    factor[:, : padded.shape[1]] = padded
    weight = torch.zeros_like(factor)
    weight[:, : padded.shape[1]] = pad(weights.token_weights, batch_first=True)
    return factor, weight


@pytest.mark.parametrize("alpha", [0.0, 0.7])
@pytest.mark.parametrize("group_sizes", [[8, 8], [2, 5, 3, 16]])
def test_prompt_normalisation_makes_verls_token_mean_the_mean_over_prompts(group_sizes, alpha):
    """Eq. 6: 1/P sum over prompts of (sum over the prompt's tokens of w loss) / (number of the prompt's tokens)."""
    _, mask, ids, lengths = batch(group_sizes, seed=1)
    factor, weight = factors(ids, mask, lengths, alpha=alpha)
    loss = torch.randn(mask.shape, generator=torch.Generator().manual_seed(2))
    found = agg_loss(factor * loss, mask, "token-mean")
    per_prompt = []
    for uid in dict.fromkeys(ids):
        rows = torch.from_numpy(ids == uid)
        per_prompt.append(((weight * loss * mask)[rows].sum() / mask[rows].sum()).item())
    assert found.item() == pytest.approx(sum(per_prompt) / len(per_prompt), rel=1e-5, abs=1e-6)
    if len(set(group_sizes)) > 1:
        assert agg_loss(weight * loss, mask, "token-mean").item() != pytest.approx(found.item(), rel=1e-3)


@pytest.mark.parametrize("loss_agg_mode", ["token-mean", "seq-mean-token-sum"])
def test_outside_placement_is_verls_loss_on_weighted_advantages(loss_agg_mode):
    """w * min(r A, clip(r) A), loss and gradient, with ratios on both sides of the clip range."""
    rewards, mask, ids, lengths = batch([4, 4, 4], seed=3)
    advantages, _ = estimate(rewards, mask, {}, ids)
    _, weight = factors(ids, mask, lengths, alpha=0.7)
    g = torch.Generator().manual_seed(4)
    old = -3 * torch.rand(mask.shape, generator=g, dtype=torch.float64)
    new = (old + 0.4 * torch.randn(mask.shape, generator=g, dtype=torch.float64)).requires_grad_()
    config = FSDPActorConfig(
        strategy="fsdp2",
        clip_ratio=0.2,
        clip_ratio_low=0.2,
        clip_ratio_high=0.28,
        clip_ratio_c=1e6,  # dual clip out of the way
        ppo_micro_batch_size_per_gpu=1,
        rollout_n=4,
        ppo_mini_batch_size=4,
        optim=FSDPOptimizerConfig(lr=1e-3, total_training_steps=10),
    )
    loss, metrics = compute_policy_loss_vanilla(
        old, new, (weight * advantages).double(), mask, loss_agg_mode=loss_agg_mode, config=config
    )
    (gradient,) = torch.autograd.grad(loss, new)

    ratio = (new - old).exp()
    objective = weight * torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.28) * advantages) * mask
    scale = mask.sum() if loss_agg_mode == "token-mean" else len(mask)
    expected = -objective.sum() / scale
    (expected_gradient,) = torch.autograd.grad(expected, new)
    assert ((ratio > 1.28) | (ratio < 0.8)).any() and (expected_gradient == 0).any()
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-6, atol=1e-9)
