# SPDX-License-Identifier: Apache-2.0
"""Finding a video by the path its annotations publish, in a folder that may hold all data sets, one, or only its files.

Annotations say "/MVBench/star/Charades_v1_480/AJTDO.mp4", an address, or a bare name; collections differ in the suffix
and one (MVBench's TV scenes) comes as folders of pictures.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path

from data_prep.videos.folder import SUFFIXES
from data_prep.videos.sampling import check_video
from recipe.tw_grpo.toolbox.errors import UserError

PICTURES = (".jpg", ".jpeg", ".png")
# MVBench's archives unpack into video/, newer copies of its STAR and CLEVRER videos into data0613/ beside the others.
TOPS = ("", "video", "data0613", "video/data0613")
FRAME_FOLDER_FPS = 3.0  # of MVBench's TVQA pictures, as public evaluation scripts read them


def picture_files(folder: str | os.PathLike[str]) -> list[str]:
    """Names of the pictures in `folder`, in the order of their numbers (and then names)."""
    names = [name for name in os.listdir(folder) if name.lower().endswith(PICTURES)]
    return sorted(names, key=lambda name: (int("".join(filter(str.isdigit, name)) or 0), name))


def unique_names(paths: Iterable[str]) -> set[str]:
    """File names that only one of `paths` has: only those may be looked for without their folder."""
    owners: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        owners[path.rsplit("/", 1)[-1]].add(path)
    return {name for name, found in owners.items() if len(found) == 1}


def find_published(root: Path, published: str, unique: Collection[str] = ()) -> Path | None:
    """The file or folder of pictures below `root` that `published` means, or None.

    Leading folders of `published` that `root` does not have are ignored, as few of them as possible; all of them only
    if the bare name is in `unique`. Another suffix (a converted video) counts as the same video.
    """
    parts = [part for part in published.split("/") if part not in ("", ".", "..")]
    last = len(parts) if len(parts) == 1 or (parts and parts[-1] in unique) else len(parts) - 1
    for skipped in range(last):
        for top in TOPS:
            found = _at(os.path.join(root, top, *parts[skipped:]))
            if found:
                return Path(os.path.abspath(found))
    return None


def _at(path: str) -> str | None:
    """`path`, or the same name with another suffix, or as a folder of pictures."""
    stem, suffix = os.path.splitext(path)
    if suffix.lower() not in SUFFIXES:  # a bare name; what looks like its suffix belongs to it
        stem, suffix = path, ""
    for candidate in (path, *(stem + other for other in SUFFIXES)):
        if os.path.isfile(candidate):  # False, not an exception, for names no file can have
            return candidate
    return next((folder for folder in (stem, path) if os.path.isdir(folder) and picture_files(folder)), None)


def check_published(path: Path, decode: bool) -> None:
    """videos.check_video for a file; for a folder of pictures that it has two.

    Raises:
        UserError: it cannot be used, with its path.
    """
    if path.is_dir():
        if len(picture_files(path)) < 2:
            raise UserError(f"video {path} is a folder with fewer than two pictures; unpack it again")
    else:
        check_video(path, decode)
