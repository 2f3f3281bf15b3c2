# SPDX-License-Identifier: Apache-2.0
"""Logs of other tools: one small log of every form, checked by hand and against the scores it carries.

The files in `log_forms/` were written for these tests; each holds right and wrong answers.
"""

import csv
import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from recipe.tw_grpo.scoring.__main__ import main
from recipe.tw_grpo.scoring.forms import FORMS
from recipe.tw_grpo.scoring.reading import read_log
from recipe.tw_grpo.scoring.score import summarize
from recipe.tw_grpo.toolbox.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SMALL = Path(__file__).parent / "log_forms"
DATA = ROOT.parent / "shared/data"
CASES = ROOT.parent / "shared/cases"
OPTIONS = ["left", "right"]

# file: form, right letters of every row, n, correct, scores compared, responses without right letters, open-ended ones
EXPECTED = {
    "video_r1.json": ("video-r1", "B A C A", 4, 2, 8, 0, 2),
    "r1_v.json": ("public", "B C - B", 3, 1, 3, 1, 0),
    "videochat_r1_qa.jsonl": ("videochat-r1", "B A", 2, 1, 2, 0, 0),
    "videochat_r1_5.jsonl": ("videochat-r1", "B A C", 3, 2, 3, 0, 0),
    "mvbench_results.json": ("generic", "A C A", 3, 2, 3, 0, 0),
    "mmvu.json": ("mmvu", "B E A", 3, 1, 3, 0, 1),
    "mmvu_evaluated.json": ("mmvu", "B B", 2, 1, 2, 0, 1),
    "video_mme.json": ("video-mme", "C A D B", 4, 2, 0, 0, 0),
    "lmms_eval_mvbench.jsonl": ("lmms-eval", "A B A B B", 5, 4, 5, 0, 0),
    "lmms_eval_nextqa.jsonl": ("lmms-eval", "B D A E", 4, 3, 4, 0, 0),
    "lmms_eval_nextqa_columns.jsonl": ("lmms-eval", "C E", 2, 1, 2, 0, 0),
    "lmms_eval_tempcompass.jsonl": ("lmms-eval", "B A", 2, 1, 4, 0, 0),
    "lmms_eval_tempcompass_yes_no.jsonl": ("lmms-eval", "A B B", 3, 2, 6, 0, 0),
    "lmms_eval_tempcompass_captions.jsonl": ("lmms-eval", "B A", 2, 1, 4, 0, 0),
    "lmms_eval_videomme.jsonl": ("lmms-eval", "C A B", 3, 1, 3, 0, 0),
    "lmms_eval_mmvu.jsonl": ("lmms-eval", "E A", 2, 1, 2, 0, 1),
    "vlmevalkit_columns.tsv": ("vlmevalkit", "B A C", 3, 1, 3, 0, 0),
    "vlmevalkit_mvbench.tsv": ("vlmevalkit", "B A B A", 4, 2, 3, 0, 0),
    "tempcompass.json": ("vlmevalkit", "B A A", 3, 1, 0, 0, 0),
    "verl_generation.jsonl": ("verl-generation", "B B AC AC", 4, 2, 0, 0, 0),
    "ms_swift.jsonl": ("ms-swift", "B AC C", 3, 1, 0, 0, 0),
    "ms_swift_query.jsonl": ("ms-swift", "B A", 2, 1, 0, 0, 0),
    "vllm_batch.jsonl": ("batch", "B A", 2, 1, 0, 0, 0),
}


def lines(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def summary(path: Path, **more) -> dict:
    return summarize(read_log(path, **more), "tolerant", draws=10)


def right_letters(log) -> str:
    from recipe.tw_grpo.answers import parse_truth

    return " ".join("".join(sorted(parse_truth(s.truth or "", s.options))) or "-" for s in log.samples)


@pytest.mark.parametrize("name", EXPECTED)
def test_every_form(name):
    form, letters, n, correct, compared, without_truth, open_ended = EXPECTED[name]
    log = read_log(SMALL / name)
    s = summarize(log, "tolerant", draws=10)
    assert (s["form"], right_letters(log)) == (form, letters)
    assert (s["n"], s["correct"], s["without_truth"], s["open_ended"]) == (n, correct, without_truth, open_ended)
    assert s["recorded"] == {"compared": compared, "differ": 0}
    assert (s["duplicates"], s["unreadable"]) == (0, 0) and 0 < correct < n


def test_every_form_has_a_log_and_a_record_in_its_docstring():
    elsewhere = {"verl"}  # test_scoring.py
    assert {row[0] for row in EXPECTED.values()} | elsewhere == set(FORMS)
    files = {path.name for path in SMALL.iterdir()} - {"openai_batch.jsonl", "batch_truths.jsonl"}
    assert files == set(EXPECTED)
    for name, form in FORMS.items():
        assert re.search(r"^\s*(?:[\[{]+\"|index )", form.__doc__, re.MULTILINE), (
            f"{name}: a sample record belongs into its docstring"
        )


@pytest.mark.skipif(not CASES.exists(), reason="no ../shared/cases")
@pytest.mark.parametrize(
    ("name", "n", "correct", "compared"),
    [
        ("lmms_eval_mvbench.jsonl", 2, 2, 2),
        ("lmms_eval_index_target.jsonl", 4, 4, 4),
        ("video_r1_eval_output.json", 2, 1, 2),
    ],
)
def test_shared_cases(name, n, correct, compared):
    s = summary(CASES / name)
    assert (s["n"], s["correct"], s["duplicates"]) == (n, correct, 0)
    assert s["recorded"] == {"compared": compared, "differ": 0}


@pytest.mark.skipif(not CASES.exists(), reason="no ../shared/cases")
def test_options_lettered_in_other_ways(tmp_path):
    questions = json.loads((CASES / "lettered_other_ways.json").read_text())
    rows = [
        {"id": q["id"], "options": q["options"], "truth": q["answer"], "response": text}
        for q, text in zip(questions, ("to eat", "C、jump", "Option A: run"), strict=True)
    ]
    log = read_log(lines(tmp_path / "log.jsonl", rows))
    assert [s.options[0] for s in log.samples] == ["to catch", "run", "run"]
    assert summarize(log, "tolerant", draws=10)["correct"] == 3


def index_row(i: int, target: object, response: str, options: list[str], score: float | None) -> dict:
    listed = "".join(f"{letter}. {option}\n" for letter, option in zip("ABCD", options, strict=False))
    row = {"doc_id": i, "target": target, "filtered_resps": [response], "input": f"Question {i}?\n{listed}"}
    return row if score is None else {**row, "exact_match": score}


NUMBERS = [["1", "0"], ["1", "0"], ["0", "1"]]


@pytest.mark.parametrize(
    ("scores", "letters"),
    [((1.0, 0.0, 1.0), "A B A"), ((0.0, 1.0, 1.0), "B A A")],
)
def test_the_logs_own_scores_tell_an_index_from_a_text(tmp_path, scores, letters):
    """Options are numbers: target "0" is option A as an index and option B as a text."""
    rows = [
        index_row(i, target, "A", options, score)
        for i, (target, options, score) in enumerate(zip("010", NUMBERS, scores, strict=True))
    ]
    log = read_log(lines(tmp_path / "log.jsonl", rows))
    assert right_letters(log) == letters
    assert summarize(log, "tolerant", draws=10)["recorded"] == {"compared": 3, "differ": 0}


def test_a_target_that_nothing_explains_is_refused(tmp_path):
    rows = [index_row(i, t, "A", o, None) for i, (t, o) in enumerate(zip("010", NUMBERS, strict=True))]
    with pytest.raises(UserError, match=r"line 1: the right answer '0' can be meant as the text .* or as an index"):
        read_log(lines(tmp_path / "log.jsonl", rows))


def test_an_index_may_begin_at_one(tmp_path):
    rows = [index_row(i, str(i + 1), "ABC"[i], ["x", "y", "z"], 1.0) for i in range(3)]
    assert right_letters(read_log(lines(tmp_path / "log.jsonl", rows))) == "A B C"


def test_lmms_eval_counts_from_zero_where_nothing_tells(tmp_path):
    rows = [index_row(i, str(i + 1), "A", ["w", "x", "y", "z"], None) for i in range(3)]
    assert right_letters(read_log(lines(tmp_path / "log.jsonl", rows))) == "B C D"
    generic = [{"id": i, "truth": str(i + 1), "options": list("wxyz"), "response": "A"} for i in range(3)]
    with pytest.raises(UserError, match="an index from 0 or as an index from 1"):
        read_log(lines(tmp_path / "log.jsonl", generic))


@pytest.mark.skipif(not (DATA / "nextqa_val_index_answers.csv").exists(), reason="no ../shared/data")
@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize("written", ["letter", "text", "index"])
def test_real_questions_get_their_own_labels(tmp_path, written, scored):
    """1,200 NExT-QA questions, some with numbers for options, as a log of each kind of target."""
    rng, rows, right = random.Random(0), [], []
    with (DATA / "nextqa_val_index_answers.csv").open(newline="") as file:
        for i, q in enumerate(csv.DictReader(file)):
            options, index = [q[f"a{j}"] for j in range(5)], int(q["answer"])
            right.append("ABCDE"[index])
            target = {"letter": right[-1], "text": options[index], "index": q["answer"]}[written]
            response = rng.choice("ABCDE")
            row = {"doc_id": i, "doc": q, "target": target, "filtered_resps": [response]}
            rows.append(row | ({"exact_match": float(response == right[-1])} if scored else {}))
    log = read_log(lines(tmp_path / "log.jsonl", rows))
    assert right_letters(log).split() == right and len(right) == 1200
    assert summarize(log, "tolerant", draws=2)["recorded"] == {"compared": 1200 if scored else 0, "differ": 0}


def test_several_indices(tmp_path):
    rows = [{"id": 1, "truth": [0, 2], "options": list("xyz"), "response": "A, C"}]
    assert right_letters(read_log(lines(tmp_path / "log.jsonl", rows))) == "AC"


def test_a_target_that_is_the_text_of_two_options(tmp_path):
    """The metric of lmms-eval says which of them it took."""
    told = {"pred_answer": "C", "gt_answer": "C", "score": 1}
    rows = [index_row(i, "x", "C", ["y", "x", "x"], None) | {"mvbench_accuracy": told} for i in range(2)]
    log = read_log(lines(tmp_path / "log.jsonl", rows))
    assert right_letters(log) == "C C" and summarize(log, "tolerant", draws=10)["recorded"]["differ"] == 0


def test_letters_in_a_log_of_letters_stay_letters(tmp_path):
    """One question of the log has texts that look like the letters of others."""
    rows = [index_row(i, "ABCD"[i], "A", ["w", "x", "y", "z"], None) for i in range(4)]
    rows.append(index_row(4, "A", "A", ["B", "A", "AB", "O"], None))
    assert right_letters(read_log(lines(tmp_path / "log.jsonl", rows))) == "A B C D A"
    texts = [index_row(i, "wxyz"[i], "A", ["w", "x", "y", "z"], None) for i in range(4)]
    assert right_letters(read_log(lines(tmp_path / "log.jsonl", [*texts, rows[-1]]))) == "A B C D B"


def test_texts_and_indices_are_letters_under_the_strict_rule_too():
    s = summarize(read_log(SMALL / "lmms_eval_nextqa_columns.jsonl"), "strict", draws=10)
    assert (s["n"], s["single"]["n"]) == (2, 2)


def test_one_id_with_several_questions_is_no_resumed_run(tmp_path):
    rows = [
        {"id": 1, "question": "Where?", "options": OPTIONS, "truth": "A", "response": "A"},
        {"id": 1, "question": "When?", "options": OPTIONS, "truth": "A", "response": "B"},
        {"id": 1, "question": "Where?", "options": OPTIONS, "truth": "B", "response": "B"},
        {"id": 1, "question": "Where?", "options": OPTIONS, "truth": "A", "response": "B"},
    ]
    log = read_log(lines(tmp_path / "log.jsonl", rows))
    assert [s.line for s in log.samples] == [2, 3, 4] and [s.line for s in log.duplicates] == [1]
    assert len({s.key for s in log.samples}) == 3


def test_null_is_an_empty_answer(tmp_path):
    rows = [
        {"id": 1, "truth": "A", "response": None},
        {"id": 2, "truth": "A", "response": float("nan")},
        {"id": 3, "truth": "A", "response": "A"},
    ]
    s = summary(lines(tmp_path / "log.jsonl", rows))
    assert (s["n"], s["correct"], s["malformed"]["empty output"]) == (3, 1, 2)


def test_scores_that_differ_are_counted(tmp_path, capsys):
    rows = [{"id": i, "truth": "A", "response": "A", "score": 1.0, "correct": i > 0} for i in range(4)]
    main([str(lines(tmp_path / "log.jsonl", rows)), "--draws", "10"])
    said = capsys.readouterr().err
    assert "4 of 4 scores are those the log itself gives (score), 0 differ" in said
    assert "3 of 4 scores are those the log itself gives (correct), 1 differ" in said


def test_partly_right_answers_are_wrong_for_scores_that_count_no_parts(tmp_path):
    rows = [{"id": 1, "truth": "A,B", "response": "A", "soft_acc": 0.5, "acc": 0.0}]
    assert summary(lines(tmp_path / "log.jsonl", rows))["recorded"] == {"compared": 2, "differ": 0}


def test_right_answers_from_another_file(tmp_path, capsys):
    log, key = SMALL / "openai_batch.jsonl", SMALL / "batch_truths.jsonl"
    s = summary(log, truths=key)
    # q0 is right, q1 wrong, q2 failed, q3 is the text of its right option.
    assert (s["form"], s["n"], s["correct"], s["without_truth"], s["videos"]) == ("batch", 4, 2, 0, 2)
    assert {name: part["correct"] for name, part in s["categories"].items()} == {"where": 1, "when": 1}
    main([str(log), "--truths", str(key), "--draws", "10"])
    assert "50.00" in capsys.readouterr().out
    twice = tmp_path / "twice.jsonl"
    twice.write_text(key.read_text() * 2)
    with pytest.raises(UserError, match="line 5: 'q0' stands in line 1 already"):
        read_log(log, twice)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([{"custom_id": "q", "response": None, "error": None}], "1 have no right letters; its fields are custom_id"),
        ([{"question_type": "open-ended", "prediction": "x", "answer": "y"}], "1 are to open-ended questions"),
        ([{"response": "A", "step": 1}], "its fields are response, step"),
        ([{"name": "x", "value": 1}], "not a known form of log (found name, value)"),
        ({"totals": {"acc": 0.5}, "config": []}, "not a known form of log (found totals, config)"),
        ([], "no response in it"),
    ],
)
def test_nothing_scorable_ends_with_two_and_names_the_fields(tmp_path, content, words):
    path = tmp_path / "log.json"
    path.write_text(json.dumps(content))
    ended = subprocess.run(
        [sys.executable, "-m", "recipe.tw_grpo.scoring", str(path)], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 2 and words in ended.stderr and ended.stderr.count("\n") == 1
    assert str(path) in ended.stderr and not ended.stdout
