# SPDX-License-Identifier: Apache-2.0
"""Videos of a data set that is not numbered like CLEVRER: found by name wherever they lie below one folder.

NExT-QA keeps 1104/4882821564.mp4 (a map file says which folder), collections of it NExTVideo/1104/…; STAR uses
Charades_v1_480/0BH84.mp4; copies are often flat. The last part of the name is unique in each, so it decides.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath

import av

from data_prep.read.records import need
from data_prep.videos.sampling import check_video
from recipe.tw_grpo.toolbox.errors import UserError

SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")


def read_map(path: Path) -> dict[str, str]:
    """NExT-QA's map_vid_vidorID.json: "4882821564" -> "1104/4882821564"."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"--video-map {path}: not a JSON file ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"--video-map {path}: expected an object of names, found {type(content).__name__}")
    return {name: need(content, name, str, f"--video-map {path}") for name in content}


class VideoFolder:
    """The videos below `root`; `folders` maps a name to its place there, without suffix."""

    def __init__(self, root: Path, folders: Mapping[str, str] | None = None) -> None:
        self.root = Path(os.path.abspath(root))
        self.folders = folders or {}

    def expected(self, name: str) -> Path:
        """Where `name` would lie in the layout the annotations or the map speak of."""
        place = PurePosixPath(self.folders.get(PurePosixPath(name).stem, name).lstrip("/"))
        return self.root / (place if place.suffix in SUFFIXES else PurePosixPath(f"{place}.mp4"))

    def find(self, name: str) -> Path:
        """The video an annotation calls `name` ("4882821564", "1104/4882821564.mp4", "/NExTQA/videos/….mp4").

        Raises:
            UserError: it is nowhere below the folder, or at two places; the message names it.
        """
        place = self.expected(name)
        if ".." not in place.parts and os.path.isfile(place):
            return place
        found = self._by_stem.get(PurePosixPath(name).stem, [])
        if not found:
            raise UserError(f"video {name!a:.80} is missing below {self.root}; check --video-root")
        if len(found) > 1:
            raise UserError(f"video {name!a:.80} is ambiguous below {self.root}: {found[0]} and {found[1]}")
        return found[0]

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        index: dict[str, list[Path]] = {}
        for folder, _, files in sorted(os.walk(self.root)):
            for file in sorted(files):
                stem, suffix = os.path.splitext(file)
                if suffix.lower() in SUFFIXES:
                    index.setdefault(stem, []).append(Path(folder, file))
        return index


def check_clip(path: Path, decode: bool, clip: tuple[float, float] | None) -> None:
    """As `check_video`; with `decode`, a `clip` (seconds) must begin at least two frames before the video's end."""
    check_video(path, decode)
    if not decode or clip is None:
        return
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate or 25)
        length = float(container.duration or 0) / av.time_base or float(stream.frames) / rate
    if length and min(clip[1], length) - clip[0] < 2 / rate:
        raise UserError(f"video {path} lasts {length:.1f} s, too short for the clip {clip[0]:g} to {clip[1]:g} s")
