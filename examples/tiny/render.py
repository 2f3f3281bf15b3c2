# SPDX-License-Identifier: Apache-2.0
"""Draws a toy-CLEVRER scene as RGB frames with numpy and writes frames as an mp4 file with PyAV.

Shapes are signed distances turned into coverage, so edges are smooth at any sub-pixel position. Rubber is flat, metal
has a bright rim and a highlight. The codec is h264 where PyAV has it, else mpeg4; decord reads both.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from examples.tiny.physics import CELL, RADIUS, Body, Scene, simulate
from recipe.tw_grpo.toolbox.files import whole_file

BACKGROUND = 24  # grey level of free scenes and of lane 0
LANE_STEP = 40  # each lane of a lane scene is this much lighter than the one above: a cell shows which lane it is in
PALETTE = {
    "red": (235, 30, 30),
    "green": (20, 190, 60),
    "blue": (50, 90, 255),
    "yellow": (250, 220, 30),
    "purple": (225, 60, 230),
    "cyan": (40, 225, 235),
}


def _signed_distance(shape: str, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Distance (px) to the outline of `shape` centred at 0, negative inside; 20 px wide, y grows downwards."""
    if shape == "disc":
        return np.sqrt(dx * dx + dy * dy) - RADIUS
    if shape == "square":
        return np.maximum(np.abs(dx), np.abs(dy)) - (RADIUS - 1)
    if shape == "triangle":  # tip up: base at +9, tip at -9, 20 wide, so the sides have normal (18, -10) / |.|
        side = (18 * np.abs(dx) - 10 * (dy + 9)) / np.sqrt(18.0 * 18 + 10 * 10)
        return np.maximum(side, dy - 9)
    raise ValueError(f"unknown shape {shape!r}")


def _reach(scale: float) -> int:
    """Half side of the square a body is drawn in, px of the picture."""
    return int(RADIUS * scale) + 2


def _stamps(body: Body, centres: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of `body` around the fractional parts of `centres` [T, 2]: coverage [T, S, S, 1], color [T, S, S, 3]."""
    offsets = np.arange(-_reach(scale), _reach(scale) + 1, dtype=np.float32) + np.float32(0.5)  # pixel centres
    part = (centres - np.floor(centres)).astype(np.float32)
    dx, dy = offsets[None, None, :] - part[:, 0, None, None], offsets[None, :, None] - part[:, 1, None, None]
    dx, dy = dx / np.float32(scale), dy / np.float32(scale)
    distance = _signed_distance(body.shape, dx, dy)
    coverage = np.clip(0.5 - distance * np.float32(scale), 0, 1)[..., None]
    color = np.array(PALETTE[body.color], dtype=np.float32)
    if body.material == "rubber":
        return coverage, np.broadcast_to(color, (*distance.shape, 3))
    rim = 0.8 * np.clip(distance + 2.5, 0, 1)
    shine = np.clip(2.5 - np.sqrt((dx + 2) ** 2 + (dy + 2) ** 2), 0, 1)
    return coverage, color + np.maximum(rim, shine)[..., None] * (255 - color)


def background(scene: Scene, scale: float = 1.0) -> np.ndarray:
    """The empty picture, float32 [H, W, 3]: one grey, or one grey per lane where the objects keep to lanes."""
    height, width = round(scene.height * scale), round(scene.width * scale)
    rows = np.full(height, BACKGROUND, dtype=np.float32)
    if all(body.lane is not None for body in scene.bodies):
        rows += (np.arange(height) / scale).astype(int) // CELL * LANE_STEP
    return np.broadcast_to(rows[:, None, None], (height, width, 3))


def render_frames(
    scene: Scene,
    without: int | None = None,
    count: int | None = None,
    *,
    frames: Sequence[int] | None = None,
    scale: float = 1.0,
) -> np.ndarray:
    """Draw the scene before any video coding.

    Args:
        scene: what to draw.
        without: object_id to leave out: the counterfactual world.
        count: draw only the first `count` frames; None draws all T.
        frames: draw these frames only, of the first `count`.
        scale: px of the picture a px of the world.

    Returns:
        uint8 [frames drawn, H * scale, W * scale, 3], RGB.
    """
    positions = simulate(scene, without).positions[:count] * scale
    if frames is not None:
        positions = positions[list(frames)]
    reach = _reach(scale)
    border = 2 * reach + 1  # of the canvas, so that a body half outside needs no clipping
    empty = background(scene, scale)
    height, width = empty.shape[:2]
    canvas = np.zeros((len(positions), height + 2 * border, width + 2 * border, 3), dtype=np.float32)
    view = canvas[:, border:-border, border:-border]
    view[:] = empty
    far = np.array([width, height]) + reach
    for body in scene.bodies:
        track = positions[:, body.object_id]
        shown = np.flatnonzero(np.all((track > -reach) & (track < far), axis=1))  # NaN (removed) compares False
        corners = np.floor(track[shown]).astype(int) + border - reach
        for t, (x, y), coverage, color in zip(shown, corners, *_stamps(body, track[shown], scale), strict=True):
            window = canvas[t, y : y + 2 * reach + 1, x : x + 2 * reach + 1]
            window += coverage * (color - window)
    return np.rint(view).astype(np.uint8)


def video_codec() -> str:
    """The encoder used here: libx264 where PyAV was built with it, else mpeg4."""
    return "libx264" if "libx264" in av.codecs_available else "mpeg4"


def through_codec(frames: np.ndarray) -> np.ndarray:
    """RGB frames, uint8 [T, H, W, 3], as a reader of their mp4 file sees them: coding blurs colors, mostly at edges."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames.mp4"
        write_mp4(frames, path, fps=8)
        with av.open(str(path)) as container:
            return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def write_mp4(frames: np.ndarray, path: str | os.PathLike[str], fps: int) -> None:
    """Write uint8 [T, H, W, 3] RGB frames (H and W even) to `path`, through a temporary file beside it.

    One encoder thread and no B-frames: the same frames give the same file, and the container's frame count is exact.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"frames must be uint8 [T, H, W, 3], not {frames.dtype} {list(frames.shape)}")
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        raise ValueError(f"height and width must be even for yuv420p, not {height}x{width}")
    codec = video_codec()
    quality = {"crf": "12", "preset": "superfast", "bf": "0"} if codec == "libx264" else {"qscale": "2"}
    path = Path(path)
    with whole_file(path) as part:
        with av.open(str(part), "w", format="mp4") as container:
            stream = container.add_stream(codec, rate=Fraction(fps), options={**quality, "threads": "1"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for array in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
            container.mux(stream.encode())
