# SPDX-License-Identifier: Apache-2.0
"""Recomputation of a dump: what rounding explains passes, a wrong D_t, w_t or setting does not, bad dumps are named."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recipe.tw_grpo.config import TWGRPOConfig
from recipe.tw_grpo.divergence import group_divergence, group_divergence_reference
from recipe.tw_grpo.runs.dump import read_line
from recipe.tw_grpo.runs.recompute import compare, definition, main, read_groups
from recipe.tw_grpo.runs.rounding import STREAMING, divergence_limit
from recipe.tw_grpo.token_weights import token_weights
from recipe.tw_grpo.toolbox.errors import UserError

LENGTHS = [4, 7, 2]


def record(uid="u_0_0", tokens=3, **more):
    """A whole line of a rollout dump with token weights."""
    numbers = {"token_divergence": [0.1] * tokens, "token_weights": [1.0] * tokens}
    ids = {"prompt_ids": [1], "response_ids": list(range(tokens))}
    return {"input": "?", "output": "!", "uid": uid, "index": 0} | ids | numbers | more


def group(settings, spread=0.3):
    """A group as the engine computes it in float32, and its logits in float64 and float32."""
    g = torch.Generator().manual_seed(1)
    head = torch.randn(60, 16, generator=g, dtype=torch.float64)
    base = torch.randn(max(LENGTHS), 16, generator=g, dtype=torch.float64)
    states = [base[:n] + spread * torch.randn(n, 16, generator=g, dtype=torch.float64) for n in LENGTHS]
    exact, rounded = [s @ head.T for s in states], [s.float() @ head.float().T for s in states]
    lengths = torch.tensor(LENGTHS)
    d = group_divergence(torch.cat(states).float(), head.float(), lengths, divergence=settings.divergence)
    w = token_weights(d, lengths, alpha=settings.alpha, positions=settings.positions, weight_form=settings.weight_form)
    lines = [
        read_line(record(tokens=n, token_divergence=d[:n].tolist(), token_weights=w[:n].tolist()), "x") for n in LENGTHS
    ]
    return lines, exact, rounded


RUNS = [
    TWGRPOConfig(),
    TWGRPOConfig(alpha=2.0, positions="content"),
    TWGRPOConfig(positions="padding", weight_form="literal"),
    TWGRPOConfig(positions="none"),
    TWGRPOConfig(divergence="logspace_k3"),
]


@pytest.mark.parametrize("settings", RUNS, ids=str)
@pytest.mark.parametrize("spread", [0.3, 1e-2, 1e-4])
def test_what_float32_computes_agrees(settings, spread):
    result = compare(*group(settings, spread), settings)
    assert result["agrees"], result
    assert spread < 0.1 or result["w_limit"] < 1e-2, "a limit that refuses nothing shows nothing"


def test_a_wrong_weight_or_divergence_does_not_agree():
    settings = TWGRPOConfig()
    for name, change in (("token_weights", lambda x: x + 0.4), ("token_divergence", lambda x: x * 1.001),
                         ("token_weights", lambda x: math.nan), ("token_divergence", lambda x: math.nan)):  # fmt: skip
        for response in range(len(LENGTHS)):  # not only the longest is compared
            lines, exact, rounded = group(settings)
            lines[response].record[name][1] = change(lines[response].record[name][1])
            assert not compare(lines, exact, rounded, settings)["agrees"]


@pytest.mark.parametrize("other", [TWGRPOConfig(alpha=0.8), *RUNS[1:]], ids=str)
def test_another_setting_than_the_runs_does_not_agree(other):
    assert not compare(*group(TWGRPOConfig()), other)["agrees"]


def test_a_tolerance_of_ones_own():
    lines, exact, rounded = group(TWGRPOConfig())
    for line in lines:
        line.record["token_divergence"] = [1.005 * d for d in line.record["token_divergence"]]
    assert compare(lines, exact, rounded, TWGRPOConfig(), tolerance=1e-2)["agrees"]
    assert not compare(lines, exact, rounded, TWGRPOConfig(), tolerance=1e-3)["agrees"]


@given(
    seed=st.integers(0, 10**6),
    delta=st.sampled_from([1e-7, 1e-4, 1e-2, 0.3]),
    spread=st.sampled_from([0.0, 1e-5, 1e-2, 1.0, 10.0]),
    divergence=st.sampled_from(["kl", "logspace_k3"]),
)
def test_no_rounding_of_that_size_moves_a_divergence_further(seed, delta, spread, divergence):
    """The bound itself: log-probabilities moved by at most delta, in the directions that hurt most as well."""
    g = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([3, 5, 1, 5])
    base = 3 * torch.randn(1, 5, 17, generator=g, dtype=torch.float64)
    log_p = (base + spread * torch.randn(4, 5, 17, generator=g, dtype=torch.float64)).log_softmax(dim=-1)
    before = definition(log_p, lengths, divergence)
    for direction in (torch.rand(log_p.shape, generator=g, dtype=torch.float64) * 2 - 1, (log_p - base).sign(),
                      (base - log_p).sign()):  # fmt: skip
        moved = (log_p + delta / 2 * direction).log_softmax(dim=-1)
        actual = (moved - log_p).abs().max().item()
        limit = divergence_limit(before, actual, 4 if divergence == "kl" else 17) - STREAMING * before
        assert ((definition(moved, lengths, divergence) - before).abs() <= limit + 1e-13).all()


def test_a_divergence_that_rounds_below_zero_has_a_limit():
    assert divergence_limit(torch.tensor([-1e-17], dtype=torch.float64), 1e-6, 8) > 0


def test_the_definition_of_logspace_k3_is_that_of_the_streaming_computation():
    _, exact, _ = group(TWGRPOConfig())
    padded, lengths = torch.nn.utils.rnn.pad_sequence(exact, batch_first=True), torch.tensor(LENGTHS)
    streamed = group_divergence(
        torch.cat(exact), torch.eye(exact[0].shape[1], dtype=torch.float64), lengths, divergence="logspace_k3"
    )
    torch.testing.assert_close(definition(padded, lengths, "logspace_k3"), streamed)
    torch.testing.assert_close(definition(padded, lengths, "kl"), group_divergence_reference(padded, lengths))


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "no response with D_t in it"),
        (json.dumps(record(uid="pad" + "0" * 32 + "_0_0")), "no response with D_t in it"),
        (json.dumps(record())[:-20], "line 1 breaks off"),
        (json.dumps({k: v for k, v in record().items() if k != "token_weights"}), "with adv_estimator=tw_grpo"),
        (json.dumps(record(token_divergence=[0.1])), "one number for each of the 3 tokens"),
    ],
)
def test_a_dump_that_cannot_be_recomputed_is_named(tmp_path, text, words):
    path = tmp_path / "1.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        main(["no model", str(path), "no data"])
    with pytest.raises(UserError, match="verl has not written it"):
        main(["no model", str(tmp_path / "2.jsonl"), "no data"])


def test_groups_are_those_of_the_prompts(tmp_path):
    path = tmp_path / "1.jsonl"
    path.write_text("".join(json.dumps(record(f"{uid}_{i}_0")) + "\n" for i in (0, 1) for uid in ("a_b", "c")))
    assert [[line.uid for line in group] for group in read_groups(path)] == [["a_b", "a_b"], ["c", "c"]]
