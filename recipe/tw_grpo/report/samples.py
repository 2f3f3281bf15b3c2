# SPDX-License-Identifier: Apache-2.0
"""The groups of a run as its page shows them: a row of numbers for each, and texts, token weights and D_t of some.

A run has more text than a page can hold. Every step gets the same share of the room; within a step the groups with a
broken format come first, the others by lot, so that what is shown is no choice of the best. D_t and w_t belong to the
position, so they are kept once a group; where a dump has others for a response, that response keeps its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from recipe.tw_grpo.answers import parse_answer
from recipe.tw_grpo.config import ESTIMATOR, TWGRPOConfig
from recipe.tw_grpo.groups import grouped
from recipe.tw_grpo.integration import names
from recipe.tw_grpo.report.reading import Row, Run
from recipe.tw_grpo.report.tokens import TokenTexts
from recipe.tw_grpo.reward import kind_of
from recipe.tw_grpo.toolbox.html import packed
from recipe.tw_grpo.toolbox.letters import listed_options

_ADVANTAGES = (ESTIMATOR, "grpo")  # the estimators whose advantage is Eq. 1
_DIGITS = 4  # of a D_t; w_t is between 0 and a few, three decimals are as many


@dataclasses.dataclass(slots=True)
class Group:
    """The responses to one prompt in one step.

    Attributes:
        step, number: its place; groups of a step are numbered from 0 in the order of the dump.
        prompt: text of the prompt.
        index: of its record, "" when the dump has none.
        kind: "single", "multi", None when nobody knows the right options.
        scores: of its responses.
        broken: responses without the format; cut: that never ended, None when the limit is not known.
        packed: gzip of the JSON the page reads; None when it was left out.
    """

    step: int
    number: int
    prompt: str
    index: str
    kind: str | None
    scores: list[float]
    broken: int
    cut: int | None
    packed: bytes | None = None


@dataclasses.dataclass(slots=True)
class Positions:
    """Sums over the groups of a step, by position t: how many reach it [T], D_t, w_t and w_t squared [T].

    `parts` holds sum and count of D_t, then of w_t, over the tokens before a group's shortest response has ended
    (content), and the same four over those behind it (padding).
    """

    count: np.ndarray
    divergence: np.ndarray
    weights: np.ndarray
    squares: np.ndarray
    parts: np.ndarray


@dataclasses.dataclass(slots=True)
class Step:
    """All groups of one step, and what they add up to by position; None without token weights."""

    groups: list[Group]
    positions: Positions | None


class Digest:
    """Makes the `Step` of each dump."""

    def __init__(self, run: Run, settings: dict[str, Any], texts: TokenTexts | None, room: float) -> None:
        """`room` is how many bytes of packed groups a step may add; what it leaves, or takes too much, the next has."""
        self._run, self._texts, self._room, self._left = run, texts, room, 0.0
        self._epsilon = float(settings.get("algorithm.tw_grpo.epsilon") or TWGRPOConfig.epsilon)
        self._divide = str(settings.get("algorithm.norm_adv_by_std_in_grpo", True)).lower() != "false"
        limit = settings.get("data.max_response_length")
        self._longest = int(limit) if str(limit).isdigit() else None

    def __call__(self, step: int, rows: Sequence[Row]) -> Step:
        """The digest of one step's rows."""
        groups = [(self._group(step, n, of), of) for n, of in enumerate(_groups(rows))]
        self._left += self._room
        for group, of in sorted(groups, key=lambda pair: (not pair[0].broken, _lot(step, pair[0].number))):
            if self._left <= 0:
                break
            group.packed = self.pack(of)
            self._left -= len(group.packed)
        return Step([group for group, _ in groups], _positions([of for _, of in groups]))

    def pack(self, rows: Sequence[Row]) -> bytes:
        """One group as gzip of JSON; its keys are those `samples.js` reads."""
        first = rows[0][1]
        options = listed_options(first.prompt)
        estimator = self._run.settings.get("estimator") or (ESTIMATOR if rows[0][2].size else None)
        advantages = self._advantages([line.score for _, line, _ in rows]) if estimator in _ADVANTAGES else None
        longest = max(rows, key=lambda row: len(row[2]))
        shared = {"d": _divergence(longest), "w": longest[2]}
        responses = []
        for i, (response, line, weights) in enumerate(rows):
            ids = line.record.get("response_ids") or []
            said: dict[str, Any] = {
                "score": round(line.score, 4),
                "soft": _known(response.parts["soft_acc"]),
                "exact": _known(response.parts["acc"]),
                "format": _known(response.parts["format"]),
                "predicted": ",".join(sorted(parse_answer(line.response, options, rule=self._run.reward.rule))),
                "advantage": round(advantages[i], 4) if advantages else None,
                "ended": None if not ids or self._longest is None else len(ids) < self._longest,
            }
            if self._texts and ids:
                said["tokens"] = self._texts(ids)
            else:
                said |= {"text": line.response, "length": len(ids)}
            for name, own in (("d", _divergence((response, line, weights))), ("w", weights)):
                if own is not None and not np.array_equal(own, shared[name][: len(own)], equal_nan=True):
                    said[name] = _rounded(own, name)
            responses.append(said)
        group = {
            "prompt": first.prompt,
            "options": options,
            "right": ",".join(sorted(rows[0][0].truth)) or first.truth or "",
            "video": first.video,
            "index": first.index,
            "uid": first.uid,
            "d": _rounded(shared["d"], "d"),
            "w": _rounded(shared["w"], "w"),
            "responses": responses,
        }
        return packed(group)

    def _group(self, step: int, number: int, rows: Sequence[Row]) -> Group:
        line, truth = rows[0][1], rows[0][0].truth
        lengths = [len(line.record.get("response_ids") or []) for _, line, _ in rows]
        known = self._longest is not None and all(lengths)
        return Group(
            step=step,
            number=number,
            prompt=line.prompt,
            index=line.index,
            kind=kind_of(len(truth)),
            scores=[line.score for _, line, _ in rows],
            broken=sum(response.parts["format"] == 0 for response, _, _ in rows),
            cut=sum(length >= self._longest for length in lengths) if known else None,
        )

    def _advantages(self, scores: list[float]) -> list[float]:
        """Eq. 1 as `advantage.group_advantages`, which needs torch: seconds a report does not have."""
        rewards = np.array(scores)
        if rewards.max() == rewards.min():
            return [0.0] * len(scores)
        scale = rewards.std(ddof=1) + self._epsilon if self._divide else 1.0
        return ((rewards - rewards.mean()) / scale).tolist()


def group_rows(rows: Sequence[Row], number: int) -> Sequence[Row]:
    """The rows of one group of a step, by its number."""
    return _groups(rows)[number]


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    return list(grouped(rows, lambda row: row[0].group).values())


def _lot(step: int, number: int) -> bytes:
    return hashlib.blake2b(f"{step} {number}".encode(), digest_size=8).digest()


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def _divergence(row: Row) -> np.ndarray | None:
    """D_t of a response, None when the dump has not one number for each of its weights."""
    values = row[1].record.get(names.TOKEN_DIVERGENCE)
    if not isinstance(values, list) or len(values) != len(row[2]):
        return None
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        return None


def _rounded(values: np.ndarray | None, name: str) -> list[float | None] | None:
    """Numbers as short as they are read; null for what is not finite."""
    if values is None or not values.size:
        return None
    if name == "w":
        return [round(value, 3) for value in values.tolist()]
    return [float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None for value in values.tolist()]


def _positions(groups: Sequence[Sequence[Row]]) -> Positions | None:
    longest = max((len(weights) for rows in groups for _, _, weights in rows), default=0)
    if not longest:
        return None
    sums = Positions(*(np.zeros(longest) for _ in range(4)), np.zeros(8))
    for rows in groups:
        lengths = [len(weights) for _, _, weights in rows]
        row = max(rows, key=lambda row: len(row[2]))
        weights, divergence = row[2], _divergence(row)
        if divergence is None or not lengths or not np.isfinite(divergence).all():
            continue
        n, shortest = len(weights), min(lengths)
        sums.count[:n] += 1
        sums.divergence[:n] += divergence
        sums.weights[:n] += weights
        sums.squares[:n] += weights**2
        alive = (np.array(lengths)[:, None] > np.arange(n)).sum(axis=0)  # responses that have a token at t
        for i, values in enumerate((divergence, weights)):
            sums.parts[2 * i : 2 * i + 2] += (values * alive)[:shortest].sum(), alive[:shortest].sum()
            sums.parts[4 + 2 * i : 6 + 2 * i] += (values * alive)[shortest:].sum(), alive[shortest:].sum()
    return sums
