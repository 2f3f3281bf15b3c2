# SPDX-License-Identifier: Apache-2.0
"""The offline scorer: forms of logs, duplicates, numbers against hand-made counts, intervals, real published logs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recipe.tw_grpo.config import RewardConfig
from recipe.tw_grpo.report.reading import read_run
from recipe.tw_grpo.reward import score_response
from recipe.tw_grpo.scoring.__main__ import main
from recipe.tw_grpo.scoring.kinds import KINDS, malformed
from recipe.tw_grpo.scoring.reading import read_log
from recipe.tw_grpo.scoring.score import summarize
from recipe.tw_grpo.toolbox.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT.parent / "shared/data/logs"
OPTIONS = ["A. red", "B. blue", "C. green", "D. white"]


def write(path: Path, records: list, torn: str = "") -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + torn, encoding="utf-8")
    return path


def public(number: int, output: str, truth: str, *, extracted: str = "", score: float = 0.0, kind: str = "x") -> dict:
    """A line as the public evaluation scripts write it."""
    question = {"problem_id": number, "problem": f"Question {number}?", "options": OPTIONS, "type": kind}
    return {
        "question": question | {"video": f"/data/{number // 2}.mp4", "solution": f"<answer>{truth}</answer>"},
        "ground_truth": f"<answer>{truth}</answer>",
        "model_output": output,
        "extracted_answer": extracted,
        "accuracy_score": score,
    }


PUBLIC = [
    public(0, "<think>x</think><answer>A</answer>", "A", extracted="A", score=1.0),
    public(1, "<think>x</think><answer>(B)</answer>", "B", extracted="(B)", kind="y"),
    public(2, "<think>x</think><answer>A</answer>", "A,C", extracted="A", score=0.5),
    public(3, "<think>x</think><answer>C, A</answer>", "A, C", extracted="C, A", score=1.0, kind="y"),
    public(4, "<think>x</think><answer>A, B, C, D</answer>", "A,C", extracted="A, B, C, D"),
    public(5, "<answer></answer>", "", extracted="", score=1.0),
]


def test_numbers_of_a_public_log_by_both_rules(tmp_path):
    log = read_log(write(tmp_path / "log.jsonl", PUBLIC))
    strict, tolerant = summarize(log, "strict"), summarize(log, "tolerant")
    # By hand: 0 and 3 are right, 2 is half right, "(B)" is nothing, and the empty answer to no right option is right.
    assert (strict["n"], strict["correct"], strict["acc"], strict["soft_acc"]) == (6, 3, 3 / 6, 3.5 / 6)
    assert strict["recorded"] == {"compared": 6, "differ": 0}
    # "(B)" is read; the question without a right option can tell nothing and is left out.
    assert (tolerant["n"], tolerant["correct"], tolerant["acc"], tolerant["soft_acc"]) == (5, 3, 3 / 5, 3.5 / 5)
    assert tolerant["without_truth"] == 1
    parts = {kind: tuple(tolerant[kind][key] for key in ("n", "correct", "soft_acc")) for kind in ("single", "multi")}
    assert parts == {"single": (2, 2, 1.0), "multi": (3, 1, 0.5)}
    assert tolerant["by"] == "type" and {k: (v["n"], v["acc"]) for k, v in tolerant["categories"].items()} == {
        "x": (3, 1 / 3),
        "y": (2, 1.0),
    }
    assert tolerant["malformed"] == {"empty answer": 1, "other notation": 1}


def test_all_is_the_mean_over_questions(tmp_path):
    s = summarize(read_log(write(tmp_path / "log.jsonl", PUBLIC)), "tolerant")
    for key in ("acc", "soft_acc"):
        parts = sum(s[kind]["n"] * s[kind][key] for kind in ("single", "multi"))
        assert s[key] == pytest.approx(parts / s["n"])


def test_scripts_without_extraction(tmp_path):
    """The public zero-shot scripts compare the whole output: a tag makes it wrong, a bare letter is right."""
    bare = public(0, "B", "B", extracted="B", score=1.0)
    tagged = public(1, "<answer>B</answer>", "B", extracted="<answer>B</answer>", score=0.0)
    log = read_log(write(tmp_path / "log.jsonl", [bare, tagged]))
    assert summarize(log, "strict")["recorded"] == {"compared": 2, "differ": 0}
    assert (summarize(log, "strict")["correct"], summarize(log, "tolerant")["correct"]) == (1, 2)


def test_a_resumed_log(tmp_path):
    """Killed after two questions and in the middle of a line, then started anew: the later rows count."""
    first = [public(0, "<answer>B</answer>", "A"), public(1, "<answer>A</answer>", "A,B", score=0.5)]
    whole = [public(i, "<answer>A</answer>", "A", score=1.0) for i in (0, 2)]
    whole.insert(1, public(1, "<answer>A, B</answer>", "A,B", score=1.0))
    path = write(tmp_path / "log.jsonl", first, torn='{"question": {"problem_id": 2, "prob\n')
    with path.open("a") as file:
        file.writelines(json.dumps(record) + "\n" for record in whole)
    s = summarize(read_log(path), "strict")
    assert (s["n"], s["correct"], s["duplicates"], s["unreadable"]) == (3, 3, 2, 1)
    assert (s["single"]["duplicates"], s["multi"]["duplicates"]) == (1, 1)
    assert s["recorded"] == {"compared": 5, "differ": 0}  # dropped rows were scored by their authors too


def test_equal_questions_about_different_videos_are_no_duplicates(tmp_path):
    one, two = public(0, "<answer>A</answer>", "A"), public(0, "<answer>A</answer>", "A")
    two["question"]["video"] = "/data/other.mp4"
    assert summarize(read_log(write(tmp_path / "log.jsonl", [one, two])), "strict")["duplicates"] == 0


def verl(uid: str, output: str, truth: str, **more) -> dict:
    """A line of verl's dumps."""
    prompt = "user\nWhat happens?\nA. red falls\nB. blue falls\nC. green falls\nOutput the thinking …\nassistant\n"
    return {"input": prompt, "output": output, "gts": truth, "score": 1.0, "step": 1, "uid": uid} | more


def test_verl_dumps_keep_every_response_of_a_group(tmp_path):
    records = [verl(f"u_0_{i}", "<think>x</think><answer>blue falls</answer>", "B,C", soft_acc=0.5) for i in range(4)]
    padding = verl("pad" + "0" * 32 + "_0_0", "x", "A")
    log = read_log(write(tmp_path / "1.jsonl", [*records, padding]))
    s = summarize(log, "tolerant")
    assert (log.form, s["n"], s["duplicates"], s["soft_acc"], s["videos"]) == ("verl", 4, 0, 0.5, 1)
    assert log.samples[0].options == ("red falls", "blue falls", "green falls")
    assert s["recorded"] == {"compared": 4, "differ": 0}


def test_verl_dumps_are_clustered_and_told_apart_by_video(tmp_path):
    """Our reward manager names the video: beside the scores in validation, within "reward" in rollouts of TW-GRPO."""
    in_validation = [verl(f"u_{i}_0", "A", "A", video=f"v{i}", soft_acc=1.0, reward=1.0) for i in (1, 2)]
    in_rollouts = [verl(f"u_{i}_0", "A", "A", reward={"video": f"v{i}", "soft_acc": 1.0}) for i in (1, 2)]
    for name, rows in (("validation", in_validation), ("rollouts", in_rollouts)):
        log = read_log(write(tmp_path / f"{name}.jsonl", rows))
        assert [sample.video for sample in log.samples] == ["v1", "v2"]
        assert len({sample.key.partition("#")[0] for sample in log.samples}) == 2
        assert summarize(log, "tolerant")["recorded"] == {"compared": 2, "differ": 0}


def test_truths_that_are_texts_of_options(tmp_path):
    rows = [
        {"id": 1, "response": "B", "truth": "No", "options": ["Yes", "No"]},
        {"id": 2, "response": "no", "truth": "B", "options": ["Yes", "No"]},
        {"id": 3, "response": "no", "truth": "perhaps", "options": ["Yes", "No"]},
    ]
    s = summarize(read_log(write(tmp_path / "log.jsonl", rows)), "tolerant")
    assert (s["n"], s["correct"], s["without_truth"]) == (2, 2, 1)


def test_one_object_over_many_lines(tmp_path):
    """lmms-eval's samples until 0.2."""
    logs = [
        {"doc_id": i, "doc": {"video": "v"}, "target": "A", "resps": [["A"]], "filtered_resps": ["A"]} for i in (0, 1)
    ]
    path = tmp_path / "samples.json"
    path.write_text(json.dumps({"args": {}, "logs": logs}, indent=1))
    s = summarize(read_log(path), "tolerant")
    assert (s["form"], s["n"], s["correct"], s["videos"], s["unreadable"]) == ("lmms-eval", 2, 2, 1, 0)


def test_lmms_eval_samples(tmp_path):
    about = {"video": "v.mp4", "kind": "multi", "question": "What?", "options": ["red", "blue"], "pred": ["A"]}
    records = [
        {"doc_id": 0, "target": "A,B", "filtered_resps": "red", "doc_hash": "x", "soft_acc": {"score": 0.5, **about}},
        {
            "doc_id": 1,
            "target": "B",
            "filtered_resps": ["<answer>B</answer>"],
            "doc_hash": "y",
            "input": "Q\nA. x\nB. y",
        },
        {"doc_id": 2, "target": "B", "resps": [["B", "A"]], "doc_hash": "z"},
        {
            "doc_id": 3,
            "target": "A",
            "resps": "<think>so</think><answer>A</answer>",
            "filtered_resps": "<answer>A</answer>",
        },
        {"doc_id": 1, "target": "B", "filtered_resps": ["<answer>A</answer>"], "doc_hash": "y"},
    ]
    log = read_log(write(tmp_path / "samples.jsonl", records))
    s = summarize(log, "tolerant")
    assert (log.form, s["n"], s["correct"], s["soft_acc"], s["duplicates"]) == ("lmms-eval", 5, 2, 2.5 / 5, 1)
    assert s["format"] == 1 / 5  # the thoughts, which the filter took away, are found again
    assert log.samples[0].video == "v.mp4" and s["recorded"] == {"compared": 1, "differ": 0}


def test_generic_lines_and_a_json_list(tmp_path):
    records = [
        {"id": "q1", "response": "A and B", "truth": ["A", "B"], "video": "v", "category": "c1"},
        {"id": "q2", "response": "green", "truth": "C", "options": OPTIONS, "video": "v", "category": "c2"},
        {"id": "q1", "response": "A", "truth": "A,B", "video": "v", "category": "c1"},
        {"response": "A", "truth": "A"},
        {"response": "A", "truth": "A"},
        {"output": "A"},
    ]
    lines = read_log(write(tmp_path / "log.jsonl", records))
    as_list = tmp_path / "log.json"
    as_list.write_text(json.dumps(records))
    for log in (lines, read_log(as_list)):
        s = summarize(log, "tolerant", by="category")
        assert (log.form, s["n"], s["correct"], s["soft_acc"]) == ("generic", 4, 3, 3.5 / 4)
        assert (s["duplicates"], s["without_truth"], s["responses"], s["videos"]) == (1, 1, 5, 3)
        assert {k: v["acc"] for k, v in s["categories"].items()} == {"c1": 0.0, "c2": 1.0}


def test_training_and_scoring_give_one_number(tmp_path):
    """`multi_answer`, the scorer and the report call the same functions."""
    texts = ["<think>x</think><answer>C.</answer>", "<answer>red falls", "A or B", "<answer>Ａ，Ｂ</answer>"]
    log = read_log(write(tmp_path / "1.jsonl", [verl(f"u_{i}_0", text, "A,C") for i, text in enumerate(texts)]))
    expected = [score_response(text, "A,C", ["red falls", "blue falls", "green falls"])["soft_acc"] for text in texts]
    assert expected == [0.5, 0.5, 0, 0]
    assert summarize(log, "tolerant")["soft_acc"] == sum(expected) / 4


@pytest.mark.parametrize(
    ("truth", "response", "rule", "worth", "kind"),
    [
        ("blue falls", "<answer>B</answer>", "tolerant", 1.0, "single"),  # a record with texts for letters
        ("red falls, green falls", "<answer>C</answer>", "tolerant", 0.5, "multi"),
        ("b", "<answer>b</answer>", "strict", 1.0, "single"),  # the public code compares pieces of text
        ("b", "<answer>B</answer>", "strict", 0.0, "single"),
        ("b", "<answer>B</answer>", "tolerant", 1.0, "single"),
        ("A, C", "<answer>C,A</answer>", "strict", 1.0, "multi"),
    ],
)
def test_a_ground_truth_means_one_thing_everywhere(tmp_path, truth, response, rule, worth, kind):
    """In training, in the scorer (and so in evaluation), and in the report of a run."""
    options = ["red falls", "blue falls", "green falls"]
    trained = score_response(response, truth, options, RewardConfig(rule=rule))
    assert trained["soft_acc"] == worth and trained[f"{kind}_soft_acc"] == worth
    row = verl("u_0_0", response, truth, score=trained["score"])
    s = summarize(read_log(write(tmp_path / "1.jsonl", [row])), rule)
    assert (s["soft_acc"], s[kind]["n"]) == (worth, 1)
    (tmp_path / "rollouts").mkdir()
    write(tmp_path / "rollouts/1.jsonl", [row])
    (tmp_path / "run.json").write_text(json.dumps({"reward_kwargs": {"rule": rule}}))
    (seen,) = read_run(tmp_path).responses
    assert (seen.parts["soft_acc"], seen.parts["recomputed"]) == (worth, trained["score"])


def test_intervals_are_seeded_and_clustered_by_video(tmp_path):
    rng = np.random.default_rng(3)
    rows = [{"id": f"{v}", "response": rng.choice(["A", "B"]), "truth": "A", "video": str(v)} for v in range(200)]
    again = [row | {"id": f"{row['id']} {i}"} for row in rows for i in range(4)]
    once, four = (
        summarize(read_log(write(tmp_path / f"{i}.jsonl", log)), "tolerant", draws=2000)
        for i, log in enumerate((rows, again))
    )
    assert once["acc_interval"] == pytest.approx(four["acc_interval"])  # four equal answers about a video are one
    p = once["acc"]
    half = 1.96 * (p * (1 - p) / 200) ** 0.5
    assert once["acc_interval"] == pytest.approx([p - half, p + half], abs=0.02)
    few = summarize(read_log(write(tmp_path / "few.jsonl", again[:16])), "tolerant")
    assert few["n"] == 16 and few["acc_interval"] is None  # four videos say nothing


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no response in it"),
        ('{"question": {"torn', "no response in it (1 lines are not whole JSON)"),
        ('{"score": 1}\n', "line 1: not a known form of log (found score)"),
        ('{"response": "A"}\n{"truth": "A"}\n', "line 2: 'response'|'output' is missing"),
        ('{"response": 7, "truth": "A"}\n', "line 1: 'response' is no text: 7"),
        ('{"response": "A", "truth": {"A": 1}}\n', "line 1: 'truth' must be a text"),
        ('{"response": "A", "truth": "A", "options": "AB"}\n', "line 1: 'options' must be a list of texts"),
        ('{"model_output": 7, "ground_truth": "A"}\n', "line 1: 'model_output' is no text: 7"),
        ('{"doc_id": 0, "filtered_resps": [0.5, 1.0]}\n', "line 1: 'filtered_resps' holds no text"),
        ("[1, 2", "not a JSON list"),
    ],
)
def test_logs_that_cannot_be_read_are_named(tmp_path, content, words):
    path = tmp_path / "log.jsonl"
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        read_log(path)
    assert str(path) in str(caught.value) and any(part in str(caught.value) for part in words.split("|"))


def test_other_mistakes(tmp_path, capsys):
    log = write(tmp_path / "log.jsonl", PUBLIC)
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_log(tmp_path / "nothing.jsonl")
    with pytest.raises(UserError, match="is a folder; give its files"):
        read_log(tmp_path)
    with pytest.raises(UserError, match="--by colour: the log has no such field; it has problem, problem_id"):
        main([str(log), "--by", "colour"])
    ended = subprocess.run(
        [sys.executable, "-m", "recipe.tw_grpo.scoring", str(tmp_path / "nothing.jsonl")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and "nothing.jsonl" in ended.stderr


def test_command_line(tmp_path, capsys):
    one, two = write(tmp_path / "one_%.jsonl", PUBLIC), write(tmp_path / "two.jsonl", PUBLIC[:3])
    main([str(one), str(two), "--rule", "strict", "--json", "--draws", "100"])
    data = json.loads(capsys.readouterr().out)
    keys = {"n", "duplicates", "correct", "acc", "soft_acc"}
    for log, n in zip(data["logs"], (6, 3), strict=True):
        assert log["n"] == n and keys <= set(log) and keys <= set(log["single"]) and keys <= set(log["multi"])
    main([str(one), "--by", "folder", "--draws", "100"])
    printed, said = capsys.readouterr()
    assert "60.00" in printed and "data" in printed and "1 of 6 responses have no right letters" in said
    main([str(one), "--latex", "--draws", "100"])
    assert r"one\_\%.jsonl & 5 & 0 & 3 & 60.00" in capsys.readouterr().out
    main([str(one), "--markdown", "--draws", "100"])
    assert "| one_%.jsonl | 5 | 0 | 3 | 60.00 |" in capsys.readouterr().out


def test_importable_without_verl_ray_or_torch():
    code = (
        "import sys; import recipe.tw_grpo.scoring.__main__;"
        "print([m for m in ('verl', 'ray', 'torch', 'vllm', 'transformers') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        ("<think>x</think><answer>A, C</answer>", None),
        ("<think>x</think>\n<answer>\nB\n</answer>", None),
        ("<answer>A</answer>", "no think tags"),
        (" \n", "empty output"),
        ("Final answer: A", "no answer tag"),
        ("<think>x</think><answer>A, C </option", "answer not closed"),
        ("<answer>A</answer><answer>A</answer>", "several answer tags"),
        ("<think>x</think><answer> </answer>", "empty answer"),
        ("<think>x</think><answer>A, N</answer>", "letter of no option"),
        ("<think>x</think><answer>C, C</answer>", "letters twice"),
        ("<think>x</think><answer>C,</answer>", "stray comma"),
        ("<think>x</think><answer>B, , C</answer>", "stray comma"),
        ("<think>x</think><answer>CD</answer>", "letters run together"),
        ("<think>x</think><answer>A \nC</answer>", "blanks for commas"),
        ("<think>x</think><answer>a, c</answer>", "lower case"),
        ("<think>x</think><answer>C/D</answer>", "hedging"),
        ("<think>x</think><answer>A, B, and D</answer>", "other notation"),
        ("<think>x</think><answer>something</answer>", "not understood"),
    ],
)
def test_kinds_of_malformed_outputs(response, kind):
    from recipe.tw_grpo.answers import parse_answer

    assert malformed(response, None, parse_answer(response)) == kind
    assert kind is None or kind in KINDS


@pytest.mark.skipif(not (LOGS / "mmvu_twgrpo_eval.jsonl").exists(), reason="no ../shared/data")
def test_published_scores_are_reproduced_sample_by_sample():
    for path in sorted(LOGS.glob("*.jsonl")):
        log = read_log(path)
        recorded = summarize(log, "strict", draws=100)["recorded"]
        rows = len(log.samples) + len(log.duplicates)
        assert recorded == {"compared": rows if log.form == "public" else 0, "differ": 0}, path
    s = summarize(read_log(LOGS / "mmvu_twgrpo_eval.jsonl"), "strict", draws=100)
    assert (s["n"], s["correct"], round(100 * s["acc"], 2)) == (625, 411, 65.76)


@pytest.mark.skipif(not (LOGS / "clevrer_train_rollouts.jsonl").exists(), reason="no ../shared/data")
def test_notations_of_real_responses():
    """4,008 of the 8,016 real training responses PAPER.md section 2 counts; no right letters, so no accuracy."""
    s = summarize(read_log(LOGS / "clevrer_train_rollouts.jsonl"), "tolerant", draws=10)
    assert (s["responses"], s["n"], s["acc"], s["without_truth"]) == (4008, 0, None, 4008)
    assert s["malformed"] == {
        "no answer tag": 8,
        "answer not closed": 2,
        "several answer tags": 1,
        "empty answer": 9,
        "letter of no option": 1,
        "letters twice": 3,
        "no think tags": 10,
        "stray comma": 5,
        "letters run together": 3,
        "blanks for commas": 2,
        "lower case": 2,
        "hedging": 2,
        "other notation": 3,
    }
