# SPDX-License-Identifier: Apache-2.0
"""Options that several data_prep commands share, declared and checked in one place."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_prep.videos import frames
from data_prep.videos.sampling import PAPER_FRAMES, PAPER_PIXELS, TOKEN_PIXELS, sampling_options
from data_prep.write.schema import arrow_schema, frames_schema
from recipe.tw_grpo.toolbox.command_line import Parser, integer
from recipe.tw_grpo.toolbox.errors import UserError


def add_frame_arguments(parser: Parser, max_pixels: int = PAPER_PIXELS) -> None:
    """What of a video the model sees, and whether frames are stored (`--frames-dir`)."""
    add = parser.add_argument
    add("--num-frames", type=integer(2), default=PAPER_FRAMES, help="at most this many frames of a video (even)")
    add("--fps", type=float, help="sample at this rate, up to --num-frames; default: --num-frames evenly spaced")
    add("--max-pixels", type=integer(1), default=max_pixels, help="of a frame; larger ones are made smaller")
    add("--min-pixels", type=integer(1), default=4 * TOKEN_PIXELS, help="of a frame; smaller ones are enlarged")
    add("--resized-height", type=integer(28), help="bring every frame to this height (with --resized-width)")
    add("--resized-width", type=integer(28), help="bring every frame to this width (with --resized-height)")
    frames.add_arguments(parser)


def check_output(path: Path) -> None:
    """Raise UserError unless `path` is the name of a parquet file."""
    if path.suffix != ".parquet":
        raise UserError(f"--output {path}: the name must end in .parquet")


def sampling_of(args: argparse.Namespace) -> dict[str, int | float]:
    """videos.sampling_options of the arguments of add_frame_arguments.

    Raises:
        UserError: values qwen-vl-utils would refuse or silently change.
    """
    if (args.resized_height is None) != (args.resized_width is None):
        raise UserError("--resized-height and --resized-width must be given together")
    resized = (args.resized_height, args.resized_width) if args.resized_height else None
    return sampling_options(args.num_frames, args.max_pixels, args.min_pixels, args.fps, resized)


def finish_videos(
    records: Sequence[Mapping[str, Any]],
    args: argparse.Namespace,
    sampling: Mapping[str, int | float],
    clip: bool = False,
) -> tuple[list[dict[str, Any]], pa.Schema, dict[int, str], dict[str, Any]]:
    """Store frames if --frames-dir was given.

    Returns:
        the rows to write, their schema, what is wrong with rows that were left out (by position in `records`), and
        keys for the report: `frames` and, for the summary, `frames_line`.
    """
    if args.frames_dir is None:
        return list(records), arrow_schema(sampling, clip), {}, {}
    rows, bad, about = frames.store(records, args.frames_dir, args.frames_format, args.workers)
    for index, row in enumerate(rows):
        row["extra_info"]["index"] = index
    about_frames = {"frames": about, "frames_line": frames.summary_line(about, args.frames_dir)}
    return rows, frames_schema(), bad, about_frames
