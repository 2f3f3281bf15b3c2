# SPDX-License-Identifier: Apache-2.0
"""qwen-vl-utils reads videos with torchcodec where that is installed, even where it finds no FFmpeg and cannot load.

The repair lets it go on to decord then, which carries its own FFmpeg and gives the same pixels. Where no reader can
work, the first video says so and names the ways out, instead of an AttributeError about torchvision's read_video.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from types import ModuleType

from recipe.tw_grpo.toolbox import torchcodec

WAYS_OUT = (
    "install decord, or FFmpeg's libraries (Debian, Ubuntu: apt-get install ffmpeg), or name a reader that works with "
    "FORCE_QWENVL_VIDEO_READER"
)


def no_reader() -> str | None:
    """One line when no video file can be read in this process, with the ways out; None when one can."""
    problem = torchcodec.problem()
    if problem is None or importlib.util.find_spec("decord") is not None:
        return None
    io = importlib.import_module("torchvision.io")
    if hasattr(io, "read_video"):
        return None
    return f"no video can be read: {problem}, decord is not installed, and this torchvision reads none: {WAYS_OUT}"


def apply(module: ModuleType) -> None:
    """Change qwen_vl_utils.vision_process (0.0.14: lines 332 and 389): "is torchcodec there" becomes "does it load".

    A reader that the user forces stays, whatever it is.
    """
    choose = module.get_video_reader_backend

    def is_torchcodec_available() -> bool:
        return torchcodec.problem() is None

    @functools.lru_cache(maxsize=1)
    def get_video_reader_backend() -> str:
        backend = choose()
        if backend == "torchvision" and (problem := no_reader()):
            raise RuntimeError(problem)
        if backend == "decord" and importlib.util.find_spec("torchcodec") and module.FORCE_QWENVL_VIDEO_READER is None:
            print(f"tw_grpo: videos are read with decord: {torchcodec.problem()}", file=sys.stderr)
        return backend

    module.is_torchcodec_available = is_torchcodec_available
    module.get_video_reader_backend = get_video_reader_backend


def defect(module: ModuleType) -> bool:
    """True while the module would choose torchcodec in a process where it does not load."""
    return bool(module.is_torchcodec_available()) and torchcodec.problem() is not None
