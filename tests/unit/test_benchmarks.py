# SPDX-License-Identifier: Apache-2.0
"""Benchmarks in every form they are published in: the same questions and labels come out, or one line says why not."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import benchmark_forms as forms
import pyarrow.parquet as pq
import pytest

from data_prep import benchmarks
from data_prep.videos.find import VideoFinder
from examples.tiny.render import write_mp4
from recipe.tw_grpo.toolbox import torchvision_operators
from recipe.tw_grpo.toolbox.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared" / "data"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="real data not here")
FORMS = [(name, form) for name in benchmarks.BENCHMARKS for form in ("published", "video_r1")]


@pytest.mark.parametrize("name, form", FORMS)
def test_every_form_gives_the_same_questions_and_labels(name, form, tmp_path):
    reading, found = benchmarks.read_benchmark(name, forms.make(name, form, tmp_path))
    assert found == form
    times = 3 if (name, form) == ("tempcompass", "published") else 1  # three of its tasks have these options
    assert [q.options[q.right[0]] if "order" not in q.options[0] else eval_order(q) for q in reading.questions] == (
        forms.TRUTH * times
    )
    for question, (video, text, options, right) in zip(reading.questions, forms.FACTS * times, strict=True):
        assert question.right == (right,) and video in question.video and video[1:] in question.scene
        if "order" not in question.options[0]:
            assert question.text == text and list(question.options[:3]) == options
    assert reading.left_out == ({"not multiple choice": 1} if (name, form) == ("mmvu", "published") else {})
    assert [q.clip for q in reading.questions] == [(1.5, 4.0) if (name, form) == ("mvbench", "published") else None] * (
        3 * times
    )


def eval_order(question):
    import ast

    return ast.literal_eval(question.options[question.right[0]])["order"]


def test_yes_no_and_what_tempcompass_says_twice(tmp_path):
    """The text of an answer wins over its label only where it is exactly one other option's; a typo needs its label."""
    folder = tmp_path / "questions"
    forms.dump(folder / "yes_no.json", forms.tempcompass("yes_no"))
    options = "\n".join(
        f"Information {letter}: {{'subject': 'train', 'speed': '{text}'}}"
        for letter, text in zip("ABC", ["faster than the other", "slower than the other", "as fast"], strict=True)
    )
    cases = {
        "C. faster than the other": ((0,), "text taken"),
        "A. faster than the otherd": ((0,), "not quite"),
        "B. slower than the": ((1,), "a part"),
        "C. slower than the": (None, "not one of the options"),
        "D. as fast": (None, "not one of the options"),
    }
    for answer, (right, says) in cases.items():
        record = {"question": f"Which?\n{options}\nGenerated Caption:", "answer": answer}
        forms.dump(folder / "captioning.json", {"v9": {"speed": [record]}})
        if right is None:
            with pytest.raises(UserError, match=f"captioning.json: video v9, speed, question 0.*{says}"):
                benchmarks.read_benchmark("tempcompass", tmp_path)
            continue
        reading, _ = benchmarks.read_benchmark("tempcompass", tmp_path)
        assert [q.options[q.right[0]] for q in reading.questions[:3]] == ["no", "yes", "yes"]
        assert reading.questions[-1].right == right and says in reading.notes[0]


def test_videos_are_found_as_published_or_flat_but_never_mixed_up(tmp_path):
    real = "data0613/star/Charades_v1_480/AJTDO.mp4"  # where MVBench's newer archives put it
    for place in ("MMVU/videos/Art/0.mp4", "MMVU/videos/Law/0.mp4", "flat.webm", "tvqa/clip_1/00001.jpg", real):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b"x")
    (tmp_path / "0.mp4").write_bytes(b"x")
    finder = VideoFinder(tmp_path, ["a/Art/0.mp4", "a/Law/0.mp4", "b/flat.mp4"], several=True)
    for published, expected in {
        "/MMVU/videos/Art/0.mp4": "MMVU/videos/Art/0.mp4",
        "./Evaluation/MMVU/videos/Law/0.mp4": "MMVU/videos/Law/0.mp4",
        "b/flat.mp4": "flat.webm",
        "tvqa/clip_1": "tvqa/clip_1",
        "/MVBench/star/Charades_v1_480/AJTDO.mp4": real,
        "MVBench/tvqa/clip_1.mp4": "tvqa/clip_1",
        "a/Art/0.mp4": None,  # 0.mp4 lies at the top, but two subjects have one of this name
        "a/../../etc/passwd": None,
        "nul\0l.mp4": None,
    }.items():
        if expected:
            assert finder.find(published) == tmp_path / expected
        else:
            with pytest.raises(UserError, match="is missing below"):
                finder.find(published)


@pytest.fixture
def root(tmp_path):
    import numpy as np

    place = tmp_path / "videos"
    place.mkdir()
    for name in ("v1", "v2"):
        write_mp4(np.zeros((6, 28, 28, 3), np.uint8), place / f"{name}.mp4", 2)
    return place


def run(name, form, tmp_path, root, *extra):
    annotations = forms.make(name, form, tmp_path)
    output = tmp_path / "out.parquet"
    arguments = ["--annotations", str(annotations), "--video-root", str(root), "--output", str(output)]
    benchmarks.main(["--benchmark", name, *arguments, *extra])
    return pq.read_table(output).to_pylist(), json.loads(Path(f"{output}.report.json").read_text())


@pytest.mark.parametrize(
    "name, form, source",
    [
        ("mmvu", "published", "mmvu_multiple_choice"),
        ("mvbench", "published", "mvbench_clips"),
        ("mvbench", "video_r1", "mvbench_whole_videos"),
        ("tempcompass", "published", "tempcompass_four_tasks"),
        ("videomme", "published", "videomme_no_subtitles"),
        ("nextgqa", "published", "nextgqa_multiple_choice"),
        ("clevrer", "published", "clevrer_counterfactual_multi_answer"),
    ],
)
def test_rows_and_report(name, form, source, tmp_path, root, capsys):
    rows, report = run(name, form, tmp_path, root, "--check-videos")
    expected = benchmarks.BENCHMARKS[name].questions
    assert f"WARNING: {name} has {expected:,} questions" in capsys.readouterr().out
    assert {row["data_source"] for row in rows} == {source} and report["counts"]["expected"] == expected
    assert len(rows) in (3, 9) and report["counts"]["written"] == len(rows) == report["counts"]["read"]
    for index, row in enumerate(rows):
        info, letters = row["extra_info"], row["reward_model"]["ground_truth"]
        assert info["index"] == index and info["kind"] == "single" and not info["inverted"]
        assert f"\n{letters}. {info['options'][ord(letters) - 65]}\n" in row["prompt"][0]["content"]
        assert Path(row["videos"][0]["video"].removeprefix("file://")).parent == root
        clip = [row["videos"][0].get(key) for key in ("video_start", "video_end")]
        assert clip == ([1.5, 4.0] if source == "mvbench_clips" else [None, None])
        assert row["videos"][0]["max_pixels"] == 256 * 28 * 28
    assert report["inputs"] and report["version"] and report["arguments"]["benchmark"] == name
    first = (tmp_path / "out.parquet").read_bytes()
    run(name, form, tmp_path, root, "--check-videos")
    assert (tmp_path / "out.parquet").read_bytes() == first  # same arguments, same bytes


def test_a_missing_video_is_named_or_left_out_and_counted(tmp_path, root):
    (root / "v2.mp4").unlink()
    with pytest.raises(UserError, match=r"record 2 \(id validation_2\): video 'videos/Art/v2.mp4' is missing below"):
        run("mmvu", "published", tmp_path, root)
    assert not (tmp_path / "out.parquet").exists()
    rows, report = run("mmvu", "published", tmp_path, root, "--skip-bad-videos")
    assert len(rows) == 2 and list(report["bad_videos"]) == ["videos/Art/v2.mp4"]
    rows, _ = run("mmvu", "published", tmp_path, root, "--skip-bad-videos", "--limit", "1", "--seed", "3")
    assert len(rows) == 1


def test_videos_later_writes_the_published_places(tmp_path):
    rows, report = run("mmvu", "published", tmp_path, tmp_path / "later", "--videos-later")
    assert rows[2]["videos"][0]["video"] == f"file://{tmp_path}/later/videos/Art/v2.mp4" and not report["bad_videos"]
    assert "videos: 2 expected, not looked for" in report["summary"]


def test_a_name_without_folder_is_looked_for_everywhere_but_must_be_there_once(tmp_path, root):
    """NExT-QA's folders without the map file that names them."""
    for place in ("0001", "0002"):
        (root / place).mkdir()
    (root / "v1.mp4").rename(root / "0001" / "v1.mp4")
    (root / "v2.mp4").rename(root / "0002" / "v2.mp4")
    annotations = forms.make("nextgqa", "published", tmp_path)
    (tmp_path / "map_vid_vidorID.json").unlink()
    common = ["--benchmark", "nextgqa", "--annotations", str(annotations), "--video-root", str(root)]
    output = tmp_path / "out.parquet"
    benchmarks.main([*common, "--output", str(output)])
    found = [row["videos"][0]["video"] for row in pq.read_table(output).to_pylist()]
    assert found[0] == f"file://{root}/0001/v1.mp4" and found[2] == f"file://{root}/0002/v2.mp4"
    os.link(root / "0001" / "v1.mp4", root / "0002" / "v1.mp4")
    with pytest.raises(UserError, match="test.csv.*'v1.mp4' is ambiguous"):
        benchmarks.main([*common, "--output", str(output)])


def test_whole_videos_beside_clips_are_whole(tmp_path, root):
    """All rows of a file have the same keys, so a video that is not cut gets limits that cut nothing."""
    os.link(root / "v1.mp4", root / "v3.mp4")
    forms.dump(tmp_path / "mvbench" / "json" / "object_existence.json", [
        {"video": "v3.mp4", "question": "Is it?", "candidates": ["yes", "no"], "answer": "no"}])  # fmt: skip
    rows, _ = run("mvbench", "published", tmp_path, root)
    assert [row["videos"][0]["video_end"] for row in rows] == [4.0, 4.0, 4.0, 1e6]
    torchvision_operators.install()
    process = pytest.importorskip("qwen_vl_utils.vision_process")
    for frames, rate in ((6, 2.0), (128, 25.0), (466, 29.603)):
        assert process.calculate_video_frame_range(rows[-1]["videos"][0], frames, rate) == (0, frames - 1, frames)


def test_a_folder_of_pictures_needs_frames_dir(tmp_path, root):
    (root / "v2.mp4").unlink()
    (root / "v2").mkdir()
    for number in range(3):
        (root / "v2" / f"{number}.jpg").write_bytes(b"x")
    with pytest.raises(UserError, match="folder of pictures; --frames-dir"):
        run("mvbench", "published", tmp_path, root)


@needs_real
@pytest.mark.parametrize(
    "name, file, count",
    [
        ("mmvu", "logs/mmvu_twgrpo_eval.jsonl", 625),  # an evaluation log holds the records it evaluated
        ("mvbench", "mvbench_clevrer_counterfactual.json", 201),
        ("nextgqa", "nextgqa_val_1200.json", 1200),
        ("nextgqa", "nextgqa_val.csv", 1200),
        ("nextgqa", "nextqa_val_index_answers.csv", 1200),
        ("clevrer", "clevrer_validation_video_12176.json", 1),
    ],
)
def test_real_files(name, file, count):
    reading, _ = benchmarks.read_benchmark(name, REAL / file)
    assert len(reading.questions) == count and not reading.left_out
    line = benchmarks.count_line(name, count, REAL / file)
    assert ("as published" in line) == (count == benchmarks.BENCHMARKS[name].questions)


@needs_real
def test_real_labels_agree_across_forms():
    """Letters, texts and indices name the same option 1,200 times; NExT-GQA has mended one text of NExT-QA's."""
    files = ("nextgqa_val_1200.json", "nextgqa_val.csv", "nextqa_val_index_answers.csv")
    sets = [
        {q.question_id: (q.text, q.options, q.right) for q in
         benchmarks.read_benchmark("nextgqa", REAL / file)[0].questions}
        for file in files
    ]  # fmt: skip
    assert sets[0] == sets[1] and len(sets[0]) == 1200 and sets[0].keys() == sets[2].keys()
    (mended,) = [key for key in sets[0] if sets[0][key] != sets[2][key]]
    assert sets[0][mended][1][4] == "pull out the needle" and sets[2][mended][1][4] == "pat dog"
    assert sets[0][mended][2] == sets[2][mended][2] == (4,)


def test_sizes_of_the_real_benchmarks_take_seconds(tmp_path):
    """Video-MME's 2,700 rows and TempCompass's 7,540 questions, read from their own forms."""
    rows = [{**row, "question_id": f"{i}-{row['question_id']}"} for i in range(900) for row in forms.videomme_rows()]
    path = tmp_path / "test.parquet"
    pq.write_table(forms.pa.Table.from_pylist(rows), path)
    folder = tmp_path / "questions"
    for task, count in zip(("multi-choice", "yes_no", "caption_matching", "captioning"), (527, 818, 501, 668)):  # noqa: B905
        content = forms.tempcompass(task)
        forms.dump(folder / f"{task}.json", {f"{i}_{video}": content[video] for i in range(count) for video in content})
    start = time.process_time()
    assert len(benchmarks.read_benchmark("videomme", path)[0].questions) == 2700
    assert len(benchmarks.read_benchmark("tempcompass", tmp_path)[0].questions) == 7542
    seconds = time.process_time() - start
    assert seconds < 10, f"{seconds:.1f} s"


FILES = [path for path in sorted((ROOT / "data_prep").rglob("*.py")) if "run_main(" in path.read_text()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_run_and_their_help_has_an_example(path):
    """The five commands as files from any folder, those below them as modules."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    how, cwd = ([str(path)], "/") if path.parent.name == "data_prep" else (["-m", module], ROOT)
    done = subprocess.run([sys.executable, *how, "--help"], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "example:" in done.stdout


def test_no_file_hides_one_of_python_s_own():
    """`python data_prep/benchmarks.py` puts data_prep/ first on the path, where inspect.py would break dataclasses."""
    names = {path.stem for path in (ROOT / "data_prep").rglob("*.py")} - {"__init__", "__main__"}
    assert not names & sys.stdlib_module_names
