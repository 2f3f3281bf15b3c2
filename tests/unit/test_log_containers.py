# SPDX-License-Identifier: Apache-2.0
"""What a log may be stored in: JSONL, wrapped lists, parquet, tables, pipes; and that a broken file is one line."""

import json
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recipe.tw_grpo.scoring.reading import read_log
from recipe.tw_grpo.scoring.score import summarize
from recipe.tw_grpo.toolbox.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SMALL = Path(__file__).parent / "log_forms"
OPTIONS = ["left", "right"]


def lines(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def summary(path: Path) -> dict:
    return summarize(read_log(path), "tolerant", draws=10)


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r"])
def test_lines_end_at_line_feeds_only(tmp_path, separator):
    rows = [{"id": i, "truth": "A", "response": f"so{separator}\n<answer>A</answer>"} for i in range(3)]
    path = lines(tmp_path / "log.jsonl", rows)
    assert (summary(path)["n"], summary(path)["unreadable"]) == (3, 0)
    torn = tmp_path / "torn.jsonl"
    torn.write_bytes(b'{"id": 9, "trut\n' + path.read_bytes())  # the reader for objects over many lines
    assert (summary(torn)["n"], summary(torn)["unreadable"]) == (3, 1)


def test_pipes_work(tmp_path):
    """Standard input, for JSONL, for one object over many lines and for a table."""
    for name, n in {"lmms_eval_mvbench.jsonl": 5, "video_r1.json": 4, "vlmevalkit_columns.tsv": 3}.items():
        ended = subprocess.run(
            [sys.executable, "-m", "recipe.tw_grpo.scoring", "/dev/stdin", "--json", "--draws", "10"],
            cwd=ROOT,
            input=(SMALL / name).read_bytes(),
            capture_output=True,
        )
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout)["logs"][0]["n"] == n
    os.mkfifo(tmp_path / "pipe")
    writer = subprocess.Popen(["cp", SMALL / "ms_swift.jsonl", tmp_path / "pipe"])
    assert summary(tmp_path / "pipe")["n"] == 3
    writer.wait(10)


def test_parquet_and_wrapped_lists_hold_the_same(tmp_path):
    rows = [{"id": str(i), "options": OPTIONS, "truth": "B", "response": "AB"[i % 2]} for i in range(5)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "log.parquet")
    wrapped = {
        "one.json": {"model": "m", "results": rows, "totals": [{"acc": 0.4}]},
        "deep.json": {"meta": {"n": 5}, "data": {"rows": rows}},
        "by_id.json": {row["id"]: {k: v for k, v in row.items() if k != "id"} for row in rows},
        "list.json": rows,
    }
    paths = [tmp_path / "log.parquet"]
    for name, content in wrapped.items():
        for indent in (None, 1):
            paths.append(tmp_path / f"{indent}_{name}")
            paths[-1].write_bytes(b"\xef\xbb\xbf" + json.dumps(content, indent=indent).encode())
    for path in paths:
        s = summary(path)
        assert (s["n"], s["correct"], s["unreadable"], s["form"]) == (5, 2, 0, "generic"), path
    two = tmp_path / "two.json"
    two.write_text(json.dumps({"right": rows, "wrong": rows}))
    with pytest.raises(UserError, match=r"several lists of responses \(right, wrong\)"):
        read_log(two)


def test_workbooks(tmp_path):
    """Read if openpyxl is there; else one line says how to get it."""
    path = tmp_path / "log.xlsx"
    try:
        import openpyxl
    except ImportError:
        path.write_bytes(b"PK\x03\x04 and so on")
        with pytest.raises(UserError, match=r"log.xlsx: .xlsx needs the package openpyxl \(pip install openpyxl\)"):
            read_log(path)
        return
    book = openpyxl.Workbook()
    for row in (
        ["index", "question", "A", "B", "answer", "prediction"],
        [0, "Q?", 3, 4, "B", 4],
        [1, "R?", 1, 2, "A", None],
    ):
        book.active.append(row)
    book.save(path)
    s = summary(path)
    assert (s["form"], s["n"], s["correct"]) == ("vlmevalkit", 2, 1)


def test_pickles_are_not_opened(tmp_path):
    path = tmp_path / "log.pkl"
    path.write_bytes(pickle.dumps([{"response": "A", "truth": "A"}]))
    for name in ("log.pkl", "renamed.jsonl"):
        path = path.rename(tmp_path / name)
        with pytest.raises(UserError, match="a pickle can run any program, it is not opened"):
            read_log(path)


def test_broken_logs_end_in_one_line(tmp_path):
    """Every small log with bytes changed, cut out and put in: read or refused, nothing else."""
    rng, read = random.Random(0), 0
    for path in sorted(SMALL.iterdir()):
        for _ in range(20):
            content = bytearray(path.read_bytes())
            for _ in range(rng.randint(1, 3)):
                place = rng.randrange(len(content))
                content[place : place + rng.choice((0, 1, 30))] = rng.choice(
                    (b"", b"null", b"0", b'"', b"[]", b"\x00", b"\xff")
                )
            broken = tmp_path / f"log{path.suffix}"
            broken.write_bytes(content)
            try:
                json.dumps(summarize(read_log(broken), "tolerant", draws=2), allow_nan=False)
                read += 1
            except UserError as error:
                assert str(broken) in str(error)
    assert read > 100


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("log.parquet", b"PAR1 and then nothing", "not a whole parquet file"),
        ("log.tsv", b"index\tanswer\tprediction\n0\tA\n", "row 1 has more or fewer cells"),
        ("log.tsv", b"index\tanswer\tprediction\n0\tA\t\xff\n", "not a table in UTF-8"),
        ("log.json", b'[{"response": "A"', "not a JSON list"),
        ("log.jsonl", b'{"response": {"a": 1}, "truth": "A"}\n', "line 1: 'response' is no text"),
        ("log.jsonl", b'{"custom_id": "q", "response": 7}\n', "'response' is neither null nor the answer of a server"),
        ("log.jsonl", b'{"response": "A", "choices": {"left": 1}, "answer": "A"}\n', "'options' must be a list"),
    ],
)
def test_broken_logs_are_named(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_log(path)
    assert str(path) in str(caught.value) and words in str(caught.value)
