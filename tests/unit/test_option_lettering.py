# SPDX-License-Identifier: Apache-2.0
"""Options lettered in any form lose their letters, or the record is refused; questions lose the options they list."""

import json
import time
from pathlib import Path

import pytest

from data_prep.read import mmvu, nextgqa, video_r1
from data_prep.read.answers import answer_positions, labelled_options, lettered_options
from data_prep.read.lettering import without_options
from recipe.tw_grpo.toolbox.errors import UserError

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="shared cases not here")


@pytest.mark.parametrize("names", ["ABC"])
@pytest.mark.parametrize(
    "form", ["@. {}", "@.{}", "@、{}", "@．{}", "@：{}", "@: {}", "@) {}", "(@) {}", "(@){}", "（@）{}", "[@] {}",
             "@ - {}", "Option @: {}", "option @. {}", "Choice @) {}", "@. (@) {}", "@. @.{}"],
)  # fmt: skip
def test_every_form_of_lettering_comes_off(form, names):
    texts = ("to catch", "to eat", "A car. No")
    options = [form.replace("@", name).format(text) for name, text in zip(names, texts, strict=True)]
    assert lettered_options(options, "here") == texts


@pytest.mark.parametrize("names", ["abc", "123", "012"])
@pytest.mark.parametrize("form", ["@. {}", "@) {}", "(@) {}", "@){}", "@、{}", "Option @: {}"])
def test_small_letters_and_numbers_come_off_too(form, names):
    test_every_form_of_lettering_comes_off(form, names)


@pytest.mark.parametrize(
    "options",
    [
        ["1.5", "2.5"],
        ["1.5 m", "2.0 m"],
        ["3:00", "1:00"],
        ["1: 2", "2: 1"],
        ["a.m.", "p.m."],
        ["A.D.", "B.C."],
        ["(a)(b)(c)", "(b)(a)(c)"],
        ["A man", "A dog"],
        ["Option A", "Option B"],
        ["I. Newton", "Bohr", "Dirac", "Born"],
        ["None", "nan"],
    ],
)
def test_texts_that_begin_like_a_letter_stay(options):
    assert labelled_options(options, "here") == (tuple(options), ())


@pytest.mark.parametrize(
    "options, says",
    [
        (["A.to catch", "B.to eat", "to sleep"], r"options\[2\] has no letter"),
        (["a) x", "c) y"], "lettered AB, found ac"),
        (["1. x", "b. y"], "lettered AB, found 1b"),
        (["B.x", "A.y"], "lettered AB, found BA"),
        (["A. B.to eat", "B. A.to sit"], r"options\[0\] has two letters, A and B"),
        (["A. A. x", "B. B. y", "C. (A) z"], r"options\[2\] has two letters, C and A"),
    ],
)
def test_lettering_that_is_not_whole_is_refused(options, says):
    with pytest.raises(UserError, match=f"here: .*{says}"):
        lettered_options(options, "here")


@pytest.mark.parametrize("answer, right", [("b", 1), ("b)", 1), ("(b)", 1), ("y", 1), ("b) y", 1), ("B", 1), ("a", 0)])
def test_an_answer_may_be_the_label_the_file_writes(answer, right):
    options, labels = labelled_options(["a) x", "b) y"], "here")
    assert answer_positions(answer, options, "here", labels=labels) == (right,)


def test_a_number_that_is_label_and_text_is_refused():
    options, labels = labelled_options(["1) two", "2) 3", "3) 2"], "here")
    with pytest.raises(UserError, match="label of one option and the text of another"):
        answer_positions("2", options, "here", labels=labels)


@pytest.mark.parametrize(
    "question",
    [
        "why?\nA. x b\nB. y",
        "why? Options: (A) x b (B) y",
        "why?\nx b\ny",
        "why?\nOptions:\n1. x b;\n2. y.",
        "why?",
        "why? Option A: x b, Option B: y",
    ],
)
def test_options_listed_in_the_question_come_off(question):
    assert without_options(question, ["x b", "y"], "here") == "why?"


def test_a_listed_option_may_end_in_the_word_option():
    assert without_options("why? A. no answer B. an option C. y", ["no answer", "an option", "y"], "here") == "why?"


def test_a_question_that_only_speaks_of_its_options_stays():
    assert without_options("Is it x or y", ["x", "y"], "here") == "Is it x or y"


@pytest.mark.parametrize("question", ["why? A. y B. x", "A. x\nB. y\nwhich?"])
def test_options_listed_in_another_order_or_place_are_refused(question):
    with pytest.raises(UserError, match="here: 'question' lists options with letters of its own"):
        without_options(question, ["x", "y"], "here")


def test_a_question_of_blanks_takes_no_time():
    start = time.process_time()
    without_options("x" + " \n" * 50_000 + "y why A.", ["x", "y"], "here")
    assert time.process_time() - start < 2


def test_a_record_with_two_letters_is_left_out_and_named(tmp_path):
    good = {"problem_id": 1, "problem": "q", "options": ["A. x", "B. y"], "solution": "A", "path": "a.mp4"}
    path = tmp_path / "eval.json"
    path.write_text(json.dumps([good, {**good, "problem_id": 2, "options": ["A. B. x", "B. A. y"]}]))
    reading = video_r1.read(path)
    assert len(reading.questions) == 1 and reading.left_out == {"whose options have two letters": 1}
    assert "problem_id '2'" in reading.notes[0]


def test_two_letters_are_no_doubt_where_both_name_the_right_option(tmp_path):
    """MMVU as published: the third choice is called D inside, the right one A both times."""
    texts = ["A. x", "B. y", "D. z"]
    derived = {"problem_id": 1, "problem": "q", "options": [f"{a}. {b}" for a, b in zip("ABC", texts, strict=True)],
               "solution": "<answer>A</answer>", "path": "a.mp4"}  # fmt: skip
    own = {"id": "v_1", "video": "videos/Art/0.mp4", "question_type": "multiple-choice", "question": "q",
           "choices": dict(zip("ABC", texts, strict=True)), "answer": "A"}  # fmt: skip
    path = tmp_path / "validation.json"
    for read, record, label in ((video_r1.read, derived, "solution"), (mmvu.read, own, "answer")):
        path.write_text(json.dumps([record, {**record, "problem_id": 2, "id": "v_2", label: "C"}]))
        reading = read(path)
        assert [(q.options, q.right) for q in reading.questions] == [(("x", "y", "z"), (0,))]
        assert reading.left_out == {"whose options have two letters": 1}


@needs_cases
def test_the_shared_case_of_other_lettering():
    questions = nextgqa.read(CASES / "lettered_other_ways.json").questions
    assert [q.options[q.right[0]] for q in questions] == ["to eat", "jump", "run"]
    assert questions[1].options == ("run", "sit", "jump")
