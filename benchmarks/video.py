# SPDX-License-Identifier: Apache-2.0
"""A prompt's video as training reads it, for each of the G responses again: decoded, or stored frames (JPEG, PNG).

verl's own dataset function reads both, so the time is what an agent loop waits for. Pixels are compared with those of
decoding at the same size.
"""

from __future__ import annotations

import copy
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks import measure
from data_prep.videos import frames
from recipe.tw_grpo.toolbox.errors import UserError

TITLE = "One reading of a prompt's video"
_STEP = 64  # responses of a step: 8 prompts of 8, the published run's batch


def run(parquet: Path, clips: int = 8, repeats: int = 3) -> list[dict[str, Any]]:
    """One record a way of storing, over the first `clips` different videos of a data file.

    Raises:
        UserError: the file lists frames already, or a clip cannot be stored.
    """
    by_video = {record["videos"][0]["video"]: record for record in pq.read_table(parquet).to_pylist()[: 8 * clips]
                if isinstance(record["videos"][0]["video"], str)}  # fmt: skip
    if not by_video:
        raise UserError(f"{parquet}: its videos are listed frames already; give a file made without --frames-dir")
    records = [_plain(record) for record in list(by_video.values())[:clips]]
    with tempfile.TemporaryDirectory() as place:
        # Sizes that lists and videos share (multiples of 56), so that pixels can be compared.
        for record in records:
            entry = record["videos"][0]
            height, width = frames.size_for(entry, frames.sampled_frames(entry)[0], frames.list_grid())
            entry |= {"resized_height": height, "resized_width": width}
            entry.pop("min_pixels", None), entry.pop("max_pixels", None)
        ways = {"decoded": records}
        for form in ("jpeg", "png"):
            ways[form], bad, _ = frames.store(records, Path(place, form), form)
            if bad:
                raise UserError(f"{parquet}: {next(iter(bad.values()))}")
        pixels = {way: [_read(record) for record in of_way] for way, of_way in ways.items()}  # warms the file cache
        work = {way: lambda of_way=of_way: [_read(record) for record in of_way] for way, of_way in ways.items()}
        seconds = measure.interleaved(work, repeats, "cpu")
        result = []
        for way, of_way in ways.items():
            one = statistics.median(seconds[way]) / len(records)
            differences = [np.abs(a - b).max() for a, b in zip(pixels[way], pixels["decoded"], strict=True)]
            means = [np.abs(a - b).mean() for a, b in zip(pixels[way], pixels["decoded"], strict=True)]
            result.append(
                {
                    "way": way,
                    "clips": len(records),
                    "frames": len(pixels[way][0]),
                    "size": list(pixels[way][0].shape[-2:]),
                    "milliseconds": 1e3 * one,
                    "milliseconds_a_step": 1e3 * one * _STEP,
                    "bytes_a_clip": statistics.mean(map(_bytes, of_way)),
                    "largest_difference": float(max(differences)),
                    "mean_difference": float(statistics.mean(means)),
                }
            )
    return result


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    """Without the None that parquet puts where one of its rows has a field."""
    record = copy.deepcopy(record)
    record["videos"] = [{k: v for k, v in record["videos"][0].items() if v is not None}]
    return record


def _read(record: dict[str, Any]) -> np.ndarray:
    """[frames, 3, H, W] float32, 0 to 255, by the function verl's agent loop calls."""
    from omegaconf import OmegaConf
    from verl.utils.dataset.rl_dataset import RLHFDataset

    messages = [{"role": "user", "content": [{"type": "video", **record["videos"][0]}]}]
    _, videos, _ = RLHFDataset._process_multi_modal_info(messages, 14, OmegaConf.create({}))
    return np.asarray(videos[0][0], dtype=np.float32)


def _bytes(record: dict[str, Any]) -> int:
    files = record["videos"][0]["video"]
    names = [files] if isinstance(files, str) else files
    return sum(Path(name.removeprefix("file://")).stat().st_size for name in names)


def rows(records: list[dict[str, Any]]) -> list[list[str]]:
    """The table of `run`'s records."""
    head = [
        "",
        "ms a reading",
        f"s a step of {_STEP} responses",
        "x decoded",
        "GB a thousand clips",
        "pixels off, mean",
    ]
    table = [[*head, "largest"]]
    decoded = records[0]["milliseconds"]
    for r in records:
        table.append(
            [
                f"{r['way']}, {r['frames']} frames of {r['size'][0]} x {r['size'][1]}",
                f"{r['milliseconds']:.1f}",
                f"{r['milliseconds_a_step'] / 1e3:.2f}",
                f"{r['milliseconds'] / decoded:.2f}",
                f"{r['bytes_a_clip'] / 1e6:.2f}",
                f"{r['mean_difference']:.2f}",
                f"{r['largest_difference']:.0f}",
            ]
        )
    return table
