# SPDX-License-Identifier: Apache-2.0
"""Records that cannot be trained on, each for its own reason, put among good ones."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

HTML = b"<!DOCTYPE html><html><body>404: this video has moved</body></html>\n" * 40


def spoiled(record: dict[str, Any], kind: str, folder: Path) -> dict[str, Any]:
    """A copy of a good record that fails for the reason `kind`, with an index and a video of its own."""
    record = copy.deepcopy(record)
    good = Path(record["videos"][0]["video"].removeprefix("file://"))
    video = folder / f"{kind}.mp4"
    if kind == "empty":
        video.write_bytes(b"")
    elif kind == "cut":
        video.write_bytes(good.read_bytes()[: good.stat().st_size // 3])
    elif kind == "html":
        video.write_bytes(HTML)
    if kind in ("missing", "empty", "cut", "html"):
        record["videos"][0]["video"] = f"file://{video}"
    elif kind == "long":
        record["prompt"][0]["content"] += " the" * 300
    elif kind == "truth":
        record["reward_model"]["ground_truth"] = ""
    else:
        raise ValueError(kind)
    record["extra_info"]["index"] = 10_000 + KINDS.index(kind)
    return record


KINDS = ("missing", "empty", "cut", "html", "long", "truth")


def write_with_bad(good: pa.Table, path: Path, every: int = 10) -> dict[int, str]:
    """Write `good` with one spoiled record behind each `every` - 1 of its rows; the kind of each bad index."""
    rows, kinds = [], {}
    for number, record in enumerate(good.to_pylist()):
        if number % (every - 1) == 1 and len(kinds) < len(KINDS):
            kind = KINDS[len(kinds)]
            rows.append(spoiled(record, kind, path.parent))
            kinds[rows[-1]["extra_info"]["index"]] = kind
        rows.append(record)
    pq.write_table(pa.Table.from_pylist(rows, schema=good.schema), path)
    return kinds
