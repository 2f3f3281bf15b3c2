# SPDX-License-Identifier: Apache-2.0
"""What our advantages and factors mean inside verl's real estimator, policy losses and loss aggregation."""

import math

import engine_kit as kit
import numpy as np
import pytest
import torch
from verl.trainer.ppo.core_algos import (
    POLICY_LOSS_REGISTRY,
    agg_loss,
    compute_grpo_outcome_advantage,
    compute_policy_loss_vanilla,
    get_policy_loss_fn,
)
from verl.workers.config import PolicyLossConfig

from recipe.tw_grpo.advantage import estimate
from recipe.tw_grpo.config import TWGRPOConfig
from recipe.tw_grpo.groups import rows_by_group
from recipe.tw_grpo.policy_loss import inside_objective
from recipe.tw_grpo.prompt_mean import prompt_factors
from recipe.tw_grpo.token_weights import weigh_groups


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


def weights_of(ids, mask, lengths, seed=0):
    """Weights [B, T] for a random divergence per prompt."""
    g = torch.Generator().manual_seed(seed)
    longest = {uid: int(max(n for name, n in zip(ids, lengths, strict=True) if name == uid)) for uid in ids}
    of_prompt = {uid: torch.rand(n, generator=g) for uid, n in longest.items()}
    divergence = [of_prompt[uid][:n] for uid, n in zip(ids, lengths.tolist(), strict=True)]
    rows, _ = weigh_groups(rows_by_group(list(ids)), divergence, TWGRPOConfig())
    weights = torch.zeros(mask.shape)
    for row, of_row in enumerate(rows):
        weights[row, : len(of_row)] = of_row
    return weights


@pytest.mark.parametrize("group_sizes", [[8, 8], [2, 5, 3, 16]])
def test_prompt_factors_make_verls_token_mean_the_mean_over_prompts(group_sizes):
    """Eq. 6: 1/P sum over prompts of (sum over the prompt's tokens of w loss) / (number of the prompt's tokens)."""
    _, mask, ids, lengths = batch(group_sizes, seed=1)
    weighted = weights_of(ids, mask, lengths) * torch.randn(mask.shape, generator=torch.Generator().manual_seed(2))
    factors = prompt_factors(
        list(ids), lengths.tolist(), all_tokens=float(mask.sum()), all_prompts=float(len(group_sizes))
    )
    found = agg_loss(factors[:, None] * weighted, mask, "token-mean")
    per_prompt = []
    for uid in dict.fromkeys(ids):
        rows = torch.from_numpy(ids == uid)
        per_prompt.append(((weighted * mask)[rows].sum() / mask[rows].sum()).item())
    assert found.item() == pytest.approx(sum(per_prompt) / len(per_prompt), rel=1e-5, abs=1e-6)
    if len(set(group_sizes)) > 1:
        assert agg_loss(weighted, mask, "token-mean").item() != pytest.approx(found.item(), rel=1e-3)


def policies(mask, seed=4):
    """Log-probabilities [B, T] float64 of the old and the new policy, with ratios on both sides of the clip range."""
    g = torch.Generator().manual_seed(seed)
    old = -3 * torch.rand(mask.shape, generator=g, dtype=torch.float64)
    return old, (old + 0.4 * torch.randn(mask.shape, generator=g, dtype=torch.float64)).requires_grad_()


@pytest.mark.parametrize("loss_agg_mode", ["token-mean", "seq-mean-token-sum"])
def test_outside_placement_is_verls_loss_on_weighted_advantages(loss_agg_mode):
    """w * min(r A, clip(r) A), loss and gradient, with ratios on both sides of the clip range."""
    rewards, mask, ids, lengths = batch([4, 4, 4], seed=3)
    advantages, _ = estimate(rewards, mask, {}, ids)
    weight = weights_of(ids, mask, lengths)
    old, new = policies(mask)
    config = kit.actor_config(clip_ratio_c=1e6)  # dual clip out of the way
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


@pytest.mark.parametrize("loss_agg_mode", ["token-mean", "seq-mean-token-sum"])
def test_inside_placement_is_the_printed_eq_6(loss_agg_mode):
    """min(w r A, clip(r) A) through verl's registry, loss and gradient against a loop over the tokens."""
    rewards, mask, ids, lengths = batch([4, 4, 4], seed=3)
    advantages, _ = estimate(rewards, mask, {}, ids)
    advantages, weight = advantages.double(), weights_of(ids, mask, lengths).double()
    old, new = policies(mask)
    loss, metrics = get_policy_loss_fn("tw_grpo")(
        old_log_prob=old,
        log_prob=new,
        advantages=advantages,
        response_mask=mask,
        loss_agg_mode=loss_agg_mode,
        config=kit.actor_config(),
        rollout_is_weights=weight,
    )
    (gradient,) = torch.autograd.grad(loss, new)
    expected, clipped = torch.zeros((), dtype=torch.float64), 0
    expected_gradient = torch.zeros_like(new)
    scale = mask.sum() if loss_agg_mode == "token-mean" else len(mask)
    for i, t in mask.nonzero().tolist():
        r, w, a = math.exp(new[i, t] - old[i, t]), weight[i, t].item(), advantages[i, t].item()
        weighted, bounded = w * r * a, min(max(r, 0.8), 1.28) * a
        expected -= min(weighted, bounded) / scale
        if weighted <= bounded:
            expected_gradient[i, t] = -weighted / scale
        elif 0.8 <= r <= 1.28:
            expected_gradient[i, t] = -bounded / scale
        clipped += weighted > bounded
    assert clipped and metrics["actor/pg_clipfrac"] == pytest.approx(clipped / int(mask.sum()))
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-6, atol=1e-9)


def test_inside_placement_without_weights_is_an_error():
    with pytest.raises(RuntimeError, match="needs algorithm.adv_estimator=tw_grpo"):
        get_policy_loss_fn("tw_grpo")(torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, 1))


def test_with_the_policy_unchanged_inside_only_enlarges_negative_advantages():
    """Ratio 1 and w >= 1, as in the published run: min(w A, A) is A where A > 0 and w A where A < 0."""
    advantages, weights = torch.tensor([[2.0, -2.0]]), torch.tensor([[1.7, 1.7]])
    found = inside_objective(torch.zeros(1, 2), torch.zeros(1, 2), advantages, weights, clip_low=0.2, clip_high=0.28)
    assert found.tolist() == [[2.0, pytest.approx(-3.4)]]


# verl's losses that are proportional to the advantages: there a weight on a token's advantage is a weight on its loss.
# The others also select tokens by the size of the advantages (clip_cov, kl_cov) or add a term without them (dro).
PROPORTIONAL = ["vanilla", "gspo", "gpg", "cispo", "geo_mean", "sapo", "dppo_tv", "dppo_kl"]


@pytest.mark.parametrize("name", sorted(POLICY_LOSS_REGISTRY))
def test_every_policy_loss_of_verl_takes_weighted_advantages(name):
    """Finite loss and gradient with `outside`; doubled advantages double a proportional loss."""
    if name in ("tw_grpo", "bypass_mode"):
        pytest.skip("the inside placement, and the mode without old log-probabilities that validation refuses")
    rewards, mask, ids, lengths = batch([4, 4, 4], seed=3)
    advantages, _ = estimate(rewards, mask, {}, ids)
    weighted = (weights_of(ids, mask, lengths) * advantages).double()
    config = kit.actor_config(policy_loss=PolicyLossConfig(loss_mode=name, dro_beta=0.1))
    config.global_batch_info["global_batch_size"] = len(mask)

    def loss_and_gradient(size):
        old, new = policies(mask)
        mode = "seq-mean-token-mean" if name in ("gspo", "geo_mean") else "token-mean"
        loss, _ = get_policy_loss_fn(name)(old, new, size * weighted, mask, loss_agg_mode=mode, config=config)
        return loss.detach(), torch.autograd.grad(loss, new)[0]

    loss, gradient = loss_and_gradient(1.0)
    assert torch.isfinite(loss) and torch.isfinite(gradient).all() and gradient.abs().sum() > 0
    if name in PROPORTIONAL:
        twice, twice_gradient = loss_and_gradient(2.0)
        torch.testing.assert_close(twice, 2 * loss)
        torch.testing.assert_close(twice_gradient, 2 * gradient)
