# SPDX-License-Identifier: Apache-2.0
"""How many frames and pixels of a video a model is given, as options of qwen-vl-utils (vision_process.fetch_video).

verl hands each entry of the `videos` column to it.
"""

from __future__ import annotations

from recipe.tw_grpo.toolbox.errors import UserError

TOKEN_PIXELS = 28 * 28  # pixels of one vision token of Qwen2.5-VL
PAPER_FRAMES = 16
PAPER_PIXELS = 128 * TOKEN_PIXELS


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
