# SPDX-License-Identifier: Apache-2.0
"""Data files and model folders that a run would trip over minutes after its start, each named in one line."""

import json
import types

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("omegaconf")
from omegaconf import OmegaConf  # noqa: E402

from examples.tiny.render import write_mp4  # noqa: E402
from recipe.tw_grpo.doctor import files  # noqa: E402


def rows(*videos):
    entry = {"fps": 2.0, "min_frames": 16, "max_frames": 16, "min_pixels": 3136, "max_pixels": 100352}
    return [
        {
            "data_source": "x",
            "prompt": [{"role": "user", "content": "<video>Why?"}],
            "videos": [{"video": f"file://{video}", **entry}],
            "reward_model": {"style": "rule", "ground_truth": "A"},
        }
        for video in videos
    ]


@pytest.fixture
def place(tmp_path):
    """A folder with two videos, a data file of them, and what checks it against a limit of prompt tokens."""
    noise = np.random.default_rng(0).integers(0, 255, (24, 320, 480, 3)).astype(np.uint8)
    for name in ("a.mp4", "b.mp4"):
        write_mp4(noise, tmp_path / name, 8)

    def write(name, *videos):
        pq.write_table(pa.Table.from_pylist(rows(*(tmp_path / video for video in videos))), tmp_path / name)
        return str(tmp_path / name)

    def lines(train, val=None, limit=4096):
        data = {"train_files": train, "val_files": val or train, "max_prompt_length": limit}
        place.notes = []
        return list(files.data_problems(OmegaConf.create({"data": data}), place.notes))

    place = types.SimpleNamespace(folder=tmp_path, write=write, lines=lines)
    return place


def test_a_whole_file_is_accepted_alone_and_in_a_list(place):
    good = place.write("good.parquet", "a.mp4", "b.mp4")
    assert place.lines(good) == [] == place.lines([good, good])


def test_files_that_are_not_there_are_named_once_each(place):
    first, second = place.lines("/no/train.parquet", "/no/val.parquet")
    assert first.startswith("data.train_files=/no/train.parquet") and "data_prep" in first
    assert second.startswith("data.val_files=/no/val.parquet")
    assert len(place.lines("/no/train.parquet")) == 1


def test_a_file_of_something_else(place):
    (place.folder / "x.parquet").write_text("not parquet")
    (line,) = place.lines(str(place.folder / "x.parquet"))
    assert "is no parquet file" in line
    pq.write_table(pa.table({"question": ["?"]}), place.folder / "y.parquet")
    (line,) = place.lines(str(place.folder / "y.parquet"))
    assert "has no column" in line
    empty = pa.Table.from_pylist(rows("a"), None).slice(0, 0)
    pq.write_table(empty, place.folder / "z.parquet")
    (line,) = place.lines(str(place.folder / "z.parquet"))
    assert "has no row" in line


def test_missing_videos_are_counted_and_the_first_is_named(place):
    bad = place.write("bad.parquet", "a.mp4", "gone.mp4", "b.mp4", "gone too.mp4")
    (line,) = place.lines(bad)
    assert "2 of 4 rows" in line and "row 1" in line and "gone.mp4" in line


def test_a_run_can_do_without_a_few_videos(place):
    few = place.write("few.parquet", "a.mp4", "b.mp4", "a.mp4", "gone.mp4")
    assert place.lines(few) == []
    (note,) = place.notes
    assert "1 of 4 rows" in note and "row 3" in note and "leaves such prompts out" in note


def test_a_prompt_shorter_than_its_video(place):
    good = place.write("good.parquet", "a.mp4")
    (line,) = place.lines(good, limit=512)
    assert line.startswith("data.max_prompt_length=512 is too short") and "row 0" in line


# --- the model


def model(path, **environment):
    config = OmegaConf.create({"actor_rollout_ref": {"model": {"path": str(path)}}})
    return list(files.model_problems(config))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl"}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "tokenizer_config.json").write_text("{}")
    return tmp_path


def test_a_whole_model_is_accepted(folder):
    assert model(folder) == []


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer_config.json"])
def test_what_is_missing_is_named(folder, name):
    (folder / name).unlink()
    (line,) = model(folder)
    assert name.replace("model.safetensors", "*.safetensors") in line and str(folder) in line


def test_another_family_is_named(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (line,) = model(folder)
    assert "is a llama" in line


def test_a_folder_that_is_not_there(tmp_path):
    (line,) = model(tmp_path / "nothing")
    assert "is no folder" in line


def test_a_name_of_the_hub_is_a_note_unless_the_hub_is_off(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (line,) = model("tw-grpo-tests/no-such-model")
    assert "HF_HUB_OFFLINE=1" in line
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert model("tw-grpo-tests/no-such-model") == []
