# SPDX-License-Identifier: Apache-2.0
"""Two logs compared: counts and p-values worked out by hand, the page, and what tricks earn through the real parser."""

import base64
import gzip
import itertools
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recipe.tw_grpo.scoring import hacking
from recipe.tw_grpo.scoring.__main__ import main
from recipe.tw_grpo.scoring.compare import compare, mcnemar
from recipe.tw_grpo.scoring.reading import read_log
from recipe.tw_grpo.toolbox.errors import UserError


def log(path, answers: dict[str, tuple[str, str]], **more):
    """A generic log of {id: (response, truth)}, two questions a video."""
    rows = [
        {"id": key, "response": response, "truth": truth, "video": f"v{i // 2}", "question": f"Q <{key}>?", **more}
        for i, (key, (response, truth)) in enumerate(answers.items())
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [
        (0, 0, 1.0),
        (5, 5, 1.0),
        (1, 0, 1.0),  # 2 * 1/2
        (0, 5, 2 / 2**5),
        (1, 9, 2 * (1 + 10) / 2**10),
        (10, 2, 2 * (1 + 12 + 66) / 2**12),
    ],
)
def test_mcnemar_by_hand(only_a, only_b, p):
    assert mcnemar(only_a, only_b) == pytest.approx(p) == mcnemar(only_b, only_a)


def test_compare_by_hand(tmp_path):
    a = log(
        tmp_path / "a.jsonl", {"1": ("A", "A"), "2": ("B", "A"), "3": ("A", "A,B"), "4": ("C", "C"), "5": ("A", "A")}
    )
    b = log(
        tmp_path / "b.jsonl", {"6": ("A", "A"), "4": ("D", "C"), "3": ("A, B", "A,B"), "2": ("A", "A"), "1": ("A", "A")}
    )
    result = compare(read_log(a), read_log(b), "tolerant", draws=100)
    every = result["parts"]["all"]
    assert (result["only_in_a"], result["only_in_b"], every["n"]) == (1, 1, 4)
    assert (every["both"], every["only_a"], every["only_b"], every["neither"]) == (1, 1, 2, 0)
    assert (every["acc_a"], every["acc_b"], every["difference"]) == (2 / 4, 3 / 4, 1 / 4)
    assert (every["soft_acc_a"], every["soft_acc_b"], every["soft_difference"]) == (2.5 / 4, 3 / 4, 0.5 / 4)
    assert every["p"] == 1.0 and result["parts"]["multi"]["only_b"] == 1
    changed = [(row["question"], row["a"], row["b"], row["soft_a"], row["soft_b"]) for row in result["changed"]]
    assert changed == [("Q <2>?", "B", "A", 0, 1), ("Q <3>?", "A", "A,B", 0.5, 1), ("Q <4>?", "C", "D", 1, 0)]


def test_pairing_narrows_the_interval_and_turning_it_round_changes_the_sign(tmp_path):
    rng = np.random.default_rng(0)
    truth = "A"
    first = {str(i): (rng.choice(["A", "B"]), truth) for i in range(300)}
    second = {key: (answer if int(key) % 10 else "A", truth) for key, (answer, _) in first.items()}
    a, b = read_log(log(tmp_path / "a.jsonl", first)), read_log(log(tmp_path / "b.jsonl", second))
    there, back = compare(a, b, "tolerant"), compare(b, a, "tolerant")
    one, other = there["parts"]["all"], back["parts"]["all"]
    assert one["only_a"] == 0 and one["difference"] == -other["difference"] > 0
    assert one["difference_interval"][0] > 0  # although each accuracy alone is known to 5 points only
    assert one["difference_interval"] == pytest.approx([-x for x in reversed(other["difference_interval"])], abs=0.01)
    same = compare(a, a, "tolerant")["parts"]["all"]
    assert (same["difference"], same["difference_interval"], same["p"]) == (0, [0, 0], 1.0)


def test_logs_that_do_not_belong_together(tmp_path):
    a = read_log(log(tmp_path / "a.jsonl", {"1": ("A", "A")}))
    with pytest.raises(UserError, match="no question in common"):
        compare(a, read_log(log(tmp_path / "b.jsonl", {"2": ("A", "A")})), "tolerant")
    with pytest.raises(
        UserError, match=r"line 1 and .*b.jsonl: line 1 are one question with other right letters, A and B"
    ):
        compare(a, read_log(log(tmp_path / "b.jsonl", {"1": ("A", "B")})), "tolerant")


def test_page_and_tables(tmp_path, capsys):
    a = log(
        tmp_path / "a.jsonl", {str(i): ("<script>alert(1)</script> A or B", "A") for i in range(12)}, category="x|y"
    )
    b = log(tmp_path / "b.jsonl", {str(i): ("A", "A") for i in range(12)}, category="x|y")
    page = tmp_path / "out" / "page.html"
    main(["compare", str(a), str(b), "--html", str(page), "--by", "category", "--changed", "3"])
    printed, said = capsys.readouterr()
    text = page.read_text()
    assert "0.0005" in printed and "12 samples changed, the first 3" in printed and str(page) in said
    blocks = dict(re.findall(r'<script type="[^"]+" id="([^"]+)">([^<]*)</script>', text))
    head = json.loads(blocks["head"])
    assert head["all"] == len(head["rows"]) == 12 and {(row[3], row[4]) for row in head["rows"]} == {(0.0, 1.0)}
    questions = [json.loads(gzip.decompress(base64.b64decode(blocks[f"q{i}"]))) for i in range(12)]
    assert {question["answers"][0]["text"] for question in questions} == {"<script>alert(1)</script> A or B"}
    assert "alert(1)" not in text and text.count("<script>") == 2 and "default-src 'none'" in text
    main(["compare", str(a), str(b), "--json"])
    assert json.loads(capsys.readouterr().out)["parts"]["all"]["p"] == pytest.approx(2 / 2**12)
    main(["compare", str(a), str(b), "--markdown", "--by", "category", "--changed", "0"])
    assert r"| category: x\|y | 12 | 0.00 | 100.00 |" in capsys.readouterr().out


@pytest.fixture
def questions(tmp_path):
    """Every set of right options of 2 to 5 options, as data_prep writes them."""
    rows = [
        {
            "reward_model": {"style": "rule", "ground_truth": ",".join(truth)},
            "extra_info": {"options": [f"event {i}" for i in range(n)]},
        }
        for n in (2, 3, 4, 5)
        for size in range(1, n + 1)
        for truth in itertools.combinations("ABCDE"[:n], size)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "questions.parquet")
    return tmp_path / "questions.parquet"


def test_no_trick_earns_more_than_chance(questions, capsys):
    main(["hacking", str(questions)])
    printed = capsys.readouterr().out
    assert "56 questions" in printed and "none earns more than chance" in printed
    main(["hacking", str(questions), "--json"])
    data = json.loads(capsys.readouterr().out)
    rows = {row["answer"]: row for row in data["answers"]}
    assert data["questions"] == 3 + 7 + 15 + 31 and all(row["at_most_chance"] for row in rows.values())
    # A letter of n options is worth 1/n softly, whatever the number of right ones.
    assert rows['always "A"']["soft"] == pytest.approx((3 / 2 + 7 / 3 + 15 / 4 + 31 / 5) / 56)
    assert rows['always "E"']["soft"] == pytest.approx(31 / 5 / 56)
    assert rows["every option of the question"]["soft"] == pytest.approx(4 / 56)  # once for each number of options
    assert 0 < rows["a random subset"]["soft"] < rows['always "A"']["soft"]
    for name in ("empty", *(f'"{text}"' for text in hacking.HEDGES)):
        assert rows[name]["soft"] == rows[name]["fixed"] == 0, name


def test_the_table_would_show_a_reward_that_can_be_tricked(questions, monkeypatch):
    """Credit for any right letter, the obvious wrong reward: listing everything wins, and the table says so."""
    monkeypatch.setitem(hacking.REWARDS, "soft", lambda predicted, truth: len(set(predicted) & set(truth)) / len(truth))
    monkeypatch.setattr(hacking, "parse_answer", lambda text, options=None: frozenset("ABCDE") & frozenset(text))
    title, _, data = hacking.hacking_rows([questions])
    bad = {row["answer"] for row in data["answers"] if not row["at_most_chance"]}
    assert "SOME EARN MORE THAN CHANCE" in title and {'"A or B"', '"one of A, B, C, D"'} <= bad


def test_questions_of_logs(tmp_path):
    prompt = "Q?\nA. one\nB. two\nC. three\n"
    rows = [{"input": prompt, "output": "x", "gts": "A,C", "uid": f"u_0_{i}"} for i in range(8)]
    rows.append({"input": prompt, "output": "x", "gts": "B", "uid": "u_1_0"})
    path = tmp_path / "1.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert sorted((n, "".join(sorted(t))) for n, t in hacking.questions_of(path)) == [(3, "AC"), (3, "B")]
    bare = tmp_path / "bare.jsonl"
    bare.write_text('{"response": "A", "truth": "A"}\n')
    with pytest.raises(UserError, match="no question in it names its options"):
        hacking.questions_of(bare)
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"x": [1]}), other)
    with pytest.raises(UserError, match="not a parquet file of data_prep"):
        hacking.questions_of(other)
