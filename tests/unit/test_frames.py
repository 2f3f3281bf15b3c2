# SPDX-License-Identifier: Apache-2.0
"""Frames stored once: the same pixels as decoding gives, whole or not at all, whatever interrupts or runs beside it."""

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from data_prep.videos import frames
from data_prep.videos.sampling import sampling_options
from examples.tiny.render import write_mp4
from recipe.tw_grpo.toolbox.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def qwen():
    """qwen-vl-utils with the reader this machine has; its own order would pick one that cannot be imported."""
    try:
        module = frames.qwen()
    except UserError as error:
        pytest.skip(str(error))
    module.FORCE_QWENVL_VIDEO_READER = frames.reader_name()
    module.get_video_reader_backend.cache_clear()
    return module


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """20 frames of noise-free gradients that move, 120 x 200, 8 a second."""
    rows, columns = np.mgrid[0:120, 0:200]
    pictures = [
        np.stack([rows * 2 % 256, (columns + 9 * t) % 256, (rows + columns + 5 * t) % 256], -1) for t in range(20)
    ]
    path = tmp_path_factory.mktemp("video") / "moving.mp4"
    write_mp4(np.stack(pictures).astype(np.uint8), path, 8)
    return path


def entry_for(path, **options):
    return {"video": f"file://{path}", **sampling_options(num_frames=8, max_pixels=100 * 784, **options)}


def record(entry):
    return {"videos": [entry], "extra_info": {"index": 0}}


@pytest.mark.parametrize(
    "options, extra",
    [
        ({}, {}),
        ({"fps": 1.0}, {}),
        ({"resized": (112, 168)}, {}),
        ({}, {"video_start": 0.5, "video_end": 1.9}),
    ],
    ids=["evenly", "fps", "resized", "clip"],
)
def test_listed_frames_are_the_pixels_decoding_gives(qwen, video, tmp_path, options, extra):
    entry = {**entry_for(video, **options), **extra}
    note = frames.store_clip(entry, str(tmp_path), "png", frames.list_grid())
    size = {"resized_height": note["height"], "resized_width": note["width"]}
    (decoded, about), rate = qwen.fetch_video(
        {**entry, **size}, return_video_metadata=True, return_video_sample_fps=True
    )
    listed = frames.listed(note)
    (read, about_list), rate_list = qwen.fetch_video(listed, return_video_metadata=True, return_video_sample_fps=True)
    assert read.shape == decoded.shape and read.dtype == decoded.dtype and bool((read == decoded).all())
    assert rate_list == pytest.approx(rate, rel=1e-9)
    for metadata in (about, about_list):  # what transformers makes second_per_grid_ts of
        sampled = len(metadata["frames_indices"]) / metadata["total_num_frames"] * metadata["fps"]
        assert sampled == pytest.approx(rate, rel=1e-6)
    grid = frames.list_grid()
    assert note["height"] % grid == note["width"] % grid == 0


def test_jpeg_is_near(qwen, video, tmp_path):
    notes = [frames.store_clip(entry_for(video), str(tmp_path), form, frames.list_grid()) for form in ("png", "jpeg")]
    png, jpeg = (qwen.fetch_video(frames.listed(note)) for note in notes)
    assert 0 < (png - jpeg).abs().mean() < 4


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(60, 800),
    width=st.integers(60, 800),
    low=st.sampled_from([4, 16, 100]),
    high=st.sampled_from([100, 128, 256, 768]),
)
def test_stored_sizes_are_left_alone_by_qwen(qwen, height, width, low, high):
    """Whatever size and limits: what is stored is a size that fetch_image and fetch_video both keep."""
    import torch

    grid = frames.list_grid()
    entry = {"video": "x", "min_pixels": low * 784, "max_pixels": high * 784}
    try:
        video = frames.resized_frames(torch.zeros(2, 3, height, width, dtype=torch.uint8), entry, grid)
    except UserError as error:
        assert "wants multiples of" in str(error)
        return
    size = tuple(video.shape[-2:])
    pixels = size[0] * size[1]
    for factor in (28, 56):
        if grid % factor == 0:
            assert qwen.smart_resize(*size, factor=factor, min_pixels=pixels, max_pixels=pixels) == size
    assert size[0] * size[1] <= max(high * 784, low * 784 * 4)


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_second_run_decodes_nothing_and_one_damaged_clip_is_made_again(qwen, video, tmp_path, monkeypatch):
    other = tmp_path / "other.mp4"
    shutil.copy(video, other)
    records = [record(entry_for(path)) for path in (video, other, video)]
    store = tmp_path / "frames"
    rows, bad, about = frames.store(records, store)
    assert not bad and len(rows) == 3 and rows[0]["videos"] == rows[2]["videos"] and about["format"] == "png"
    assert sum(about["clips_by_size"].values()) == 2
    first = tree(store)
    assert len(first) == 2 * 9 and not list(store.rglob("*.part"))
    decoded = []
    real = frames.sampled_frames
    monkeypatch.setattr(frames, "sampled_frames", lambda entry: decoded.append(entry["video"]) or real(entry))
    assert frames.store(records, store)[0] == rows and not decoded
    damaged = Path(rows[1]["videos"][0]["video"][3].removeprefix("file://"))
    damaged.write_bytes(b"")
    (store / "ab").mkdir(exist_ok=True)
    dead = store / "ab" / ".moving-0.999999999.part"
    dead.mkdir()
    assert frames.store(records, store)[0] == rows and decoded == [f"file://{other}"]
    assert tree(store) == first and not dead.exists()


def test_workers_change_nothing(qwen, video, tmp_path):
    copies = []
    for number in range(5):
        copies.append(tmp_path / f"copy{number}.mp4")
        shutil.copy(video, copies[-1])
    records = [record(entry_for(path)) for path in copies]
    one, two = tmp_path / "one", tmp_path / "two"
    rows = [frames.store(records, folder, workers=workers)[0] for folder, workers in ((one, 1), (two, 2))]
    assert tree(one) == tree(two)
    assert json.dumps(rows[0]).replace(str(one), "") == json.dumps(rows[1]).replace(str(two), "")


def test_a_kill_in_the_middle_leaves_no_half_clip(qwen, video, tmp_path):
    """The process dies while a picture is written; the next run finishes with the bytes of an undisturbed one."""
    code = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from PIL import Image
from data_prep.videos import frames
from data_prep.videos.sampling import sampling_options
saved, real = [], Image.Image.save
def save(self, path, **options):
    saved.append(path)
    if len(saved) == 4:
        open(path, "wb").write(b"half a pict")
        os._exit(9)
    real(self, path, **options)
Image.Image.save = save
entry = {entry_for(video)!r}
frames.store([{{"videos": [entry], "extra_info": {{}}}}], frames.Path(sys.argv[1]))
"""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    done = subprocess.run([sys.executable, "-c", code, str(killed)], capture_output=True, text=True)
    assert done.returncode == 9, done.stderr
    assert not list(killed.rglob(frames.NOTE)) and list(killed.rglob("*.part"))
    for folder in (killed, whole):
        frames.store([record(entry_for(video))], folder)
    assert tree(killed) == tree(whole) and not list(killed.rglob("*.part"))


def test_what_cannot_be_sampled_is_named(qwen, video, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(video.read_bytes()[:500])
    tiny = {**entry_for(video), "max_pixels": 4 * 784}
    records = [{**record(entry_for(broken)), "extra_info": {"index": 0}}]
    records += [{**record(entry), "extra_info": {"index": i}} for i, entry in enumerate((entry_for(video), tiny), 1)]
    before = copy.deepcopy(records)
    rows, bad, _ = frames.store(records, tmp_path / "frames")
    assert records == before and rows[0]["extra_info"]["index"] == 0  # the caller keeps the records it gave
    assert len(rows) == 1 and "broken.mp4" in bad[0] and len(bad[0].splitlines()) == 1
    assert frames.list_grid() == 28 or "--max-pixels" in bad[2]


def test_a_folder_of_pictures_becomes_listed_frames(qwen, tmp_path):
    folder = tmp_path / "clip_1"
    folder.mkdir()
    for number in range(1, 31):  # ten seconds
        Image.fromarray(np.full((120, 200, 3), 8 * number, np.uint8)).save(folder / f"{number:05d}.jpg", quality=95)
    entry = {**entry_for(folder), "video_start": 2.0, "video_end": 6.0}
    note = frames.store_clip(entry, str(tmp_path / "frames"), "png", frames.list_grid())
    levels = [np.asarray(Image.open(Path(note["folder"]) / name)).mean() for name in note["files"]]
    # Pictures 7 to 19 (seconds 2 to 6 at three a second, from one), eight of them, ends included.
    assert len(levels) == 8 and levels[0] == pytest.approx(56, abs=2) and levels[-1] == pytest.approx(152, abs=2)
    assert note["sample_fps"] == pytest.approx(8 / 13 * 3)


def test_one_clip_of_a_video_may_be_unusable_and_the_other_is_counted(qwen, video, tmp_path):
    from data_prep import qai_star

    shutil.copy(video, tmp_path / "v0.mp4")
    choices = [{"choice_id": i, "choice": text} for i, text in enumerate(("The box.", "The bag."))]
    common = {"question": "Which object was taken?", "video_id": "v0", "choices": choices, "answer": "The bag."}
    records = [
        {**common, "question_id": f"Interaction_T1_{start}", "start": start, "end": start + 1} for start in (0, 50)
    ]
    (tmp_path / "star.json").write_text(json.dumps(records))
    command = ["--annotations", str(tmp_path / "star.json"), "--video-root", str(tmp_path), "--num-frames", "4"]
    command += ["--output", str(tmp_path / "out.parquet"), "--frames-dir", str(tmp_path / "frames")]
    with pytest.raises(UserError, match="Interaction_T1_50.*cannot sample it"):
        qai_star.main(command)
    qai_star.main([*command, "--skip-bad-videos"])
    report = json.loads((tmp_path / "out.parquet.report.json").read_text())
    assert (report["counts"]["of bad videos"], report["counts"]["written"]) == (1, 1)
    assert sum(report["why"].values()) == 1 and list(report["bad_videos"]) == ["v0"]


def test_a_benchmark_of_videos_and_folders_of_pictures(qwen, video, tmp_path):
    """MVBench mixes both: with --frames-dir all rows are listed frames, and what cannot be decoded is counted."""
    import pyarrow.parquet as pq

    from data_prep import benchmarks

    root = tmp_path / "root"
    (root / "tvqa" / "frames_fps3_hq" / "scene").mkdir(parents=True)
    for number in range(1, 19):
        picture = Image.fromarray(np.full((120, 200, 3), 10 * number, np.uint8))
        picture.save(root / "tvqa" / "frames_fps3_hq" / "scene" / f"{number:05d}.jpg")
    shutil.copy(video, root / "good.mp4")
    (root / "broken.mp4").write_bytes(video.read_bytes()[:500])
    asked = {"question": "What?", "candidates": ["x", "y"], "answer": "y"}
    folder = tmp_path / "json"
    folder.mkdir()
    tasks = {
        "episodic_reasoning": [{**asked, "video": "scene", "start": 1.0, "end": 5.0}],
        "state_change": [{**asked, "video": "broken.mp4"}, {**asked, "video": "good.mp4"}],
    }
    for task, records in tasks.items():
        (folder / f"{task}.json").write_text(json.dumps(records))
    output = tmp_path / "out.parquet"
    command = [
        "--benchmark",
        "mvbench",
        "--annotations",
        str(folder),
        "--video-root",
        str(root),
        "--output",
        str(output),
    ]
    command += ["--frames-dir", str(tmp_path / "frames"), "--num-frames", "4"]
    with pytest.raises(UserError, match=r"state_change.json: record 0: video .*broken.mp4"):
        benchmarks.main(command)
    assert not output.exists()
    benchmarks.main([*command, "--skip-bad-videos"])
    rows = pq.read_table(output).to_pylist()
    report = json.loads(Path(f"{output}.report.json").read_text())
    assert [row["extra_info"]["index"] for row in rows] == [0, 1]
    assert [row["extra_info"]["scene"] for row in rows] == ["scene", "good.mp4"]
    assert all(len(row["videos"][0]["video"]) == 4 for row in rows)
    assert list(report["bad_videos"]) == ["perception/videos/broken.mp4"] and report["counts"]["written"] == 2
    assert sum(report["frames"]["clips_by_size"].values()) == 2
    assert report["counts"]["by_number_of_options"] == {"2": 2}
