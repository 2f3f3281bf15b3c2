# SPDX-License-Identifier: Apache-2.0
"""No right answer lost, none invented: every question of the annotation files at hand in many notations, real
predictions with official verdicts, the small cases users found, and random answers with the set they mean.
"""

import csv
import json
import re
from pathlib import Path

import pytest
from answer_fuzz import fuzz

from recipe.tw_grpo.answer_markers import marked_parts
from recipe.tw_grpo.answers import parse_answer

SHARED = Path(__file__).resolve().parents[3] / "shared"
CASES, DATA = SHARED / "cases", SHARED / "data"
GEMINI = DATA / "logs/tempcompass_gemini_choices.jsonl"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
NOTATIONS = [  # of the letter and the text of one option
    "{L}",
    "({L}) {text}",
    "{L}. {text}",
    "**{L}. {text}**",
    '"{L}. {text}"',
    "{L}: {text}",
    "{l}. {text}",
    "{text} ({L})",
    "{L}、{text}",
    "- {L}.{text}",
    '["{L}) {text}"]',
    "\\boxed{{{L}. {text}}}",
]


def lines_of(path):
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


@pytest.mark.skipif(not (CASES / "answers.jsonl").exists(), reason="no ../shared/cases")
def test_cases_that_users_found():
    cases = lines_of(CASES / "answers.jsonl")
    assert len(cases) >= 25
    for case in cases:
        want = frozenset(filter(None, case["want"].split(",")))
        assert parse_answer(case["response"], case["options"]) == want, case["why"]


@pytest.mark.skipif(not GEMINI.exists(), reason="no ../shared/data")
def test_real_predictions_agree_with_their_official_verdicts():
    rows = lines_of(GEMINI)
    differing = [
        row for row in rows if (parse_answer(row["response"], row["options"]) == {row["truth"]}) != row["official"]
    ]
    assert len(rows) == 1580 and len(differing) <= 0.001 * len(rows)
    assert not [row["response"] for row in differing if not row["official"]], "right where the benchmark says wrong"


def questions():
    """The options of every question of every annotation file and log at hand, each list of options once."""
    found = [row["options"] for row in json.loads((DATA / "nextgqa_val_1200.json").read_text("utf-8"))]
    for name in ("nextgqa_val.csv", "nextqa_val_index_answers.csv"):
        with open(DATA / name, encoding="utf-8", newline="") as file:
            found += [[row[f"a{i}"] for i in range(5)] for row in csv.DictReader(file)]
    star = json.loads((DATA / "star_test_2000_no_answers.json").read_text("utf-8"))
    found += [[choice["choice"] for choice in row["choices"]] for row in star]
    found += [row["options"] for row in json.loads((DATA / "mvbench_clevrer_counterfactual.json").read_text("utf-8"))]
    scenes = json.loads((DATA / "clevrer_validation_video_12176.json").read_text("utf-8"))
    found += [[choice["choice"] for choice in question["choices"]] for s in scenes for question in s["questions"]]
    found += [row["question"]["options"] for row in lines_of(DATA / "logs/mmvu_twgrpo_eval.jsonl")]
    found += [row["options"] for row in lines_of(GEMINI)]
    return [list(options) for options in dict.fromkeys(map(tuple, found))]


@pytest.mark.skipif(not (DATA / "nextgqa_val.csv").exists(), reason="no ../shared/data")
def test_every_option_of_every_question_in_every_notation():
    lists = questions()
    assert len(lists) > 4000
    read = 0
    for options in lists:
        texts = [re.sub(rf"^\s*(?:\({L}\)|{L}[.):])", "", o).strip() for L, o in zip(LETTERS, options, strict=False)]
        for letter, text in zip(LETTERS, texts, strict=False):
            alone = [other.lower() for other in texts].count(text.lower()) == 1
            for notation in NOTATIONS + ["{text}"] * alone:
                answer = notation.format(L=letter, l=letter.lower(), text=text)
                assert parse_answer(f"<answer>{answer}</answer>", options) == {letter}, (answer, options)
                read += 1
            # The text of the next option behind this letter, so that each of them is tried once.
            other = texts[(LETTERS.find(letter) + 1) % len(texts)]
            if other.lower() != text.lower():
                assert not parse_answer(f"<answer>{letter}. {other}</answer>", options), (letter, other, options)
    print(f"{read} answers to {len(lists)} lists of options")


def show(result):
    print(result)
    for line in result.wrong[:20]:
        print(line)
    assert not result.wrong
    assert result.slowest < 0.050
    assert result.unread < 0.01 * result.read
    assert min(result.hedged, result.noise) > result.answers / 20


def test_random_answers_are_read_as_what_they_mean_or_not_at_all():
    show(fuzz(20_000))


@pytest.mark.slow
def test_a_million_random_answers():
    show(fuzz(1_000_000, seed=1))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Answer: A\nAnswer: B", [" B", " A\n"]),
        ("\\boxed{\\text{A}} and the answer is B", [" B", "\\text{A}"]),
        ("\\boxed{A", ["A"]),
        ("If the answer is A, the wrong answer is B.", []),
        ("The other options are A and C.", []),
        ("nothing", []),
    ],
)
def test_parts_behind_markers_come_last_first(text, parts):
    assert [part for part, _ in marked_parts(text)] == parts


def test_a_marker_within_an_option_is_none():
    options = ["the answer is yes", "the answer is no"]
    assert parse_answer("He says: B. the answer is no", ["yes", "no"]) == {"B"}
    assert parse_answer("A. the answer is yes\n\nHe nods.", options) == {"A"}
