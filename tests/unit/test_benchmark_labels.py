# SPDX-License-Identifier: Apache-2.0
"""What benchmark readers take for a label and what they refuse; a fuzz of broken files never gives a wrong one."""

import json
from pathlib import Path

import benchmark_forms as forms
import pytest
from damage import damaged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep import benchmarks
from data_prep.read import records as reading
from data_prep.read import video_r1
from data_prep.read.answers import answer_positions, lettered_options
from recipe.tw_grpo.toolbox.errors import UserError


@pytest.mark.parametrize(
    "answer, options, expected",
    [
        ("B", ["x", "y"], (1,)),
        ("<answer>B</answer>", ["x", "y"], (1,)),
        ("(B)", ["x", "y"], (1,)),
        ("B.", ["x", "y"], (1,)),
        ("B, A", ["x", "y"], (0, 1)),
        ("y", ["x", "y"], (1,)),
        (" y ", ["x", "y"], (1,)),
        ("B. y", ["x", "y"], (1,)),
        ("y", ["x", "y", "y"], (1,)),  # equal texts: any is right, the first is taken
        ("C", ["x", "y"], "2 options"),
        ("B,B", ["x", "y"], "twice"),
        ("A. y", ["x", "y"], "neither"),  # letter and text contradict
        ("BD", ["x", "y"], "neither"),
        ("b", ["x", "y"], "neither"),  # no form has small letters; an option could be called so
        ("A and B", ["x", "y"], "neither"),
        ("", ["x", "y"], "neither"),
        ("<answer></answer>", ["x", "y"], "neither"),
        ("y", ["y", "A. y"], "neither|several"),
    ],
)
def test_what_an_answer_means(answer, options, expected):
    if isinstance(expected, tuple):
        assert answer_positions(answer, options, "here") == expected
    elif answer == "y":  # the first option is called y, and is it
        assert answer_positions(answer, options, "here") == (0,)
    else:
        with pytest.raises(UserError, match=f"here: .*({expected})"):
            answer_positions(answer, options, "here")


@pytest.mark.parametrize(
    "options, expected",
    [
        (["A. x", "B. y"], ("x", "y")),
        (["(A) x", "(B) y. z"], ("x", "y. z")),  # a text with ". " in it is not cut
        (["A) x", "B: y"], ("x", "y")),
        (["x", "y"], ("x", "y")),
        (["Adam", "Berta"], ("Adam", "Berta")),
        (["A. 10.0", "B. 5.0"], ("10.0", "5.0")),
        (["A. x", "y"], "has no letter"),
        (["B. x", "A. y"], "lettered AB, found BA"),
        (["A. x", "A. y"], "lettered AB, found AA"),
        (["A. x", "B. "], "empty"),
        (["", "y"], "empty"),
        ([], "0 entries"),
        (["x"] * 27, "27 entries"),
        ("A. x", "must be a list"),
        ([1, 2], "must be a text"),
        (["A. x", "B. \ud800"], "Unicode"),
    ],
)
def test_letters_come_off_all_options_or_none(options, expected):
    if isinstance(expected, tuple):
        assert lettered_options(options, "here") == expected
    else:
        with pytest.raises(UserError, match=expected):
            lettered_options(options, "here")


@pytest.mark.parametrize(
    "change, says",
    [
        ({"answer": "A"}, "option 2, 'answer' says 'A'"),
        ({"answer": "a red ball"}, "option 2, 'answer' says"),
        ({"answer": "B. a hat. No, two"}, None),
        ({"answer": "something unknown"}, None),  # the family's label is `solution`
        ({"problem_type": "free-form"}, "no multiple-choice question"),
        ({"start": 3, "end": 2}, "'start' \\(3\\) must be before"),
        ({"start": "0"}, "'start' must be seconds"),
        ({"solution": "<answer>D</answer>"}, "'solution' is '<answer>D</answer>', but there are 3 options"),
        ({"path": ""}, "'path' is empty"),
        ({"problem": "  "}, "'problem' is empty"),
        ({"problem_id": True}, "'problem_id' must be an integer"),
    ],
)
def test_refusals_name_file_record_and_field(change, says, tmp_path):
    path = forms.dump(tmp_path / "eval.json", [{**forms.video_r1_records()[0], **change}])
    if says is None:
        assert video_r1.read(path).questions[0].right == (1,)
    else:
        with pytest.raises(UserError, match=says) as caught:
            benchmarks.read_benchmark("mmvu", path)
        assert str(path) in str(caught.value)


def test_duplicated_ids_are_refused(tmp_path):
    records = forms.video_r1_records()
    records[2]["problem_id"] = 0
    with pytest.raises(UserError, match=r"record 2.*id '0' occurs twice, also at .*record 0"):
        benchmarks.read_benchmark("mvbench", forms.dump(tmp_path / "eval.json", records))


CONTENT = {
    "mmvu": ("validation.json", forms.mmvu_records),
    "mvbench": ("action_sequence.json", forms.mvbench_records),
    "videomme": ("videomme.json", forms.videomme_rows),
    "tempcompass": ("captioning.json", lambda: forms.tempcompass("captioning")),
    "clevrer": ("validation.json", forms.clevrer_scenes),
    "video_r1": ("eval.json", forms.video_r1_records),
}


@pytest.mark.parametrize("name", CONTENT)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_broken_files_give_one_line_or_labels_that_stand(name, data, tmp_path):
    """One change anywhere: what the change did not touch keeps its label, and every label names an option."""
    file, build = CONTENT[name]
    content, (key,) = damaged(data, build(), most=1)
    path = forms.dump(tmp_path / file, content)
    try:
        reading, _ = benchmarks.read_benchmark("mmvu" if name == "video_r1" else name, path)
    except UserError as error:
        assert len(str(error).splitlines()) == 1 and (file in str(error) or "map_vid" in str(error))
        return
    truth = {question: options[right] for _, question, options, right in forms.FACTS}
    for question in reading.questions:
        assert question.right and max(question.right) < len(question.options)
        assert all(option.strip() for option in question.options)
        untouched = question.text in truth and list(question.options) in [f[2] for f in forms.FACTS]
        # The published label itself can be changed to another valid one; nothing else may move a label.
        if untouched and key not in ("answer", "solution"):
            assert question.options[question.right[0]] == truth[question.text]


@pytest.mark.parametrize("name", CONTENT)
def test_a_download_that_broke_off_is_refused_wherever_it_broke(name, tmp_path):
    file, build = CONTENT[name]
    whole = json.dumps(build())
    for end in range(0, len(whole) - 1, 37):
        (tmp_path / file).write_text(whole[:end])
        with pytest.raises(UserError, match=f"{file}: not a JSON file"):
            benchmarks.read_benchmark("mmvu" if name == "video_r1" else name, tmp_path / file)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_a_csv_with_another_delimiter_is_refused(delimiter, tmp_path):
    path = forms.write_csv(tmp_path / "test.csv", forms.nextgqa_rows(), delimiter)
    with pytest.raises(UserError, match="test.csv.*expected commas"):
        benchmarks.read_benchmark("nextgqa", path)


def test_not_unicode_and_not_parquet(tmp_path):
    for name, file in (("mmvu", "validation.json"), ("videomme", "test.parquet"), ("nextgqa", "test.csv")):
        (tmp_path / file).write_bytes(b'[{"id": "\xff\xfe"}]')
        with pytest.raises(UserError, match=file):
            benchmarks.read_benchmark(name, tmp_path / file)


def test_reading_never_invents_a_label_from_rows_of_another_set():
    with pytest.raises(UserError, match="expected an object"):
        reading.read_records(Path("x.json"), [3], video_r1.read_record)
