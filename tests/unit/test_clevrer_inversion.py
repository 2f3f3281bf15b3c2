# SPDX-License-Identifier: Apache-2.0
"""CLEVRER questions asked both ways: what will and what will not happen, with the labels of the toy data set."""

import contextlib
import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_prep import clevrer_counterfactual as prep
from examples.tiny import toy_clevrer

ALL = range(26)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "toy"
    arguments = ["--scenes", "20", "--validation-scenes", "1", "--level", "3", "--frames", "4", "--workers", "1"]
    toy_clevrer.main(["--out", str(folder), *arguments])
    scenes = json.loads((folder / "questions" / "train.json").read_text())
    scenes[0]["questions"][0]["choices"] = [dict(c, answer="wrong") for c in scenes[0]["questions"][0]["choices"]]
    scenes[1]["questions"][0]["choices"] = [dict(c, answer="correct") for c in scenes[1]["questions"][0]["choices"]]
    scenes[2]["questions"][0]["question"] = "What caused it?"
    (folder / "questions" / "train.json").write_text(json.dumps(scenes))
    return folder, {(str(s["scene_index"]), str(q["question_id"])): q for s in scenes for q in s["questions"]}


def written(folder, *extra):
    output = folder / "out.parquet"
    with contextlib.redirect_stdout(io.StringIO()) as out:
        prep.main(["--annotations", str(folder), "--output", str(output), *extra])
    return pq.read_table(output).to_pylist(), json.loads(Path(f"{output}.report.json").read_text()), out.getvalue()


@pytest.mark.parametrize(
    "extra", [[], ["--invert-probability", "0.5", "--seed", "4"], ["--invert-probability", "1"], ["--double"]]
)
def test_every_label_is_true_of_the_question_asked(toy, extra):
    folder, source = toy
    rows, report, printed = written(folder, *extra)
    keys = [
        (row["extra_info"]["scene"], row["extra_info"]["question_id"], row["extra_info"]["inverted"]) for row in rows
    ]
    assert len(keys) == len(set(keys))
    for row, (scene, question_id, inverted) in zip(rows, keys, strict=True):
        asked = source[scene, question_id]
        wanted = "wrong" if inverted else "correct"
        right = [chr(65 + i) for i, choice in enumerate(asked["choices"]) if choice["answer"] == wanted]
        info = row["extra_info"]
        assert right and row["reward_model"]["ground_truth"].split(",") == right
        assert info["options"] == [choice["choice"] for choice in asked["choices"]] == info["original_options"]
        assert info["original_question"] == asked["question"] and info["style"] == ("will not" if inverted else "")
        expected = asked["question"].replace("will happen", "will not happen") if inverted else asked["question"]
        assert info["question"] == expected and expected in row["prompt"][0]["content"]
    by_kind = [{key[:2] for key in keys if key[2] is kind} for kind in (False, True)]
    answers = {key: {choice["answer"] for choice in question["choices"]} for key, question in source.items()}
    if extra == ["--double"]:  # everything both ways, as far as it has an answer and can be asked
        assert by_kind[0] == {key for key in source if "correct" in answers[key]}
        assert by_kind[1] == {key for key in source if "wrong" in answers[key] and "will" in source[key]["question"]}
        assert "1 not inverted: no 'will happen' in the question" in printed and "all choices are right" in printed
    elif not extra:
        assert not by_kind[1] and by_kind[0] == {key for key in source if "correct" in answers[key]}
    else:
        assert report["counts"]["inverted"] == len(by_kind[1]) > 0 and not by_kind[0] & by_kind[1]


def test_inversion_is_reproducible_and_seeded(toy):
    folder, _ = toy
    first, again, other = (written(folder, "--invert-probability", "0.5", "--seed", seed)[0] for seed in "334")
    assert first == again != other
