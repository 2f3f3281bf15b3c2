# SPDX-License-Identifier: Apache-2.0
"""examples/weights: its measures on groups small enough to know the answer, and docs/weights.md as it prints it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from examples.weights import figures, measures
from examples.weights.__main__ import main, rounded
from examples.weights.measures import Group
from examples.weights.sample import read_prompts
from recipe.tw_grpo.divergence import group_divergence_reference
from recipe.tw_grpo.toolbox.errors import UserError

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "weights.md"


def record(temperature=1.0, size=8):
    """Responses that share two tokens, part at position 2, and of which the second one ends after four tokens."""
    tokens = [[5, 5, 10 + i, 7, 7, 7] for i in range(size)]
    tokens[1] = tokens[1][:4]
    half = size * np.log(size)
    D = [0.0, 0.0, 0.0, half * 0.5, half, half * 0.75]
    entropy = [[1.0, 1.0, 1.0, 0.5, 0.1, 0.2][: len(one)] for one in tokens]
    of_size = {"kl": D, "logspace_k3": D[::-1]}
    return {"temperature": temperature, "tokens": tokens, "entropy": entropy, "divergence": {str(size): of_size}}


@pytest.mark.parametrize(
    "tokens, branch",
    [
        ([[1, 2, 3], [1, 2, 4]], 2),
        ([[1], [2]], 0),
        ([[1, 2], [1, 2, 3]], 2),  # an end is a difference
        ([[1, 2], [1, 2]], 2),  # never
    ],
)
def test_branching_point(tokens, branch):
    assert measures.branching_point(tokens) == branch


def test_a_group_by_position():
    group = Group.of(record(), 8)
    assert group.branch == 2
    assert group.states.tolist() == [0, 0, 0, 1, 2, 2]
    assert group.n_ended.tolist() == [0, 0, 0, 0, 1, 1]
    assert group.level == pytest.approx([0, 0, 0, 0.5, 1, 0.75])
    assert group.weights["kl"] == pytest.approx([1, 1, 1, 1.35, 1.7, 1.525])
    assert group.alive.sum(0).tolist() == [8, 8, 8, 8, 7, 7]


def test_the_first_responses_are_a_group_of_their_own():
    whole = record()
    whole["divergence"]["2"] = {"kl": [0.0] * 6}
    assert Group.of(whole, 2).lengths == [6, 4]
    for key in ("tokens", "entropy"):
        whole[key][0] = whole[key][1]
    whole["divergence"]["2"] = {"kl": [0.0] * 4}
    assert Group.of(whole, 2).branch == 4 and not Group.of(whole, 2).parted.any()


def test_r_squared_is_the_share_that_the_indicators_explain():
    y, x = np.array([1.0, 1, 3, 3, 3.0, 5]), np.array([0, 0, 1, 1, 1, 1])
    assert measures.r_squared(y, x) == pytest.approx(1 - 3 / (y.var() * 6))  # second group: 3, 3, 3, 5
    assert measures.r_squared(y, x, np.array([0, 0, 0, 0, 0, 1])) == pytest.approx(1)
    assert measures.r_squared(y, np.zeros(6)) == pytest.approx(0)
    assert measures.r_squared(np.ones(6), x) is None


def test_rank_correlation_and_quantiles():
    assert measures.rank_correlation(np.array([1, 2, 3.0]), np.array([1, 10, 100.0])) == pytest.approx(1)
    assert measures.rank_correlation(np.ones(3), np.arange(3.0)) is None
    assert measures.quantiles([None, 1.0, 3.0]) == pytest.approx([1.2, 2, 2.8]) and measures.quantiles([None]) is None


def test_summary_and_correlations_of_one_group():
    group = Group.of(record(), 8)
    cell = measures.summary([group])
    assert cell["positions"] == pytest.approx({"shared": 3 / 6, "parted": 1 / 6, "padded": 2 / 6})
    assert cell["high"] == pytest.approx(2 / 6) and cell["high_tokens"] == pytest.approx(14 / 46)
    assert cell["branching_weight"] == [1, 1] and cell["level"]["parted"] == pytest.approx([0.5] * 3)
    assert cell["kl"]["mean"]["padded"] == pytest.approx((1.7 + 1.525) / 2)
    parted = cell["kl"]["explained"]["parted"]["pooled"]
    w = group.weights["kl"]
    assert parted == pytest.approx(1 - 3 * w[3:].var() / (6 * w.var()))
    assert cell["kl"]["explained"]["parted, ended"]["pooled"] > parted
    found = measures.correlations([group])
    assert found["token entropy"]["all"][1] < 0, "the entropies fall where the weights rise"
    assert found["token entropy"]["parted"] is None, "one position alone has no ranks"
    assert found["position"]["all"][1] > 0 > found["the other formula"]["all"][1]
    # 46 tokens: the nine of highest entropy stand among the 24 of the first three positions
    assert found["top"] == {"mean": 1.0, "high": 0.0} and found["rest"]["high"] == pytest.approx(14 / 37)


def test_the_step_function_takes_one_value_in_each_state():
    group = Group.of(record(), 8)
    step = measures.weight_vectors(group)["step"].numpy()
    for state in range(3):
        of_state = group.states == state
        assert step[of_state] == pytest.approx(group.weights["kl"][of_state].mean())


@pytest.fixture
def small():
    """Results of two prompts at two temperatures."""
    gradient = {"reward": "random", "cosine": {"kl": 0.9, "step": 0.8}, "ratio": {"kl": 1.5, "step": 1.4}}
    settings = {"text": "", "temperatures": [0.5, 1.0], "sizes": [8], "max_tokens": 6}
    records = [
        {"settings": settings | {"kind": kind}, "groups": [record(0.5), record(1.0)], "gradients": gradients}
        for kind, gradients in (("choice", [gradient]), ("instruction", []))
    ]
    return rounded(measures.results(records))


def test_results_become_tables_and_figures(small, tmp_path):
    assert json.loads(json.dumps(small)) == small
    tables = figures.tables(small)
    assert "| random | Eq. 4 | 1 | 0.900 (0.900 to 0.900) | 1.50 (1.50 to 1.50) |" in tables["gradients"]
    assert "| 1.0 | at least one ended | 33 % |" in tables["states"]
    assert small["curves"]["1.0"]["distance"]["1"]["means"] == pytest.approx([1.35, 1.0])
    for name in ("a.svg", "b.svg"):
        figures.draw(small, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert figures.digest(small) in (tmp_path / "a.svg").read_text()


def test_fill_replaces_tables_and_keeps_sentences(small):
    page = "\n".join(f"About {name}.\n<!-- {name} -->\nold\n<!-- end -->" for name in figures.tables(small))
    filled = figures.fill(page, small)
    assert "old" not in filled and "About ranks." in filled and figures.fill(filled, small) == filled
    with pytest.raises(UserError, match="no place for the table 'facts'"):
        figures.fill(page.replace("<!-- facts -->", ""), small)


def test_the_page_is_what_the_numbers_print():
    results, page = json.loads((DOCS / "weights.json").read_text()), PAGE.read_text()
    assert figures.fill(page, results) == page
    assert "](images/weights.svg)" in page
    assert figures.digest(results) in (DOCS / "images/weights.svg").read_text(), "the figure shows other numbers"


@pytest.mark.parametrize("n_ended, share", [(1, 1.0), (4, 0.67), (6, 0.35), (7, 0.18)])
def test_ended_responses_lower_the_divergence_as_the_page_says(n_ended, share):
    sure = torch.nn.functional.one_hot(torch.arange(8), 50_000)[:, None].double() * 60
    sure = torch.where(sure > 0, sure, -60)
    lengths = torch.tensor([1] * n_ended + [2] * (8 - n_ended))
    D = group_divergence_reference(sure.expand(-1, 2, -1), lengths)
    assert D[1].item() == pytest.approx(8 * np.log(8) - n_ended * np.log(n_ended), abs=5e-3)
    assert round(D[1].item() / (8 * np.log(8)), 2) == share and f"{share:.0%}".replace("%", " %") in PAGE.read_text()


def test_the_prompts_are_fifty_and_without_video():
    prompts = read_prompts()
    assert len({prompt["text"] for prompt in prompts}) == 50
    assert [sum(p["kind"] == kind for p in prompts) for kind in ("choice", "instruction")] == [30, 20]
    assert not any("<video>" in prompt["text"] for prompt in prompts)


def test_a_wrong_folder_is_said_before_anything_is_sampled(tmp_path):
    with pytest.raises(UserError, match="there is no weights.md in it"):
        main(["--out", str(tmp_path / "out"), "--docs", str(tmp_path)])
    assert not (tmp_path / "out").exists()
