# SPDX-License-Identifier: Apache-2.0
"""From D_t of a batch to the factor of each advantage: groups, placeholders, normalisation, refusals, metrics."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recipe.tw_grpo.config import TWGRPOConfig
from recipe.tw_grpo.group_weights import advantage_metrics, weigh_batch
from recipe.tw_grpo.token_weights import token_weights

PROMPT, BATCH = TWGRPOConfig(), TWGRPOConfig(loss_normalization="batch")


def make(lengths_by_uid, *, order=None, seed=0, masked=()):
    """Arguments of weigh_batch for groups {uid: lengths}; `masked` rows are not trained on at their first token."""
    g = torch.Generator().manual_seed(seed)
    rows = []
    for uid, lengths in lengths_by_uid.items():
        divergence = 3 * torch.rand(max(lengths), generator=g)
        rows += [(uid, divergence[:n].clone(), torch.ones(n, dtype=torch.int64)) for n in lengths]
    rows = [rows[i] for i in order or range(len(rows))]
    for row in masked:
        rows[row][2][0] = 0
    return {
        "uids": [row[0] for row in rows],
        "divergence": [row[1] for row in rows],
        "response_mask": [row[2] for row in rows],
        "rewards": torch.rand(len(rows), generator=g),
        "real": [True] * len(rows),
    }


GROUPS = {"p": [3, 7, 5], "q": [2, 2], "r": [9, 1, 4, 6]}


def test_each_group_gets_its_own_weights_whatever_the_order():
    order = [4, 0, 8, 2, 6, 1, 5, 3, 7]
    batch = make(GROUPS, order=order)
    found = weigh_batch(**batch, settings=BATCH)
    for uid, lengths in GROUPS.items():
        rows = [row for row, name in enumerate(batch["uids"]) if name == uid]
        longest = max(rows, key=lambda row: len(batch["divergence"][row]))
        expected = token_weights(batch["divergence"][longest], torch.tensor(lengths), alpha=0.7)
        for row in rows:
            n = len(batch["divergence"][row])
            assert torch.equal(found.token_weights[row], expected[:n])
            assert torch.equal(found.factor[row], expected[:n]), "batch normalisation is verl's own"


def test_settings_reach_the_weights():
    settings = TWGRPOConfig(alpha=2.0, positions="content", weight_form="literal", loss_normalization="batch")
    batch = make({"p": [3, 7]})
    found = weigh_batch(**batch, settings=settings).token_weights[1]
    expected = token_weights(
        batch["divergence"][1], torch.tensor([3, 7]), alpha=2.0, positions="content", weight_form="literal"
    )
    assert torch.equal(found, expected) and found[:3].max() == 3 and (found[3:] == 1).all()


@given(
    st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=5), min_size=1, max_size=5),
    st.integers(0, 1000),
)
def test_prompt_normalisation_gives_every_prompt_the_same_share(groups, seed):
    """With w = 1 the batch's token mean of the factors' sums is one per prompt: sum_t factor / all tokens = 1/P."""
    lengths = dict(enumerate(groups))
    batch = make(lengths, seed=seed)
    factor = weigh_batch(**batch, settings=TWGRPOConfig(alpha=0.0)).factor
    total = sum(sum(row) for row in groups)
    for uid in lengths:
        rows = [row for row, name in enumerate(batch["uids"]) if name == uid]
        share = sum(float(factor[row].double().sum()) for row in rows) / total
        assert share == pytest.approx(1 / len(groups), rel=1e-5)


def test_only_trained_tokens_count():
    """One of the four tokens of p is masked out: 3 against 5 trained tokens, mean 4."""
    batch = make({"p": [2, 2], "q": [4, 1]}, masked=[1])
    factor = weigh_batch(**batch, settings=TWGRPOConfig(alpha=0.0)).factor
    assert factor[0].tolist() == pytest.approx([4 / 3] * 2) and factor[2].tolist() == pytest.approx([4 / 5] * 4)


def test_a_prompt_without_trained_tokens_is_left_alone():
    batch = make({"p": [1, 1], "q": [3, 3]}, masked=[0, 1])
    found = weigh_batch(**batch, settings=PROMPT)
    assert all(torch.isfinite(row).all() for row in found.factor)


def test_placeholder_rows_change_nothing_for_the_others():
    plain = weigh_batch(**make(GROUPS), settings=PROMPT)
    batch = make(GROUPS)
    for uid in ("pad1", "p"):  # whatever uid a placeholder carries
        batch["uids"].append(uid)
        batch["divergence"].append(torch.zeros(1))
        batch["response_mask"].append(torch.zeros(1, dtype=torch.int64))
        batch["real"].append(False)
    batch["rewards"] = torch.cat([batch["rewards"], torch.tensor([9.0, 9.0])])
    padded = weigh_batch(**batch, settings=PROMPT)
    assert all(torch.equal(a, b) for a, b in zip(plain.factor, padded.factor[:-2], strict=True))
    assert all(row.tolist() == [1.0] for row in padded.factor[-2:] + padded.token_weights[-2:])
    assert padded.metrics == plain.metrics


def test_only_placeholders():
    batch = make({"p": [1, 1]})
    batch["real"] = [False, False]
    found = weigh_batch(**batch, settings=PROMPT)
    assert [row.tolist() for row in found.factor] == [[1.0], [1.0]]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_group_that_is_not_finite_is_left_unweighted_and_counted(value):
    batch = make(GROUPS)
    for row in range(3):
        batch["divergence"][row][1] = value
    found = weigh_batch(**batch, settings=BATCH)
    assert all((found.factor[row] == 1).all() for row in range(3))
    assert any((found.factor[row] != 1).any() for row in range(3, 9))
    assert found.metrics["tw_grpo/groups_not_finite"] == 1
    assert all(math.isfinite(number) for number in found.metrics.values())


def test_responses_of_a_prompt_that_were_computed_apart_are_refused():
    batch = make(GROUPS)
    batch["divergence"][0] = batch["divergence"][0] + 1e-6
    with pytest.raises(RuntimeError, match="prompt p were not together on one data-parallel rank"):
        weigh_batch(**batch, settings=PROMPT)


def test_metrics_by_hand():
    batch = {
        "uids": ["a", "a", "b", "b"],
        "divergence": [torch.tensor([0.0, 2.0]), torch.tensor([0.0]), torch.tensor([1.0]), torch.tensor([1.0])],
        "response_mask": [torch.ones(2), torch.ones(1), torch.ones(1), torch.ones(1)],
        "rewards": torch.tensor([0.0, 2.0, 1.0, 1.0]),
        "real": [True] * 4,
    }
    metrics = weigh_batch(**batch, settings=BATCH).metrics
    assert metrics == pytest.approx(
        {
            "tw_grpo/dead_group_rate": 0.5,
            "tw_grpo/reward_std_within_group": 0.5,  # standard deviations 1 and 0
            "tw_grpo/divergence/mean": 4 / 5,
            "tw_grpo/divergence/max": 2.0,
            "tw_grpo/divergence/min": 0.0,
            "tw_grpo/token_weight/mean": (1 + 1.7 + 3) / 5,
            "tw_grpo/token_weight/max": 1.7,
            "tw_grpo/token_weight/min": 1.0,
            "tw_grpo/groups_not_finite": 0.0,
        }
    )
    assert all(type(number) is float for number in metrics.values())


def test_advantage_norm_ratio():
    ratio = advantage_metrics(torch.tensor([3.0, 4.0]), torch.tensor([2.0, 2.0]))
    assert ratio == {"tw_grpo/advantage_norm_ratio": 2.0}
    assert advantage_metrics(torch.zeros(2), torch.ones(2)) == {"tw_grpo/advantage_norm_ratio": 1.0}
