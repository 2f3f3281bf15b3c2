# SPDX-License-Identifier: Apache-2.0
"""Whether a video is whole: a file that is not empty and decodes, a clip before its end, a folder of pictures."""

from __future__ import annotations

import os
from pathlib import Path

import av

from recipe.tw_grpo.toolbox.errors import UserError

SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")
PICTURES = (".jpg", ".jpeg", ".png")
FRAME_FOLDER_FPS = 3.0  # of MVBench's TVQA pictures, as public evaluation scripts read them


def picture_files(folder: str | os.PathLike[str]) -> list[str]:
    """Names of the pictures in `folder`, in the order of their numbers (and then names)."""
    names = [name for name in os.listdir(folder) if name.lower().endswith(PICTURES)]
    return sorted(names, key=lambda name: (int("".join(filter(str.isdigit, name)) or 0), name))


def check_video(path: Path, decode: bool = False, clip: tuple[float, float] | None = None) -> None:
    """Raise UserError, with the path, if the video cannot be used.

    Args:
        path: a file, or a folder of pictures, which must have two.
        decode: also decode two frames (Qwen's least) of a file.
        clip: start and end in seconds; with `decode` it must begin at least two frames before the video's end.
    """
    if path.is_dir():
        if len(picture_files(path)) < 2:
            raise UserError(f"video {path} is a folder with fewer than two pictures; unpack it again")
        return
    if path.stat().st_size == 0:
        raise UserError(f"video {path} has zero bytes; download or copy it again")
    if not decode:
        return
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UserError(f"video {path} has no video stream; download or copy it again")
            stream = container.streams.video[0]
            rate = float(stream.average_rate or 25)
            length = float(container.duration or 0) / av.time_base or float(stream.frames) / rate
            frames = sum(1 for _, _frame in zip(range(2), container.decode(video=0), strict=False))
    except (av.error.FFmpegError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"video {path} cannot be decoded ({reason}); download or copy it again") from None
    if frames < 2:
        raise UserError(f"video {path} has {frames} frame(s), at least 2 are needed; download or copy it again")
    if clip and length and min(clip[1], length) - clip[0] < 2 / rate:
        raise UserError(f"video {path} lasts {length:.1f} s, too short for the clip {clip[0]:g} to {clip[1]:g} s")
