# SPDX-License-Identifier: Apache-2.0
"""Videos in CLEVRER's form, 128 frames of 480 x 320 at 25 a second, of the tiny world's second level, where speed and
direction decide who meets; and what the sixteen frames that the model is given show in each of its vision tokens.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch

from data_prep.videos.sampling import PAPER_FRAMES, PAPER_PIXELS, TOKEN_PIXELS
from examples.tiny.lessons import View
from examples.tiny.physics import CELL, RADIUS, slower
from examples.tiny.render import render_frames
from examples.tiny.world import Scene, make_scene, simulate

LEVEL = 2
HEIGHT, WIDTH = 4 * CELL, 6 * CELL  # px of the world
PICTURE_HEIGHT, PICTURE_WIDTH = 320, 480  # px of the video, as CLEVRER's
WORLD_FRAMES, SLOWER, FPS = 16, 8, 25
SCALE = PICTURE_WIDTH / WIDTH
GRIDS = PAPER_FRAMES // 2  # Qwen2.5-VL merges two frames
TOKEN = 28  # px of a vision token's side
STILL = 0.02  # px of the world a frame: slower is neither left nor right


def world(number: int) -> Scene:
    """Scene `number`; equal numbers give equal scenes."""
    scene = make_scene(number, LEVEL, height=HEIGHT, width=WIDTH, frames=WORLD_FRAMES)
    return slower(scene, SLOWER, FPS)


def view(number: int) -> View:
    """Scene `number` with what lessons say of it."""
    return View.of(world(number), moving=True)


@functools.cache
def input_size() -> tuple[int, int]:
    """Height and width, px, to which qwen-vl-utils brings a frame under data_prep's default bounds."""
    from qwen_vl_utils.vision_process import smart_resize

    return smart_resize(
        PICTURE_HEIGHT, PICTURE_WIDTH, factor=TOKEN, min_pixels=4 * TOKEN_PIXELS, max_pixels=PAPER_PIXELS
    )


def tokens_of_a_grid() -> tuple[int, int]:
    """Rows and columns of vision tokens."""
    return input_size()[0] // TOKEN, input_size()[1] // TOKEN


def sampled_frames(frames: int = WORLD_FRAMES * SLOWER) -> list[int]:
    """The frames qwen-vl-utils takes of a video: evenly spaced, the first and the last among them."""
    return torch.linspace(0, frames - 1, PAPER_FRAMES).round().long().tolist()


def pictures(scene: Scene, grids: list[int] | None = None) -> torch.Tensor:
    """The sampled frames as the model is given them, drawn but not coded.

    Args:
        scene: what is drawn.
        grids: of these temporal grids only.

    Returns:
        uint8 [2 * grids, 3, H, W], H and W of `input_size`.
    """
    from torchvision.transforms.v2 import InterpolationMode, functional

    frames = sampled_frames(scene.frames)
    frames = frames if grids is None else [frame for grid in grids for frame in frames[2 * grid : 2 * grid + 2]]
    drawn = torch.from_numpy(render_frames(scene, frames=frames, scale=SCALE)).permute(0, 3, 1, 2)
    return functional.resize(drawn, list(input_size()), InterpolationMode.BICUBIC, antialias=True)


@dataclass(frozen=True)
class Seen:
    """What stands at each vision token: `body` [grids, rows, columns], -1 for none; `lane` [rows] of the tokens; `way`
    [grids, bodies]: -1 left, 0 neither, 1 right."""

    body: np.ndarray
    lane: np.ndarray
    way: np.ndarray


def seen(scene: Scene) -> Seen:
    """What each token of each grid shows: the nearest object that reaches its centre."""
    rows, columns = tokens_of_a_grid()
    motion = simulate(scene)
    pairs = np.array(sampled_frames(scene.frames)).reshape(GRIDS, 2)
    centres = motion.positions[pairs].mean(axis=1)  # [grids, bodies, 2]
    way = motion.velocities[pairs].mean(axis=1)[..., 0]
    y, x = (np.arange(rows) + 0.5) * HEIGHT / rows, (np.arange(columns) + 0.5) * WIDTH / columns
    dx = x[None, None, :, None] - centres[:, None, None, :, 0]
    dy = y[None, :, None, None] - centres[:, None, None, :, 1]
    distance = np.sqrt(dx**2 + dy**2)  # [grids, rows, columns, bodies]
    body = np.where(distance.min(axis=-1) < RADIUS + 0.5, distance.argmin(axis=-1), -1)
    return Seen(body, (y // CELL).astype(int), np.sign(way) * (np.abs(way) > STILL))
