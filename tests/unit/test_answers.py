# SPDX-License-Identifier: Apache-2.0
"""Which set of letters a text answers with: a table of notations, each with its reason, hostile texts, real records."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipe.tw_grpo.answers import parse_answer

OPTIONS = ["The red disc collides with the square", "The green triangle leaves", "A, then B", "Nothing happens"]
ECHO = (
    "Output the thinking process in <think></think> and the final answer (letters separated by commas, if multiple) "
    "in <answer></answer> tags. "
)

# text, letters, why. "" stands for no answer. The four options are A to D.
TAGGED = [
    # What 8,016 real responses hold (docs: PAPER.md section 2)
    ("<think>x</think><answer>A, C</answer>", "AC", "the usual form, 3,894 times"),
    ("<answer>A,\nC</answer>", "AC", "newlines between the letters"),
    ("<answer>\nB\n</answer>", "B", "newlines around the letter"),
    ("<think>x</think><answer>B</answer>", "B", "a clean letter, 3,873 times"),
    ("<answer>A,B</answer>", "AB", "no blank"),
    ("<answer>C,</answer>", "C", "a trailing comma, 21 times"),
    ("B</think><answer>A</answer>", "A", "no <think>"),
    ("<answer></answer>", "", "an empty answer, 13 times"),
    ("<answer>  \n </answer>", "", "blanks only"),
    ("<answer>CD</answer>", "CD", "letters run together, 8 times"),
    ("<answer>C D</answer>", "CD", "a blank between, 7 times"),
    ("<answer>b</answer>", "B", "lower case, 4 times"),
    ("<answer>a, c</answer>", "AC", "lower case with commas"),
    ("<answer>E</answer>", "E", "no option: kept, so that it is never right"),
    ("<answer>A, Z</answer>", "AZ", "one is no option: the answer must not become right by dropping it"),
    ("<answer>A, B, A, C</answer>", "ABC", "duplicates, 4 times"),
    ("<answer>B,B</answer>", "B", "duplicates count once: strict gave 0.5 for {B,D} here too"),
    ("<answer>A</answer> no, <answer>B</answer>", "B", "several tags: the last one counts"),
    ("<answer>A</answer><answer> </answer>", "A", "the last non-empty one"),
    ("<answer>A</answer> <answer></answer>", "A", "an empty pair takes nothing back"),
    ("<answer>A<answer>B</answer>", "B", "the first was never closed"),
    # Notations the strict rule gives 0 for
    ("<answer>(B)</answer>", "B", "round brackets"),
    ("<answer>(A), (C)</answer>", "AC", "round brackets, several"),
    ("<answer>(A)(C)</answer>", "AC", "brackets separate as well"),
    ("<answer>(A, C)</answer>", "AC", "one pair of brackets around all"),
    ("<answer>A) and C)</answer>", "AC", "closing brackets only"),
    ("<answer>B.</answer>", "B", "a full stop"),
    ("<answer>B:</answer>", "B", "a colon"),
    ("<answer>A. C.</answer>", "AC", "full stops"),
    ("<answer>B and D</answer>", "BD", "and"),
    ("<answer>A, B and D</answer>", "ABD", "comma and and"),
    ("<answer>both A and C</answer>", "AC", "both"),
    ("<answer>A & C</answer>", "AC", "ampersand"),
    ("<answer>A + C</answer>", "AC", "plus"),
    ("<answer>A; C</answer>", "AC", "semicolon"),
    ("<answer>[A, C]</answer>", "AC", "a list"),
    ('<answer>["A", "C"]</answer>', "AC", "a JSON list"),
    ("<answer>{A, C}</answer>", "AC", "a set"),
    ("<answer>'A'</answer>", "A", "quotes"),
    ("<answer>**A**</answer>", "A", "markdown"),
    ("<answer>`A`, `C`</answer>", "AC", "markdown code"),
    ("<answer>$A$</answer>", "A", "mathematics"),
    ("<answer>\\boxed{A, C}</answer>", "AC", "boxed"),
    ("<answer>$\\boxed{\\text{B}}$</answer>", "B", "boxed text"),
    ("<answer>- A\n- C</answer>", "AC", "a bullet list"),
    ("<answer>Option A</answer>", "A", "a word that says nothing"),
    ("<answer>Options A and C</answer>", "AC", "the same, plural"),
    ("<answer>The correct answers are A and C.</answer>", "AC", "a sentence of such words"),
    ("<answer>A and C are correct</answer>", "AC", "words behind"),
    ("<ANSWER>A</ANSWER>", "A", "tags in capitals"),
    ("<Answer>A</answer>", "A", "mixed tags"),
    ("<answer>A, C", "AC", "cut off before the closing tag"),
    ("A</answer>", "", "a closing tag alone opens nothing, and the text around is no answer"),
    # Unicode
    ("<answer>Ａ，Ｃ</answer>", "AC", "full-width letters and comma"),
    ("<answer>ａ、ｃ</answer>", "AC", "full-width lower case, ideographic comma"),
    ("<answer>Ⓐ</answer>", "A", "a circled letter"),
    ("<answer>𝐁</answer>", "B", "a mathematical bold letter"),
    ("<answer>A\u00a0C</answer>", "AC", "no-break space"),
    ("<answer>А</answer>", "", "a Cyrillic letter is not the Latin one"),
    ("<answer>Α</answer>", "", "a Greek letter is not the Latin one"),
    ("İİİ <answer>A</answer>", "A", "a character whose lower case is longer must not shift the tags"),
    ("\ud800<answer>A</answer>", "A", "a lone surrogate"),
    # Texts of options
    (f"<answer>{OPTIONS[0]}</answer>", "A", "the text instead of the letter"),
    (f"<answer>{OPTIONS[1].upper()}.</answer>", "B", "case and full stop of a text do not matter"),
    (f"<answer>{OPTIONS[0]}, {OPTIONS[1]}</answer>", "AB", "two texts"),
    (f"<answer>{OPTIONS[0]} and {OPTIONS[3]}</answer>", "AD", "two texts with and"),
    (f"<answer>{OPTIONS[0]}\n{OPTIONS[1]}</answer>", "AB", "a text a line"),
    (f"<answer>A. {OPTIONS[0]}</answer>", "A", "letter and text"),
    (f"<answer>(A) {OPTIONS[0]}, (B) {OPTIONS[1]}</answer>", "AB", "letters and texts"),
    (f"<answer>A. {OPTIONS[0]}\nD. {OPTIONS[3]}</answer>", "AD", "letters and texts, a line each"),
    (f"<answer>A {OPTIONS[0]}</answer>", "A", "letter and text without a dot"),
    (f"<answer>B. {OPTIONS[0]}</answer>", "", "the letter of one and the text of another: nobody can tell"),
    ("<answer>The red disc collides</answer>", "", "half of a text is no option"),
    # No answer
    ("<answer>A or B</answer>", "", "hedging"),
    ("<answer>A, B or C</answer>", "", "hedging behind a comma"),
    ("<answer>A/B</answer>", "", "hedging with a slash"),
    ("<answer>A|C</answer>", "", "hedging with a bar"),
    ("<answer>A and/or C</answer>", "", "hedging in one word"),
    (f"<answer>A. {OPTIONS[0]} or B. {OPTIONS[1]}</answer>", "", "hedging with texts"),
    ("<answer>either A or C</answer>", "", "hedging in a sentence"),
    ("<answer>A) or C</answer>", "", "hedging where only the first letter is marked"),
    ("<answer>A. or C</answer>", "", "hedging with one full stop"),
    ("<answer>not A</answer>", "", "a denial"),
    ("<answer>A, not B</answer>", "", "a denial behind a letter"),
    ("<answer>None of the above</answer>", "", "words"),
    ("<answer>NO</answer>", "", "capital letters, but not of options"),
    ("<answer>ABCDE</answer>", "", "a run with a letter that is no option is a word"),
    ("<answer>AAA</answer>", "", "a run with repetitions is a word"),
    ("<answer>42</answer>", "", "a number"),
    ("<answer>?</answer>", "", "a question mark"),
    ("<answer>A" + " because" * 700 + "</answer>", "", "an essay"),
    # The prompt repeated
    (ECHO, "", "the prompt alone answers nothing"),
    (ECHO + "<think>so</think><answer>B</answer>", "B", "the answer behind the prompt"),
    ("<think>so</think><answer>B</answer> " + ECHO, "B", "the answer before the prompt"),
]
UNTAGGED = [
    ("A", "A", "nothing but the letter"),
    ("A, C", "AC", "nothing but letters"),
    ("  (b)  ", "B", "the same notations as within tags"),
    ("answer: A, C", "AC", "the public code's second pattern"),
    ("The answer is B.", "B", "a sentence"),
    ("Final Answer: **C**", "C", "markdown"),
    ("Answer: A\nThat is all.", "A", "the line of the marker, not what follows"),
    ("Answer: A. Wait. Answer: B", "B", "the last marker counts"),
    ("The answer is not clear.\nAnswer: D", "D", "the last marker again"),
    ("答案：A、C", "AC", "a Chinese marker"),
    ("Let us see.\nThe disc falls.\nB", "B", "the last line is nothing but an answer"),
    ("<think>A or B? A.</think>\nC", "C", "behind the thoughts"),
    ("<think>the answer is A</think>B", "B", "the answer, not the thought"),
    ("<think>The answer is A", "A", "thoughts that never end: better than nothing"),
    ("I think it is A", "", "prose that names a letter"),
    ("A disc falls.", "", "an article is no answer"),
    ("", "", "nothing"),
    ("\n\n", "", "nothing but lines"),
    ("Nothing happens", "D", "the text of an option is the whole response"),
    ("What is the answer?", "", "a question"),
]


@pytest.mark.parametrize("text, letters, why", TAGGED + UNTAGGED, ids=[row[2] for row in TAGGED + UNTAGGED])
def test_tolerant_with_options(text, letters, why):
    assert parse_answer(text, OPTIONS) == frozenset(letters), why


NEEDS_OPTIONS = ("text", "option", "run with a letter", "nobody", "half of")


@pytest.mark.parametrize(
    "text, letters, why", [r for r in TAGGED + UNTAGGED if not any(w in r[2] for w in NEEDS_OPTIONS)]
)
def test_tolerant_without_options(text, letters, why):
    assert parse_answer(text) == frozenset(letters), why


def test_the_table_is_large():
    assert len(TAGGED + UNTAGGED) >= 110 and len({row[0] for row in TAGGED + UNTAGGED}) == len(TAGGED + UNTAGGED)


@pytest.mark.parametrize(
    "text, options, letters, why",
    [
        ("<answer>NO</answer>", None, "", "without options only runs of A to H are letters"),
        ("<answer>CD</answer>", None, "CD", "a run of A to H"),
        ("<answer>CD</answer>", ["x1", "x2", "x3"], "", "D is no option, so CD is a word"),
        ("<answer>yes</answer>", ["Yes", "No"], "A", "a yes-no question"),
        ("<answer>No</answer>", ["Yes", "No"], "B", "a yes-no question"),
        ("<answer>5.0</answer>", ["A. 10.0", "B. 5.0", "C. 12.0"], "B", "options with their letters, a number"),
        ("<answer>B. 5.0</answer>", ["A. 10.0", "B. 5.0", "C. 12.0"], "B", "the option as it stands"),
        ("<answer>red</answer>", ["(A) red", "(B) blue"], "A", "NExT-GQA's form of options"),
        ("<answer>red disc</answer>", ["red", "red disc"], "B", "an option that begins with another"),
        ("<answer>red</answer>", ["red", "red disc"], "A", "the shorter of the two"),
        ("<answer>red</answer>", ["red", "red", "blue"], "", "two options with one text"),
        ("<answer>A. red</answer>", ["red", "red", "blue"], "A", "two options with one text, but a letter"),
        ("<answer>blue, red</answer>", ["red", "blue"], "AB", "in another order"),
        ("<answer>black and white</answer>", ["black and white", "black", "white"], "A", "an option with and"),
        ("<answer>red</answer>", ["", "red"], "B", "an empty option matches nothing"),
        ("<answer></answer>", ["", "red"], "", "an empty option is not an empty answer"),
        ("<answer>Rouge foncé</answer>", ["rouge", "ROUGE FONCE\u0301"], "B", "composed and decomposed accents"),
        ("<answer>A</answer>", [], "A", "no options at all"),
        ("<answer>option 30</answer>", [f"option {i}" for i in range(40)], "", "an option that has no letter"),
        ("<answer>B. option 30</answer>", [f"option {i}" for i in range(40)], "B", "the same behind a letter"),
    ],
)
def test_options(text, options, letters, why):
    assert parse_answer(text, options) == frozenset(letters), why


@pytest.mark.parametrize(
    "text, pieces, why",
    [
        ("<answer>A, C</answer>", {"A", "C"}, "blanks deleted, split at commas"),
        ("<answer>A</answer><answer>B</answer>", {"A"}, "the first pair"),
        ("<answer>A,\nC</answer>", {"A", "C"}, "line breaks around a letter"),
        ("<answer>B,B</answer>", {"B"}, "a set"),
        ("<answer>b</answer>", {"b"}, "lower case stays"),
        ("<answer>(B)</answer>", {"(B)"}, "brackets stay"),
        ("<answer>C,</answer>", {"C", ""}, "a trailing comma leaves an empty piece"),
        ("<answer>BD</answer>", {"BD"}, "one piece"),
        ("<answer>B and D</answer>", {"BandD"}, "blanks deleted, and that is all"),
        ("<answer></answer>", {""}, "an empty answer is one empty piece"),
        ("answer: A, B", {"A", "B"}, "the second pattern"),
        ("Answer A", {"A"}, "the second pattern without a colon"),
        ("<answer>A", {""}, "no pair, no pattern"),
        ("no idea", {""}, "nothing"),
    ],
)
def test_strict(text, pieces, why):
    assert parse_answer(text, OPTIONS, rule="strict") == frozenset(pieces), why


def test_unknown_rule():
    with pytest.raises(ValueError, match="rule='loose' is none of tolerant, strict"):
        parse_answer("A", rule="loose")


MEGABYTE = 1 << 20
HOSTILE = {
    "letters": "A",
    "letters and commas": "A,",
    "blanks": " ",
    "lines": "\n",
    "opening tags": "<answer>",
    "closing tags": "</answer>",
    "empty pairs": "<answer></answer>",
    "pairs with blanks": "<answer>  </answer>",
    "full pairs": "<answer>A</answer>",
    "angle brackets": "<",
    "thoughts": "<think></think>",
    "markers": "answer: ",
    "markers without letters": "answer is ",
    "marker, then blanks": ("answer", " "),
    "marker and verb, then blanks": ("answer is", " "),
    "marker, then lines": ("answers", "\n"),
    "marker, then colons": ("Answer", ":"),
    "marker, then commas": ("answer: A", " ,"),
    "marker, then letters": ("answer: A", ", B"),
    "lettered": "A. ",
    "boxed": "\\boxed{",
    "brackets": "(",
    "options": "nothing happens ",
    "unclosed answer of options": ("<answer>", "nothing happens and "),
    "combining marks": "a\u0301\u0323",
    "ligatures that grow": "\ufdfa",
    "dotted capitals": "İ",
    "or": "A or ",
}


def hostile(kind: str, size: int) -> str:
    head, body = HOSTILE[kind] if isinstance(HOSTILE[kind], tuple) else ("", HOSTILE[kind])
    return (head + body * (size // len(body) + 1))[:size]


def seconds(text: str, rule: str) -> float:
    """Least CPU time of three calls."""
    times = []
    for _ in range(3):
        start = time.process_time()
        parse_answer(text, OPTIONS, rule=rule)
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize("rule", ["tolerant", "strict"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_megabyte_costs_milliseconds(kind, rule):
    """Quadratic work would take minutes at a megabyte and fail at 64 KiB already, before anybody waits for it."""
    small = seconds(hostile(kind, MEGABYTE // 16), rule)
    assert small < 0.1, "64 KiB"
    assert seconds(hostile(kind, MEGABYTE), rule) < 32 * max(small, 5e-3), "16 times the text"


pieces = st.lists(
    st.one_of(
        st.sampled_from(
            "A B C D Z a or and , . ( ) / | \\boxed { } answer: Answer: <answer> </answer> <ANSWER> <think> </think> "
            "is are option İ Ⓐ Ａ".split()
        ),
        st.sampled_from([" ", "\n", "\t", *OPTIONS]),
        st.text(max_size=5),
    ),
    max_size=30,
)


@given(pieces, st.one_of(st.none(), st.lists(st.text(max_size=10), max_size=40), st.just(OPTIONS)))
def test_never_raises_and_tolerant_gives_letters_only(parts, options):
    text = "".join(parts)
    letters = parse_answer(text, options)
    assert isinstance(letters, frozenset) and letters <= frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert all(isinstance(piece, str) for piece in parse_answer(text, options, rule="strict"))


@given(st.sets(st.sampled_from("ABCD"), min_size=1), st.sampled_from([",", ", ", " and ", "\n", " ", ";", "", "), ("]))
def test_a_set_written_in_any_way_comes_back(letters, joint):
    written = joint.join(sorted(letters))
    for text in (f"<think>x</think><answer>{written}</answer>", f"<answer>{written.lower() if joint else written}"):
        assert parse_answer(text, OPTIONS) == letters
    assert parse_answer(f"<answer>{','.join(letters)}</answer>", rule="strict") == letters


@given(pieces)
def test_what_stands_before_the_last_full_pair_does_not_matter(parts):
    assert parse_answer("".join(parts) + "<answer>A, C</answer>", OPTIONS) == frozenset("AC")


LOGS = Path(__file__).resolve().parents[3] / "shared/data/logs"


@pytest.mark.skipif(not (LOGS / "mmvu_twgrpo_eval.jsonl").exists(), reason="no ../shared/data")
def test_strict_reproduces_every_published_score():
    """625 real evaluation outputs of the published model, each with the score its authors gave it."""
    records = [json.loads(line) for line in (LOGS / "mmvu_twgrpo_eval.jsonl").read_text().splitlines()]
    differing = [
        record["question"]["problem_id"]
        for record in records
        if (parse_answer(record["model_output"], rule="strict") == parse_answer(record["ground_truth"], rule="strict"))
        != (record["accuracy_score"] == 1)
    ]
    assert len(records) == 625 and not differing


@pytest.mark.skipif(not (LOGS / "mmvu_twgrpo_eval.jsonl").exists(), reason="no ../shared/data")
def test_tolerant_takes_no_published_point_away():
    for line in (LOGS / "mmvu_twgrpo_eval.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["accuracy_score"] == 1:
            truth = parse_answer(record["ground_truth"], rule="strict")
            assert parse_answer(record["model_output"], record["question"]["options"]) == truth


@pytest.mark.skipif(not (LOGS / "clevrer_train_rollouts.jsonl").exists(), reason="no ../shared/data")
def test_tolerant_reads_what_strict_reads_in_real_rollouts():
    """Where the strict rule finds letters of options only, the tolerant one finds the same."""
    clean = 0
    for line in (LOGS / "clevrer_train_rollouts.jsonl").read_text().splitlines():
        output = json.loads(line)["output"]
        strict = parse_answer(output, rule="strict")
        if strict <= frozenset("ABCDE"):
            clean += 1
            assert parse_answer(output) == strict, output[-300:]
    assert clean > 3900
