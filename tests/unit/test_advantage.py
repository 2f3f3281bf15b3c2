# SPDX-License-Identifier: Apache-2.0
"""Eq. 1: advantages of a response relative to its group."""

import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recipe.tw_grpo.advantage import estimate, group_advantages
from recipe.tw_grpo.toolbox.errors import UserError

batches = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0, 1.7, 2.0, -1.0])),
    min_size=1,
    max_size=40,
)


def test_by_hand():
    """Rewards 0, 1, 2: mean 1, standard deviation with ddof = 1 is 1."""
    found = group_advantages(torch.tensor([0.0, 1.0, 2.0]), ["q", "q", "q"], epsilon=1e-9)
    assert found.tolist() == pytest.approx([-1, 0, 1], abs=1e-6)


@given(batches)
def test_equals_equation_1_of_each_group(batch):
    labels, rewards = zip(*batch, strict=True)
    found = group_advantages(torch.tensor(rewards, dtype=torch.float64), labels, epsilon=1e-6)
    for label, reward, advantage in zip(labels, rewards, found.tolist(), strict=True):
        group = [r for name, r in batch if name == label]
        if len(set(group)) == 1:
            assert advantage == 0
        else:
            expected = (reward - statistics.mean(group)) / (statistics.stdev(group) + 1e-6)
            assert advantage == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 2.0, -7.3, 1e8])
@pytest.mark.parametrize("size", [2, 3, 7, 8])
def test_a_dead_group_is_exactly_zero(value, size):
    """Also for rewards whose rounded mean is not the reward itself, where (R - mean) / eps would be noise."""
    assert (group_advantages(torch.full((size,), value), ["q"] * size) == 0).all()


def test_a_response_without_siblings_is_zero():
    assert group_advantages(torch.tensor([5.0, 1.0, 3.0]), ["a", "b", "c"]).tolist() == [0, 0, 0]


def test_large_epsilon_shrinks_the_advantages():
    rewards = torch.tensor([0.0, 2.0])
    assert group_advantages(rewards, ["q", "q"], epsilon=2**0.5).tolist() == pytest.approx([-(2**-1.5), 2**-1.5])


def test_labels_may_interleave_and_be_anything_hashable():
    rewards = torch.tensor([0.0, 5.0, 2.0, 9.0])
    found = group_advantages(rewards, [("v", 1), 7, ("v", 1), 7])
    assert found.tolist() == pytest.approx([-(0.5**0.5), -(0.5**0.5), 0.5**0.5, 0.5**0.5], rel=1e-5)


def test_estimator_sums_rewards_and_masks():
    rewards = torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.0, 2.5]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    advantages, returns = estimate(rewards, mask, {"adv_estimator": "tw_grpo"}, ["q", "q"])
    expected = (1 / 2) ** 0.5  # rewards 1 and 3
    assert advantages.tolist() == [pytest.approx([-expected, -expected, 0]), pytest.approx([expected] * 3)]
    assert torch.equal(advantages, returns) and not advantages.requires_grad


def test_estimator_reads_its_settings():
    rewards, mask = torch.tensor([[0.0], [2.0]]), torch.ones(2, 1)
    wide, _ = estimate(rewards, mask, {"tw_grpo": {"epsilon": 1.0}}, ["q", "q"])
    assert wide[1].item() == pytest.approx(1 / (2**0.5 + 1))
    with pytest.raises(UserError, match="did you mean epsilon"):
        estimate(rewards, mask, {"tw_grpo": {"epsilom": 1.0}}, ["q", "q"])


def test_estimator_needs_prompt_ids():
    with pytest.raises(ValueError, match="uid"):
        estimate(torch.zeros(2, 1), torch.ones(2, 1))


def test_without_the_standard_deviation_the_advantage_is_the_distance_from_the_mean():
    rewards = torch.tensor([2.0, 1.0, 0.0, 5.0, 5.0, 5.0])
    got = group_advantages(rewards, list("aaabbb"), divide_by_std=False)
    assert got.tolist() == [1, 0, -1, 0, 0, 0]


@pytest.mark.parametrize("divide", [True, False])
def test_verls_setting_for_it_is_honoured(divide):
    rewards = torch.tensor([[0.0, 3.0], [0.0, 1.0]])
    got, _ = estimate(rewards, torch.ones(2, 2), {"norm_adv_by_std_in_grpo": divide}, ["a", "a"])
    expected = 1.0 if not divide else 1 / (2**0.5 + 1e-6)
    assert torch.allclose(got, torch.tensor([[expected] * 2, [-expected] * 2]))
