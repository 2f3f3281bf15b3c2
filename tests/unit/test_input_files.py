# SPDX-License-Identifier: Apache-2.0
"""Files that are not what the command reads: another data set's, damaged, mixed with free-form and image records."""

import csv
import json
from pathlib import Path

import benchmark_forms as forms
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep import benchmarks
from data_prep.read import nextgqa, star, video_r1
from recipe.tw_grpo.toolbox.errors import UserError

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="real data not here")
RECORD = {"problem_id": 1, "problem": "q", "options": ["A. x", "B. y"], "solution": "A", "path": "a.mp4"}


def benchmark_mmvu(path):
    return benchmarks.read_benchmark("mmvu", path)


def own_star(number):
    choices = [{"choice_id": i, "choice": text} for i, text in enumerate(["The box.", "The bag."])]
    return {"question_id": f"Interaction_T1_{number}", "question": "Which?", "video_id": "v0", "start": 0.5, "end": 1.5,
            "choices": choices, "answer": "The bag."}  # fmt: skip


@needs_real
def test_a_file_of_next_gqa_is_none_of_star():
    with pytest.raises(UserError, match="record 0, id '2834146886_8': is a question of NExT-QA, expected STAR"):
        star.read(REAL / "nextgqa_val_1200.json")
    assert len(nextgqa.read(REAL / "nextgqa_val_1200.json").questions) == 1200


@pytest.mark.parametrize(
    "read, record, says",
    [
        (star.read, {**RECORD, "type": "CW"}, "a question of NExT-QA.*expected STAR"),
        (star.read, {**RECORD, "path": "./NeXT-QA/1.mp4"}, "a question of NExT-QA"),
        (nextgqa.read, {**RECORD, "path": "./STAR/v0.mp4"}, "a question of STAR.*expected NExT-QA"),
        (nextgqa.read, {**RECORD, "problem_id": "Sequence_T2_7"}, "a question of STAR"),
        (nextgqa.read, {**RECORD, "path": "/MVBench/star/v0.mp4"}, "a question of MVBench"),
        (nextgqa.read, own_star(0), "'options' is missing; is this a file of another data set"),
        (benchmark_mmvu, {**RECORD, "path": "/MVBench/star/v.mp4"}, "expected MMVU"),
        (lambda path: benchmarks.read_benchmark("nextgqa", path), {**RECORD, "path": "STAR/v.mp4"}, "of STAR"),
    ],
)  # fmt: skip
def test_a_question_of_another_data_set_is_refused(read, record, says, tmp_path):
    path = forms.dump(tmp_path / "in.json", [record])
    with pytest.raises(UserError, match=says):
        read(path)


def test_what_a_record_says_of_its_source_counts_more_than_its_path(tmp_path):
    file = forms.dump(tmp_path / "in.json", [{**RECORD, "path": "./STAR/v.mp4", "data_source": "NeXT-QA"}])
    assert len(nextgqa.read(file).questions) == 1


@pytest.mark.parametrize("path", ["/MVBench/clevrer/video_validation/video_10009.mp4", "star/Charades_v1_480/A.mp4"])
def test_mvbench_may_name_the_folders_of_its_sources(path, tmp_path):
    file = forms.dump(tmp_path / "in.json", [{**RECORD, "path": path}])
    assert len(benchmarks.read_benchmark("mvbench", file)[0].questions) == 1


MIXED = [
    {**RECORD, "problem_id": 5, "options": [], "problem_type": "free-form", "solution": "a long text"},
    {**RECORD, "problem_id": 6, "data_type": "image"},
    {**RECORD, "problem_id": 7, "options": None},
    {**RECORD, "problem_id": 8, "problem_type": "Multiple_Choice", "data_type": "video"},
    {**{key: value for key, value in RECORD.items() if key != "path"}, "problem_id": 9, "image": "a.png"},
]


@pytest.mark.parametrize("read", [video_r1.read, nextgqa.read, star.read])
def test_free_form_and_image_records_are_left_out_and_counted(read, tmp_path):
    reading = read(forms.dump(tmp_path / "mixed.json", MIXED))
    assert [question.question_id for question in reading.questions] == ["8"]
    assert reading.left_out == {"not multiple choice": 2, "of images, not videos": 2}


def test_benchmarks_know_a_mixed_file_whose_first_record_is_free_form(tmp_path):
    first = {"problem_id": 5, "problem": "q", "problem_type": "free-form", "solution": "a", "path": "a.mp4"}
    reading, form = benchmarks.read_benchmark("mmvu", forms.dump(tmp_path / "mixed.json", [first, *MIXED]))
    assert form == "video_r1" and len(reading.questions) == 1 and reading.left_out["not multiple choice"] == 3


@pytest.mark.parametrize("name", ["2.83E+09", "2.834146886e+09", "2834146886.0"])
@pytest.mark.parametrize("key", ["video_id", "qid"])
def test_ids_a_spreadsheet_has_changed_are_refused_in_csv(key, name, tmp_path):
    header, *rows = forms.nextgqa_rows()
    rows[1][header.index(key)] = name
    with pytest.raises(UserError, match=f"line 3.*{key!r} is '.*a spreadsheet or pandas writes"):
        nextgqa.read(forms.write_csv(tmp_path / "a.csv", [header, *rows]))


@pytest.mark.parametrize("key", ["id", "video"])
def test_ids_a_spreadsheet_has_changed_are_refused_in_json(key, tmp_path):
    record = {"id": "1", "video": "v", "question": "q", "options": ["A. x", "B. y"], "answer": "A", key: "2.83E+09"}
    with pytest.raises(UserError, match=f"{key!r} is '2.83E[+]09'"):
        nextgqa.read(forms.dump(tmp_path / "a.json", [record]))


def test_nul_and_missing_values_are_refused_and_texts_that_say_none_are_kept(tmp_path):
    for change, says in (
        ({"problem": "a\0b"}, "'problem' holds a NUL"),
        ({"options": ["A. x", "B. \0"]}, r"options\[1\]' holds a NUL"),
        ({"problem": None}, "'problem' must be a text, found None"),
        ({"path": float("nan")}, "'path' must be a text, found nan"),
        ({"solution": None}, "'solution' must be a text, found None"),
    ):
        with pytest.raises(UserError, match=says):
            video_r1.read(forms.dump(tmp_path / "a.json", [{**RECORD, **change}]))
    header, *rows = forms.nextgqa_rows()
    rows[0][header.index("a3")], rows[0][header.index("a4")] = "None", "nan"
    rows[1][header.index("question")] = "a\0b"
    assert "nan" in nextgqa.read(forms.write_csv(tmp_path / "a.csv", [header, rows[0]])).questions[0].options
    with pytest.raises(UserError, match="line 3.*'question' holds a NUL"):
        nextgqa.read(forms.write_csv(tmp_path / "a.csv", [header, *rows]))


def parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def next_rows(**changes):
    header, *rows = forms.nextgqa_rows(index=True)
    names = ["video" if name == "video_id" else name for name in header]
    return [{**dict(zip(names, row, strict=True)), "video": 4010069381, **changes} for row in rows]


def test_the_parquet_form_of_next_qa_gives_the_labels_of_its_csv(tmp_path):
    reading = nextgqa.read(parquet(tmp_path / "test-00000-of-00001.parquet", next_rows()))
    assert [q.options[q.right[0]] for q in reading.questions] == forms.TRUTH
    assert reading.questions[0].video == "4010069381" and reading.questions[0].question_id == "4010069381_0"


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"answer": 5}, "record 0.*'answer' is '5', expected an index"),
        ({"answer": None}, "record 0: 'answer' must be a text, found None"),
        ({"a2": None}, r"record 0.*'a2' must be a text, found None"),
        ({"video": 4010069381.0}, "record 0: 'video' must be a text, found 4010069381.0"),
        ({"question": " "}, "'question' is empty"),
    ],
)
def test_damaged_parquet_of_next_qa_is_refused(changes, says, tmp_path):
    with pytest.raises(UserError, match=says):
        nextgqa.read(parquet(tmp_path / "a.parquet", next_rows(**changes)))
    with pytest.raises(UserError, match="column 'a0' is missing"):  # the open-ended questions
        nextgqa.read(
            parquet(tmp_path / "b.parquet", [{"video": 1, "question": "q", "answer": "x", "qid": 1, "type": "TN"}])
        )


@needs_real
def test_the_parquet_form_of_the_real_questions(tmp_path):
    source = REAL / "nextqa_val_index_answers.csv"
    with source.open(encoding="utf-8", newline="") as file:
        rows = [{**row, **{key: int(row[key]) for key in ("video", "answer", "qid")}} for row in csv.DictReader(file)]
    found = nextgqa.read(parquet(tmp_path / "val.parquet", rows)).questions
    assert [q._replace(where="") for q in found] == [q._replace(where="") for q in nextgqa.read(source).questions]


def test_json_lines_end_at_newlines_only_and_a_broken_one_is_named(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = [json.dumps({**RECORD, "problem": "a\u2028b"}, ensure_ascii=False), ""]
    path.write_text("\n".join(lines), encoding="utf-8")
    assert video_r1.read(path).questions[0].text == "a\u2028b"
    path.write_text("\n".join([*lines, "{"]), encoding="utf-8")
    with pytest.raises(UserError, match="a.jsonl: line 3: not a JSON"):
        video_r1.read(path)
