# SPDX-License-Identifier: Apache-2.0
"""data_prep/own.py: a user's own questions, one a line; every refusal names the line and writes nothing."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from damage import damaged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep import own
from data_prep.read import own as reader
from data_prep.read.question import Reading
from examples.tiny.render import write_mp4
from recipe.tw_grpo.toolbox.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
GOOD = {"id": "1", "video": "a.mp4", "question": "What?", "options": ["x", "y", "z"], "answers": ["C", "A"]}


def write(path, *records):
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path):
    write_mp4(np.zeros((16, 28, 28, 3), np.uint8), tmp_path / "a.mp4", 8)
    return tmp_path / "questions.jsonl"


def test_own_questions_become_records(file, capsys):
    clip = {**GOOD, "id": 2, "options": ["A. x", "B. y"], "answers": ["B"], "start": 0.5, "end": 1.5}
    output = file.with_name("own.parquet")
    own.main([str(write(file, GOOD, "", clip)), "--output", str(output), "--check-videos"])
    first, second = pq.read_table(output).to_pylist()
    assert (first["reward_model"]["ground_truth"], second["reward_model"]["ground_truth"]) == ("A,C", "B")
    assert first["videos"][0]["video"] == f"file://{file.parent}/a.mp4"
    assert first["prompt"][0]["content"].startswith("<video>What?\nA. x\nB. y\nC. z\n")
    assert second["extra_info"]["options"] == ["x", "y"] and second["extra_info"]["question_id"] == "2"
    assert (second["videos"][0]["video_start"], second["videos"][0]["video_end"]) == (0.5, 1.5)
    assert first["data_source"] == "own" and "1: 1, 2: 1" in capsys.readouterr().out
    assert json.loads(Path(f"{output}.report.json").read_text())["counts"]["written"] == 2


def without(key):
    return {name: value for name, value in GOOD.items() if name != key}


@pytest.mark.parametrize(
    "record, says",
    [
        ("{", "not a JSON object on one line"),
        ("[]", "expected an object, found list"),
        ('{"id": 1, "id": 2}', "key 'id' occurs twice"),
        *[(without(key), f"key '{key}' is missing") for key in GOOD],
        ({**GOOD, "answer": "A"}, "key 'answer' is none of id, video"),
        ({**GOOD, "id": None}, "'id' must be a text, found None"),
        ({**GOOD, "id": "2.83E+09"}, "'id' is '2.83E.09'"),
        ({**GOOD, "video": " "}, "'video' is empty"),
        ({**GOOD, "question": "a\0"}, "'question' holds a NUL"),
        ({**GOOD, "question": "<video> what"}, "the text holds one of"),
        ({**GOOD, "options": ["x"], "answers": ["A"]}, "expected 2 or more"),
        ({**GOOD, "options": ["x", "x", "y"]}, "the same text twice: 'x'"),
        ({**GOOD, "options": ["A. x", "y", "z"]}, "has no letter"),
        ({**GOOD, "options": ["A. B. x", "B. A. y", "C. z"]}, "two letters"),
        ({**GOOD, "options": "x"}, "'options' must be a list"),
        ({**GOOD, "answers": []}, "'answers' is empty"),
        ({**GOOD, "answers": "A"}, "'answers' must be a list"),
        ({**GOOD, "answers": ["D"]}, "letters from A to C, found 'D'"),
        ({**GOOD, "answers": ["x"]}, "letters from A to C, found 'x'"),
        ({**GOOD, "answers": ["AB"]}, "letters from A to C, found 'AB'"),
        ({**GOOD, "answers": [0]}, "letters from A to C, found 0"),
        ({**GOOD, "answers": ["A", "A"]}, "names an option twice"),
        ({**GOOD, "start": 3}, "'end' must be seconds, found None"),
        ({**GOOD, "start": 3, "end": 2}, "must be before 'end'"),
        ({**GOOD, "video": "b.mp4"}, "'b.mp4' is missing below"),
        ({**GOOD, "id": "0"}, "id '0' occurs twice, also in line 1"),
    ],
)
def test_every_refusal_names_the_line(file, record, says):
    record = {**record, "id": record.get("id", "1")} if isinstance(record, dict) and "id" in record else record
    write(file, {**GOOD, "id": "0"}, record)
    with pytest.raises(UserError, match=f"questions.jsonl: line 2.*{says}"):
        own.main([str(file), "--output", str(file.with_name("own.parquet"))])
    assert not list(file.parent.glob("*parquet*"))


def test_an_empty_file_and_bytes_that_are_no_text_are_refused(file):
    for content, says in ((b"\n \n", "no question in it"), (b'{"id": "\xff"}', "line 1: not a JSON object")):
        file.write_bytes(content)
        with pytest.raises(UserError, match=says):
            reader.read(file)


def test_a_byte_order_mark_and_windows_line_ends_are_read(file):
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n")
    reading = reader.read(file)
    assert isinstance(reading, Reading) and reading.questions[0].right == (0, 2)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_gives_one_line_or_labels_that_stand(file, data):
    content, _ = damaged(data, [GOOD, {**GOOD, "id": "2", "answers": ["B"]}], most=1)
    write(file, *map(json.dumps, content))
    try:
        questions = reader.read(file).questions
    except UserError as error:
        assert "questions.jsonl: line " in str(error) and len(str(error).splitlines()) == 1
        return
    for question in questions:
        assert question.right and max(question.right) < len(question.options) == len(set(question.options))


def test_as_a_script_it_ends_with_one_line(file):
    command = [sys.executable, str(ROOT / "data_prep" / "own.py"), "none.jsonl", "--output", "own.parquet"]
    done = subprocess.run(command, cwd=file.parent, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "own.py: error: none.jsonl: no such file\n"
