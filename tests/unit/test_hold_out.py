# SPDX-License-Identifier: Apache-2.0
"""Questions held out for validation: whole videos, the same ones every time, nothing lost."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.write.hold_out import held_out_rows, hold_out
from recipe.tw_grpo.toolbox.errors import UserError

VIDEOS = [f"video_{n // 3}.mp4" for n in range(90)]


def test_whole_videos_and_at_most_so_many_questions():
    rows = held_out_rows(VIDEOS, 10, 0)
    assert len(rows) == 9 and rows == sorted(rows)
    inside = {VIDEOS[row] for row in rows}
    assert not inside & {video for row, video in enumerate(VIDEOS) if row not in rows}


def test_more_records_move_no_video_out_of_the_validation_part_of_equal_share():
    few, many = held_out_rows(VIDEOS, 9, 0), held_out_rows([*VIDEOS, *(f"new_{n}.mp4" for n in range(30))], 18, 0)
    assert {VIDEOS[row] for row in few} & {([*VIDEOS] + [""] * 30)[row] for row in many}
    assert held_out_rows(VIDEOS, 9, 0) == few != held_out_rows(VIDEOS, 9, 1)


def test_never_everything():
    assert held_out_rows(VIDEOS, 1000, 0) and len(held_out_rows(VIDEOS, 1000, 0)) == 87
    assert held_out_rows(["one.mp4"] * 5, 1000, 0) == []


def table(videos):
    rows = [
        {"videos": [{"video": f"file:///v/{video}"}], "extra_info": {"index": i, "video": video}}
        for i, video in enumerate(videos)
    ]
    return pa.Table.from_pylist(rows).replace_schema_metadata({"provenance": "here"})


def test_the_two_files_are_the_file(tmp_path):
    pq.write_table(table(VIDEOS), tmp_path / "all.parquet")
    train, validation = tmp_path / "a/train.parquet", tmp_path / "a/validation.parquet"
    assert hold_out(tmp_path / "all.parquet", train, validation, 12, 0) == (78, 12)
    parts = [pq.read_table(path) for path in (train, validation)]
    assert {part.schema.metadata[b"provenance"] for part in parts} == {b"here"}
    indices = [record["extra_info"]["index"] for part in parts for record in part.to_pylist()]
    assert sorted(indices) == list(range(90))
    first = validation.read_bytes()
    hold_out(tmp_path / "all.parquet", train, validation, 12, 0)
    assert validation.read_bytes() == first


@pytest.mark.parametrize("videos, line", [(["one.mp4"] * 4, "no video of its 1"), (["a", "a", "b", "b"], "at most 1")])
def test_what_cannot_be_held_out_is_one_line(tmp_path, videos, line):
    pq.write_table(table(videos), tmp_path / "all.parquet")
    with pytest.raises(UserError, match=line):
        hold_out(tmp_path / "all.parquet", tmp_path / "t.parquet", tmp_path / "v.parquet", 1, 0)
    assert not (tmp_path / "t.parquet").exists()


def test_another_file_is_one_line(tmp_path):
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(UserError, match="no parquet written by data_prep"):
        hold_out(tmp_path / "x.parquet", tmp_path / "t.parquet", tmp_path / "v.parquet", 1, 0)
