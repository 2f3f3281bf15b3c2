# SPDX-License-Identifier: Apache-2.0
"""CLEVRER annotations -> verl parquet: real scene, toy data, every refusal, determinism, a fuzz that never crashes."""

import contextlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from damage import broken, damaged, setting, without
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep import clevrer_counterfactual as prep
from data_prep.read import clevrer
from examples.tiny import toy_clevrer
from examples.tiny.render import write_mp4
from recipe.tw_grpo.toolbox.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "data_prep" / "clevrer_counterfactual.py"
REAL = ROOT.parent / "shared" / "data"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="real data not here")
INSTRUCTION = (  # as printed in the paper
    "Output the thinking process in <think></think> and the final answer (letters separated by commas, if multiple) "
    "in <answer></answer> tags."
)


def choice(number, text="The cube collides with the sphere", answer="correct"):
    return {"choice_id": number, "choice": text, "program": [], "answer": answer}


def question(number=0, choices=None, kind="counterfactual"):
    choices = choices or [choice(0), choice(1, answer="wrong")]
    text = "Without the cube, what will happen?"
    return {"question_id": number, "question": text, "question_type": kind, "program": [], "choices": choices}


def scene(index=0, questions=None):
    name = f"video_{index:05d}.mp4"
    return {"scene_index": index, "video_filename": name, "questions": questions or [question()]}


@pytest.fixture
def place(tmp_path):
    """A folder with one good video, and a function that writes annotations and runs the script on them."""
    write_mp4(np.zeros((4, 28, 28, 3), np.uint8), tmp_path / "video_00000.mp4", 8)

    class Place:
        root = tmp_path
        output = tmp_path / "out.parquet"

        def annotations(self, content):
            path = tmp_path / "train.json"
            path.write_bytes(content) if isinstance(content, bytes) else path.write_text(json.dumps(content))
            return path

        def main(self, content, *extra):
            arguments = ["--annotations", str(self.annotations(content)), "--video-root", str(tmp_path)]
            return prep.main([*arguments, "--output", str(self.output), *extra])

        def script(self, *arguments, env=None):
            return subprocess.run([sys.executable, str(SCRIPT), *arguments], cwd="/", capture_output=True, text=True)

        def rows(self):
            return pq.read_table(self.output).to_pylist()

    return Place()


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "toy"
    arguments = ["--scenes", "12", "--validation-scenes", "4", "--level", "3", "--frames", "6", "--workers", "1"]
    toy_clevrer.main(["--out", str(folder), *arguments])
    return folder


@needs_real
@pytest.mark.parametrize("name", ["clevrer_video_12176.mp4", "video_12176.mp4", "video_12000-13000/video_12176.mp4"])
def test_real_scene_with_its_real_video(place, tmp_path, name):
    video = tmp_path / name
    video.parent.mkdir(exist_ok=True)
    shutil.copy(REAL / "videos" / "clevrer_video_12176.mp4", video)
    annotations = REAL / "clevrer_validation_video_12176.json"
    common = ["--annotations", str(annotations), "--video-root", str(tmp_path), "--output", str(place.output)]
    done = place.script(*common, "--check-videos")
    assert (done.returncode, done.stderr) == (0, "")
    (row,) = place.rows()
    assert row["prompt"] == [
        {
            "role": "user",
            "content": "<video>Without the sphere, what will happen?\n"
            "A. The cube collides with the blue cylinder\n"
            "B. The red object collides with the cube\n"
            f"C. The red cylinder and the blue object collide\n{INSTRUCTION}",
        }
    ]
    assert row["reward_model"] == {"style": "rule", "ground_truth": "A,B"}
    assert row["videos"][0]["video"] == f"file://{video}"
    assert row["videos"][0]["max_frames"] == 16 and row["videos"][0]["max_pixels"] == 128 * 28 * 28
    assert row["data_source"] == "clevrer_counterfactual" and row["ability"] == "video_qa"
    info = row["extra_info"]
    assert (info["scene"], info["question_id"], info["kind"], info["split"]) == ("12176", "0", "multi", "validation")
    assert len(info["options"]) == 3 and info["video"] == "video_12176.mp4"
    assert (info["inverted"], info["style"]) == (False, "")  # nobody inverted it: it is its own original
    assert (info["original_question"], info["original_options"]) == (info["question"], info["options"])


def test_toy_data_set_by_its_folder(toy, place):
    for split in ("train", "validation"):
        prep.main(["--annotations", str(toy), "--split", split, "--output", str(place.output), "--check-videos"])
        scenes = {s["scene_index"]: s for s in json.loads((toy / "questions" / f"{split}.json").read_text())}
        rows = place.rows()
        kept = [
            q for s in scenes.values() for q in s["questions"] if any(c["answer"] == "correct" for c in q["choices"])
        ]
        assert len(rows) == len(kept) and [row["extra_info"]["index"] for row in rows] == list(range(len(rows)))
        for row in rows:
            info = row["extra_info"]
            source = scenes[int(info["scene"])]["questions"][int(info["question_id"])]
            right = [chr(65 + i) for i, c in enumerate(source["choices"]) if c["answer"] == "correct"]
            assert row["reward_model"]["ground_truth"].split(",") == right
            assert info["options"] == [c["choice"] for c in source["choices"]]
            assert info["kind"] == ("single" if len(right) == 1 else "multi")
            path = Path(row["videos"][0]["video"].removeprefix("file://"))
            assert path.is_file() and path.name == info["video"]


def test_options_are_lettered_in_choice_id_order(place):
    choices = [choice(5, "last"), choice(0, "first", "wrong"), choice(2, "middle")]
    place.main([scene(questions=[question(choices=choices)])])
    (row,) = place.rows()
    assert row["extra_info"]["options"] == ["first", "middle", "last"]
    assert row["reward_model"]["ground_truth"] == "B,C"
    assert "A. first\nB. middle\nC. last\n" in row["prompt"][0]["content"]


def test_what_is_left_out_is_counted(place, capsys):
    none = question(1, [choice(0, "x", answer="wrong"), choice(1, answer="wrong")])
    descriptive = {"question_id": 2, "question": "How many?", "question_type": "descriptive", "answer": "3"}
    place.main([scene(questions=[question(), none, descriptive, question(3, kind="predictive")])])
    text = capsys.readouterr().out
    assert "1 without a right choice, 2 of other types" in text and "CLEVRER validation" not in text
    report = json.loads(Path(f"{place.output}.report.json").read_text())
    assert report["counts"]["other types"] == 2 and len(place.rows()) == 1


def official(single=3945, multi=5293):
    """A file with the scenes and the numbers of the official validation split; four questions in most scenes."""
    questions = [question(i, [choice(0), choice(1, "x", "wrong")]) for i in range(single)]
    questions += [question(i, [choice(0), choice(1, "x"), choice(2, "y", "wrong")]) for i in range(multi)]
    questions.append(question(0, [choice(0, answer="wrong")]))
    return [{**scene(0, questions[i::5000]), "scene_index": 10000 + i} for i in range(5000)]


def test_official_validation_split_is_recognised_and_counted(place, capsys):
    place.main(official(), "--limit", "3")
    assert "complete: 9,238 = 3,945 + 5,293, as published" in capsys.readouterr().out
    assert len(place.rows()) == 3
    place.main(official(single=3944), "--limit", "3")
    assert "WARNING" in (text := capsys.readouterr().out)
    assert "9,237 = 3,944 + 5,293 where 9,238 = 3,945 + 5,293 is published" in text
    place.main(official()[:-1], "--limit", "3")  # one scene less is another data set
    assert "published" not in capsys.readouterr().out


def test_limit_is_a_seeded_sample_in_file_order(toy, place):
    def scenes_of(*extra):
        prep.main(["--annotations", str(toy), "--output", str(place.output), *extra])
        return [(row["extra_info"]["scene"], row["extra_info"]["question_id"]) for row in place.rows()]

    everything, some = scenes_of(), scenes_of("--limit", "10", "--seed", "3")
    assert len(some) == 10 and some == [key for key in everything if key in set(some)]
    assert some == scenes_of("--limit", "10", "--seed", "3")
    assert some != scenes_of("--limit", "10", "--seed", "4")
    assert scenes_of("--limit", "100000") == everything


def test_same_bytes_every_time(toy, place):
    contents = []
    for _ in range(2):
        prep.main(["--annotations", str(toy), "--output", str(place.output)])
        contents.append((place.output.read_bytes(), Path(f"{place.output}.report.json").read_bytes()))
        place.output.unlink()
    assert contents[0] == contents[1]


def test_rows_are_what_verl_loads(toy, place):
    datasets = pytest.importorskip("datasets")
    prep.main(
        ["--annotations", str(toy), "--output", str(place.output), "--resized-height", "56", "--resized-width", "84"]
    )
    rows = datasets.load_dataset("parquet", data_files=str(place.output), cache_dir=str(place.root / "cache"))["train"]
    video = rows[0]["videos"][0]
    assert None not in video.values()
    assert set(video) == {"video", "fps", "min_frames", "max_frames", "min_pixels", "max_pixels"} | {
        "resized_height",
        "resized_width",
    }
    assert rows[0]["prompt"][0]["content"].count("<video>") == len(rows[0]["videos"]) == 1


QUESTION = (0, "questions", 0)
CHOICE = (*QUESTION, "choices", 1)
BAD_ANNOTATIONS = [
    (broken(without(0, "scene_index"), [scene()]), ["train.json", "record 0", "'scene_index'"]),
    (broken(without(0, "video_filename"), [scene()]), ["scene 0", "'video_filename'"]),
    (broken(without(0, "questions"), [scene()]), ["scene 0", "'questions'"]),
    (broken(without(*QUESTION, "question_type"), [scene()]), ["scene 0", "position 0", "'question_type'"]),
    (broken(without(*QUESTION, "question_id"), [scene()]), ["scene 0", "'question_id'"]),
    (broken(without(*QUESTION, "question"), [scene()]), ["scene 0, question 0", "'question'"]),
    (broken(without(*QUESTION, "choices"), [scene()]), ["scene 0, question 0", "'choices'"]),
    (broken(without(*CHOICE, "choice_id"), [scene()]), ["question 0", "position 1", "'choice_id'"]),
    (broken(without(*CHOICE, "choice"), [scene()]), ["choice 1", "'choice'"]),
    (broken(without(*CHOICE, "answer"), [scene()]), ["choice 1", "'answer'"]),
    (broken(setting("", *CHOICE, "choice"), [scene()]), ["choice 1", "'choice' is empty"]),
    (broken(setting(" ", *QUESTION, "question"), [scene()]), ["scene 0, question 0", "'question' is empty"]),
    (broken(setting("maybe", *CHOICE, "answer"), [scene()]), ["choice 1", "'correct' or 'wrong'", "'maybe'"]),
    (broken(setting("Correct", *CHOICE, "answer"), [scene()]), ["choice 1", "'Correct'"]),
    (broken(setting(True, *CHOICE, "answer"), [scene()]), ["choice 1", "'answer'", "True"]),
    (broken(setting(0, *CHOICE, "choice_id"), [scene()]), ["choice 0", "twice"]),
    (broken(setting([], *QUESTION, "choices"), [scene()]), ["question 0", "'choices'", "0 entries"]),
    (broken(setting("0", 0, "scene_index"), [scene()]), ["record 0", "'scene_index'", "integer"]),
    (broken(setting(-1, 0, "scene_index"), [scene()]), ["record 0", "'scene_index'"]),
    (broken(setting(2**70, 0, "scene_index"), [scene()]), ["record 0", "'scene_index'"]),
    (broken(setting(None, 0, "questions"), [scene()]), ["scene 0", "'questions'", "None"]),
    (broken(setting("\ud800", *QUESTION, "question"), [scene()]), ["question 0", "'question'", "Unicode"]),
    (broken(setting("a <image> b", *QUESTION, "question"), [scene()]), ["scene 0, question 0", "<image>"]),
    (broken(setting("a <video> b", *CHOICE, "choice"), [scene()]), ["scene 0, question 0", "<video>"]),
    ([scene(questions=[question(choices=[choice(0, answer="wrong")])])], ["train.json", "nothing to write"]),
    ([], ["train.json", "nothing to write"]),
    ({"scenes": []}, ["train.json", "list of scenes"]),
    ([[]], ["record 0", "list"]),
    (b"", ["train.json", "not a JSON"]),
    (b"[{", ["train.json", "not a JSON"]),
    (b"\xff\xfe", ["train.json", "not a JSON"]),
    (b"[" * 100_000, ["train.json", "not a JSON"]),
    ([scene(3)], ["'video_00003.mp4'", "scene 3", "missing"]),
    ([scene(3), scene(4)], ["'video_00003.mp4'", "1 more"]),
    ([scene(99999)], ["'video_99999.mp4'"]),
    (broken(setting("a\0b", 0, "video_filename"), [scene()]), ["scene 0", "NUL"]),
    (broken(setting("x" * 5000, 0, "video_filename"), [scene()]), ["scene 0", "missing"]),
    (broken(setting("", 0, "video_filename"), [scene()]), ["scene 0", "'video_filename' is empty"]),
]


def refusal(place, content, *extra):
    """The one line the script's main function would print, after checking that nothing was written."""
    with contextlib.redirect_stdout(io.StringIO()) as out, pytest.raises(UserError) as caught:
        place.main(content, *extra)
    assert not out.getvalue()
    assert not [path for path in place.root.rglob("*") if "parquet" in path.name]
    return str(caught.value)


@pytest.mark.parametrize("content, names", BAD_ANNOTATIONS)
def test_bad_annotations_are_refused_by_name(place, content, names):
    message = refusal(place, content)
    assert all(name in message for name in names), message


def test_bad_videos_can_be_skipped_and_are_counted(place, capsys):
    (place.root / "video_00002.mp4").touch()
    place.main([scene(0), scene(1), scene(2)], "--skip-bad-videos", "--limit", "1")
    assert "videos: 1 found, 2 missing or broken" in capsys.readouterr().out
    assert [row["extra_info"]["scene"] for row in place.rows()] == ["0"]


@pytest.mark.parametrize("root", ["", "video_train"])
def test_videos_later_writes_clevrer_s_own_places_without_looking(place, root):
    """As the data set unpacks them, whether --video-root is its folder or that of the split."""
    place.main([scene(7), scene(12001)], "--videos-later", "--video-root", str(place.root / "CLEVRER" / root))
    found = [row["videos"][0]["video"].removeprefix(f"file://{place.root}/CLEVRER/") for row in place.rows()]
    assert found == ["video_train/video_00000-01000/video_00007.mp4", "video_train/video_12000-13000/video_12001.mp4"]
    with pytest.raises(UserError, match="--frames-dir needs the videos now"):
        place.main([scene(7)], "--videos-later", "--frames-dir", str(place.root / "frames"))


SUBPROCESS_CASES = [
    (["--annotations", "{root}/none.json", "--video-root", "{root}"], "none.json"),
    (["--annotations", "{root}", "--split", "test"], "questions/test.json"),
    (["--annotations", "{root}/train.json"], "--video-root"),
    (["--annotations", "{root}/train.json", "--video-root", "{root}/none"], "none"),
    (["--annotations", "{root}/train.json", "--video-root", "{root}", "--num-frames", "5"], "5"),
    (["--annotations", "{root}/train.json", "--video-root", "{root}", "--num-frames", "many"], "--num-frames"),
    (["--annotations", "{root}/train.json", "--video-root", "{root}", "--max-pixels", "100"], "100"),
    (["--annotations", "{root}/train.json", "--video-root", "{root}", "--resized-height", "56"], "--resized-width"),
    (["--annotations", "{root}", "--resized-height", "50", "--resized-width", "56"], "50x56"),
    (["--annotations", "{root}", "--fps", "nan"], "nan"),
    (["--annotations", "{root}", "--limit", "0"], "--limit"),
    (["--annotations", "{root}", "--frames", "8"], "--frames"),
    (["--annotations", "{root}", "--output", "{root}/out.json"], "out.json"),
    (["--annotations", "{root}", "--output", "{root}/train.json/out.parquet"], "train.json"),
    (["--annotations", "{root}/bad.json", "--video-root", "{root}"], "'maybe'"),
    (["--annotations", "{root}/gone.json", "--video-root", "{root}"], "video_00001.mp4"),
    (["--annotations", "{root}/zero.json", "--video-root", "{root}"], "video_00002.mp4 has zero bytes"),
    (["--annotations", "{root}/text.json", "--video-root", "{root}", "--check-videos"], "video_00003.mp4"),
]


@pytest.mark.parametrize("arguments, name", SUBPROCESS_CASES)
def test_the_script_ends_with_code_2_and_one_line(place, arguments, name):
    place.annotations([scene()])
    (place.root / "bad.json").write_text(json.dumps(broken(setting("maybe", *CHOICE, "answer"), [scene()])))
    for name_of, index in (("gone", 1), ("zero", 2), ("text", 3)):
        (place.root / f"{name_of}.json").write_text(json.dumps([scene(index)]))
    (place.root / "video_00002.mp4").touch()
    (place.root / "video_00003.mp4").write_text("<html>404</html>")
    before = sorted(place.root.iterdir())
    arguments = [argument.format(root=place.root) for argument in arguments]
    done = place.script(*arguments, *([] if "--output" in arguments else ["--output", str(place.output)]))
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and name in done.stderr and "Traceback" not in done.stderr
    assert sorted(place.root.iterdir()) == before


def test_an_older_parquet_survives_a_failed_run(place):
    place.main([scene()])
    before = place.output.read_bytes()
    with pytest.raises(UserError):
        place.main([scene(1)])
    assert place.output.read_bytes() == before


def test_help_runs_as_a_script_anywhere(place):
    done = place.script("--help")
    assert done.returncode == 0 and "--check-videos" in done.stdout and not done.stderr


BASE = [
    scene(0, [question(0), question(1, [choice(0), choice(1, "x"), choice(2, "y", "wrong")])]),
    scene(0, [question(2)]),
]


@given(st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_gives_a_plain_refusal_or_a_whole_file(place, data):
    content, _ = damaged(data, BASE)
    for file in place.root.glob("*parquet*"):
        file.unlink()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            place.main(content)
    except UserError as error:
        assert not list(place.root.glob("*parquet*"))
        assert str(error) and not str(error).isspace()
    else:
        for row in place.rows():
            letters = row["reward_model"]["ground_truth"].split(",")
            options = row["extra_info"]["options"]
            assert letters == sorted(set(letters)) and letters and len(letters) <= len(options)


CASES = ROOT.parent / "shared" / "cases"


@pytest.mark.skipif(not CASES.is_dir(), reason="shared cases not here")
def test_the_shared_case_of_a_scene_that_comes_twice():
    with pytest.raises(UserError, match="scene 10000, question 0: .*twice, also at record 0"):
        clevrer.read(CASES / "clevrer_scene_twice.json")


def test_one_question_with_two_answers_is_refused(place):
    asked = [question(0), question(1)]
    place.main([scene(questions=asked)])
    assert len(place.rows()) == 2
    changed = broken(setting("wrong", "choices", 0, "answer"), question(1))
    with pytest.raises(UserError, match="scene 0, question 1: .*other answers"):
        place.main([scene(questions=[question(0), changed])])
    with pytest.raises(UserError, match="scene 0, question 0: .*twice, also at record 0"):
        place.main([scene(), scene()])
