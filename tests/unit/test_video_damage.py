# SPDX-License-Identifier: Apache-2.0
"""Videos that are damaged in the middle or too long and thin: one line that names them, never a part file."""

import errno
import json
import os
import random

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from data_prep import own
from data_prep.check.__main__ import main as check
from data_prep.check.records import video_tokens
from data_prep.videos import frames
from data_prep.videos.files import check_video, check_whole_video
from data_prep.videos.sampling import sampling_options
from data_prep.write import schema
from examples.tiny.render import write_mp4
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.files import whole_file

QUESTION = {"id": "1", "video": "a.mp4", "question": "What?", "options": ["x", "y"], "answers": ["A"]}


@pytest.fixture
def place(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (48, 56, 56, 3), np.uint8)
    write_mp4(noise, tmp_path / "a.mp4", 8)
    (tmp_path / "own.jsonl").write_text(json.dumps(QUESTION))
    return tmp_path


def damage(path):
    """Overwrite bytes in the middle of the pictures; the container stays whole."""
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    position, size = packets[len(packets) // 2]
    content[position + 8 : position + size] = random.Random(0).randbytes(size - 8)
    path.write_bytes(content)


def run(place, *extra):
    return own.main([str(place / "own.jsonl"), "--output", str(place / "own.parquet"), *extra])


def test_damage_in_the_middle_is_found_on_request(place):
    run(place, "--check-whole-videos")
    damage(place / "a.mp4")
    run(place, "--check-videos")  # its beginning is whole
    with pytest.raises(UserError, match=r"line 1, id '1': video .*/a.mp4.*frame \d+ (is damaged|cannot be decoded)"):
        run(place, "--check-whole-videos")
    (place / "own.jsonl").write_text(json.dumps({**QUESTION, "start": 0.0, "end": 1.0}))
    run(place, "--check-whole-videos")  # training reads the clip only


def test_check_finds_it_too(place, capsys):
    run(place)
    arguments = [str(place / "own.parquet"), "--samples", "0"]
    assert check([*arguments, "--whole-videos"]) == 0
    damage(place / "a.mp4")
    assert check(arguments) == 0
    assert check([*arguments, "--whole-videos"]) == 2
    assert "a.mp4: frame" in capsys.readouterr().err


def test_a_damaged_picture_of_a_folder_is_found(tmp_path):
    from PIL import Image

    for number in range(3):
        Image.fromarray(np.zeros((28, 28, 3), np.uint8)).save(tmp_path / f"{number}.png")
    check_whole_video(tmp_path)
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:50])
    with pytest.raises(UserError, match="picture 1.png cannot be read"):
        check_whole_video(tmp_path)


def test_whole_videos_cannot_be_checked_later(place):
    with pytest.raises(UserError, match="--check-whole-videos need the videos now"):
        run(place, "--videos-later", "--check-whole-videos")


@pytest.mark.parametrize("height, width", [(32, 6432), (6432, 32)])
def test_an_extreme_aspect_ratio_is_one_line(place, height, width):
    write_mp4(np.zeros((16, height, width, 3), np.uint8), place / "a.mp4", 8)
    says = f"video .*/a.mp4 has frames of {height}x{width} pixels; one side may be at most 200 times"
    with pytest.raises(UserError, match=says):
        check_video(place / "a.mp4", decode=True)
    with pytest.raises(UserError, match=f"line 1, id '1': {says}"):
        run(place, "--frames-dir", str(place / "frames"))
    with pytest.raises(UserError, match=says):
        video_tokens({"video": f"file://{place}/a.mp4", **sampling_options()})


@pytest.mark.parametrize("kind", [OSError, PermissionError])
def test_a_part_file_is_named_as_the_file_it_would_become(tmp_path, kind):
    with pytest.raises(OSError) as caught, whole_file(tmp_path / "out.parquet") as part:
        raise kind(errno.EACCES, os.strerror(errno.EACCES), str(part))
    assert str(tmp_path / "out.parquet") in str(caught.value) and ".part" not in str(caught.value)
    with pytest.raises(OSError, match="elsewhere"), whole_file(tmp_path / "out.parquet"):
        raise OSError(errno.EACCES, "no", "elsewhere")


def test_a_name_too_long_for_its_part_file_is_named_as_given(tmp_path):
    path = tmp_path / ("x" * 245 + ".parquet")
    with pytest.raises(OSError) as caught:
        schema.write_parquet([], schema.arrow_schema(sampling_options()), path, {})
    assert f"{path}" in str(caught.value) and ".part" not in str(caught.value)


def test_a_folder_of_frames_that_cannot_be_made_is_named_without_its_part(place, monkeypatch):
    run(place)
    (row,) = pq.read_table(place / "own.parquet").to_pylist()
    target = place / "frames"
    folder = target / frames.clip_name(row["videos"][0], "png", frames.list_grid())
    target.mkdir()
    folder.parent.write_bytes(b"a file in the way")
    with pytest.raises(OSError) as caught:
        frames.store_clip(row["videos"][0], str(target), "png", frames.list_grid())
    assert str(folder) in str(caught.value) and ".part" not in str(caught.value)
