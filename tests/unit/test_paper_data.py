# SPDX-License-Identifier: Apache-2.0
"""The training sets of Table 2: the catalogue's own commands on small files, and the tiny world's counterpart."""

import contextlib
import importlib
import io
import json
import random
import shlex

import pyarrow.parquet as pq
import pytest

from examples.paper import catalogue
from examples.tiny import toy_clevrer, training_sets
from recipe.tw_grpo.toolbox.errors import UserError

QUESTIONS = 60


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "toy"
    sizes = ["--scenes", "40", "--questions-per-scene", "2", "--validation-scenes", "1"]
    toy_clevrer.main(["--out", str(folder), *sizes, "--level", "1", "--frames", "4", "--workers", "1"])
    return folder


def nextgqa():
    options = [f"({letter}) {text}" for letter, text in zip("ABCDE", ["sings", "jumps", "sleeps", "eats", "swims"],
                                                            strict=True)]  # fmt: skip
    for number in range(QUESTIONS):
        answer = f"({random.Random(number).choice('ABCDE')})"
        about = {"id": f"v{number}_0", "video": f"1104/v{number}.mp4", "type": "CW", "answer": answer}
        yield about | {"question": "why did the boy hold a racket", "options": options}


def star():
    texts = ["The box.", "The bag.", "The bed.", "The food."]
    for number in range(QUESTIONS):
        about = {"question_id": f"Interaction_T1_{number}", "video_id": f"v{number}", "start": 0.25, "end": 1.5}
        about |= {"question": "Which object was taken by the person?", "answer": texts[number % 4]}
        yield about | {"choices": [{"choice_id": i, "choice": text} for i, text in enumerate(texts)]}


def written(file, annotations, folder):
    """The rows that the catalogue's command for `file` writes, on other annotations and no videos."""
    program, script, *words = shlex.split(catalogue.training_sets()[file].command)
    options = dict(zip(words[::2], words[1::2], strict=True))
    assert program == "python" and options["--output"] == file and options["--limit"] == "1100"
    options |= {"--annotations": annotations, "--video-root": folder, "--limit": 24, "--output": folder / "x.parquet"}
    main = importlib.import_module(script.removesuffix(".py").replace("/", ".")).main
    with contextlib.redirect_stdout(io.StringIO()):
        main([*(str(word) for option in options.items() for word in option), "--videos-later"])
    return pq.read_table(folder / "x.parquet").to_pylist()


def right(row):
    return row["reward_model"]["ground_truth"].split(",")


def asked(rows):
    return [(row["extra_info"]["scene"], row["extra_info"]["question_id"]) for row in rows]


@pytest.mark.parametrize("name, records", [("nextgqa", nextgqa), ("star", star)])
def test_single_choice_and_inverted_sets_are_made_of_the_same_questions(tmp_path, name, records):
    source = tmp_path / "train.json"
    source.write_text(json.dumps(list(records())))
    single, qai = (written(f"data/{name}_train_{kind}.parquet", source, tmp_path) for kind in ("single", "qai"))
    assert asked(single) == asked(qai) and len(single) == 24
    for row in single:  # as the data set has them
        assert len(right(row)) == 1 and row["extra_info"]["options"] == row["extra_info"]["original_options"]
        assert not row["extra_info"]["inverted"]
    assert 0 < sum(row["extra_info"]["inverted"] for row in qai) < 24
    assert any(len(right(row)) > 1 for row in qai)
    for row in [*single, *qai]:
        assert (row["videos"][0]["fps"], row["videos"][0]["max_frames"]) == (2.0, 16)
        assert row["videos"][0]["max_pixels"] == 256 * 28 * 28


def test_clevrers_two_sets(toy, tmp_path):
    everything = written(catalogue.BASE_FILE, toy / "questions/train.json", tmp_path)
    single = written("data/clevrer_train_single.parquet", toy / "questions/train.json", tmp_path)
    assert len(everything) == len(single) == 24
    assert {len(right(row)) for row in single} == {1} < {len(right(row)) for row in everything}


def test_every_training_file_of_a_row_is_known():
    named = {row.train_file for row in catalogue.rows() if row.overrides is not None}
    assert named == catalogue.training_sets().keys()
    sets = {about.tiny for about in catalogue.training_sets().values()} - {""}
    assert sets == training_sets.SETS.keys()


def test_the_tiny_sets_have_the_same_number_of_questions(toy, tmp_path):
    files = training_sets.make_training_sets(toy, tmp_path / "sets")
    rows = {name: pq.read_table(file).to_pylist() for name, file in files.items()}
    (size,) = {len(part) for part in rows.values()}
    assert size > 20 and {len(right(row)) for row in rows["single"]} == {1}
    assert {len(right(row)) for row in rows["multi"]} > {1}
    assert asked(rows["single"]) == asked(rows["inverted"])
    inverted = 0
    for before, after in zip(rows["single"], rows["inverted"], strict=True):
        if not after["extra_info"]["inverted"]:
            assert after == before
            continue
        inverted += 1
        question = before["extra_info"]["question"].replace("will happen", "will not happen")
        assert after["extra_info"]["question"] == question
        letters = [chr(65 + place) for place in range(len(before["extra_info"]["options"]))]
        assert right(after) == [letter for letter in letters if letter not in right(before)]
    assert 0 < inverted < size
    again = training_sets.make_training_sets(toy, tmp_path / "again")
    assert all(files[name].read_bytes() == again[name].read_bytes() for name in files)


def test_a_world_without_single_answers_is_refused(tmp_path):
    choices = [{"choice_id": i, "choice": f"{i}", "program": [], "answer": "correct"} for i in range(2)]
    question = {"question_id": 0, "question": "Without it, what will happen?", "question_type": "counterfactual"}
    scene = {"scene_index": 0, "video_filename": "video_00000.mp4", "questions": [question | {"choices": choices}]}
    (tmp_path / "questions").mkdir()
    (tmp_path / "questions/train.json").write_text(json.dumps([scene]))
    with pytest.raises(UserError, match="no question with exactly one right option"):
        training_sets.make_training_sets(tmp_path, tmp_path / "sets")
