# SPDX-License-Identifier: Apache-2.0
"""Whether a video is whole: a file that is not empty and decodes, a clip before its end, a folder of pictures."""

from __future__ import annotations

import os
from pathlib import Path

import av

from recipe.tw_grpo.toolbox.errors import UserError

MOST_ASPECT = 200  # longer side by shorter side; qwen-vl-utils refuses more
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
            refuse_shape(path, stream.height, stream.width)
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


def refuse_shape(path: Path | str, height: int, width: int) -> None:
    """Raise UserError for frames so long and thin that qwen-vl-utils cannot bring them to a size."""
    if max(height, width) > MOST_ASPECT * max(1, min(height, width)):
        raise UserError(
            f"video {path} has frames of {height}x{width} pixels; one side may be at most {MOST_ASPECT} times the other"
        )


def check_whole_video(path: Path, end: float | None = None) -> None:
    """Decode every frame up to `end` (seconds; None: all), and every picture of a folder.

    A decoder hides damage by repeating what it has; here it is told not to. What it takes for a picture is not noticed:
    most formats have no checksum.

    Raises:
        UserError: a frame that cannot be decoded, or clearly fewer frames than the file says it has.
    """
    if path.is_dir():
        from PIL import Image

        for name in picture_files(path):
            try:
                with Image.open(path / name) as picture:
                    picture.load()
            except (OSError, ValueError, SyntaxError) as error:
                raise UserError(f"video {path}: picture {name} cannot be read ({error}); unpack it again") from None
        return
    frames = 0
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.options = {"err_detect": "explode"}
            stated = stream.frames
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise UserError(f"video {path}: frame {frames} is damaged; download or copy it again")
                frames += 1
                if end is not None and frame.time is not None and frame.time > end:
                    return
    except (av.error.FFmpegError, UnicodeError, IndexError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"video {path}: frame {frames} cannot be decoded ({reason}); download or copy it again"
        ) from None
    if frames < stated - max(2, stated // 20):
        raise UserError(f"video {path} ends after {frames:,} of {stated:,} frames; download or copy it again")
