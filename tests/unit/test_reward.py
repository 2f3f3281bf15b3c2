# SPDX-License-Identifier: Apache-2.0
"""Eq. 7, the fixed and the format reward, the score made of them, and what cannot be gained by tricks."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipe.tw_grpo.config import RewardConfig
from recipe.tw_grpo.reward import fixed_reward, format_reward, score_response, soft_reward


@pytest.mark.parametrize(
    "predicted, truth, soft, why",
    [
        ("A", "A", 1, "the one right letter"),
        ("AC", "AC", 1, "all right letters"),
        ("A", "AC", 1 / 2, "one of two"),
        ("B", "BCD", 1 / 3, "one of three"),
        ("BD", "BCD", 2 / 3, "two of three"),
        ("AB", "AC", 0, "a wrong letter beside a right one"),
        ("ABC", "AC", 0, "everything right and one wrong"),
        ("B", "AC", 0, "a wrong letter"),
        ("ABCD", "A", 0, "all letters at once"),
        ("", "A", 0, "no answer"),
        ("", "AC", 0, "no answer, two right ones"),
        ("AZ", "A", 0, "a letter that is no option"),
    ],
)
def test_equation_7(predicted, truth, soft, why):
    for kind in (set, frozenset, list, str):
        assert soft_reward(kind(predicted), kind(truth)) == pytest.approx(soft), why
    assert fixed_reward(set(predicted), set(truth)) == float(predicted == truth), why


def test_pieces_of_the_strict_rule_are_worth_nothing():
    for piece in ("", "b", "(B)", "BD"):
        assert soft_reward({piece}, {"B", "D"}) == fixed_reward({piece}, {"B"}) == 0


def test_a_truth_without_letters_is_an_error():
    for reward in (soft_reward, fixed_reward):
        with pytest.raises(ValueError, match="right answers is empty"):
            reward({"A"}, set())
        with pytest.raises(ValueError, match="right answers is empty"):
            reward(set(), set())


letter_sets = st.frozensets(st.sampled_from("ABCDE"))


@given(letter_sets, letter_sets.filter(bool))
def test_rewards_lie_between_zero_and_one_and_fixed_is_the_top_of_soft(predicted, truth):
    soft, fixed = soft_reward(predicted, truth), fixed_reward(predicted, truth)
    assert 0 <= fixed <= soft <= 1
    assert (fixed == 1) == (soft == 1) == (predicted == truth)
    assert (soft > 0) == (bool(predicted) and predicted <= truth)


def nonempty_subsets(letters):
    return [set(s) for n in range(1, len(letters) + 1) for s in itertools.combinations(letters, n)]


@pytest.mark.parametrize("n_options", [2, 3, 4, 5])
def test_a_constant_answer_gets_at_most_chance(n_options):
    """Over all possible truths one constant letter is worth 1/n on average, anything longer less."""
    letters = "ABCDE"[:n_options]
    truths = nonempty_subsets(letters)
    for predicted in nonempty_subsets(letters):
        mean = sum(soft_reward(predicted, truth) for truth in truths) / len(truths)
        if len(predicted) == 1:
            assert mean == pytest.approx(1 / n_options)
        else:
            assert mean < 1 / n_options


@pytest.mark.parametrize(
    "answer", ["A or B or C", "A/B/C", "ABCD", "A, B, C, D", "any of them", "", "A, Z", "either A or B", "not A"]
)
def test_hedging_is_never_worth_more_than_the_format(answer):
    """Over all truths of three options: no accuracy, unless the text truly names a right set."""
    options = ["one", "two", "three"]
    for truth in nonempty_subsets("ABC"):
        scored = score_response(f"<think>x</think><answer>{answer}</answer>", ",".join(truth), options)
        assert scored["soft_acc"] == 0 and scored["score"] == 1, (answer, truth)


GOOD = [
    ("<think>a</think><answer>A</answer>", "the form itself"),
    ("<think>a</think>\n<answer>A, C</answer>\n", "white space between and behind"),
    ("  <think>a\nb</think>\n\n<answer>\nA\n</answer>", "white space in front and within"),
    ("<think></think><answer></answer>", "contents may be empty"),
    ("<think>3 < 4 > 2</think><answer>A</answer>", "angle brackets that are no tags"),
]
BAD = [
    ("", "nothing"),
    ("A", "no tags"),
    ("<answer>A</answer>", "no thoughts"),
    ("<think>a</think>", "no answer"),
    ("<think>a<answer>A</answer>", "thoughts never end"),
    ("a</think><answer>A</answer>", "thoughts never begin"),
    ("<think>a</think><answer>A", "cut off"),
    ("<think>a</think>A</answer>", "the answer never begins"),
    ("<answer>A</answer><think>a</think>", "the wrong order"),
    ("<think>a</think>so<answer>A</answer>", "text between"),
    ("so <think>a</think><answer>A</answer>", "text in front"),
    ("<think>a</think><answer>A</answer>.", "text behind"),
    ("<think>a</think><answer>A</answer><answer>A</answer>", "two answers"),
    ("<think>a</think><think>b</think><answer>A</answer>", "two thoughts"),
    ("<think>a<think></think><answer>A</answer>", "a tag twice"),
    ("<think>a<answer>A</answer></think>", "the answer within the thoughts"),
    ("<think><answer></think></answer>", "crossed tags"),
    ("<answer><think></answer></think>", "crossed the other way"),
    ("</think><think><answer>A</answer>", "closed before opened"),
    ("<think>a</think></answer>A<answer>", "the answer closed before opened"),
    ("<Think>a</Think><Answer>A</Answer>", "tags in capitals"),
    ("<think >a</think><answer>A</answer>", "a blank in a tag"),
    ("<think>use <answer></answer></think><answer>A</answer>", "the prompt's words repeated"),
]


@pytest.mark.parametrize("text, why", GOOD, ids=[why for _, why in GOOD])
def test_good_format(text, why):
    assert format_reward(text) == 1.0


@pytest.mark.parametrize("text, why", BAD, ids=[why for _, why in BAD])
def test_bad_format(text, why):
    assert format_reward(text) == 0.0


@given(st.lists(st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "x", " ", "\n"]), max_size=9))
def test_format_is_the_four_tags_in_order(parts):
    visible = [part for part in parts if part.strip()]
    tags = [part for part in visible if part != "x"]
    expected = tags == ["<think>", "</think>", "<answer>", "</answer>"] and (
        visible[0] == "<think>"
        and visible[-1] == "</answer>"
        and visible.index("<answer>") == visible.index("</think>") + 1
    )
    assert format_reward("".join(parts)) == float(expected)


RESPONSE = "<think>x</think><answer>A</answer>"


def test_score_is_accuracy_plus_format():
    names = ("score", "acc", "soft_acc", "format", "pred", "n_right")
    names += ("single_acc", "single_soft_acc", "multi_acc", "multi_soft_acc")
    for response, truth, values in (
        (RESPONSE, "A,C", (1.5, 0.0, 0.5, 1.0, "A", 2, None, None, 0.0, 0.5)),
        (RESPONSE, "A", (2.0, 1.0, 1.0, 1.0, "A", 1, 1.0, 1.0, None, None)),
        ("C and A", "A,C", (1.0, 1.0, 1.0, 0.0, "A,C", 2, None, None, 1.0, 1.0)),
        ("hm", "A,C", (0.0, 0.0, 0.0, 0.0, "", 2, None, None, 0.0, 0.0)),
    ):
        assert score_response(response, truth) == dict(zip(names, values, strict=True))


@pytest.mark.parametrize(
    "settings, score",
    [
        ({}, 1.5),
        ({"accuracy": "fixed"}, 1.0),
        ({"accuracy_weight": 2.0}, 2.0),
        ({"format_weight": 0.0}, 0.5),
        ({"accuracy": "fixed", "format_weight": 0.25}, 0.25),
        ({"rule": "strict"}, 1.5),
    ],
)
def test_settings_of_the_score(settings, score):
    assert score_response(RESPONSE, "A,C", config=RewardConfig(**settings))["score"] == pytest.approx(score)


def test_strict_rule_in_the_score():
    response = "<think>x</think><answer>(A)</answer>"
    assert score_response(response, "A")["acc"] == 1
    strict = score_response(response, "A", config=RewardConfig(rule="strict"))
    assert (strict["acc"], strict["pred"]) == (0, "(A)")


def test_options_reach_the_parser():
    response = "<think>x</think><answer>blue</answer>"
    assert score_response(response, "B", ["red", "blue"])["pred"] == "B"
    assert score_response(response, "B")["pred"] == ""


@pytest.mark.parametrize("truth", ["A,C", "A, C", "C,A", "<answer>A, C</answer>", "AC"])
def test_ways_to_write_the_truth(truth):
    assert score_response("<answer>A, C</answer>", truth)["acc"] == 1


@pytest.mark.parametrize("truth, rule", [("", "tolerant"), (" ", "tolerant"), ("none", "tolerant"), ("7", "tolerant"),
                                         ("", "strict"), (" ", "strict")])  # fmt: skip
def test_a_truth_that_names_no_letter(truth, rule):
    with pytest.raises(ValueError, match="names no option letter"):
        score_response(RESPONSE, truth, config=RewardConfig(rule=rule))
