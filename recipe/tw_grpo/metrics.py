# SPDX-License-Identifier: Apache-2.0
"""What TW-GRPO adds to verl's logs, each a number of one training batch; the names are documented in docs/settings.md.

Groups are rows by prompt, as `groups.rows_by_group` gives them; placeholder rows are in none.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import torch

from recipe.tw_grpo.reward import by_kind

Groups = Mapping[Hashable, Sequence[int]]
DIVERGENCE_THRESHOLDS = (1e-3, 0.1, 1.0)  # nats
WEIGHT_THRESHOLDS = (1.25, 1.5)


def weight_metrics(
    groups: Groups, divergence: Sequence[torch.Tensor], weights: Sequence[torch.Tensor]
) -> dict[str, float]:
    """Mean, max, min and shares above thresholds of D_t and w_t over all tokens; means over content (tokens before the
    shortest response of the group ends) and padding (after it).

    Args:
        groups: rows of each prompt.
        divergence: B tensors [length] float.
        weights: B tensors [length] float.

    Returns:
        Metrics by name; those of a part without any finite value are left out.
    """
    found: dict[str, float] = {}
    for name, values, thresholds in (
        ("tw_grpo/divergence", divergence, DIVERGENCE_THRESHOLDS),
        ("tw_grpo/token_weight", weights, WEIGHT_THRESHOLDS),
    ):
        content, padding = [], []
        for rows in groups.values():
            shortest = min(values[row].shape[0] for row in rows)
            content += [values[row][:shortest] for row in rows]
            padding += [values[row][shortest:] for row in rows]
        everywhere = _finite(content + padding)
        if everywhere.numel():
            found |= {
                f"{name}/mean": float(everywhere.mean()),
                f"{name}/max": float(everywhere.max()),
                f"{name}/min": float(everywhere.min()),
            }
            for limit in thresholds:
                found[f"{name}/share_above_{limit:g}"] = float((everywhere > limit).float().mean())
        for part, of_part in (("content", _finite(content)), ("padding", _finite(padding))):
            if of_part.numel():
                found[f"{name}/{part}_mean"] = float(of_part.mean())
    return found


def advantage_metrics(advantages: torch.Tensor, weights: torch.Tensor) -> dict[str, float]:
    """Size of the weighted advantages [n] relative to plain GRPO's, as a ratio of norms (1 when all are 0)."""
    plain = advantages.float().norm()
    return {"tw_grpo/advantage_norm_ratio": float((advantages * weights).float().norm() / plain) if plain > 0 else 1.0}


def group_metrics(groups: Groups, rewards: torch.Tensor) -> dict[str, float]:
    """Share of groups that teach nothing because all their rewards are equal, and the mean spread of rewards.

    Args:
        groups: rows of each prompt.
        rewards: [B].
    """
    if not groups:
        return {}
    of_groups = [rewards[list(rows)].float() for rows in groups.values()]
    dead = sum(float(group.max() == group.min()) for group in of_groups)
    return {
        "tw_grpo/dead_group_rate": dead / len(of_groups),
        "tw_grpo/reward_std_within_group": sum(float(group.std(correction=0)) for group in of_groups) / len(of_groups),
    }


def answer_metrics(groups: Groups, reports: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Entropy of the answered sets within a group, and accuracy on questions with one and with several right options.

    Args:
        groups: rows of each prompt.
        reports: what `reward.score_response` said of each row; rows without its keys are left out.

    Returns:
        multi_answer/answer_entropy (nats, mean over groups), multi_answer/{single,multi}/{acc,soft_acc} of the kinds of
        question that occur; nothing where another reward manager scored.
    """
    scored = [[reports[row] for row in rows if {"pred", "n_right"} <= reports[row].keys()] for rows in groups.values()]
    scored = [group for group in scored if group]
    if not scored:
        return {}
    found = {"multi_answer/answer_entropy": _mean(_entropy(report["pred"] for report in group) for group in scored)}
    kinds = [by_kind(report) for group in scored for report in group]
    for name in kinds[0]:
        values = [report[name] for report in kinds if report[name] is not None]
        if values:
            found[f"multi_answer/{name.replace('_', '/', 1)}"] = _mean(values)
    return found


def _finite(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    values = torch.cat([part.float() for part in parts]) if parts else torch.empty(0)
    return values[torch.isfinite(values)]


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return float(sum(values) / len(values))


def _entropy(values: Iterable[Hashable]) -> float:
    counts = Counter(values).values()
    total = sum(counts)
    return sum(-n / total * math.log(n / total) for n in counts) + 0.0
