# SPDX-License-Identifier: Apache-2.0
"""Where the videos of a data set lie, whether they are whole, and how many frames and pixels of them a model is given.

CLEVRER keeps videos in folders of a thousand below one folder per split; copies of it are often flat. The sampling
options are those of qwen-vl-utils (vision_process.fetch_video), which verl hands each entry of the `videos` column to.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import av

from recipe.tw_grpo.toolbox.errors import UserError

SPLITS = ("train", "validation", "test")
TOKEN_PIXELS = 28 * 28  # pixels of one vision token of Qwen2.5-VL
PAPER_FRAMES = 16
PAPER_PIXELS = 128 * TOKEN_PIXELS


def clevrer_path(kind: str, split: str, index: int, suffix: str) -> str:
    """CLEVRER's own place, e.g. ("video", "train", 7, "mp4") -> video_train/video_00000-01000/video_00007.mp4."""
    low = index // 1000 * 1000
    return f"{kind}_{split}/{kind}_{low:05d}-{low + 1000:05d}/{kind}_{index:05d}.{suffix}"


def find_video(root: Path, name: str, split: str) -> Path | None:
    """The video `name` below `root`: flat, in a folder of a thousand, or below video_{split}/ in either way.

    `split` is only looked at first: CLEVRER numbers scenes through all splits, so a number is never ambiguous.
    """
    places = [name]
    number = re.fullmatch(r"video_(\d{5})\.mp4", name)
    if number:
        low = int(number[1]) // 1000 * 1000
        places.append(f"video_{low:05d}-{low + 1000:05d}/{name}")
        places.append(f"clevrer_{name}")  # how collections that mix data sets call it
    tops = ["", f"video_{split}", *(f"video_{other}" for other in SPLITS if other != split)]
    for top in tops:
        for place in places:
            path = os.path.join(root, top, place)
            if os.path.isfile(path):  # False, not an exception, for names no file can have
                return Path(os.path.abspath(path))
    return None


def check_video(path: Path, decode: bool = False) -> None:
    """Raise UserError if the file is empty or, with `decode`, if two frames of it (Qwen's least) cannot be read."""
    if path.stat().st_size == 0:
        raise UserError(f"video {path} has zero bytes; download or copy it again")
    if not decode:
        return
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UserError(f"video {path} has no video stream; download or copy it again")
            frames = sum(1 for _, _frame in zip(range(2), container.decode(video=0), strict=False))
    except (av.error.FFmpegError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"video {path} cannot be decoded ({reason}); download or copy it again") from None
    if frames < 2:
        raise UserError(f"video {path} has {frames} frame(s), at least 2 are needed; download or copy it again")


def sampling_options(
    num_frames: int = PAPER_FRAMES,
    max_pixels: int = PAPER_PIXELS,
    min_pixels: int = 4 * TOKEN_PIXELS,
    fps: float | None = None,
    resized: tuple[int, int] | None = None,
) -> dict[str, int | float]:
    """What of a video the model sees, as keys of qwen-vl-utils.

    Args:
        num_frames: at most this many frames, evenly spaced; even, because Qwen2.5-VL merges frames in twos. Without
            `fps` it is also the least, so a video gives exactly min(num_frames, its own even number): the key `nframes`
            would instead fail on a shorter video.
        max_pixels: of one frame; larger frames are made smaller.
        min_pixels: of one frame; smaller ones are enlarged. Ours is 4 tokens; that of qwen-vl-utils, 128 tokens, would
            blow up small videos and refuses any smaller max_pixels.
        fps: sample at this rate (the public code's run: 2.0, 10 frames of a CLEVRER video) up to num_frames.
        resized: (height, width) every frame is brought to, multiples of 28; then the pixel limits do not count.

    Raises:
        UserError: values qwen-vl-utils would refuse or silently change.
    """
    if num_frames < 2 or num_frames % 2:
        raise UserError(f"number of frames must be even and at least 2, not {num_frames}")
    if min_pixels > max_pixels:
        raise UserError(f"min pixels ({min_pixels}) must not exceed max pixels ({max_pixels})")
    if max_pixels < 4 * TOKEN_PIXELS:
        raise UserError(f"max pixels must be at least {4 * TOKEN_PIXELS} (four tokens of 28 x 28), not {max_pixels}")
    if fps is not None and not 0 < fps <= 1000:
        raise UserError(f"fps must lie in 0 to 1000, not {fps}")
    options: dict[str, int | float] = {
        "fps": 2.0 if fps is None else float(fps),
        "min_frames": num_frames if fps is None else min(4, num_frames),
        "max_frames": num_frames,
        "min_pixels": min_pixels,
        "max_pixels": max_pixels,
    }
    if resized is not None:
        height, width = resized
        if height % 28 or width % 28 or height * width < 4 * TOKEN_PIXELS:
            raise UserError(
                f"resized height and width must be multiples of 28, at least 4 tokens, not {height}x{width}"
            )
        options |= {"resized_height": height, "resized_width": width}
    return options
