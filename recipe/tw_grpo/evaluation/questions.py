# SPDX-License-Identifier: Apache-2.0
"""A benchmark's parquet as it is evaluated: with the frames and pixels asked for, in parts of a bearable size.

verl validates a file at once and writes its answers at the end; a part is what an interruption can cost.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.files import whole_file


def resample(table: pa.Table, frames: int | None, pixels: int | None, where: str) -> pa.Table:
    """The same questions with other sampling options of qwen-vl-utils.

    Args:
        table: of data_prep; column `videos` has one video a question.
        frames: at most this many, evenly spaced; also the least where the file samples a fixed number. None: as it is.
        pixels: of a frame, at most. None: as it is.
        where: the file, for messages.

    Raises:
        UserError: frames are stored as pictures, or of a fixed size, and would have to be others.
    """
    if frames is None and pixels is None:
        return table
    column = [[_resampled(video, frames, pixels, where) for video in videos] for videos in table["videos"].to_pylist()]
    position = table.schema.get_field_index("videos")
    return table.set_column(position, table.schema.field(position), pa.array(column, table.schema.field(position).type))


def _resampled(video: dict[str, Any], frames: int | None, pixels: int | None, where: str) -> dict[str, Any]:
    if isinstance(video["video"], list):  # pictures made by data_prep --frames-dir
        stored, largest = len(video["video"]), video["max_pixels"]
        if (frames is not None and stored > frames) or (pixels is not None and pixels != largest):
            raise UserError(
                f"{where}: its frames are stored ({stored} frames, at most {largest} pixels), not to be sampled again: "
                "set FRAMES= and PIXELS= (empty), or make the file without --frames-dir"
            )
        return video
    video = dict(video)
    if frames is not None:
        if "max_frames" not in video or "min_frames" not in video:
            raise UserError(f"{where}: its videos have no min_frames and max_frames: set FRAMES= (empty)")
        fixed = video["min_frames"] == video["max_frames"]
        video |= {"min_frames": frames if fixed else min(video["min_frames"], frames), "max_frames": frames}
    if pixels is not None:
        if "max_pixels" not in video or video.get("resized_height"):
            raise UserError(f"{where}: its frames have a fixed size: set PIXELS= (empty)")
        video |= {"min_pixels": min(video["min_pixels"], pixels), "max_pixels": pixels}
    return video


def parts(rows: int, largest: int) -> list[tuple[int, int]]:
    """Start and length of parts of at most `largest` rows and nearly equal size; 0 means one part."""
    count = -(-rows // largest) if largest else 1
    edges = [rows * i // count for i in range(count + 1)]
    return [(low, high - low) for low, high in zip(edges, edges[1:], strict=False)]


def write_parts(
    source: Path, folder: Path, *, frames: int | None, pixels: int | None, largest: int
) -> list[tuple[Path, int]]:
    """Write FOLDER/{i:03d}.parquet and return each with its number of questions; same source, same bytes.

    Raises:
        UserError: `source` is no parquet of data_prep, holds nothing, or cannot be sampled so.
    """
    try:
        table = pq.read_table(source)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{source}: cannot be read as parquet ({error})") from None
    if "videos" not in table.column_names or not table.num_rows:
        raise UserError(f"{source}: has no questions with videos: write it with data_prep/benchmarks.py")
    table = resample(table, frames, pixels, str(source))
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, (start, length) in enumerate(parts(table.num_rows, largest)):
        target = folder / f"{number:03d}.parquet"
        with whole_file(target) as part:
            pq.write_table(table.slice(start, length), part, compression="zstd")
        written.append((target, length))
    return written
