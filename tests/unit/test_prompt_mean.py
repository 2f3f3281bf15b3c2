# SPDX-License-Identifier: Apache-2.0
"""The normaliser of Eq. 6: every prompt of a mini-batch counts the same, whatever the lengths of its responses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipe.tw_grpo.prompt_mean import prompt_factors, tokens_by_prompt


def factors(prompts, tokens):
    of_prompt = tokens_by_prompt(prompts, tokens)
    return prompt_factors(prompts, tokens, all_tokens=sum(tokens), all_prompts=len(of_prompt)).tolist()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30)), min_size=1, max_size=20))
def test_every_prompt_gets_the_same_share_of_the_token_mean(rows):
    """sum of factor / all tokens over a prompt's tokens is 1 / number of prompts."""
    prompts, tokens = [row[0] for row in rows], [row[1] for row in rows]
    found = factors(prompts, tokens)
    with_tokens = {prompt for prompt, count in rows if count}
    for prompt in with_tokens:
        share = sum(f * n for p, n, f in zip(prompts, tokens, found, strict=True) if p == prompt) / sum(tokens)
        assert share == pytest.approx(1 / len(with_tokens), rel=1e-5)
    assert all(factor == 1 for factor, count in zip(found, tokens, strict=True) if not count)


def test_by_hand():
    """Prompt p has 3 tokens, q has 5: mean 4."""
    assert factors(["p", "q", "p", "q"], [1, 4, 2, 1]) == pytest.approx([4 / 3, 4 / 5, 4 / 3, 4 / 5])


def test_ranks_share_the_totals():
    """Rank 0 has p (3 tokens), rank 1 has q and r (5 and 4): the mean over ranks is 4 for both."""
    one = prompt_factors(["p"], [3], all_tokens=12, all_prompts=3)
    other = prompt_factors(["q", "r"], [5, 4], all_tokens=12, all_prompts=3)
    assert [*one.tolist(), *other.tolist()] == pytest.approx([4 / 3, 4 / 5, 1.0])


def test_placeholder_rows_change_nothing():
    plain = factors(["p", "q"], [3, 5])
    assert factors(["p", "q", "pad", "p"], [3, 5, 0, 0]) == pytest.approx([*plain, 1.0, 1.0])
    assert factors(["pad"], [0]) == [1.0]
