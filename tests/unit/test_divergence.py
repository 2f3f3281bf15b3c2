# SPDX-License-Identifier: Apache-2.0
"""Eq. 4: the streaming divergence against the dense float64 definition, its bounds and symmetries, and its memory."""

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from recipe.tw_grpo import divergence as module
from recipe.tw_grpo.divergence import group_divergence, group_divergence_reference
from recipe.tw_grpo.kernels import terms
from recipe.tw_grpo.kernels.plan import CPU, Budget

SHAPES = {  # name: (lengths, d, V)
    "one long response": ([1, 1, 9, 1], 7, 61),
    "all of length 1": ([1, 1, 1], 5, 67),
    "ragged": ([4, 11, 1, 6, 6, 2], 33, 129),
    "two responses": ([3, 8], 9, 101),
    "sixteen responses": ([5, 1, 7, 3, 9, 2, 2, 4, 8, 6, 1, 3, 7, 5, 2, 10], 17, 301),
    "equal lengths": ([6, 6, 6, 6], 19, 513),
    "longest first": ([12, 3, 5], 8, 40),
    "tiny vocabulary": ([3, 2, 4], 6, 2),
    "one response": ([5], 4, 30),
}


def make(lengths, width, vocabulary, *, spread=1.0, logits=3.0, seed=0, dtype=torch.float64):
    """States of a group around a common state per position; `logits` is the scale of the logits, `spread` how much
    the responses differ."""
    g = torch.Generator().manual_seed(seed)
    common = torch.randn(max(lengths), width, generator=g, dtype=torch.float64)
    states = [common[:n] + spread * torch.randn(n, width, generator=g, dtype=torch.float64) for n in lengths]
    weight = torch.randn(vocabulary, width, generator=g, dtype=torch.float64) * logits / math.sqrt(width)
    return torch.cat(states).to(dtype), weight.to(dtype), torch.tensor(lengths)


def definition(hidden, weight, lengths, temperature=1.0):
    """Eq. 4 in float64 from packed states, through padded logits."""
    logits = hidden.double() @ weight.double().T / temperature
    padded = torch.nn.utils.rnn.pad_sequence(list(logits.split(lengths.tolist())), batch_first=True)
    return group_divergence_reference(padded, lengths)


BUDGETS = {
    "one tile": CPU,
    "blocks of a few tokens, tiles of 64": Budget(kept=8000, tile=1, raised=1, least_rows=1),
    "nothing kept, tiles of 64": Budget(kept=0, tile=400, raised=1, least_rows=1),
}


@pytest.fixture(params=BUDGETS.values(), ids=BUDGETS)
def tile(request, monkeypatch):
    monkeypatch.setitem(module._BUDGETS, "cpu", request.param)


@pytest.mark.parametrize("lengths, width, vocabulary", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_float64_equals_the_definition(tile, lengths, width, vocabulary, temperature):
    group = make(lengths, width, vocabulary)
    found = group_divergence(*group, temperature=temperature)
    expected = definition(*group, temperature)
    assert found.dtype == torch.float64 and found.shape == (max(lengths),)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("spread", [1.0, 0.1, 1e-2, 1e-3, 3e-4])
@pytest.mark.parametrize("lengths, width, vocabulary", SHAPES.values(), ids=SHAPES)
def test_float32_keeps_its_digits_however_small(tile, lengths, width, vocabulary, spread):
    """Within 1e-5 where D >= 1e-3, within 1 % down to 1e-7."""
    group = make(lengths, width, vocabulary, spread=spread, dtype=torch.float32)
    found, expected = group_divergence(*group), definition(*group)
    assert found.dtype == torch.float32
    error = (found.double() - expected).abs()
    assert (error <= torch.where(expected >= 1e-3, 1e-5, 1e-2) * expected.clamp_min(1e-7)).all()


def test_the_small_divergences_of_the_case_above_are_small():
    """Guards the test above: it would be empty if no D fell between 1e-7 and 1e-3."""
    lengths, width, vocabulary = SHAPES["equal lengths"]
    values = torch.cat([definition(*make(lengths, width, vocabulary, spread=s)) for s in (1e-2, 1e-3, 3e-4)])
    assert ((values > 1e-7) & (values < 1e-5)).any() and ((values > 1e-5) & (values < 1e-3)).any()


@pytest.mark.parametrize("logits", [1.0, 8.0, 30.0], ids=["flat", "peaked", "near one-hot"])
def test_float32_from_flat_to_peaked_distributions(tile, logits):
    group = make([5, 9, 7, 9], 16, 500, logits=logits, dtype=torch.float32)
    expected = definition(*group)
    assert (expected > 1e-3).all()
    torch.testing.assert_close(group_divergence(*group).double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("spread", [1.0, 0.1, 0.01])
def test_bfloat16_states_and_head(tile, spread, autocast):
    """Within 1e-2 of the definition of the rounded inputs, also inside the autocast verl calls it in."""
    group = make([6, 9, 3, 9], 48, 700, spread=spread, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        found = group_divergence(*group)
    expected = definition(*group)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-2, atol=1e-9)


def test_head_of_another_dtype_than_the_states(tile):
    hidden, weight, lengths = make([3, 5], 16, 200)
    weight = weight.bfloat16()
    found = group_divergence(hidden, weight, lengths)
    torch.testing.assert_close(found, definition(hidden, weight, lengths), rtol=1e-9, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("divergence", ["kl", "logspace_k3"])
def test_equal_responses_give_exactly_zero(tile, dtype, divergence):
    hidden, weight, _ = make([7], 12, 300, dtype=dtype)
    for n_responses in (1, 2, 3, 7, 8):
        found = group_divergence(
            hidden.repeat(n_responses, 1), weight, torch.full((n_responses,), 7), divergence=divergence
        )
        assert (found == 0).all(), (n_responses, found)


@pytest.mark.parametrize("n_responses", [2, 5])
def test_equal_responses_of_one_token_and_a_large_vocabulary_give_exactly_zero(n_responses):
    """The case in which torch splits one reduction over threads, so that equal rows could be summed differently."""
    torch.set_num_threads(2)  # the fixture in conftest.py restores it
    hidden, weight, _ = make([1], 4, 70_000, dtype=torch.float32)
    assert group_divergence(hidden.repeat(n_responses, 1), weight, torch.ones(n_responses)).item() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_shared_prefix_gives_exactly_zero_and_the_rest_does_not(tile, dtype):
    hidden, weight, lengths = make([9, 6, 8], 24, 333, dtype=dtype)
    states = [row.clone() for row in hidden.split(lengths.tolist())]
    for row in states:
        row[:4] = states[0][:4]
    found = group_divergence(torch.cat(states), weight, lengths)
    assert (found[:4] == 0).all() and (found[4:] > 1e-3).all()


@pytest.mark.parametrize("vocabulary", [300, 331, 1000])
def test_uniform_responses_and_the_uniform_of_ended_ones_give_exactly_zero(tile, vocabulary):
    """The two are equal by different roundings; noise of 1e-14 instead of 0 would be stretched to full weights."""
    lengths = torch.tensor([2, 5, 3])
    found = group_divergence(torch.zeros(10, 4), torch.randn(vocabulary, 4), lengths)
    assert (found == 0).all(), found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_summand_loses_no_more_than_the_rounding_of_its_argument(dtype):
    """(1+r) log(1+r) - r from r = -1 to large r; around 0 it is r^2/2, and r is known to eps only."""
    r = torch.tensor([s * 2.0**-k for k in range(1, 19) for s in (1, -1)] + [-1.0, 1.0, 3.0, 15.0], dtype=torch.float64)
    exact = [
        float(r_ * r_ * sum((-r_) ** (k - 2) / (k * (k - 1)) for k in range(2, 200)))
        if abs(r_) <= 0.5
        else float(torch.special.xlogy(torch.tensor(1 + r_, dtype=torch.float64), 1 + r_)) - r_
        for r_ in r.tolist()
    ]
    found = terms.summand((1 + r).to(dtype), torch.ones_like(r, dtype=dtype)).double()
    exact = torch.tensor(exact, dtype=torch.float64)
    assert ((found - exact).abs() <= torch.finfo(dtype).eps * (32 + 1 / r.abs()) * exact).all()
    assert (found >= 0).all()


def naive(hidden, weight, lengths):
    """Eq. 4 as one would write it, in the dtype of the states: the criterion for ours."""
    padded = torch.nn.utils.rnn.pad_sequence(list((hidden @ weight.T).split(lengths.tolist())), batch_first=True)
    log_p = torch.log_softmax(padded, -1)
    ended = torch.arange(padded.shape[1]) >= lengths[:, None]
    log_p = log_p.masked_fill(ended[..., None], -math.log(padded.shape[-1]))
    p = log_p.exp()
    return (p * (log_p - p.mean(0).clamp_min(torch.finfo(p.dtype).tiny).log())).sum((0, 2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("logits", [1.0, 3.0, 10.0])
@pytest.mark.parametrize("spread", [1.0, 0.1, 0.01])
def test_no_further_from_the_truth_than_a_naive_computation_in_that_dtype(tile, dtype, logits, spread):
    group = make([9, 14, 6, 14], 48, 700, logits=logits, spread=spread, dtype=dtype)
    truth = definition(*group)
    ours = (group_divergence(*group).double() - truth).abs().max()
    # In float32 both are at the rounding of the logits, so which of the two is nearer is chance within a few steps.
    steps = 4 * torch.finfo(torch.float32).eps * truth.max() if dtype == torch.float32 else 0
    assert ours <= (naive(*group).double() - truth).abs().max() + steps


@pytest.mark.parametrize("divergence", ["kl", "logspace_k3"])
def test_positions_do_not_depend_on_what_else_is_in_the_group(tile, divergence):
    """T is cut into blocks: the first positions of long responses equal those of responses that stop there."""
    hidden, weight, lengths = make([40, 40, 40], 16, 150)
    cut = torch.cat([row[:7] for row in hidden.split(40)])
    whole = group_divergence(hidden, weight, lengths, divergence=divergence)
    torch.testing.assert_close(
        whole[:7], group_divergence(cut, weight, torch.tensor([7] * 3), divergence=divergence), rtol=1e-9, atol=1e-14
    )


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 5e-6)])
def test_order_of_the_responses_does_not_matter(tile, dtype, tolerance):
    hidden, weight, lengths = make([4, 9, 1, 6, 9], 31, 257, dtype=dtype)
    before = group_divergence(hidden, weight, lengths)
    states = hidden.split(lengths.tolist())
    for seed in range(5):
        order = torch.randperm(5, generator=torch.Generator().manual_seed(seed)).tolist()
        after = group_divergence(torch.cat([states[i] for i in order]), weight, lengths[order])
        torch.testing.assert_close(after, before, rtol=tolerance, atol=0)


def entropy(p):
    return -torch.special.xlogy(p, p).sum(-1)


def test_is_g_times_the_jensen_shannon_divergence():
    """By entropies: G JSD = G (H(mean p) - mean H(p)); at position 3 only two of three responses are left."""
    hidden, weight, lengths = make([3, 5, 5], 11, 97)
    p = torch.softmax(hidden @ weight.T, -1)
    first, second, third = p.split([3, 5, 5])
    uniform = torch.full((2, 97), 1 / 97, dtype=torch.float64)
    p = torch.stack([torch.cat([first, uniform]), second, third])
    expected = 3 * (entropy(p.mean(0)) - entropy(p).mean(0))
    torch.testing.assert_close(group_divergence(hidden, weight, lengths), expected, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(definition(hidden, weight, lengths), expected, rtol=1e-8, atol=1e-12)


def test_disjoint_one_hot_distributions_reach_the_upper_bound():
    weight = torch.eye(16)
    for n_responses in (2, 5, 16):
        hidden = 1000 * torch.eye(16)[:n_responses]
        for dtype in (torch.float32, torch.float64):
            found = group_divergence(hidden.to(dtype), weight, torch.ones(n_responses, dtype=torch.int64))
            bound = n_responses * math.log(n_responses)
            assert found.item() == pytest.approx(bound, rel=1e-6) and found.item() <= bound * (1 + 1e-7)


@settings(max_examples=100)
@example([1, 3, 2, 4], 2, 59, 1e3, torch.float32, "kl", 0)  # the mean of two subnormal probabilities rounds to 0
@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=16),
    width=st.integers(1, 6),
    vocabulary=st.integers(2, 150),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 30.0, 1e3, 1e4]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    divergence=st.sampled_from(["kl", "logspace_k3"]),
    seed=st.integers(0, 2**16),
)
def test_finite_and_within_bounds_for_any_logits(lengths, width, vocabulary, scale, dtype, divergence, seed):
    hidden, weight, sizes = make(lengths, width, vocabulary, logits=scale, seed=seed, dtype=dtype)
    found = group_divergence(hidden, weight, sizes, divergence=divergence)
    assert torch.isfinite(found).all() and (found >= 0).all()
    if divergence == "kl":
        n = len(lengths)
        assert (found <= n * math.log(n) * (1 + 1e-6)).all()
        reference = definition(hidden, weight, sizes)
        assert torch.isfinite(reference).all() and (reference > -1e-12).all()
        torch.testing.assert_close(found.double(), reference, rtol=1e-2, atol=1e-2)


def test_extreme_logits_one_at_a_time():
    """A token at +1e4 or -1e4 in one response where the others are flat. One float32 step at 1e4 is 1e-3 of a nat."""
    weight, lengths = torch.eye(8), torch.tensor([1, 1, 1])
    for value in (1e4, -1e4):
        for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-3)):
            hidden = torch.zeros(3, 8, dtype=dtype)
            hidden[1, 2] = value
            found = group_divergence(hidden, weight, lengths).double()
            torch.testing.assert_close(found, definition(hidden, weight, lengths), rtol=tolerance, atol=0)


def k3_of_the_public_code(logits, lengths):
    """PAPER.md section 1, row (4): mean of log-probabilities, k3 terms exp(d)-d-1 summed over V without weighting by p,
    d clamped to +-11, mean over G; ended responses are uniform."""
    log_p = torch.log_softmax(logits.double(), -1)
    for i, n in enumerate(lengths.tolist()):
        log_p[i, n:] = -math.log(logits.shape[-1])
    d = (log_p.mean(0) - log_p).clamp(-11, 11)
    return (d.exp() - d - 1).sum(-1).mean(0)


@pytest.mark.parametrize("lengths, width, vocabulary", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("logits", [3.0, 30.0], ids=["within the clamp", "beyond the clamp"])
def test_logspace_k3(tile, lengths, width, vocabulary, logits):
    hidden, weight, sizes = make(lengths, width, vocabulary, logits=logits)
    padded = torch.nn.utils.rnn.pad_sequence(list((hidden @ weight.T / 0.8).split(lengths)), batch_first=True)
    expected = k3_of_the_public_code(padded, sizes)
    found = group_divergence(hidden, weight, sizes, divergence="logspace_k3", temperature=0.8)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    single = group_divergence(hidden.float(), weight.float(), sizes, divergence="logspace_k3", temperature=0.8)
    torch.testing.assert_close(single.double(), expected, rtol=1e-4, atol=1e-5)


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor any operation returns."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        for tensor in output if isinstance(output, tuple | list) else [output]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return output


@pytest.mark.parametrize("divergence", ["kl", "logspace_k3"])
def test_nothing_of_the_size_of_the_logits_ever_exists(monkeypatch, divergence):
    n_responses, n_positions, width, vocabulary = 4, 8, 16, 3000
    monkeypatch.setitem(module._BUDGETS, "cpu", Budget(kept=0, tile=1 << 13, raised=1, least_rows=1))
    group = make([n_positions] * n_responses, width, vocabulary, dtype=torch.float32)
    logits = n_responses * n_positions * vocabulary
    with LargestTensor() as seen:
        group_divergence(*group, divergence=divergence)
    assert seen.elements <= vocabulary * width < logits  # a view of the head; for working buffers see the next test
    with LargestTensor() as dense:
        group_divergence(*group, impl="dense")
    assert dense.elements >= logits, "the measurement itself"


def test_buffers_are_no_larger_than_a_tile(monkeypatch):
    """With a narrow head (d = 2) the head itself is small, so the largest tensor is a working buffer."""
    monkeypatch.setitem(module._BUDGETS, "cpu", Budget(kept=1 << 14, tile=1 << 10, raised=1, least_rows=1))
    group = make([8] * 4, 2, 4000, dtype=torch.float32)
    with LargestTensor() as seen:
        group_divergence(*group)
    assert seen.elements <= 1 << 14


def test_carries_no_gradient():
    hidden, weight, lengths = make([3, 2], 4, 20, dtype=torch.float32)
    hidden.requires_grad_()
    assert not group_divergence(hidden, weight, lengths).requires_grad
    assert not group_divergence(hidden, weight, lengths, impl="dense").requires_grad
    assert not group_divergence_reference(torch.randn(2, 3, 4, requires_grad=True), torch.tensor([3, 2])).requires_grad


def test_inputs_are_left_alone():
    hidden, weight, lengths = make([3, 5], 4, 100, dtype=torch.float32)
    copies = hidden.clone(), weight.clone(), lengths.clone()
    group_divergence(hidden, weight, lengths)
    assert all(torch.equal(a, b) for a, b in zip((hidden, weight, lengths), copies, strict=True))


def test_implementations_agree_and_dense_is_the_reference():
    group = make([3, 5, 2], 8, 100, dtype=torch.float32)
    streaming = group_divergence(*group, impl="streaming")
    assert torch.equal(streaming, group_divergence(*group))
    torch.testing.assert_close(group_divergence(*group, impl="dense"), streaming, rtol=1e-5, atol=0)


def test_nan_states_are_not_hidden():
    hidden, weight, lengths = make([3, 5], 4, 100, dtype=torch.float32)
    hidden[1] = math.nan
    found = group_divergence(hidden, weight, lengths)
    assert torch.isnan(found[1]) and torch.isfinite(found[2:]).all()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"lengths": torch.tensor([3, 4])}, "hidden_states has shape"),
        ({"lengths": torch.tensor([8, 0])}, "at least one token"),
        ({"lengths": torch.tensor([], dtype=torch.int64)}, "at least one response"),
        ({"hidden_states": torch.zeros(8, 5)}, "lm_head_weight has shape"),
        ({"hidden_states": torch.zeros(1, 8, 4)}, "hidden_states has shape"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"temperature": math.nan}, "temperature=nan"),
        ({"divergence": "js"}, "none of kl, logspace_k3"),
        ({"impl": "flash"}, "impl='flash'"),
        ({"impl": "dense", "divergence": "logspace_k3"}, "dense only with divergence='kl'"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    hidden, weight, lengths = make([3, 5], 4, 20)
    arguments = {"hidden_states": hidden, "lm_head_weight": weight, "lengths": lengths} | change
    with pytest.raises(ValueError, match=message):
        group_divergence(**arguments)
