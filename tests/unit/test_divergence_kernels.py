# SPDX-License-Identifier: Apache-2.0
"""What the divergence is computed with: the plan of the tiles, the compiled functions and their fallback, precision."""

import itertools
import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recipe.tw_grpo import divergence as module
from recipe.tw_grpo.divergence import group_divergence
from recipe.tw_grpo.kernels import fused, products, terms
from recipe.tw_grpo.kernels.plan import CPU, GPU, Budget, blocks, make_plan

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=16)


@given(sizes=SIZES, room=st.integers(0, 60))
def test_every_token_is_in_exactly_one_rectangle(sizes, room):
    rows = len(sizes) + room
    tokens = []
    for block in blocks(sizes, rows):
        used = 0
        assert block
        for rectangle in block:
            assert rectangle.row == used and math.prod(rectangle.shape) > 0
            used += math.prod(rectangle.shape)
            tokens += itertools.product(rectangle.responses, range(rectangle.start, rectangle.stop))
        assert used <= rows
    assert sorted(tokens) == [(i, t) for i, size in enumerate(sizes) for t in range(size)]


@pytest.mark.parametrize("fused_work", [False, True])
@pytest.mark.parametrize("budget", [CPU, GPU])
@given(sizes=st.lists(st.integers(1, 4096), min_size=1, max_size=32), vocabulary=st.integers(2, 300_000))
def test_memory_is_that_of_the_budget(budget, fused_work, sizes, vocabulary):
    plan = make_plan(sizes, vocabulary, budget, raised_width=3584, fused=fused_work)
    assert len(sizes) <= plan.rows and (plan.tiles - 1) * plan.columns < vocabulary <= plan.tiles * plan.columns
    tile = plan.rows * plan.columns
    kept = plan.rows * vocabulary if plan.keeps else tile
    assert kept <= max(budget.kept, len(sizes) * vocabulary)
    assert plan.columns * 3584 <= max(budget.raised, 64 * 3584)
    if not (plan.keeps and fused_work):
        assert tile <= max(budget.tile, 64 * plan.rows)


def test_the_paper_s_group_of_4096_tokens_needs_less_than_a_gibibyte():
    """G = 8, T = 4,096, V = 152,064, d = 3,584, by the formula; test_divergence.py holds real buffers to the plan."""
    for budget, fused_work in itertools.product((CPU, GPU), (False, True)):
        plan = make_plan([4096] * 8, 152_064, budget, raised_width=3584, fused=fused_work)
        buffers = plan.rows * 152_064 + (0 if fused_work else 3 * plan.rows * plan.columns)
        states_and_head = (2 * plan.rows + plan.columns) * 3584
        assert plan.keeps and 4 * (buffers + states_and_head) < 1 << 29


def group(dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    lengths = torch.tensor([9, 14, 6, 14])
    return torch.randn(43, 16, generator=g).to(dtype), torch.randn(300, 16, generator=g).to(dtype), lengths


@pytest.fixture
def traced(monkeypatch):
    """torch.compile traces as always, but runs what it has traced operation by operation; counts the calls."""
    calls = []

    def compiled(function):
        traced = torch.compile(function, backend="aot_eager", dynamic=True, fullgraph=True)
        return lambda *arguments: calls.append(function.__name__) or traced(*arguments)

    monkeypatch.setattr(fused, "_compiled", compiled)
    monkeypatch.setattr(fused, "_failed", set())
    monkeypatch.setattr(fused, "_agreed", set())
    return calls


@pytest.mark.parametrize("budget", [CPU, Budget(kept=0, tile=400, raised=1, least_rows=1)], ids=["kept", "twice"])
@pytest.mark.parametrize("divergence", ["kl", "logspace_k3"])
def test_compiled_equals_streaming(monkeypatch, traced, divergence, budget):
    monkeypatch.setitem(module._BUDGETS, "cpu", budget)
    found = group_divergence(*group(), divergence=divergence, impl="compiled")
    expected = group_divergence(*group(), divergence=divergence, impl="streaming")
    assert divergence.removeprefix("logspace_") in "".join(traced) and "log_sum_exp" in traced
    torch.testing.assert_close(found, expected, rtol=2e-6, atol=1e-9)


@pytest.mark.parametrize("how", ["raises", "lies"])
def test_a_compiler_that_fails_or_lies_changes_nothing_but_speed(monkeypatch, traced, how, caplog):
    def broken(function):
        def call(*arguments):
            if how == "raises":
                raise RuntimeError("no compiler\nand a long tale")
            result = function(*arguments)
            return tuple(2 * x for x in result) if isinstance(result, tuple) else 2 * result

        return call

    monkeypatch.setattr(fused, "_compiled", broken)
    found = group_divergence(*group(), impl="compiled")
    torch.testing.assert_close(found, group_divergence(*group(), impl="streaming"), rtol=2e-6, atol=1e-9)
    assert "computed without it" in caplog.text and "tale" not in caplog.text


def test_auto_compiles_large_groups_only(monkeypatch):
    monkeypatch.setattr(fused, "is_available", lambda device_type: True)
    cpu = torch.device("cpu")
    assert fused.pays(8 * 128 * 152_064, cpu, torch.float32)
    assert not fused.pays(8 * 128 * 151, cpu, torch.float32), "the tiny run"
    assert not fused.pays(8 * 128 * 152_064, cpu, torch.float64)


@pytest.mark.parametrize(
    "variable, expected",
    [("TORCHDYNAMO_DISABLE", "False"), ("TORCH_COMPILE_DISABLE", "False"), ("UNRELATED", "True")],
)
def test_torch_s_own_switches_are_heard(tmp_path, variable, expected):
    compiler = tmp_path / "g++"  # is looked for, not run
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    code = "from recipe.tw_grpo.kernels import fused; print(fused.is_available('cpu'))"
    environment = {variable: "1", "PATH": str(tmp_path), "PYTHONPATH": "."}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


def test_float32_products_stay_float32_and_the_setting_is_given_back():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with products.full_precision("cpu"):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_native_products_only_where_the_device_gives_float32():
    """On a CPU torch has no out_dtype: the tiles of the head are raised. tests/gpu shows the other side."""
    assert not products.multiplies_natively(torch.device("cpu"), torch.bfloat16)
    assert not products.multiplies_natively(torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_native_products_take_states_and_head_as_they_are(monkeypatch, temperature):
    """The branch a GPU takes, with a product that does on a CPU what `out_dtype` does there."""
    states, weight, lengths = group(torch.bfloat16)
    expected = group_divergence(states, weight, lengths, temperature=temperature)
    seen = []
    mm = torch.mm

    def with_out_dtype(a, b, *, out, out_dtype=None):
        seen.append((a.dtype, b.dtype, out_dtype))
        return mm(a.float(), b.float(), out=out)

    monkeypatch.setattr(module, "multiplies_natively", lambda device, dtype: True)
    monkeypatch.setattr(torch, "mm", with_out_dtype)
    found = group_divergence(states, weight, lengths, temperature=temperature)
    assert set(seen) == {(torch.bfloat16, torch.bfloat16, torch.float32)}
    torch.testing.assert_close(found, expected, rtol=2e-6, atol=0)


def test_plain_functions_and_in_place_functions_agree():
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 40, generator=g, dtype=torch.float64)
    normalizer = logits.logsumexp(-1, keepdim=True)
    log_p = logits - normalizer
    for n_ended in (0, 2):
        for plain, in_place, values in (
            (terms.kl, terms.kl_in_place, log_p.exp()),
            (terms.logspace_k3, terms.logspace_k3_in_place, log_p.clone()),
        ):
            buffers = torch.empty_like(values), torch.empty(5, 40).double(), torch.empty(5, 40).double()
            found = in_place(values, *buffers, n_ended, 40)
            torch.testing.assert_close(
                found, plain(logits, normalizer - 0.5, torch.tensor(0.5), torch.tensor(float(n_ended)), 40)
            )
