# SPDX-License-Identifier: Apache-2.0
"""An evaluation answers every question once or has no score, goes on where it was, and asks what it says it asks."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_questions import RIGHT, TRUTHS, WHOLE, line, make_parquet

from recipe.tw_grpo.evaluation import table
from recipe.tw_grpo.evaluation.dump import Incomplete, read_complete, read_questions
from recipe.tw_grpo.evaluation.launch import claim, fingerprint
from recipe.tw_grpo.evaluation.questions import parts, resample, write_parts
from recipe.tw_grpo.toolbox.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@given(rows=st.integers(1, 10_000), largest=st.integers(0, 3000))
def test_parts_cover_everything_once_and_are_of_nearly_equal_size(rows, largest):
    found = parts(rows, largest)
    assert [start for start, _ in found] == [sum(n for _, n in found[:i]) for i in range(len(found))]
    sizes = [length for _, length in found]
    assert sum(sizes) == rows and max(sizes) - min(sizes) <= 1 and max(sizes) <= (largest or rows)


def videos(table):
    return [video for row in table["videos"].to_pylist() for video in row]


@pytest.mark.parametrize(
    "made, frames, pixels, expected",
    [
        ({}, None, None, {"min_frames": 16, "max_frames": 16, "max_pixels": 128 * 784}),
        ({}, 32, 256 * 784, {"min_frames": 32, "max_frames": 32, "max_pixels": 256 * 784}),  # a fixed number stays one
        ({}, 8, None, {"min_frames": 8, "max_frames": 8, "max_pixels": 128 * 784}),
        ({}, None, 2 * 784, {"min_pixels": 2 * 784, "max_pixels": 2 * 784}),  # never min above max
        ({"fps": 2.0}, 32, None, {"min_frames": 4, "max_frames": 32, "fps": 2.0}),  # a rate stays a rate
        ({"fps": 2.0}, 2, None, {"min_frames": 2, "max_frames": 2}),
    ],
)
def test_frames_and_pixels_are_those_asked_for(tmp_path, made, frames, pixels, expected):
    before = pq.read_table(make_parquet(tmp_path / "q.parquet", **made))
    after = resample(before, frames, pixels, "q")
    assert after.schema == before.schema and after.drop(["videos"]) == before.drop(["videos"])
    assert len(videos(after)) == len(RIGHT)
    for old, new in zip(videos(before), videos(after), strict=True):
        assert new == old | expected


def test_frames_of_a_fixed_size_are_not_silently_left(tmp_path):
    fixed = pq.read_table(make_parquet(tmp_path / "q.parquet", resized=(56, 56)))
    with pytest.raises(UserError, match="PIXELS= "):
        resample(fixed, None, 784 * 64, "q.parquet")
    stored = {"video": ["a.png"] * 8, "max_pixels": 100352}
    rows = {"videos": [[stored]]}
    pictures = fixed.__class__.from_pydict(rows)
    assert videos(resample(pictures, 16, 100352, "q")) == [stored]
    for frames, pixels in ((4, None), (None, 200704)):
        with pytest.raises(UserError, match="its frames are stored"):
            resample(pictures, frames, pixels, "q")


def test_parts_are_the_same_bytes_again(tmp_path):
    source = make_parquet(tmp_path / "q.parquet")
    once = write_parts(source, tmp_path / "a", frames=8, pixels=None, largest=2)
    again = write_parts(source, tmp_path / "b", frames=8, pixels=None, largest=2)
    assert [length for _, length in once] == [1, 2, 2]
    assert [path.read_bytes() for path, _ in once] == [path.read_bytes() for path, _ in again]
    assert [i for path, _ in once for i in read_questions(path)] == ["0", "1", "2", "3", "4"]


def test_answers_come_in_the_order_of_the_questions_with_their_records(tmp_path):
    questions = read_questions(make_parquet(tmp_path / "q.parquet"))
    dump = tmp_path / "0.jsonl"
    dump.write_text("".join(json.dumps(row) + "\n" for row in reversed(WHOLE)))
    rows = read_complete(dump, questions)
    assert [row["gts"] for row in rows] == TRUTHS
    assert [row["video"] for row in rows] == ["0.mp4", "0.mp4", "1.mp4", "1.mp4", "2.mp4"]
    assert [row["kind"] for row in rows] == ["single", "multi", "single", "multi", "single"]


@pytest.mark.parametrize(
    "text, error, message",
    [
        (None, Incomplete, "did not end"),
        ("", Incomplete, "0 of 5"),
        ("".join(json.dumps(row) + "\n" for row in WHOLE[:4]), Incomplete, "4 of 5"),
        ("".join(json.dumps(row) + "\n" for row in WHOLE)[:-20], Incomplete, "line 5 breaks off"),
        ("".join(json.dumps(row) + "\n" for row in [*WHOLE, WHOLE[2]]), Incomplete, "record 2 is answered 2 times"),
        (json.dumps(line(0, "B")) + "\n", UserError, "another one"),  # the same number, other right letters
        (json.dumps(line(9, "A")) + "\n", UserError, "not asked"),
        (json.dumps({**line(0, "A"), "index": ""}) + "\n", UserError, "multi_answer"),
    ],
)
def test_a_part_of_a_validation_is_never_read(tmp_path, text, error, message):
    questions = read_questions(make_parquet(tmp_path / "q.parquet"))
    if text is not None:
        (tmp_path / "0.jsonl").write_text(text)
    with pytest.raises(error, match=message):
        read_complete(tmp_path / "0.jsonl", questions)


def test_a_folder_belongs_to_one_evaluation(tmp_path):
    out, identity = tmp_path / "out" / "mmvu", {"model": "a"}
    assert not claim(out, identity)
    assert not claim(out, identity)  # begun, not done
    (out / "scores.json").write_text("{}")
    assert claim(out, identity)
    assert not claim(out, {"model": "b"})
    assert (tmp_path / "out/mmvu.1/scores.json").exists() and not (out / "scores.json").exists()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.png").write_text("cat")
    with pytest.raises(UserError, match="no evaluation"):
        claim(tmp_path / "photos", identity)


def test_a_model_trained_on_is_another_model(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"1")
    before = fingerprint(str(tmp_path))
    assert fingerprint(str(tmp_path)) == before
    (tmp_path / "model.safetensors").write_bytes(b"12")
    assert fingerprint(str(tmp_path)) != before
    assert fingerprint("Qwen/Qwen2.5-VL-7B-Instruct") == {"model": "Qwen/Qwen2.5-VL-7B-Instruct"}


# Stands for verl's command: answers what it is asked with A; in part BROKEN it leaves a question out, once.
STAND_IN = """
import json, pathlib, sys
import pyarrow.parquet as pq
given = dict(argument.split("=", 1) for argument in sys.argv[1:])
asked, folder = pathlib.Path(given["data.val_files"]), pathlib.Path(given["trainer.validation_data_dir"])
with open(given["journal"], "a") as journal:
    journal.write(asked.name + "\\n")
config = pathlib.Path(given["hydra.run.dir"]) / ".hydra"
config.mkdir(parents=True)
(config / "config.yaml").write_text("a: 1\\n")
rows = pq.read_table(asked).to_pylist()
broken = pathlib.Path(given["journal"]).with_name("broken")
if broken.exists() and asked.name == broken.read_text():
    rows = rows[1:]
    if given["dies"] == "yes":
        sys.exit(3)
folder.mkdir(parents=True)
with open(folder / "0.jsonl", "w") as dump:
    for row in reversed(rows):
        line = {"input": row["prompt"][0]["content"], "output": "<answer>A</answer>", "score": 1.0}
        line |= {"gts": row["reward_model"]["ground_truth"], "index": str(row["extra_info"]["index"])}
        dump.write(json.dumps(line) + "\\n")
"""


@pytest.mark.parametrize("dies, code, said", [("yes", 3, "exit code 3"), ("no", 2, "of 2 questions are answered")])
def test_an_interrupted_evaluation_goes_on_and_has_no_score_before_the_end(tmp_path, dies, code, said):
    data, journal = make_parquet(tmp_path / "toy.parquet"), tmp_path / "journal"
    (tmp_path / "verl.py").write_text(STAND_IN)
    (tmp_path / "broken").write_text("001.parquet")
    out = tmp_path / "model" / "toy"
    command = [
        sys.executable,
        "-m",
        "recipe.tw_grpo.evaluation.launch",
        f"--out={out}",
        "--benchmark=toy",
        f"--data={data}",
    ]
    command += ["--model=tiny", "--frames", "", "--pixels", "", "--part=2", "--", sys.executable]
    command += [str(tmp_path / "verl.py"), f"journal={journal}", f"dies={dies}"]

    def launch():
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)

    first = launch()
    assert first.returncode == code and said in first.stderr, first.stderr
    assert "Traceback" not in first.stderr
    assert not (out / "scores.json").exists() and not (out / "answers.jsonl").exists()
    with pytest.raises(UserError, match="no finished benchmark"):
        table.main([str(tmp_path / "model")])
    (tmp_path / "broken").unlink()
    second = launch()
    assert second.returncode == 0, second.stderr
    assert journal.read_text().split() == ["000.parquet", "001.parquet", "001.parquet", "002.parquet"]
    third = launch()
    assert "done already" in third.stdout and len(journal.read_text().split()) == 4
    scores = json.loads((out / "scores.json").read_text())
    assert (scores["n"], scores["correct"], scores["videos"], scores["soft_acc"]) == (5, 1, 3, 0.3)
    assert (out / "config.yaml").read_text() == "a: 1\n"
    assert json.loads((out / "evaluation.json").read_text())["versions"]["torch"]


def test_the_table_has_intervals_and_the_papers_claims(tmp_path, capsys):
    asked = {"mmvu": "mmvu_multiple_choice", "clevrer": "clevrer_counterfactual_multi_answer", "toy": "toy"}
    for name, answer in (("mmvu", "A"), ("clevrer", "C"), ("toy", "B")):
        folder = tmp_path / name
        folder.mkdir()
        claim(folder, {"benchmark": name, "model": "m", "rule": "tolerant"})
        about = {"data_source": asked[name]}
        rows = [line(i, TRUTHS[i % 5], answer) | about | {"video": f"{i}.mp4"} for i in range(20)]
        (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if name != "toy":
            (folder / "scores.json").write_text("{}")
    table.main([str(tmp_path)])
    lines = [text.split() for text in capsys.readouterr().out.splitlines()]
    assert ["model", "CLEVRER", "MMVU"] in lines
    assert ["published:", "TW-GRPO", "50.4", "65.8"] in lines
    row = next(text for text in lines if text[:2] == ["m", "20.0"])
    low, high = float(row[2].strip("[,")), float(row[3].strip("]"))
    assert low < 20 < high
    assert any("not finished" in " ".join(text) and text[-1] == "toy" for text in lines)
    saved = json.loads((tmp_path / "table.json").read_text())["models"][0]["benchmarks"]
    assert saved["clevrer"]["correct"] == 4 and saved["clevrer"]["acc_interval"]
    assert (tmp_path / "table.md").read_text().startswith("**exact accuracy")
    assert "exact accuracy" in (tmp_path / "table.html").read_text()
    # Which protocol made a number, and whether it is the one of the published numbers.
    said = {text[0]: " ".join(text[-3:]) for text in lines if text and text[0] in ("MMVU:", "CLEVRER:")}
    assert said["MMVU:"] == "mmvu_multiple_choice; published: mmvu_multiple_choice_video_r1"
    assert said["CLEVRER:"].endswith(" clevrer_counterfactual_multi_answer")
    assert saved["mmvu"]["protocol"] == "mmvu_multiple_choice"


def test_numbers_of_two_protocols_never_share_a_column():
    part = dict.fromkeys(("acc_interval", "soft_acc_interval")) | {"acc": 0.2, "soft_acc": 0.2}
    scored = part | {"n": 5, "correct": 1, "single": part, "multi": part, "malformed": {}}
    models = [
        {"model": name, "folder": name, "benchmarks": {"mmvu": scored | {"protocol": protocol}}}
        for name, protocol in (("a", "mmvu_multiple_choice"), ("b", "mmvu_multiple_choice_video_r1"))
    ]
    head, first, second, *_ = table.cells(models)[0][1]
    assert head == ["model", "MMVU (mmvu_multiple_choice)", "MMVU (mmvu_multiple_choice_video_r1)"]
    assert (first[0], first[2]) == ("a", "-") and (second[0], second[1]) == ("b", "-")
    assert "20.0" in first[1] and "20.0" in second[2]
