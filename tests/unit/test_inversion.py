# SPDX-License-Identifier: Apache-2.0
"""Question-Answer Inversion without files: the styles on tables of cases, overlaps, the draw, the leak-free policy."""

import csv
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.check import leak_test
from data_prep.invert import clevrer, words
from data_prep.invert import exclusion as exclusion_style
from data_prep.invert import invert as policy_module
from data_prep.invert.draw import Draw
from data_prep.invert.invert import LEAKS, STYLES, Policy, invert
from data_prep.invert.negation_grammatical import negate as grammatical
from data_prep.invert.negation_paper import negate as paper
from data_prep.invert.overlap import meaning, overlaps
from data_prep.invert.review import chosen, count_verdicts, listing
from data_prep.read import nextgqa
from data_prep.read.question import Question
from recipe.tw_grpo.toolbox.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared" / "data"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="real data not here")
ANY = "which of the following is NOT a right answer to the question: "

# question -> grammatical; why it is here.
GRAMMATICAL = [
    ("what happened after the lady fell", "what did not happen after the lady fell"),  # subject question, past
    ("What happens to the girl?", "What does not happen to the girl?"),  # subject question, present
    ("Which object was taken by the person?", "Which object was not taken by the person?"),  # which + noun, passive
    ("Which object did the person take?", "Which object didn't the person take?"),  # which + noun, do-support
    ("What will the person do next?", "What won't the person do next?"),  # irregular contraction
    ("what can the bird do", "what can't the bird do"),
    ("What else is the person able to do with it?", "What else is the person not able to do with it?"),
    ("who gave the boy the ball", "who did not give the boy the ball"),  # past of a full verb
    ("what makes the baby laugh", "what does not make the baby laugh"),
    ("who is standing in front of the man", "who is not standing in front of the man"),
    ("where does the dog run to", "where doesn't the dog run to"),
    ("how  is the baby moving ?", "how  isn't the baby moving ?"),  # spacing stays
    ("Without the cube, what will happen?", "Without the cube, what will not happen?"),  # clause in front
    ("why did the man fall", "why didn't the man fall"),
    ("What's the boy doing?", "What isn't the boy doing?"),  # contraction
    ("what's he done", None),  # this one is "has"
    ("WHY DID THE BOY FALL?", "WHY DIDN'T THE BOY FALL?"),  # case stays
    ("why did nt the boy sit", None),  # negative already
    ("the boy runs", None),  # no question
    ("", None),
]
EXCLUSION = [
    (
        "why did the boy pick up one present from the group and move to the sofa",
        "which of the following is NOT a reason why the boy picked up one present from the group and moved to the sofa",
    ),
    ("What did the person do with the bed?", "Which of the following did the person NOT do with the bed?"),
    ("what is the girl in red doing", "which of the following is the girl in red NOT doing"),
    ("Which planet was taken?", ANY.capitalize().replace("not", "NOT") + "which planet was taken?"),  # no plural known
    ("Which object was taken by her?", "Which of the following objects was NOT taken by her?"),
    ("Which other object is possible to be held?", "Which of the following objects is NOT possible to be held?"),
    ("What else is he able to do with it?", "Which of the following is he NOT able to do with it?"),
    ("what happened to the dog", "which of the following did NOT happen to the dog"),
    ("how does the lady carry the cats", "which of the following is NOT how the lady carries the cats"),
    ("why is the man wearing blue reading a book", ANY + "why is the man wearing blue reading a book"),  # in doubt
    ("how did the car not hit it", ANY + "how did the car not hit it"),  # two negations are hard to read
    ("how many people are there", ANY + "how many people are there"),
    ("why was the balloon in the air nearing the end", ANY + "why was the balloon in the air nearing the end"),
    ("how did the men made the plane fly off", ANY + "how did the men made the plane fly off"),  # not "flew off"
    ("what did the boy doing", ANY + "what did the boy doing"),  # broken English stays as it is
    ("Is it red?", ANY.capitalize().replace("not", "NOT") + "is it red?"),
    ("why does the toy train move", ANY + "why does the toy train move"),  # "train" may be the verb
]


@pytest.mark.parametrize("question, expected", GRAMMATICAL)
def test_grammatical(question, expected):
    negation = grammatical(question)
    assert (negation and negation.text) == expected


@pytest.mark.parametrize("question, expected", EXCLUSION)
def test_exclusion(question, expected):
    assert exclusion_style.negate(question).text == expected


@pytest.mark.parametrize(
    "question, dataset, expected",
    [
        ("why is the baby crying", "nextgqa", "why isn't the baby crying"),
        ("Which object was taken?", "nextgqa", None),  # the public rule looks at the second word only
        ("what will happen", "nextgqa", None),
        ("What will the person do?", "star", "What won't the person do?"),
        ("What happened after it?", "star", "What didn't happen after it?"),
        ("what is he doing", "star", None),  # not in STAR's table
        ("did", "nextgqa", None),
    ],
)
def test_paper_rule(question, dataset, expected):
    negation = paper(question, dataset)
    assert (negation and negation.text) == expected


@pytest.mark.parametrize(
    "question, problem",
    [
        ("why did he fall", "denies the event"),
        ("how did he get down", "may deny the event"),
        ("how did he react to it", ""),
        ("how many dogs are there", "asks for a number"),
        ("did the boy get down", "asks for yes or no"),
        ("what did he do when he could not stand", ""),  # "not" of a clause of its own
    ],
)
def test_a_style_knows_where_its_negation_is_not_meaningful(question, problem):
    assert grammatical(question).problem == problem
    assert exclusion_style.negate(question).problem == ""


def test_verb_forms():
    cases = {"take": ("took", "takes"), "carry": ("carried", "carries"), "grab": ("grabbed", "grabs")}
    cases |= {"push": ("pushed", "pushes"), "put": ("put", "puts"), "go": ("went", "goes"), "use": ("used", "uses")}
    cases |= {"open": ("opened", "opens"), "play": ("played", "plays"), "have": ("had", "has"), "tie": ("tied", "ties")}
    for base, forms in cases.items():
        assert (words.past(base), words.third_person(base)) == forms


TEXT = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from("why how what which who did is was will the boy not do doing ? , İ \u00a0 x".split(" ")))
    .map(" ".join),
)  # fmt: skip


@given(TEXT)
def test_a_negation_is_another_question_or_none(question):
    for style in STYLES.values():
        for dataset in ("nextgqa", "star"):
            negation = style(question, dataset)
            if negation is not None:
                assert negation.text != question and re.search(r"(?i)\bnot\b|n't|unable", negation.text)
                assert negation.text.endswith("?") == question.endswith("?") or not question.strip()
    assert exclusion_style.negate(question).text != question


@pytest.mark.parametrize(
    "truth, other, expected",
    [
        ("shake its body", "shakes body", True),  # repeats it
        ("laugh and run forward", "run", True),  # is implied by it
        ("happy", "excited", True),  # a synonym
        ("The shoe.", "The box.", False),
        ("girl ate one", "boy ate one", False),
        ("the", "a", False),  # nothing but empty words
        ("take out something", "take out red toy", True),
        ("three fingers", "one finger", False),
    ],
)
def test_overlaps(truth, other, expected):
    assert overlaps(meaning(truth), meaning(other)) == overlaps(meaning(other), meaning(truth)) == expected


def make(number=0, text="what did the boy do", options=("sing", "jump", "sleep", "eat", "swim"), right=2):
    return Question(f"q {number}", str(number), f"v{number % 97}", "v.mp4", text, tuple(options), (right,), "TN")


def test_the_draw_is_uniform_and_belongs_to_the_record():
    several = [Draw(3, str(i)) for i in range(8000)]
    assert abs(sum(draw.happens(0.25) for draw in several) / 8000 - 0.25) < 0.02
    counts = Counter(tuple(draw.some("abc", 2)) for draw in several)
    assert len(counts) == 6 and max(counts.values()) < 1.15 * min(counts.values())
    assert Draw(0, "x").below(10**9) == Draw(0, "x").below(10**9) != Draw(1, "x").below(10**9)
    # Written out once: whoever changes the draw changes every data set ever written.
    assert [Draw(0, "6356067859_6").below(1000) for _ in range(2)] == [Draw(0, "6356067859_6").below(1000)] * 2


OPTIONS = st.lists(
    st.sampled_from(["sing", "jump", "jumps high", "sleep", "eat", "eats", "swim", "", "a"]), min_size=2, max_size=8
)


@given(
    st.text(max_size=5),
    TEXT,
    OPTIONS,
    st.integers(0, 7),
    st.sampled_from(list(STYLES)),
    st.sampled_from(["keep", "drop", "exclusion"]),
    st.sets(st.sampled_from(list(LEAKS))),
    st.booleans(),
    st.floats(0, 1),
)  # fmt: skip
def test_no_policy_gives_a_wrong_label(identity, text, options, right, style, on_invalid, leaks, keep, probability):
    question = make(0, text, options, right % len(options))._replace(question_id=identity)
    policy = Policy(style, "star", 1, probability, on_invalid, frozenset(leaks), keep)
    outcome = invert(question, policy)
    assert outcome == invert(question, policy)
    if outcome is None:
        assert on_invalid == "drop"
        return
    truth = question.options[question.right[0]]
    assert 0 < len(outcome.right) <= len(outcome.options) and not Counter(outcome.options) - Counter(options)
    named = [outcome.options[place] for place in outcome.right]
    if outcome.inverted:
        assert outcome.question != text and outcome.style in (style, "exclusion")
        left = [option for place, option in enumerate(outcome.options) if place not in outcome.right]
        assert left in ([], [truth]) and truth not in named  # only the once right option is wrong now
        assert keep or not any(overlaps(meaning(truth), meaning(option)) for option in named)
    else:
        assert named == [truth] and outcome.question == text


def test_paper_policy_reproduces_the_published_distribution():
    outcomes = [invert(make(i), Policy.of_style("paper")) for i in range(8000)]
    inverted = [outcome for outcome in outcomes if outcome.inverted]
    assert abs(len(inverted) / 8000 - 0.5) < 0.02
    right = Counter(len(outcome.right) for outcome in inverted)
    assert set(right) == {1, 2, 3, 4} and max(right.values()) < 1.12 * min(right.values())
    assert {len(o.options) - len(o.right) for o in inverted} == {1}
    assert {o.options for o in outcomes if not o.inverted} == {make().options}
    assert all(outcome.question == "what didn't the boy do" for outcome in inverted)


def test_default_policy_draws_both_kinds_alike():
    outcomes = [invert(make(i), Policy()) for i in range(12000)]
    wrong_ones = ("sing", "jump", "eat", "swim")  # the truth is away now and then, see below
    for key in (lambda o: len(o.options), lambda o: next(option for option in o.options if option in wrong_ones)):
        shares = [Counter(key(o) for o in outcomes if o.inverted is kind) for kind in (True, False)]
        total = [sum(share.values()) for share in shares]
        assert all(abs(shares[0][k] / total[0] - shares[1][k] / total[1]) < 0.04 for k in shares[0] | shares[1])
    inverted = [outcome for outcome in outcomes if outcome.inverted]
    wrong = Counter(len(outcome.options) - len(outcome.right) for outcome in inverted)
    assert set(wrong) == {0, 1} and 0.15 < wrong[0] / len(inverted) < 0.22  # "all but one" is no strategy
    places = Counter(place for o in outcomes if not o.inverted and len(o.options) == 5 for place in o.right)
    assert max(places.values()) < 1.4 * min(places.values())


def test_on_invalid():
    why = make(text="why did the boy fall")
    results = {
        name: invert(why, Policy("grammatical", probability=1, on_invalid=name)) for name in policy_module.ON_INVALID
    }
    assert results["drop"] is None and results["keep"].question == "why didn't the boy fall"
    assert (
        results["exclusion"].style == "exclusion" and "NOT a reason why the boy fell" in results["exclusion"].question
    )
    kept = invert(make(text="why the cup toppled"), Policy("paper", probability=1))
    assert not kept.inverted and kept.why == policy_module.NO_NEGATION


def rows_of(policy, count=3000):
    random, things = (
        np.random.default_rng(0),
        "bag ball bed book box car cat cup dog door hat key map pen shoe tree".split(),
    )
    questions = []
    for i in range(count):
        options = [f"The {thing}{' there' * random.integers(3)}." for thing in random.choice(things, 5, replace=False)]
        questions.append(make(i, ("What did the boy take?", "What is the dog eating?")[i % 2], options, i % 5))
    return [
        {
            "extra_info": {
                "question": o.question,
                "options": list(o.options),
                "inverted": o.inverted,
                "scene": q.scene,
            },
            "videos": [{"video": "x"}],
        }
        for q, o in ((q, invert(q, policy)) for q in questions)
    ]


def test_leak_test_finds_every_leak_and_none_by_default():
    value, error = leak_test.leak(rows_of(Policy()))
    assert value < 0.5 + 2.5 * error
    for leak in ("count", "case"):  # order and wrong are seen in labels or in the original only
        value, error = leak_test.leak(rows_of(Policy(leaks=frozenset([leak]))))
        assert value > 0.5 + 8 * error, leak
    assert leak_test.leak(rows_of(Policy.of_style("paper")))[0] > 0.75
    with pytest.raises(UserError, match="50 of each"):
        leak_test.leak(rows_of(Policy(probability=0.001), 200))


def test_area_under_the_curve_by_counting_pairs():
    random = np.random.default_rng(0)
    scores, labels = random.integers(0, 9, 60).astype(float), random.integers(0, 2, 60).astype(float)
    pairs = [(a > b) + (a == b) / 2 for a in scores[labels == 1] for b in scores[labels == 0]]
    assert leak_test.area(scores, labels)[0] == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize(
    "question, expected",
    [
        ("Without the cube, what will happen?", "Without the cube, what will not happen?"),
        ("Which event will not happen if the cube is removed?", "Which event will happen if the cube is removed?"),
        ("What caused the collision?", None),
        ("will happen what will happen?", None),
    ],
)
def test_clevrer_will_and_will_not(question, expected):
    assert clevrer.negate(question) == expected
    assert expected is None or clevrer.negate(expected) == question


@needs_real
def test_coverage_on_real_questions():
    val = [q.text for q in nextgqa.read(REAL / "nextgqa_val_1200.json").questions]
    star = [record["question"] for record in json.loads((REAL / "star_test_2000_no_answers.json").read_text())]
    assert sum(paper(text) is not None for text in val) / len(val) == pytest.approx(
        0.985, abs=0.003
    )  # published: 98.5 %
    assert sum(paper(text, "star") is None for text in star) / len(star) == pytest.approx(0.46, abs=0.01)  # PAPER.md
    assert sum(grammatical(text) is not None for text in val) / len(val) >= 0.99
    assert all(grammatical(text) for text in star)
    denied = sum(paper(text).problem == "denies the event" for text in val if paper(text))
    assert denied / len(val) == pytest.approx(0.44, abs=0.02)
    natural = sum(ANY[25:] not in exclusion_style.negate(text).text for text in val + star)
    assert natural / len(val + star) > 0.9


@needs_real
@pytest.mark.parametrize(
    "name, on_invalid, seed",
    [("exclusion", None, 0), ("exclusion_1", None, 1), ("grammatical", "drop", 0), ("paper", None, 0)],
)
def test_the_verdicts_are_about_the_questions_that_are_written(name, on_invalid, seed, tmp_path):
    style = name.removesuffix("_1")
    questions = nextgqa.read(REAL / "nextgqa_val_1200.json").questions
    policy = Policy.of_style(style, probability=1.0, on_invalid=on_invalid, seed=seed)
    pairs = list(chosen(questions, policy, 200))
    path = ROOT / "docs" / "review" / f"{name}.csv"
    counts = count_verdicts(path, pairs)
    assert sum(counts.values()) == 200 and (style == "paper" or counts["wrong"] == 0)
    assert listing(pairs).count("\n   * **") == 200
    rows = list(csv.reader(path.open()))
    (tmp_path / "other.csv").write_text("\n".join(",".join(row) for row in rows[:-1]))
    with pytest.raises(UserError, match="other questions"):
        count_verdicts(tmp_path / "other.csv", pairs)
