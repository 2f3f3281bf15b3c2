# SPDX-License-Identifier: Apache-2.0
"""The rows verl's RLHFDataset reads, with fixed Arrow types, and a parquet writer that leaves a whole file or none.

All rows of a file have the same keys: parquet would fill a missing one with None, a value to qwen-vl-utils.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.write.prompts import MEDIA_TAGS, VIDEO_TAG
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.files import whole_file
from recipe.tw_grpo.toolbox.letters import LETTERS

ABILITY = "video_qa"
_MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
_SAMPLING = {
    "fps": pa.float64(),
    "min_frames": pa.int64(),
    "max_frames": pa.int64(),
    "min_pixels": pa.int64(),
    "max_pixels": pa.int64(),
    "resized_height": pa.int64(),
    "resized_width": pa.int64(),
}
_CLIP = {"video_start": pa.float64(), "video_end": pa.float64()}  # seconds, read by qwen-vl-utils
EXTRA_INFO = pa.struct(
    [
        ("index", pa.int64()),
        ("scene", pa.string()),
        ("question_id", pa.string()),
        ("question", pa.string()),
        ("options", pa.list_(pa.string())),
        ("kind", pa.string()),
        ("split", pa.string()),
        ("video", pa.string()),
        ("inverted", pa.bool_()),
        ("style", pa.string()),
        ("original_question", pa.string()),
        ("original_options", pa.list_(pa.string())),
    ]
)


def complete_extra_info(extra_info: Mapping[str, Any], right: Sequence[int]) -> dict[str, Any]:
    """`extra_info` with every key of EXTRA_INFO; the one place that knows what a key is when nobody says so.

    Ids become text (CLEVRER counts, STAR does not). A record nobody inverted is its own original.
    """
    defaults = {
        "split": "",
        "video": "",
        "inverted": False,
        "style": "",
        "original_question": extra_info["question"],
        "original_options": list(extra_info["options"]),
    }
    ids = {key: str(extra_info[key]) for key in ("scene", "question_id")}
    return {**defaults, **extra_info, **ids, "kind": "single" if len(right) == 1 else "multi"}


def build_record(
    *,
    data_source: str,
    prompt: str,
    video: Path,
    sampling: Mapping[str, int | float],
    right: Sequence[int],
    extra_info: Mapping[str, Any],
    clip: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """One row of the parquet file.

    Args:
        data_source: verl groups validation metrics by it.
        prompt: the user message; the place of the video is marked by one `<video>`.
        video: absolute path.
        sampling: keys of videos.sampling_options.
        right: positions of the right options, ascending, at least one.
        extra_info: index, scene, question_id, question, options; the rest as in `complete_extra_info`.
        clip: start and end in seconds, if the question is about a part of the video; all rows of a file or none.

    Raises:
        UserError: the text holds another of verl's media tags, so verl would look for more videos than there are.
    """
    tags = sum(prompt.count(tag) for tag in MEDIA_TAGS)
    if tags != 1 or VIDEO_TAG not in prompt:
        raise UserError(
            f"scene {extra_info['scene']}, question {extra_info['question_id']}: the text holds one of "
            f"{', '.join(MEDIA_TAGS)}, which verl would take for a picture or film; take it out there"
        )
    return {
        "data_source": data_source,
        "prompt": [{"role": "user", "content": prompt}],
        # Not percent-encoded: qwen-vl-utils and decord take what follows file:// as it is.
        "videos": [{"video": f"file://{video}", **sampling, **dict(zip(_CLIP, clip or (), strict=False))}],
        "ability": ABILITY,
        "reward_model": {"style": "rule", "ground_truth": ",".join(LETTERS[i] for i in right)},
        "extra_info": complete_extra_info(extra_info, right),
    }


def arrow_schema(sampling: Mapping[str, int | float], clip: bool = False) -> pa.Schema:
    """Arrow types of rows whose videos have the keys of `sampling`, and a start and an end if `clip`."""
    keys = {**{key: _SAMPLING[key] for key in sampling}, **(_CLIP if clip else {})}
    return _rows([("video", pa.string()), *keys.items()])


def frames_schema() -> pa.Schema:
    """Arrow types of rows whose videos are listed frames, see frames.listed."""
    keys = {"sample_fps": pa.float64(), "min_pixels": pa.int64(), "max_pixels": pa.int64()}
    return _rows([("video", pa.list_(pa.string())), *keys.items()])


def _rows(video: list[tuple[str, pa.DataType]]) -> pa.Schema:
    return pa.schema(
        [
            ("data_source", pa.string()),
            ("prompt", pa.list_(_MESSAGE)),
            ("videos", pa.list_(pa.struct(video))),
            ("ability", pa.string()),
            ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
            ("extra_info", EXTRA_INFO),
        ]
    )


def write_parquet(
    records: Sequence[Mapping[str, Any]], schema: pa.Schema, path: Path, report: Mapping[str, Any]
) -> None:
    """Write `path` and `path`.report.json beside it; same records, same bytes. Files appear whole or not at all.

    Raises:
        ValueError: a record whose keys are not those of the schema (a mistake of the calling script).
        OSError: the place cannot be written.
    """
    for record in records:
        if set(record) != set(schema.names) or {*record["extra_info"]} != {field.name for field in EXTRA_INFO}:
            raise ValueError(f"record does not fit the schema: {record}")
    table = pa.Table.from_pylist(list(records), schema=schema)
    path.parent.mkdir(parents=True, exist_ok=True)
    report_path = path.with_name(path.name + ".report.json")
    with whole_file(path) as data, whole_file(report_path) as beside:  # left in reverse order: the report comes first
        beside.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        pq.write_table(table, data, compression="zstd")
