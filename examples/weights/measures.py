# SPDX-License-Identifier: Apache-2.0
"""What the weights do, in numbers: from the records of `sample.py` to the dictionary that becomes docs/weights.json.

A position t of a group is before or at the branching point (all responses have read the same, so D_t = 0), parted (they
have read different tokens, none has ended), or padded (at least one has ended). Nothing here needs the language model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import torch

from recipe.tw_grpo.token_weights import token_weights

FORMULAS = ("kl", "logspace_k3")
ALPHA, HIGH = 0.7, 1.5
STATES = ("shared", "parted", "padded")
SIZE, TEMPERATURE = 8, 1.0  # the paper's; tables of one group size or temperature show these
DISTANCES = range(-8, 33)


@dataclass(frozen=True)
class Group:
    """One group of G responses over its T positions."""

    lengths: list[int]  # [G] tokens
    branch: int  # first position at which the tokens differ; T if they never do
    parted: np.ndarray  # [T] bool: t > branch
    n_ended: np.ndarray  # [T] responses that have ended before t
    divergence: dict[str, np.ndarray]  # by formula, [T] nats
    weights: dict[str, np.ndarray]  # by formula, [T]
    entropy: np.ndarray  # [G, T] nats, NaN where a response has ended

    @classmethod
    def of(cls, record: Mapping[str, Any], size: int) -> Group:
        """The first `size` responses of a record of `sample.draw`."""
        tokens = record["tokens"][:size]
        lengths = [len(one) for one in tokens]
        t = np.arange(max(lengths))
        branch = branching_point(tokens)
        divergence = {name: np.array(d) for name, d in record["divergence"][str(size)].items()}
        weights = {
            name: token_weights(torch.from_numpy(d), torch.tensor(lengths), alpha=ALPHA).numpy()
            for name, d in divergence.items()
        }
        entropy = np.full((size, len(t)), np.nan)
        for row, one in zip(entropy, record["entropy"], strict=False):
            row[: len(one)] = one
        return cls(lengths, branch, t > branch, (t[:, None] >= lengths).sum(1), divergence, weights, entropy)

    @property
    def states(self) -> np.ndarray:
        """[T] index into STATES."""
        return self.parted.astype(int) + (self.n_ended > 0)

    @property
    def level(self) -> np.ndarray:
        """[T] D_t of Eq. 4 as a share of its bound G ln G."""
        return self.divergence["kl"] / (len(self.lengths) * np.log(len(self.lengths)))

    @property
    def alive(self) -> np.ndarray:
        """[G, T] bool: there is a token."""
        return ~np.isnan(self.entropy)


def branching_point(tokens: Sequence[Sequence[int]]) -> int:
    """First position at which the responses differ, an end being a difference; the number of positions if none is."""
    t = -1
    for t, at in enumerate(zip_longest(*tokens)):
        if len(set(at)) > 1:
            return t
    return t + 1


def fit(y: np.ndarray, *indicators: np.ndarray) -> np.ndarray:
    """Least squares of y [N] on a constant and the indicators [N]: the fitted values [N]."""
    design = np.stack([np.ones(len(y)), *indicators], axis=1)
    return design @ np.linalg.lstsq(design, y, rcond=None)[0]


def r_squared(y: np.ndarray, *indicators: np.ndarray) -> float | None:
    """Share of the variance of y that `fit` explains; None where y does not vary."""
    total = ((y - y.mean()) ** 2).sum()
    return float(1 - ((y - fit(y, *indicators)) ** 2).sum() / total) if total > 1e-12 * len(y) else None


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's, ties at their mean rank; None below three values or where one of the two does not vary."""
    from scipy import stats  # a second to import

    if len(a) < 3 or np.ptp(a) < 1e-12 or np.ptp(b) < 1e-12:
        return None
    return float(stats.spearmanr(a, b).statistic)


def quantiles(values: Sequence[float | None] | np.ndarray) -> list[float] | None:
    """10 %, 50 % and 90 % of the values that are not None; None without any."""
    known = [value for value in values if value is not None]
    return [float(q) for q in np.quantile(known, (0.1, 0.5, 0.9))] if known else None


def weight_vectors(group: Group) -> dict[str, torch.Tensor]:
    """The weights whose gradients are compared, [T] float64: both formulas, and Eq. 4's as the step function of
    "parted or not" and "ended or not" that fits it best."""
    step = fit(group.weights["kl"], group.parted, group.n_ended > 0)
    return {name: torch.from_numpy(w) for name, w in (group.weights | {"step": step}).items()}


def summary(groups: Sequence[Group]) -> dict[str, Any]:
    """The numbers of the groups of one temperature and size, positions of all groups pooled unless said otherwise."""
    states = np.concatenate([group.states for group in groups])
    branching = [group.weights["kl"][group.branch] for group in groups if group.branch < len(group.parted)]
    kl = np.concatenate([group.weights["kl"] for group in groups])
    n_tokens = np.concatenate([group.alive.sum(0) for group in groups])
    level = np.concatenate([group.level for group in groups])
    result = {
        "groups": len(groups),
        "never_parted": len(groups) - len(branching),
        "tokens": float(np.mean([n for group in groups for n in group.lengths])),
        "branch": quantiles([group.branch for group in groups]),
        "positions": {name: float((states == i).mean()) for i, name in enumerate(STATES)},
        "level": {name: quantiles(level[states == i]) for i, name in enumerate(STATES)},
        "high": float((kl > HIGH).mean()),
        "high_tokens": float(np.average(kl > HIGH, weights=n_tokens)),
        "branching_weight": [float(np.mean(branching)), float(np.max(branching))] if branching else None,
    }
    for formula in groups[0].weights:
        w = np.concatenate([group.weights[formula] for group in groups])
        of_state = {name: w[states == i] for i, name in enumerate(STATES)}
        result[formula] = {
            "mean": {name: float(values.mean()) if len(values) else None for name, values in of_state.items()},
            "spread": {name: quantiles(values) for name, values in of_state.items()},
            "explained": explained(groups, formula),
        }
    return result


def explained(groups: Sequence[Group], formula: str) -> dict[str, Any]:
    """R^2 of the weights on the indicators: one fit for all groups, and quantiles over a fit of its own for each."""

    def indicators(group: Group) -> dict[str, list[np.ndarray]]:
        parted, ended = [group.parted], [group.n_ended > 0]
        counts = [group.n_ended == n for n in range(1, len(group.lengths))]
        return {"parted": parted, "parted, ended": parted + ended, "parted, number ended": parted + counts}

    w = np.concatenate([group.weights[formula] for group in groups])
    of_groups = [indicators(group) for group in groups]
    result = {}
    for name in of_groups[0]:
        pooled = [np.concatenate(one) for one in zip(*(of[name] for of in of_groups), strict=True)]
        each = [r_squared(g.weights[formula], *of[name]) for g, of in zip(groups, of_groups, strict=True)]
        result[name] = {"pooled": r_squared(w, *pooled), "by group": quantiles(each)}
    return result


def correlations(groups: Sequence[Group]) -> dict[str, Any]:
    """Quantiles over groups of rank correlations with Eq. 4's weight, over all positions and over parted ones only,
    and the 80/20 rule: weights of the 20 % of a group's tokens with the highest entropy, and of the others."""

    def of(group: Group, chosen: np.ndarray) -> dict[str, float | None]:
        w, other = (group.weights[name][chosen] for name in FORMULAS)
        row, t = np.nonzero(group.alive[:, chosen])
        entropy = group.entropy[:, chosen][row, t]
        return {
            "token entropy": rank_correlation(w[t], entropy),
            "position": rank_correlation(w, np.flatnonzero(chosen)),
            "the other formula": rank_correlation(w, other),
            "logspace_k3 and token entropy": rank_correlation(other[t], entropy),
        }

    places = {
        "all": [of(group, np.ones_like(group.parted)) for group in groups],
        "parted": [of(group, group.states == STATES.index("parted")) for group in groups],
    }
    result: dict[str, Any] = {
        name: {place: quantiles([one[name] for one in each]) for place, each in places.items()}
        for name in places["all"][0]
    }
    shares = {"top": [], "rest": []}
    for group in groups:
        entropy, w = group.entropy[group.alive], np.broadcast_to(group.weights["kl"], group.alive.shape)[group.alive]
        order = np.argsort(-entropy, kind="stable")
        n_top = max(1, round(0.2 * len(order)))
        shares["top"].append(w[order[:n_top]])
        shares["rest"].append(w[order[n_top:]])
    for name, parts in shares.items():
        w = np.concatenate(parts)
        result[name] = {"mean": float(w.mean()), "high": float((w > HIGH).mean())}
    return result


def curves(groups: Sequence[Group]) -> dict[str, Any]:
    """For the figures: quantiles of Eq. 4's weight and the mean of both, by position, by distance, by number ended."""

    def line(keys: range, key: Callable[[Group], np.ndarray]) -> dict[str, Any]:
        at = np.concatenate([key(group) for group in groups])
        rows = {}
        for k in keys:
            chosen = at == k
            values = {f: np.concatenate([group.weights[f] for group in groups])[chosen] for f in FORMULAS}
            level = np.concatenate([group.level for group in groups])[chosen]
            if n := int(chosen.sum()):
                means = [float(values[f].mean()) for f in FORMULAS]
                rows[str(k)] = {"n": n, "w": quantiles(values["kl"]), "means": means, "level": float(np.median(level))}
        return rows

    parted = STATES.index("parted")
    return {
        "position": line(range(max(len(g.parted) for g in groups)), lambda g: np.arange(len(g.parted))),
        "distance": line(DISTANCES, lambda g: np.arange(len(g.parted)) - g.branch),
        "ended": line(range(len(groups[0].lengths)), lambda g: np.where(g.states >= parted, g.n_ended, -1)),
    }


def of_gradients(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By reward and weights: number of groups, [smallest, median, largest] cosine and ratio of norms."""
    found = [gradient for record in records for gradient in record["gradients"]]
    result: dict[str, Any] = {}
    for reward in dict.fromkeys(one["reward"] for one in found):
        of_reward = [one for one in found if one["reward"] == reward]
        result[reward] = {"groups": len(of_reward)}
        for weights in of_reward[0]["cosine"]:
            result[reward][weights] = {
                what: [float(f([one[what][weights] for one in of_reward])) for f in (np.min, np.median, np.max)]
                for what in ("cosine", "ratio")
            }
    return result


def results(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Everything docs/weights.md shows, from all records of `sample.sample`."""
    settings = records[0]["settings"]

    def groups(temperature: float, size: int, kind: str | None = None) -> list[Group]:
        chosen = [r for r in records if kind in (None, r["settings"]["kind"])]
        return [Group.of(g, size) for r in chosen for g in r["groups"] if g["temperature"] == temperature]

    temperatures, sizes = settings["temperatures"], settings["sizes"]
    kinds = list(dict.fromkeys(record["settings"]["kind"] for record in records))
    return {
        "prompts": {kind: sum(record["settings"]["kind"] == kind for record in records) for kind in kinds},
        "max_tokens": settings["max_tokens"],
        "alpha": ALPHA,
        "cells": {str(t): {str(size): summary(groups(t, size)) for size in sizes} for t in temperatures},
        "kinds": {kind: summary(groups(TEMPERATURE, SIZE, kind)) for kind in kinds},
        "correlations": {str(t): correlations(groups(t, SIZE)) for t in temperatures},
        "curves": {str(t): curves(groups(t, SIZE)) for t in temperatures},
        "gradients": of_gradients(records),
    }
