# SPDX-License-Identifier: Apache-2.0
"""Frames decoded, sampled and resized once (`--frames-dir`): picture files that a parquet file lists instead of videos.

Which frames, and how they are resized, is left to qwen-vl-utils: its readers, its smart_resize, its interpolation. A
clip's frames appear as one folder with a frames.json, whole or not at all, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from data_prep.videos.files import FRAME_FOLDER_FPS, picture_files, refuse_shape
from recipe.tw_grpo.toolbox import torchcodec, torchvision_operators
from recipe.tw_grpo.toolbox.command_line import Parser, integer
from recipe.tw_grpo.toolbox.errors import UserError

FORMATS = {"png": {"compress_level": 6}, "jpeg": {"quality": 95, "subsampling": 0}}  # keyword arguments of PIL's save
NOTE = "frames.json"
PATCH_PIXELS = 28  # a side of one vision token of Qwen2.5-VL: two patches of 14


def add_arguments(parser: Parser) -> None:
    """The three options of every data_prep command that can store frames."""
    add = parser.add_argument
    add("--frames-dir", type=Path, help="decode, sample and resize every clip once into pictures below this folder")
    add("--frames-format", choices=sorted(FORMATS), default="png", help="png is exact, jpeg is smaller")
    add("--workers", type=integer(1), default=1, help="processes that decode for --frames-dir; the result is the same")


def qwen() -> Any:
    """The module qwen_vl_utils.vision_process; imported late, because it brings torch.

    Raises:
        UserError: it is not installed.
    """
    torchvision_operators.install()  # nothing where torchvision loads; on a CPU torch the index's wheel does not
    try:
        from qwen_vl_utils import vision_process
    except ImportError as error:
        raise UserError(f"--frames-dir needs qwen-vl-utils ({error}); pip install qwen-vl-utils") from None
    return vision_process


@lru_cache(maxsize=1)
def list_grid() -> int:
    """The multiple of pixels that qwen-vl-utils brings the sides of LISTED frames to: 28 as for videos, or 56.

    Up to 0.0.14 fetch_video hands fetch_image a doubled patch size (QwenLM/Qwen3-VL issue 1833). Asked, not looked up:
    two pictures of 84 x 84 come back with the same pixels or not.
    """
    import numpy as np
    import torch
    from PIL import Image

    side = 3 * PATCH_PIXELS
    pixels = (np.arange(side * side * 3) * 7919 % 251).astype(np.uint8).reshape(side, side, 3)  # noise
    pictures = [Image.fromarray(pixels)] * 2
    video = qwen().fetch_video({"video": pictures, "min_pixels": side * side, "max_pixels": side * side})
    same = video.shape[-2:] == (side, side) and torch.equal(video[0].byte(), torch.from_numpy(pixels).permute(2, 0, 1))
    return PATCH_PIXELS if same else 2 * PATCH_PIXELS


@lru_cache(maxsize=1)
def reader_name() -> str:
    """The video reader: FORCE_QWENVL_VIDEO_READER, else the first in qwen-vl-utils' order that can be imported."""
    module = qwen()
    if module.FORCE_QWENVL_VIDEO_READER:
        return module.FORCE_QWENVL_VIDEO_READER
    if torchcodec.problem() is None:
        return "torchcodec"
    try:
        import decord  # noqa: F401

        return "decord"
    except (ImportError, OSError):
        return "torchvision"


def sampled_frames(entry: Mapping[str, Any]) -> tuple[Any, float]:
    """The frames qwen-vl-utils would sample for `entry`, not resized: uint8 [T, 3, H, W], and their rate (frames/s).

    Raises:
        UserError: the video cannot be read, or is too short, with its path.
    """
    module = qwen()
    source = str(entry["video"]).removeprefix("file://")
    try:
        if os.path.isdir(source):
            return _from_folder(source, entry)
        video, _, rate = module.VIDEO_READER_BACKENDS[reader_name()](dict(entry))
        return video, float(rate)
    except UserError:
        raise
    except Exception as error:  # decord, torchcodec and torchvision each raise their own kinds
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"video {source}: {reader_name()} cannot sample it ({reason})") from None


def _from_folder(folder: str, entry: Mapping[str, Any]) -> tuple[Any, float]:
    """The same of a folder of pictures taken at FRAME_FOLDER_FPS (MVBench's TV scenes)."""
    import numpy as np
    import torch
    from PIL import Image

    module = qwen()
    names = picture_files(folder)
    if not names:
        raise UserError(f"video {folder} is a folder without pictures")
    start, end, total = module.calculate_video_frame_range(dict(entry), len(names), FRAME_FOLDER_FPS)
    count = module.smart_nframes(dict(entry), total_frames=total, video_fps=FRAME_FOLDER_FPS)
    frames = []
    for index in torch.linspace(start, end, count).round().long().tolist():
        with Image.open(os.path.join(folder, names[index])) as picture:
            frames.append(torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1))
    return torch.stack(frames), count / total * FRAME_FOLDER_FPS


def resized_frames(video: Any, entry: Mapping[str, Any], grid: int) -> Any:
    """`video` as fetch_video resizes it, uint8 [T, 3, H, W], except that H and W are multiples of `grid`.

    Raises:
        UserError: the pixel limits leave no such size.
    """
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import resize

    size = size_for(entry, video, grid)
    if min(size) < grid or any(side % grid for side in size):
        raise UserError(
            f"video {entry['video']}: frames of {size[0]}x{size[1]} pixels cannot be listed, the installed "
            f"qwen-vl-utils wants multiples of {grid}; change --resized-height/--resized-width or --max-pixels"
        )
    return resize(video, list(size), interpolation=InterpolationMode.BICUBIC, antialias=True)


def size_for(entry: Mapping[str, Any], video: Any, factor: int) -> tuple[int, int]:
    """(height, width) that qwen-vl-utils would bring `video` to if sides had to be multiples of `factor`."""
    if "resized_height" in entry:
        return entry["resized_height"], entry["resized_width"]
    limits = {"min_pixels": entry["min_pixels"], "max_pixels": entry["max_pixels"]}
    refuse_shape(str(entry["video"]).removeprefix("file://"), *video.shape[-2:])
    return qwen().smart_resize(*video.shape[-2:], factor=factor, **limits)


def clip_name(entry: Mapping[str, Any], picture_format: str, grid: int) -> str:
    """Folder of a clip below --frames-dir: its name and a digest of everything that decides its pictures.

    Of the video itself that is path and size, not the content: reading all of it would cost as much as decoding.
    """
    source = str(entry["video"]).removeprefix("file://")
    size = os.stat(source).st_size if os.path.isfile(source) else len(picture_files(source))
    key = json.dumps([dict(entry), size, picture_format, grid, reader_name()], sort_keys=True)
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in Path(source).stem)[:60]
    return os.path.join(digest[:2], f"{stem}-{digest[2:16]}")


def store_clip(entry: Mapping[str, Any], folder: str, picture_format: str, grid: int) -> dict[str, Any]:
    """Make the clip's folder unless it is there; what frames.json in it says: files, sample_fps, height, width.

    Raises:
        UserError: the clip cannot be sampled or resized.
    """
    from PIL import Image

    try:
        target = Path(folder) / clip_name(entry, picture_format, grid)
    except OSError as error:
        raise UserError(f"video {entry['video']}: {error.strerror}") from None
    note = _read_note(target)
    if note is not None:
        return note
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        video, rate = sampled_frames(entry)
        video, as_video = resized_frames(video, entry, grid), size_for(entry, video, PATCH_PIXELS)
        part.mkdir(parents=True)
        names = [f"{number:04d}.{'jpg' if picture_format == 'jpeg' else 'png'}" for number in range(len(video))]
        for name, frame in zip(names, video.permute(0, 2, 3, 1).numpy(), strict=True):
            Image.fromarray(frame).save(part / name, format=picture_format, **FORMATS[picture_format])
        height, width = video.shape[-2:]
        note = {"files": names, "sample_fps": rate, "height": height, "width": width, "as_video": as_video}
        (part / NOTE).write_text(json.dumps(note) + "\n", encoding="utf-8", errors="surrogateescape")
        if target.is_dir():  # without a readable note: not ours, or damaged by hand
            shutil.rmtree(target)
        os.rename(part, target)
    except OSError as error:  # a full disk, a folder that cannot be written: by the name of the folder it would become
        raise OSError(error.errno, error.strerror or str(error).replace(str(part), str(target)), str(target)) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return note | {"folder": str(target)}


def _read_note(target: Path) -> dict[str, Any] | None:
    try:
        note = json.loads((target / NOTE).read_text(encoding="utf-8", errors="surrogateescape"))
        if all((target / name).stat().st_size for name in note["files"]):
            return note | {"folder": str(target)}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _store_or_reason(entry: Mapping[str, Any], folder: str, picture_format: str, grid: int) -> dict[str, Any] | str:
    try:
        return store_clip(entry, folder, picture_format, grid)
    except UserError as error:
        return str(error)


def _quiet_worker() -> None:
    import torch

    torch.set_num_threads(1)  # one process a core is what --workers means


def remove_leftovers(folder: Path) -> None:
    """Delete what processes that no longer run left half-done below `folder`."""
    for part in folder.glob("*/.*.part"):
        pid = part.name.split(".")[-2]
        if not pid.isdigit() or not psutil.pid_exists(int(pid)) or int(pid) == os.getpid():
            shutil.rmtree(part, ignore_errors=True)


def store(
    records: Sequence[Mapping[str, Any]], folder: Path, picture_format: str = "png", workers: int = 1
) -> tuple[list[dict[str, Any]], dict[int, str], dict[str, Any]]:
    """The records with listed frames instead of videos.

    Args:
        records: rows of schema.build_record; the one entry of `videos` decides frames and size.
        folder: pictures go below it, one folder for each different entry.
        picture_format: a key of FORMATS.
        workers: processes; the result does not depend on it.

    Returns:
        rows whose clip could be stored, in order, their `extra_info.index` counted anew; what is wrong with the others,
        by position in `records`; for the report, the reader, the grid and how many clips have which size. `records`
        stay as they are.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    keys = [json.dumps(record["videos"][0], sort_keys=True) for record in records]
    entries = {key: record["videos"][0] for key, record in zip(keys, records, strict=True)}
    task = partial(_store_or_reason, folder=str(folder), picture_format=picture_format, grid=list_grid())
    bar = partial(tqdm, total=len(entries), desc="frames", unit="clip", disable=None)
    if workers == 1:
        results = dict(zip(entries, bar(map(task, entries.values())), strict=True))
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_quiet_worker) as pool:
            try:
                results = dict(zip(entries, bar(pool.map(task, entries.values(), chunksize=4)), strict=True))
            except KeyboardInterrupt:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    bad = {i: results[key] for i, key in enumerate(keys) if isinstance(results[key], str)}
    kept = [i for i in range(len(records)) if i not in bad]
    good = [
        {**records[i], "videos": [listed(results[keys[i]])], "extra_info": {**records[i]["extra_info"], "index": index}}
        for index, i in enumerate(kept)
    ]
    notes = [note for note in results.values() if isinstance(note, dict)]
    about = {
        "reader": reader_name(),
        "grid": list_grid(),
        "format": picture_format,
        "clips_by_size": dict(Counter(f"{note['height']}x{note['width']}" for note in notes)),
        "clips_by_size_as_videos": dict(Counter("{}x{}".format(*note["as_video"]) for note in notes)),
    }
    return good, bad, about


def listed(note: Mapping[str, Any]) -> dict[str, Any]:
    """The `videos` entry of stored frames; equal pixel limits keep qwen-vl-utils from resizing them again."""
    pixels = note["height"] * note["width"]
    return {
        "video": [f"file://{note['folder']}/{name}" for name in note["files"]],
        "sample_fps": note["sample_fps"],
        "min_pixels": pixels,
        "max_pixels": pixels,
    }


def summary_line(about: Mapping[str, Any], folder: Path) -> str:
    """One line for the summary: how many clips of which size, and of which size they would be as videos."""
    sizes, as_videos = (
        ", ".join(f"{count:,} of {size}" for size, count in sorted(about[key].items())) or "none"
        for key in ("clips_by_size", "clips_by_size_as_videos")
    )
    why = f" (as videos {as_videos}; listed frames need multiples of {about['grid']}, see docs/data.md, Frames once)"
    return f"frames in {folder}: clips {sizes} pixels{why * (sizes != as_videos)}, {about['format']}, {about['reader']}"
