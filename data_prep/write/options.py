# SPDX-License-Identifier: Apache-2.0
"""The options all five commands share: each is declared, and checked, once and means the same everywhere."""

from __future__ import annotations

import argparse
from pathlib import Path

from data_prep.videos import frames
from data_prep.videos.sampling import PAPER_FRAMES, PAPER_PIXELS, TOKEN_PIXELS, sampling_options
from recipe.tw_grpo.toolbox.command_line import Parser, integer
from recipe.tw_grpo.toolbox.errors import UserError


def add_arguments(parser: Parser, data_source: str | None, max_pixels: int = PAPER_PIXELS) -> None:
    """What every command has besides --annotations and --video-root, whose help depends on the data set."""
    add = parser.add_argument
    add("--output", type=Path, required=True, help="parquet file to write; a FILE.report.json goes beside it")
    add("--limit", type=integer(1), help="keep so many of the questions to write, sampled by --seed, in file order")
    add("--seed", type=int, default=0, help="of --limit and the inversion; same seed, same bytes")
    add("--check-videos", action="store_true", help="also decode the beginning of every video")
    add("--check-whole-videos", action="store_true", help="decode all of every video, up to the last clip's end (slow)")
    add("--skip-bad-videos", action="store_true",
        help="leave questions of missing or broken videos out, and count them")  # fmt: skip
    add("--videos-later", action="store_true", help="do not look for the videos: write where they are expected")
    default = "" if data_source else "; default: the protocol's name"
    add("--data-source", default=data_source, help=f"column data_source{default}")
    add("--num-frames", type=integer(2), default=PAPER_FRAMES, help="at most this many frames of a video (even)")
    add("--fps", type=float, help="sample at this rate, up to --num-frames; default: --num-frames evenly spaced")
    add("--max-pixels", type=integer(1), default=max_pixels, help="of a frame; larger ones are made smaller")
    add("--min-pixels", type=integer(1), default=4 * TOKEN_PIXELS, help="of a frame; smaller ones are enlarged")
    add("--resized-height", type=integer(28), help="bring every frame to this height (with --resized-width)")
    add("--resized-width", type=integer(28), help="bring every frame to this width (with --resized-height)")
    frames.add_arguments(parser)


def check_arguments(args: argparse.Namespace) -> Path:
    """The folder of the videos (without --video-root, that of the annotations).

    Raises:
        UserError: a file or folder that is not there, or options that exclude each other.
    """
    if args.output.suffix != ".parquet":
        raise UserError(f"--output {args.output}: the name must end in .parquet")
    if args.videos_later and (args.check_videos or args.check_whole_videos):
        raise UserError("--check-videos and --check-whole-videos need the videos now; leave out --videos-later")
    if args.videos_later and args.frames_dir:
        raise UserError("--frames-dir needs the videos now; leave out --videos-later")
    if not args.annotations.exists():
        raise UserError(f"--annotations {args.annotations}: no such file or folder")
    root = args.video_root or (args.annotations if args.annotations.is_dir() else None)
    if root is None:
        raise UserError("--video-root: a folder is needed, because --annotations is a file")
    if not args.videos_later and not root.is_dir():
        raise UserError(f"--video-root {root}: no such folder; --videos-later writes without looking")
    return root


def sampling_of(args: argparse.Namespace) -> dict[str, int | float]:
    """videos.sampling_options of the arguments.

    Raises:
        UserError: values qwen-vl-utils would refuse or silently change.
    """
    if (args.resized_height is None) != (args.resized_width is None):
        raise UserError("--resized-height and --resized-width must be given together")
    resized = (args.resized_height, args.resized_width) if args.resized_height else None
    return sampling_options(args.num_frames, args.max_pixels, args.min_pixels, args.fps, resized)
