# SPDX-License-Identifier: Apache-2.0
"""Which rank gets which prompt: whole groups, equal rows, no placeholder when none is needed, similar work."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipe.tw_grpo.integration.balancing import pack_groups, rows_per_rank

batches = st.lists(st.tuples(st.integers(1, 16), st.floats(0, 1e12)), min_size=1, max_size=40)


@given(batches, st.integers(1, 8), st.integers(1, 6))
def test_every_group_is_on_exactly_one_rank_and_every_rank_has_room(batch, ranks, step):
    sizes, workloads = map(list, zip(*batch, strict=True))
    rows = rows_per_rank(sizes, workloads, ranks, multiple=step * ranks)
    packed = pack_groups(sizes, workloads, ranks, rows)
    assert len(packed) == ranks
    assert sorted(group for rank in packed for group in rank) == list(range(len(sizes)))
    assert all(sum(sizes[group] for group in rank) <= rows for rank in packed), "the rest are placeholder rows"
    assert rows % step == 0, "the batch stays a multiple of what verl needs"
    assert rows * ranks >= sum(sizes)
    assert rows - step < max(-(-sum(sizes) // ranks) + max(sizes), step), "no more placeholders than one group a rank"


@given(batches, st.integers(1, 8), st.integers(1, 6))
def test_no_smaller_number_of_rows_would_have_done(batch, ranks, step):
    sizes, workloads = map(list, zip(*batch, strict=True))
    rows = rows_per_rank(sizes, workloads, ranks, multiple=step * ranks)
    fewer = rows - step
    assert fewer * ranks < sum(sizes) or pack_groups(sizes, workloads, ranks, fewer) is None


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 16), st.randoms(use_true_random=False))
def test_equal_groups_that_divide_evenly_need_no_placeholder(ranks, per_rank, size, rng):
    """The usual case: rollout.n responses of every prompt, prompts a multiple of the ranks."""
    n_groups = ranks * per_rank
    workloads = [rng.random() for _ in range(n_groups)]
    rows = rows_per_rank([size] * n_groups, workloads, ranks, multiple=ranks)
    assert rows == per_rank * size
    packed = pack_groups([size] * n_groups, workloads, ranks, rows)
    assert [len(rank) for rank in packed] == [per_rank] * ranks


@given(st.integers(1, 8), st.integers(1, 16), st.integers(1, 30), st.randoms(use_true_random=False))
def test_equal_groups_fit_whenever_their_number_allows_it(ranks, size, n_groups, rng):
    workloads = [rng.random() for _ in range(n_groups)]
    for rows in range(size, 4 * size):
        fits = (rows // size) * ranks >= n_groups
        assert (pack_groups([size] * n_groups, workloads, ranks, rows) is not None) == fits


def test_a_group_larger_than_a_rank_does_not_fit():
    assert pack_groups([5], [1.0], ranks=4, rows=4) is None
    assert rows_per_rank([5], [1.0], ranks=4, multiple=4) == 5


def test_rows_are_a_multiple_of_what_verl_needs():
    """5 prompts of 8 on 2 ranks: three prompts on one of them, 24 rows each; with mini-batches of 32 rows 32 each."""
    assert rows_per_rank([8] * 5, [1.0] * 5, ranks=2, multiple=2) == 24
    assert rows_per_rank([8] * 5, [1.0] * 5, ranks=2, multiple=32) == 32


def largest_load(packed, workloads):
    return max(sum(workloads[group] for group in rank) for rank in packed)


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_work_is_more_even_than_in_the_order_of_arrival(ranks):
    """Lengths of real groups differ several times; verl's dispatch alone cuts the batch into equal runs of rows."""
    rng = random.Random(0)
    gains = []
    for _ in range(200):
        workloads = [rng.lognormvariate(0, 1) for _ in range(4 * ranks)]
        packed = pack_groups([8] * len(workloads), workloads, ranks, rows=32)
        naive = [list(range(4 * rank, 4 * rank + 4)) for rank in range(ranks)]
        gains.append(largest_load(packed, workloads) / largest_load(naive, workloads))
    assert sum(gains) / len(gains) < 0.9, "on average"
    assert sum(gain > 1 + 1e-9 for gain in gains) < 0.05 * len(gains), "and hardly ever worse"


def test_work_by_hand():
    """9 | 5 + 4 when rows allow it; 9 + 4 | 5 + 5 when two groups a rank is all there is room for."""
    assert pack_groups([1, 1, 1], [5, 9, 4], ranks=2, rows=2) == [[1], [0, 2]]
    assert pack_groups([1, 1, 1, 1], [5, 9, 4, 5], ranks=2, rows=2) == [[1, 2], [0, 3]]


def test_the_same_batch_is_always_packed_the_same_way():
    arguments = ([4] * 6, [1.0] * 6, 3, 8)
    assert pack_groups(*arguments) == pack_groups(*arguments) == [[0, 3], [1, 4], [2, 5]]
