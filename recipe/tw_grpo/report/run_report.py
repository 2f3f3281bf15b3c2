# SPDX-License-Identifier: Apache-2.0
"""From the responses of a run to the numbers of its report: means, dead groups, and whether the reward rose.

Whatever can be is computed from the texts and scores of the responses, not from logged means, so that anyone can do it
again from the same files. Reading is `reading.py`, drawing `figures.py`, the table `__main__.py`.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from recipe.tw_grpo.groups import grouped
from recipe.tw_grpo.report.reading import PARTS, Response, Run
from recipe.tw_grpo.reward import fixed_reward, soft_reward
from recipe.tw_grpo.toolbox.bootstrap import DRAWS, Clusters, drawn_means, interval
from recipe.tw_grpo.toolbox.files import write_whole
from recipe.tw_grpo.toolbox.letters import LETTERS

REPORT = "report.png"

_MOST_LETTERS = 8  # sets of letters tried as constant answers: 2 ** 8


def fifths(steps: list[int]) -> tuple[set[int], set[int]]:
    """The first and the last max(1, N // 5) of N ascending steps; the same step twice when there is only one."""
    size = max(1, len(steps) // 5)
    return set(steps[:size]), set(steps[-size:])


def window(steps: int) -> int:
    """Width of the running mean for a run of so many steps: about a tenth, odd."""
    return 2 * (steps // 20) + 1


def by_group(responses: list[Response]) -> dict[str, list[Response]]:
    """Responses by group, in order of appearance."""
    return grouped(responses, lambda response: response.group)


def per_step(run: Run) -> dict[str, np.ndarray]:
    """Series over the N steps for the figures.

    Returns:
        Arrays [N] float64: step, reward, reward_std (mean of the standard deviations within groups, ddof 0), soft_acc,
        acc, format (means), dead_group_rate, response_length and its _min and _max (tokens); NaN where unknown.
    """
    names = ["step", "reward_std", "dead_group_rate", "response_length_min", "response_length_max", *PARTS]
    series: dict[str, list[float]] = {name: [] for name in names}
    of_step = grouped(run.responses, lambda response: response.step)
    for step in run.steps:
        rows = of_step[step]
        groups = [np.array([r.parts["reward"] for r in group]) for group in by_group(rows).values()]
        series["step"].append(step)
        series["reward_std"].append(float(np.mean([group.std() for group in groups])))
        series["dead_group_rate"].append(float(np.mean([group.max() == group.min() for group in groups])))
        for name in PARTS:
            series[name].append(_mean([r.parts[name] for r in rows]))
        lengths = [r.parts["response_length"] for r in rows if not math.isnan(r.parts["response_length"])]
        logged = run.metrics.get(step, {})  # plain verl dumps no token ids, but logs the lengths
        if not lengths:
            series["response_length"][-1] = logged.get("response_length/mean", math.nan)
        for name, extreme in (("min", min), ("max", max)):
            known = extreme(lengths) if lengths else logged.get(f"response_length/{name}", math.nan)
            series[f"response_length_{name}"].append(known)
    return {name: np.array(values, dtype=np.float64) for name, values in series.items()}


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def rises(run: Run, *, draws: int = DRAWS, seed: int = 0) -> dict[str, tuple[float, float, tuple[float, float] | None]]:
    """Mean of the first and the last fifth of every part, and a 95 % interval of last - first.

    Percentile bootstrap over prompts: all responses to one prompt, early and late, are drawn together, so equal answers
    within a group and a prompt seen twice do not count as independent. It covers the sampling of prompts and responses
    in this one run, not what another seed would give. Seeded; None below five prompts a fifth or with one step.

    Returns:
        {part: (first, last, (low, high) or None)}; NaN where a part is not known.
    """
    windows = fifths(run.steps)
    prompts = Clusters(2, len(PARTS))
    for response in run.responses:
        for late in (0, 1):
            if response.step in windows[late]:
                prompts.add(response.prompt, late, [response.parts[name] for name in PARTS])
    sums, counts = prompts.sums_and_counts()  # [prompts, first/last, parts]
    with np.errstate(invalid="ignore", divide="ignore"):
        first, last = sums.sum(axis=0) / counts.sum(axis=0)
    means = drawn_means(sums, counts, draws=draws, seed=seed)  # [draws, first/last, parts]
    differences = means[:, 1] - means[:, 0]
    result = {}
    for i, name in enumerate(PARTS):
        prompts_of_a_fifth = int((counts[:, :, i] > 0).sum(axis=0).min()) if len(run.steps) > 1 else 0
        limits = interval(differences[:, i], prompts_of_a_fifth)
        result[name] = (float(first[i]), float(last[i]), tuple(limits) if limits else None)
    return result


def constant_answers(run: Run) -> dict[str, Any] | None:
    """What a policy could get that formats well and never looks at the video: it always gives the same letters.

    For each number of options (when the prompts list them) every set of letters is tried on all groups of the run, so
    the best is the best on exactly these questions; no random choice between constant answers can beat it.

    Returns:
        rewards: {"A": …, "B": …, "all letters": …, "best": …}, expected score with a format reward of 1;
        best: the best answer in words. None when no group has right letters.
    """
    asked = [rows[0] for rows in by_group(run.responses).values() if rows[0].truth]
    if not asked:
        return None
    listed = all(first.n_options for first in asked)
    questions: dict[int | None, Counter[frozenset[str]]] = {}  # by number of options
    for first in asked:
        questions.setdefault(first.n_options if listed else None, Counter())[first.truth] += 1
    letters = sorted(set().union(*(first.truth for first in asked)))[:_MOST_LETTERS]
    accuracy = soft_reward if run.reward.accuracy == "soft" else fixed_reward

    def right(answer: Collection[str], truths: Counter[frozenset[str]]) -> float:
        return sum(n * accuracy(answer, truth) for truth, n in truths.items())

    def reward(answers: dict[int | None, Collection[str]]) -> float:
        mean = sum(right(answers[kind], truths) for kind, truths in questions.items()) / len(asked)
        return run.reward.accuracy_weight * mean + run.reward.format_weight

    sets = [s for size in range(1, len(letters) + 1) for s in itertools.combinations(letters, size)]
    best: dict[int | None, Collection[str]] = {}
    for kind in sorted(questions, key=lambda kind: kind or 0):
        worth = [right(answer, questions[kind]) for answer in sets]
        best[kind] = sets[worth.index(max(worth))]
    rewards = {letter: reward(dict.fromkeys(questions, letter)) for letter in letters}
    rewards["all letters"] = reward({kind: LETTERS[:kind] if kind else letters for kind in questions})
    rewards["best"] = reward(best)
    words = {kind: ",".join(answer) for kind, answer in best.items()}
    if len(set(words.values())) == 1:
        return {"rewards": rewards, "best": next(iter(words.values()))}
    return {"rewards": rewards, "best": "; ".join(f"{answer} of {kind} options" for kind, answer in words.items())}


def summarize(run: Run) -> dict[str, Any]:
    """The numbers of summary.json; null where a number is not known."""
    groups = [{r.parts["reward"] for r in rows} for rows in by_group(run.responses).values()]
    tokens = sum(response.weights[0] for response in run.responses)
    seconds = [data["timing_s/step"] for data in run.metrics.values() if "timing_s/step" in data]
    failed = {
        name: [data[f"tw_grpo/{name}"] for data in run.metrics.values() if f"tw_grpo/{name}" in data]
        for name in ("failed_prompts", "failed_responses")
    }
    constant = constant_answers(run)
    series, windows = per_step(run), fifths(run.steps)
    summary: dict[str, Any] = {
        "estimator": run.settings["estimator"],
        "seed": run.settings.get("seed"),
        "steps": len(run.steps),
        "steps_asked": run.settings.get("steps"),
        "responses": len(run.responses),
        "groups": len(groups),
        "prompts": len({response.prompt for response in run.responses}),
    }
    for name, (first, last, limits) in rises(run).items():
        if math.isnan(first) and name == "response_length":  # logged means, see per_step
            first, last = (_mean(list(series[name][np.isin(series["step"], sorted(w))])) for w in windows)
        key = "reward_mean" if name == "reward" else name
        summary[f"{key}_first_fifth"], summary[f"{key}_last_fifth"] = first, last
        summary[f"{name}_rise"] = last - first
        summary[f"{name}_rise_interval"] = list(limits) if limits else None
    summary |= {
        "best_constant_reward": constant["rewards"]["best"] if constant else None,
        "best_constant_answer": constant["best"] if constant else None,
        "constant_rewards": constant["rewards"] if constant else None,
        "dead_group_rate": sum(len(scores) == 1 for scores in groups) / len(groups),
        "seconds_per_step": float(np.median(seconds)) if seconds else None,
        **{name: int(sum(counts)) if counts else None for name, counts in failed.items()},
        "token_weight_mean": sum(r.weights[1] for r in run.responses) / tokens if tokens else None,
        "token_weight_max": max(r.weights[2] for r in run.responses if r.weights[0]) if tokens else None,
        "report": REPORT,
        "notes": run.notes,
    }
    return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in summary.items()}


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Write as JSON, whole or not at all."""
    write_whole(path, json.dumps(summary, indent=2, allow_nan=False) + "\n")
