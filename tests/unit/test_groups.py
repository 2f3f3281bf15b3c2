# SPDX-License-Identifier: Apache-2.0
"""From D_t of a batch to the weight of each token: groups in any order and size, placeholders, refusals."""

import math

import pytest
import torch

from recipe.tw_grpo.config import TWGRPOConfig
from recipe.tw_grpo.groups import rows_by_group
from recipe.tw_grpo.token_weights import token_weights, weigh_groups

GROUPS = {"p": [3, 7, 5], "q": [2, 2], "r": [9, 1, 4, 6]}


def make(lengths_by_uid, *, order=None, seed=0):
    """(uid of each row, D_t of each row) for groups {uid: lengths}."""
    g = torch.Generator().manual_seed(seed)
    rows = []
    for uid, lengths in lengths_by_uid.items():
        divergence = 3 * torch.rand(max(lengths), generator=g)
        rows += [(uid, divergence[:n].clone()) for n in lengths]
    rows = [rows[i] for i in order or range(len(rows))]
    return [row[0] for row in rows], [row[1] for row in rows]


def test_each_group_gets_its_own_weights_whatever_the_order():
    uids, divergence = make(GROUPS, order=[4, 0, 8, 2, 6, 1, 5, 3, 7])
    weights, not_finite = weigh_groups(rows_by_group(uids), divergence, TWGRPOConfig())
    assert not_finite == 0
    for uid, lengths in GROUPS.items():
        rows = [row for row, name in enumerate(uids) if name == uid]
        longest = max(rows, key=lambda row: len(divergence[row]))
        expected = token_weights(divergence[longest], torch.tensor(lengths), alpha=0.7)
        for row in rows:
            assert torch.equal(weights[row], expected[: len(divergence[row])])


def test_settings_reach_the_weights():
    settings = TWGRPOConfig(alpha=2.0, positions="content", weight_form="literal")
    uids, divergence = make({"p": [3, 7]})
    found = weigh_groups(rows_by_group(uids), divergence, settings)[0][1]
    expected = token_weights(divergence[1], torch.tensor([3, 7]), alpha=2.0, positions="content", weight_form="literal")
    assert torch.equal(found, expected) and found[:3].max() == 3 and (found[3:] == 1).all()


def test_placeholder_rows_change_nothing_for_the_others():
    uids, divergence = make(GROUPS)
    plain, _ = weigh_groups(rows_by_group(uids), divergence, TWGRPOConfig())
    uids += ["pad1", "p"]  # whatever uid a placeholder carries
    groups = rows_by_group(uids, [True] * 9 + [False, False])
    padded, _ = weigh_groups(groups, [*divergence, torch.zeros(1), torch.zeros(1)], TWGRPOConfig())
    assert all(torch.equal(a, b) for a, b in zip(plain, padded[:-2], strict=True))
    assert [row.tolist() for row in padded[-2:]] == [[1.0], [1.0]]


def test_only_placeholders():
    assert rows_by_group(["p", "p"], [False, False]) == {}
    assert [row.tolist() for row in weigh_groups({}, [torch.zeros(1)] * 2, TWGRPOConfig())[0]] == [[1.0], [1.0]]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_group_that_is_not_finite_is_left_unweighted_and_counted(value):
    uids, divergence = make(GROUPS)
    for row in range(3):
        divergence[row][1] = value
    weights, not_finite = weigh_groups(rows_by_group(uids), divergence, TWGRPOConfig())
    assert not_finite == 1
    assert all((weights[row] == 1).all() for row in range(3))
    assert any((weights[row] != 1).any() for row in range(3, 9))


def test_responses_of_a_prompt_that_were_computed_apart_are_refused():
    uids, divergence = make(GROUPS)
    divergence[0] = divergence[0] + 1e-6
    with pytest.raises(RuntimeError, match="prompt p were not together on one data-parallel rank"):
        weigh_groups(rows_by_group(uids), divergence, TWGRPOConfig())
