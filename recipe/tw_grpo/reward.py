# SPDX-License-Identifier: Apache-2.0
"""Eq. 7: what an answered set of letters is worth, the format reward, and the score made of both; pure functions.

Reading the letters out of a response is `answers.py`; calling these inside verl is `reward_manager.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from recipe.tw_grpo.answers import parse_answer, parse_truth
from recipe.tw_grpo.config import RewardConfig

SINGLE, MULTI = "single", "multi"  # kinds of question, by the number of right options
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def soft_reward(predicted: Collection[str], truth: Collection[str]) -> float:
    """R_soft of Eq. 7: |P| / |G| if P is a subset of G, else 0. An empty answer is worth 0.

    Args:
        predicted: P, the letters answered.
        truth: G, the right letters, at least one.

    Returns:
        A number in [0, 1].

    Raises:
        ValueError: the truth is empty.

    Example:
        >>> soft_reward({"A"}, {"A", "C"}), soft_reward({"A", "B"}, {"A", "C"})
        (0.5, 0.0)
    """
    predicted, truth = set(predicted), set(truth)
    if not truth:
        raise ValueError("the set of right answers is empty")
    return len(predicted) / len(truth) if predicted <= truth else 0.0


def fixed_reward(predicted: Collection[str], truth: Collection[str]) -> float:
    """The all-or-nothing reward of the paper's ablation: 1 if P = G, else 0.

    Raises:
        ValueError: the truth is empty.
    """
    return float(soft_reward(predicted, truth) == 1.0)


def format_reward(text: str) -> float:
    """1 if the response is `<think>…</think>` then `<answer>…</answer>`, each tag exactly once and nothing around them.

    White space may stand around and between the two. Both contents may be anything, also empty.
    """
    if any(text.count(tag) != 1 for tag in _TAGS):
        return 0.0
    text = text.strip()
    between = text[text.find("</think>") + len("</think>") : text.find("<answer>")]
    whole = text.startswith("<think>") and text.endswith("</answer>")
    in_order = text.find("</think>") < text.find("<answer>")
    return float(whole and in_order and not between.strip())


def score_response(
    response: str, truth: str, options: Sequence[str] | None = None, config: RewardConfig | None = None
) -> dict[str, float | str | None]:
    """Score of one response and its parts, the same for training, validation and reports.

    Args:
        response: text of the response, special tokens left out.
        truth: right letters as the parquet has them, "A,C", or texts of the options; read by `config.rule`.
        options: texts of the options, when the record has them.
        config: weights of the parts; the paper's by default.

    Returns:
        score (what is trained on), acc (1 for the exact set), soft_acc (Eq. 7), format (0 or 1), pred ("A,C"), n_right
        (number of right options), and {single,multi}_{acc,soft_acc}: acc and soft_acc again for the kind of question
        this is, None for the other, which verl's validation leaves out of its means.

    Raises:
        ValueError: the truth names no letter; nothing is trained on such a record under either rule.
    """
    config = config or RewardConfig()
    right = parse_truth(truth, options, config.rule)
    if not any(right):
        raise ValueError(f"ground_truth {truth!r} names no option letter")
    predicted = parse_answer(response, options, rule=config.rule)
    parts = {
        "acc": fixed_reward(predicted, right),
        "soft_acc": soft_reward(predicted, right),
        "format": format_reward(response),
    }
    accuracy = parts["soft_acc" if config.accuracy == "soft" else "acc"]
    score = config.accuracy_weight * accuracy + config.format_weight * parts["format"]
    told = {"score": score, **parts, "pred": ",".join(sorted(predicted)), "n_right": len(right)}
    return told | by_kind(told)


def by_kind(parts: Mapping[str, Any]) -> dict[str, float | None]:
    """{single,multi}_{acc,soft_acc} of a report with acc, soft_acc and n_right; None where the question is not so."""
    this = kind_of(parts["n_right"])
    keys = ("acc", "soft_acc")
    return {f"{kind}_{key}": parts[key] if kind == this else None for kind in (SINGLE, MULTI) for key in keys}


def kind_of(n_right: int) -> str | None:
    """SINGLE or MULTI by the number of right options, None when nobody knows them."""
    return (SINGLE if n_right == 1 else MULTI) if n_right else None
