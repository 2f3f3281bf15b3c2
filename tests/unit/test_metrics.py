# SPDX-License-Identifier: Apache-2.0
"""What is logged about a batch, by hand: divergence and weights, groups, answers."""

import math

import pytest
import torch

from recipe.tw_grpo import metrics

GROUPS = {"a": [0, 1], "b": [2, 3]}


def test_weight_metrics_by_hand():
    """Group a: one token of content and one of padding; group b: content only."""
    divergence = [torch.tensor([0.0, 2.0]), torch.tensor([0.0]), torch.tensor([0.5]), torch.tensor([0.5])]
    weights = [torch.tensor([1.0, 1.7]), torch.tensor([1.0]), torch.tensor([1.0]), torch.tensor([1.4])]
    assert metrics.weight_metrics(GROUPS, divergence, weights) == pytest.approx(
        {
            "tw_grpo/divergence/mean": 3 / 5,
            "tw_grpo/divergence/max": 2.0,
            "tw_grpo/divergence/min": 0.0,
            "tw_grpo/divergence/share_above_0.001": 3 / 5,
            "tw_grpo/divergence/share_above_0.1": 3 / 5,
            "tw_grpo/divergence/share_above_1": 1 / 5,
            "tw_grpo/divergence/content_mean": 1 / 4,
            "tw_grpo/divergence/padding_mean": 2.0,
            "tw_grpo/token_weight/mean": 6.1 / 5,
            "tw_grpo/token_weight/max": 1.7,
            "tw_grpo/token_weight/min": 1.0,
            "tw_grpo/token_weight/share_above_1.25": 2 / 5,
            "tw_grpo/token_weight/share_above_1.5": 1 / 5,
            "tw_grpo/token_weight/content_mean": 4.4 / 4,
            "tw_grpo/token_weight/padding_mean": 1.7,
        }
    )


def test_what_is_not_finite_or_not_there_is_left_out():
    found = metrics.weight_metrics({"a": [0]}, [torch.tensor([math.nan, 1.0])], [torch.ones(2)])
    assert found["tw_grpo/divergence/mean"] == 1.0 and "tw_grpo/divergence/padding_mean" not in found
    assert all(math.isfinite(value) and type(value) is float for value in found.values())
    assert metrics.weight_metrics({}, [torch.ones(1)], [torch.ones(1)]) == {}


def test_group_metrics_by_hand():
    found = metrics.group_metrics(GROUPS, torch.tensor([0.0, 2.0, 1.0, 1.0]))
    assert found == {"tw_grpo/dead_group_rate": 0.5, "tw_grpo/reward_std_within_group": 0.5}  # deviations 1 and 0
    assert metrics.group_metrics({}, torch.zeros(1)) == {}


def test_advantage_norm_ratio():
    ratio = metrics.advantage_metrics(torch.tensor([3.0, 4.0]), torch.tensor([2.0, 2.0]))
    assert ratio == {"tw_grpo/advantage_norm_ratio": 2.0}
    assert metrics.advantage_metrics(torch.zeros(2), torch.ones(2)) == {"tw_grpo/advantage_norm_ratio": 1.0}


def report(pred, n_right, acc, soft_acc):
    return {"pred": pred, "n_right": n_right, "acc": acc, "soft_acc": soft_acc}


def test_answer_metrics_by_hand():
    reports = [report("A", 2, 0.0, 0.5), report("A,C", 2, 1.0, 1.0), report("B", 1, 1.0, 1.0), report("B", 1, 1.0, 1.0)]
    assert metrics.answer_metrics(GROUPS, reports) == pytest.approx(
        {
            "multi_answer/answer_entropy": math.log(2) / 2,  # two different sets, then two equal ones
            "multi_answer/single/acc": 1.0,
            "multi_answer/single/soft_acc": 1.0,
            "multi_answer/multi/acc": 0.5,
            "multi_answer/multi/soft_acc": 0.75,
        }
    )


def test_another_reward_manager_gives_no_answer_metrics():
    assert metrics.answer_metrics(GROUPS, [{"acc": 1.0}] * 4) == {}


def test_unscored_rows_and_questions_without_truth_are_in_no_kind():
    reports = [report("A", 0, 0.0, 0.0), {}, {}, {}]
    assert metrics.answer_metrics(GROUPS, reports) == {"multi_answer/answer_entropy": 0.0}
