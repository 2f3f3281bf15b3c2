# SPDX-License-Identifier: Apache-2.0
"""The statistics of the report: which steps are compared, the bootstrap over prompts against known answers, the
sentence about the result, and the constant answers it is measured against.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from recipe.tw_grpo.config import RewardConfig
from recipe.tw_grpo.report import reading, run_report
from recipe.tw_grpo.report.__main__ import verdict


def run_of(rows: list[tuple[int, str, float]], truths: list[str] | None = None, **reward) -> reading.Run:
    """A run of (step, prompt, reward), each its own group, with right letters when given."""
    run = reading.Run(Path("run"), {"estimator": "grpo"}, RewardConfig(**reward))
    for i, (step, prompt, value) in enumerate(rows):
        truth = frozenset(truths[i].split(",")) if truths else frozenset()
        parts = dict.fromkeys((*reading.PARTS, "recomputed"), math.nan) | {"reward": value}
        options = reading._count_options(prompt, truth)
        weights = (0, 0.0, math.nan)
        run.responses.append(reading.Response(step, f"{step}:{i}", ("", prompt, ""), truth, options, parts, weights))
    return run


@pytest.mark.parametrize(("steps", "size"), [(1, 1), (2, 1), (4, 1), (9, 1), (10, 2), (60, 12)])
def test_fifths(steps, size):
    first, last = run_report.fifths(list(range(1, steps + 1)))
    assert first == set(range(1, size + 1)) and last == set(range(steps - size + 1, steps + 1))


def test_the_same_prompts_early_and_late_are_compared_pair_by_pair():
    rng = np.random.default_rng(0)
    level = rng.normal(size=40)
    rows = [(step, f"p{i}", float(level[i]) + 0.5 * (step == 2)) for i in range(40) for step in (1, 2)]
    first, last, interval = run_report.rises(run_of(rows))["reward"]
    assert last - first == pytest.approx(0.5)
    assert interval == pytest.approx((0.5, 0.5))  # prompts differ by 1 std, but each of them rose by just 0.5


def test_repeating_a_prompts_response_does_not_narrow_the_interval():
    rng = np.random.default_rng(1)
    rows = [(step, f"p{step}{i}", float(rng.normal())) for i in range(30) for step in (1, 2)]
    assert run_report.rises(run_of(rows))["reward"][2] == pytest.approx(run_report.rises(run_of(rows * 4))["reward"][2])


def test_interval_agrees_with_the_normal_approximation():
    rng = np.random.default_rng(2)
    values = rng.normal(size=(2, 300))
    rows = [(step, f"p{step}-{i}", float(values[step - 1, i])) for i in range(300) for step in (1, 2)]
    first, last, (low, high) = run_report.rises(run_of(rows), draws=2000)["reward"]
    half = 1.96 * math.sqrt(values[0].var() / 300 + values[1].var() / 300)
    assert (low, high) == pytest.approx((last - first - half, last - first + half), abs=0.1 * half)
    assert run_report.rises(run_of(rows), draws=2000)["reward"][2] == (low, high)  # seeded


def test_no_interval_from_four_prompts_or_one_step():
    assert run_report.rises(run_of([(s, f"p{i}", float(s)) for i in range(4) for s in (1, 2)]))["reward"][2] is None
    assert run_report.rises(run_of([(s, f"p{i}", float(s)) for i in range(5) for s in (1, 2)]))["reward"][2] is not None
    assert run_report.rises(run_of([(1, f"p{i}", float(i)) for i in range(9)]))["reward"] == (4.0, 4.0, None)


@pytest.mark.parametrize(
    ("change", "interval", "steps", "words"),
    [
        (0.31, [0.22, 0.40], 60, "reward rose by 0.31 (95 % interval 0.22..0.40)"),
        (0.03, [-0.05, 0.11], 60, "reward did not clearly rise: it changed by +0.03 (95 % interval -0.05..0.11)"),
        (-0.2, [-0.3, -0.1], 60, "reward FELL by 0.20 (change -0.20, 95 % interval -0.30..-0.10)"),
        (0.4, None, 60, "reward changed by +0.40 between the first and the last fifth; too few prompts"),
        (0.0, None, 1, "one step only"),
    ],
)
def test_verdict(change, interval, steps, words):
    sentence = verdict({"reward_rise": change, "reward_rise_interval": interval, "steps": steps})
    assert sentence.startswith(words)


def constant(*truths_and_prompts: tuple[str, str], **reward) -> dict:
    """Constant answers for questions of (right letters, prompt)."""
    rows = [(1, prompt, 0.0) for _, prompt in truths_and_prompts]
    return run_report.constant_answers(run_of(rows, [truth for truth, _ in truths_and_prompts], **reward))


def test_constant_answers_without_listed_options():
    found = constant(("A", "q"), ("A,C", "q"), ("A,C", "q"), ("B", "q"))
    # A: (1 + .5 + .5 + 0) / 4; C: (0 + .5 + .5) / 4; A,C: (0 + 1 + 1 + 0) / 4; A,B,C: 0
    assert found["rewards"] == {"A": 1.5, "B": 1.25, "C": 1.25, "all letters": 1.0, "best": 1.5}
    assert found["best"] == "A"


def test_constant_answers_by_number_of_options():
    two, three = "q?\nA. left\nB. right\n", "q?\n(A) a (B) b\n(C) c\nassistant"
    found = constant(("A,B", two), ("A", two), ("A,B", two), ("C", three), ("C", three))
    # two options: A .5+1+.5 = 2, A,B 1+0+1 = 2 (the shorter is named); three: C 2
    assert found["rewards"]["best"] == pytest.approx(1 + 4 / 5)
    assert found["rewards"]["all letters"] == pytest.approx(1 + 2 / 5)
    assert found["best"] == "A of 2 options; C of 3 options"


def test_constant_answers_with_the_fixed_reward():
    found = constant(("A,B", "q"), ("A,B", "q"), ("A", "q"), accuracy="fixed")
    assert found["rewards"]["best"] == pytest.approx(1 + 2 / 3) and found["best"] == "A,B"
    assert found["rewards"]["A"] == pytest.approx(1 + 1 / 3)


@pytest.mark.parametrize(
    ("prompt", "truth", "count"),
    [
        ("q\nA. x\nB. y\nC. z", "A,C", 3),
        ("q A) x B) y", "B", 2),
        ("q\nA: x\nB: y", "C", None),  # the right letter is not among them: not the list of options
        ("A. only", "A", None),
        ("nothing listed", "A", None),
        ("In the U.S. it rains. I. A. x\nB. y", "A", 2),
    ],
)
def test_options_are_counted_in_the_prompt(prompt, truth, count):
    assert reading._count_options(prompt, frozenset(truth.split(","))) == count
