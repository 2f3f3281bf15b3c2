# SPDX-License-Identifier: Apache-2.0
"""Finding a video by the name its annotations publish, in whatever layout a copy of the data set has.

Annotations say "/MVBench/star/Charades_v1_480/AJTDO.mp4", "video_00007.mp4", "4882821564" or an address; collections
keep such videos in folders of their own, flat, or with another suffix, and MVBench's TV scenes as folders of pictures.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

from data_prep.read.records import load_json, need
from data_prep.videos.files import SUFFIXES, picture_files
from recipe.tw_grpo.toolbox.errors import UserError

SPLITS = ("train", "validation", "test")
# MVBench's archives unpack into video/, newer copies of its STAR and CLEVRER videos into data0613/ beside the others.
# Archives that unpack into videos/ were often unpacked into a folder of that name.
_TOPS = ("", "video", "data0613", "video/data0613", "videos", "videos/videos")
_CLEVRER = re.compile(r"video_(\d{5})\.mp4")


def clevrer_path(kind: str, split: str, index: int, suffix: str) -> str:
    """CLEVRER's own place, e.g. ("video", "train", 7, "mp4") -> video_train/video_00000-01000/video_00007.mp4."""
    low = index // 1000 * 1000
    return f"{kind}_{split}/{kind}_{low:05d}-{low + 1000:05d}/{kind}_{index:05d}.{suffix}"


def read_map(path: Path) -> dict[str, str]:
    """NExT-QA's map_vid_vidorID.json: "4882821564" -> "1104/4882821564"."""
    content = load_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected an object of names, found {type(content).__name__}")
    return {name: need(content, name, str, f"{path}") for name in content}


class VideoFinder:
    """The videos below `root`.

    Args:
        root: a folder; it may hold one data set or several.
        names: all the names the annotations publish. A bare name that two of them end in says nothing without folders.
        split: CLEVRER's split that is looked at first; it numbers scenes through all splits, so any will do.
        folders: a name -> its place below `root`, without suffix (NExT-QA's map).
        several: `root` may hold other data sets too, so a name published with folders is not looked for in others.
    """

    def __init__(
        self,
        root: Path,
        names: Iterable[str],
        split: str = "train",
        folders: Mapping[str, str] | None = None,
        several: bool = False,
    ) -> None:
        self.root = Path(os.path.abspath(root))
        self.split, self.folders, self.several = split, folders or {}, several
        owners: dict[str, set[str]] = defaultdict(set)
        for name in names:
            owners[name.rsplit("/", 1)[-1]].add(name)
        self._shared = {name for name, users in owners.items() if len(users) > 1}

    def find(self, name: str) -> Path:
        """The file, or folder of pictures, that an annotation calls `name`.

        As few leading folders of `name` as possible are left out. Another suffix (a converted video) is the same video.

        Raises:
            UserError: it is nowhere below the folder, or at two places; the message names it.
        """
        for place in self._places(name):
            path = _at(os.path.join(self.root, place))
            if path:
                return Path(os.path.abspath(path))
        parts = self._parts(name)
        anywhere = parts and parts[-1] not in self._shared and not (self.several and len(parts) > 1)
        files = self._by_stem.get(_stem(parts[-1]), []) if anywhere else []
        if not files:
            raise UserError(f"video {name!a:.80} is missing below {self.root}; check --video-root")
        if len({os.path.realpath(file) for file in files}) > 1:
            raise UserError(f"video {name!a:.80} is ambiguous below {self.root}: {files[0]} and {files[1]}")
        return files[0]

    def expected(self, name: str) -> Path:
        """Where `name` would lie in the layout the annotations, the map or CLEVRER itself speak of."""
        number = _CLEVRER.fullmatch(name)
        if number:
            above = self.root.parent if self.root.name == f"video_{self.split}" else self.root
            return above / clevrer_path("video", self.split, int(number[1]), "mp4")
        place = "/".join(self._parts(name))
        return self.root / (place if place.lower().endswith(SUFFIXES) else f"{place}.mp4")

    def _parts(self, name: str) -> list[str]:
        place = self.folders.get(_stem(name.rsplit("/", 1)[-1]), name)
        return [part for part in place.split("/") if part not in ("", ".", "..")]

    def _places(self, name: str) -> Iterator[str]:
        parts = self._parts(name)
        bare_counts = len(parts) == 1 or bool(parts) and parts[-1] not in self._shared
        for skipped in range(len(parts) if bare_counts else len(parts) - 1):
            for top in _TOPS:
                yield os.path.join(top, *parts[skipped:])
        number = _CLEVRER.fullmatch(parts[-1]) if parts else None
        if number:
            thousand = clevrer_path("video", "", int(number[1]), "mp4").split("/")[1]
            for top in ("", *(f"video_{split}" for split in sorted(SPLITS, key=lambda one: one != self.split))):
                for place in (parts[-1], f"{thousand}/{parts[-1]}", f"clevrer_{parts[-1]}"):  # the last: in mixed sets
                    yield os.path.join(top, place)

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        index: dict[str, list[Path]] = {}
        seen = {os.path.realpath(self.root)}  # each folder once: a link to one above it would never end

        def new(folder: str) -> bool:
            before = len(seen)
            seen.add(os.path.realpath(folder))
            return len(seen) > before

        for folder, below, files in os.walk(self.root, followlinks=True):
            below[:] = [name for name in sorted(below) if new(os.path.join(folder, name))]
            for file in sorted(files):
                if file.lower().endswith(SUFFIXES):
                    index.setdefault(_stem(file), []).append(Path(folder, file))
        return index


def _stem(name: str) -> str:
    """`name` without the suffix of a video; what only looks like a suffix belongs to the name."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in SUFFIXES else name


def _at(path: str) -> str | None:
    """`path`, or the same name with another suffix, or as a folder of pictures."""
    stem = _stem(path)
    for candidate in (path, *(stem + suffix for lower in SUFFIXES for suffix in (lower, lower.upper()))):
        if os.path.isfile(candidate):  # False, not an exception, for names no file can have
            return candidate
    return next((folder for folder in (stem, path) if os.path.isdir(folder) and picture_files(folder)), None)
