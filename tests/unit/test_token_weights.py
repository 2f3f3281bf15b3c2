# SPDX-License-Identifier: Apache-2.0
"""Eq. 5 and the position modes of Table A2: ranges, scale, partition, and the forms by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recipe.tw_grpo.token_weights import ROUNDING, position_mask, token_weights

MODES = ["none", "padding", "content", "all"]
lengths_of_groups = st.lists(st.integers(1, 20), min_size=1, max_size=16)


@st.composite
def groups(draw, largest=50.0):
    """(divergence [T], lengths [G]) as the divergence module returns them: D >= 0, T the longest response."""
    lengths = draw(lengths_of_groups)
    value = st.one_of(
        st.floats(0, largest, allow_subnormal=True, width=32), st.sampled_from([0.0, 1e-38, 1e-30, 1e-7, 22.18])
    )
    values = draw(st.lists(value, min_size=max(lengths), max_size=max(lengths)))
    return torch.tensor(values, dtype=draw(st.sampled_from([torch.float32, torch.float64]))), torch.tensor(lengths)


@given(group=groups(), alpha=st.floats(0, 10), positions=st.sampled_from(MODES))
def test_weights_lie_between_one_and_one_plus_alpha(group, alpha, positions):
    divergence, lengths = group
    weights = token_weights(divergence, lengths, alpha=alpha, positions=positions)
    assert weights.shape == divergence.shape and weights.dtype == divergence.dtype
    assert torch.isfinite(weights).all()
    assert (weights >= 1).all() and (weights <= (1 + alpha) * (1 + 1e-6)).all()
    assert (weights[~position_mask(lengths, positions)] == 1).all()


@given(group=groups(), alpha=st.floats(0, 10), positions=st.sampled_from(MODES))
def test_literal_weights_lie_between_zero_and_one_plus_alpha(group, alpha, positions):
    divergence, lengths = group
    weights = token_weights(divergence, lengths, alpha=alpha, positions=positions, weight_form="literal")
    assert torch.isfinite(weights).all()
    assert (weights >= 0).all() and (weights <= (1 + alpha) * (1 + 1e-6)).all()
    assert (weights[~position_mask(lengths, positions)] == 1).all()


@given(group=groups(), alpha=st.floats(0, 10), positions=st.sampled_from(["padding", "content", "all"]))
def test_smallest_and_largest_divergence_get_the_ends_of_the_range(group, alpha, positions):
    divergence, lengths = group
    mask = position_mask(lengths, positions)
    chosen = divergence[mask]
    if chosen.numel() < 2 or chosen.max() - chosen.min() <= ROUNDING:
        return
    weights = token_weights(divergence, lengths, alpha=alpha, positions=positions)[mask]
    assert weights[chosen.argmin()] == 1
    assert float(weights[chosen.argmax()]) == pytest.approx(1 + alpha, rel=1e-6)
    order = chosen.argsort()
    assert (weights[order].diff() >= 0).all(), "a larger divergence never has a smaller weight"


@given(group=groups(), alpha=st.floats(0, 5), factor=st.floats(0, 4))
def test_alpha_scales_the_excess_over_one(group, alpha, factor):
    divergence, lengths = group
    once = token_weights(divergence.double(), lengths, alpha=alpha) - 1
    scaled = token_weights(divergence.double(), lengths, alpha=alpha * factor) - 1
    torch.testing.assert_close(scaled, once * factor, rtol=1e-9, atol=1e-12)


@given(group=groups(), scale=st.floats(0.01, 100), shift=st.floats(0, 10))
def test_minmax_forgets_scale_and_offset_of_the_divergence(group, scale, shift):
    divergence, lengths = group[0].double(), group[1]
    if divergence.max() - divergence.min() < 1e-3:
        return
    torch.testing.assert_close(
        token_weights(scale * divergence + shift, lengths), token_weights(divergence, lengths), rtol=0, atol=1e-8
    )


@given(group=groups())
def test_alpha_zero_is_no_weighting(group):
    """Table 3's row alpha = 0."""
    assert (token_weights(*group, alpha=0.0) == 1).all()


@given(value=st.floats(0, 50, width=32), lengths=lengths_of_groups, form=st.sampled_from(["offset", "literal"]))
@pytest.mark.parametrize("positions", MODES)
def test_equal_divergence_everywhere_gives_one(positions, value, lengths, form):
    divergence = torch.full((max(lengths),), value)
    weights = token_weights(divergence, torch.tensor(lengths), positions=positions, weight_form=form)
    torch.testing.assert_close(weights, torch.ones_like(weights), rtol=1e-6, atol=0)


@given(lengths=lengths_of_groups)
def test_content_and_padding_partition_all(lengths):
    sizes = torch.tensor(lengths)
    masks = {mode: position_mask(sizes, mode) for mode in MODES}
    assert masks["all"].all() and not masks["none"].any()
    assert torch.equal(masks["content"] ^ masks["padding"], masks["all"])
    assert not (masks["content"] & masks["padding"]).any()
    assert masks["content"].sum() == min(lengths) and masks["padding"].sum() == max(lengths) - min(lengths)


DIVERGENCE = torch.tensor([1.0, 3.0, 2.0, 5.0, 4.0])
LENGTHS = torch.tensor([3, 5])  # content 0..2, padding 3..4


@pytest.mark.parametrize(
    "positions, form, expected",
    [
        ("all", "offset", [1, 1 + 0.7 * 2 / 4, 1 + 0.7 / 4, 1.7, 1 + 0.7 * 3 / 4]),
        ("content", "offset", [1, 1.7, 1.35, 1, 1]),  # min and max over the content only
        ("padding", "offset", [1, 1, 1, 1.7, 1]),
        ("none", "offset", [1, 1, 1, 1, 1]),
        ("all", "literal", [0, 1.7 * 2 / 4, 1.7 / 4, 1.7, 1.7 * 3 / 4]),
        ("content", "literal", [0, 1.7, 0.85, 1, 1]),
        ("padding", "literal", [1, 1, 1, 1.7, 0]),
        ("none", "literal", [1, 1, 1, 1, 1]),
    ],
)
def test_by_hand(positions, form, expected):
    weights = token_weights(DIVERGENCE, LENGTHS, alpha=0.7, positions=positions, weight_form=form)
    assert weights.tolist() == pytest.approx(expected, abs=1e-6)


def test_defaults_are_the_papers():
    assert token_weights(DIVERGENCE, LENGTHS).tolist() == pytest.approx([1, 1.35, 1.175, 1.7, 1.525], abs=1e-6)


def test_equal_lengths_have_no_padding():
    lengths = torch.tensor([5, 5])
    assert (token_weights(DIVERGENCE, lengths, positions="padding") == 1).all()
    assert torch.equal(
        token_weights(DIVERGENCE, lengths, positions="content"), token_weights(DIVERGENCE, lengths, positions="all")
    )


def test_carries_no_gradient_and_changes_no_input():
    divergence = DIVERGENCE.clone().requires_grad_()
    weights = token_weights(divergence, LENGTHS)
    assert not weights.requires_grad and torch.equal(divergence.detach(), DIVERGENCE)


def test_lengths_may_be_a_list():
    assert torch.equal(token_weights(DIVERGENCE, [3, 5]), token_weights(DIVERGENCE, LENGTHS))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"divergence": DIVERGENCE[:4]}, r"shape \(4,\), expected \[5\]"),
        ({"divergence": DIVERGENCE[None]}, "shape"),
        ({"positions": "some"}, "none of none, padding, content, all"),
        ({"weight_form": "printed"}, "none of offset, literal"),
        ({"divergence": torch.tensor([1, 2, math.nan, 3, 4])}, "not finite"),
        ({"divergence": torch.tensor([1, 2, math.inf, 3, 4])}, "not finite"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        token_weights(**({"divergence": DIVERGENCE, "lengths": LENGTHS} | change))
