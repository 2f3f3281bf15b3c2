# SPDX-License-Identifier: Apache-2.0
"""The library data scripts share: sampling options, what is wrong with a video file, one-line errors, whole files."""

import contextlib
import io

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.videos.files import check_video
from data_prep.videos.find import SPLITS, VideoFinder
from data_prep.videos.sampling import sampling_options
from data_prep.write import schema
from examples.tiny.render import write_mp4
from recipe.tw_grpo.toolbox.command_line import run_main
from recipe.tw_grpo.toolbox.errors import UserError


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ({}, {"fps": 2.0, "min_frames": 16, "max_frames": 16}),
        ({"num_frames": 4}, {"min_frames": 4, "max_frames": 4}),
        ({"fps": 1.0}, {"fps": 1.0, "min_frames": 4, "max_frames": 16}),
        ({"num_frames": 2, "fps": 1.0}, {"min_frames": 2, "max_frames": 2}),
        ({"resized": (112, 140)}, {"resized_height": 112, "resized_width": 140}),
    ],
)
def test_sampling_options(arguments, expected):
    assert expected.items() <= sampling_options(**arguments).items()


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_frames": 0},
        {"num_frames": 7},
        {"fps": 0.0},
        {"fps": float("nan")},
        {"fps": float("inf")},
        {"max_pixels": 100},
        {"min_pixels": 200_000},
        {"resized": (112, 141)},
        {"resized": (28, 28)},
    ],
)
def test_sampling_options_qwen_would_refuse_or_change_are_refused(arguments):
    with pytest.raises(UserError):
        sampling_options(**arguments)


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "video_00000.mp4"
    write_mp4(np.zeros((4, 28, 28, 3), np.uint8), path, 8)
    check_video(path, decode=True)  # a good one passes
    return path


@pytest.mark.parametrize("content", [b"<html>404</html>" * 99, None])
def test_what_is_no_video_is_refused_by_name(video, content):
    video.write_bytes(content or video.read_bytes()[:300])  # None: a download that broke off
    check_video(video)  # seen only by decoding
    with pytest.raises(UserError, match=f"{video} cannot be decoded"):
        check_video(video, decode=True)


def test_an_empty_file_is_refused_without_decoding(video):
    video.write_bytes(b"")
    with pytest.raises(UserError, match=f"{video} has zero bytes"):
        check_video(video)


def test_a_single_frame_is_too_few_for_qwen(video):
    write_mp4(np.zeros((1, 28, 28, 3), np.uint8), video, 8)
    with pytest.raises(UserError, match="1 frame"):
        check_video(video, decode=True)


def test_a_file_without_video_stream_is_refused(video):
    with av.open(str(video), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(UserError, match="no video stream"):
        check_video(video, decode=True)


@pytest.mark.parametrize("place", ["", "video_00000-01000", "video_train", "video_train/video_00000-01000"])
def test_videos_are_found_flat_and_in_folders_of_a_thousand(video, place):
    target = video.parent / "data" / place / video.name
    target.parent.mkdir(parents=True)
    video.rename(target)
    for split in SPLITS:  # numbers run through all splits: the label does not matter
        assert VideoFinder(video.parent / "data", [video.name], split).find(video.name) == target
    with pytest.raises(UserError, match="'video_00001.mp4' is missing below"):
        VideoFinder(video.parent / "data", []).find("video_00001.mp4")


@pytest.mark.parametrize("name", ["1104/v0.mp4", "v0", "/NExTQA/videos/v0.mp4", "v0.MP4"])
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("place", ["v0.MP4", "videos/v0.mp4", "videos/videos/v0.webm", "video/v0.MKV"])
def test_copies_of_a_data_set_are_found_as_they_are_unpacked(tmp_path, place, several, name):
    """Upper-case suffixes and one folder videos/ too many, for every command."""
    target = tmp_path / place
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"x")
    assert VideoFinder(tmp_path, [name], several=several).find(name) == target


def test_links_to_folders_are_followed_once(tmp_path):
    """A store elsewhere that is linked in, a link that would never end, two links to one file: one video each."""
    (tmp_path / "store" / "deep").mkdir(parents=True)
    (tmp_path / "store" / "deep" / "v0.mp4").write_bytes(b"x")
    (tmp_path / "root").mkdir()
    for link, target in (("a", "store"), ("b", "store"), ("loop", "root"), ("flat.mp4", "store/deep/v0.mp4")):
        (tmp_path / "root" / link).symlink_to(tmp_path / target)
    (tmp_path / "root" / "c").mkdir()
    (tmp_path / "root" / "c" / "flat.mp4").symlink_to(tmp_path / "store" / "deep" / "v0.mp4")
    finder = VideoFinder(tmp_path / "root", ["x/v0", "x/flat"])
    assert finder.find("x/v0") == tmp_path / "root" / "a" / "deep" / "v0.mp4"
    assert finder.find("d/flat").name == "flat.mp4"
    (tmp_path / "root" / "c" / "v0.mp4").write_bytes(b"another")
    with pytest.raises(UserError, match="ambiguous"):
        VideoFinder(tmp_path / "root", ["x/v0"]).find("x/v0")


@given(st.text(max_size=200))
def test_messages_are_one_line_whatever_they_quote(text):
    def fail(argv):
        raise UserError(f"bad: {text}")

    class Stream(io.StringIO):
        def reconfigure(self, **_):
            pass

    with contextlib.redirect_stderr(Stream()) as err, contextlib.redirect_stdout(Stream()):
        with pytest.raises(SystemExit) as left:
            run_main(fail, [])
    assert left.value.code == 2 and err.getvalue().endswith("\n") and len(err.getvalue().splitlines()) == 1


def test_a_record_that_does_not_fit_is_a_mistake_of_the_code(tmp_path):
    with pytest.raises(ValueError, match="does not fit"):
        schema.write_parquet([{"prompt": []}], schema.arrow_schema(sampling_options()), tmp_path / "a.parquet", {})
    assert not list(tmp_path.iterdir())


def test_clips_and_text_ids_survive_the_file(tmp_path):
    sampling = sampling_options()
    info = {"index": 0, "scene": "0BH84", "question_id": "Interaction_T1_0", "question": "q", "options": ["a", "b"]}
    common = {"data_source": "star", "prompt": "<video>q", "video": tmp_path / "a.mp4", "sampling": sampling}
    record = schema.build_record(**common, right=[1], extra_info=info, clip=(1.5, 9.25))
    schema.write_parquet([record], schema.arrow_schema(sampling, clip=True), tmp_path / "a.parquet", {})
    (row,) = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert row == record and row["extra_info"]["scene"] == "0BH84" and not row["extra_info"]["inverted"]
    assert (row["videos"][0]["video_start"], row["videos"][0]["video_end"]) == (1.5, 9.25)
    assert "video_start" not in schema.build_record(**common, right=[1], extra_info=info)["videos"][0]
