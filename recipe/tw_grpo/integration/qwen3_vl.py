# SPDX-License-Identifier: Apache-2.0
"""Qwen3-VL with video is refused: under verl 0.9.1 vLLM answers another prompt than the one that is trained.

Its processor writes each frame's time and its own vision markers into the prompt. verl folds repeated video tokens
(workers/rollout/utils.py:93, verl issue 5024), which leaves one token a frame, and vLLM expands the first of them into
the whole video again. The policy that answers sees the video's frames more often than the policy that is trained.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recipe.tw_grpo.toolbox.errors import UserError

MODEL_TYPES = ("qwen3_vl", "qwen3_vl_moe")


def refuse_videos(config: Any) -> None:
    """Refuse this model when a data file has videos; silent where that cannot be seen from here.

    Args:
        config: verl's whole configuration.

    Raises:
        UserError: one line with the model, the file and the way out.
    """
    path = config.actor_rollout_ref.model.get("path")
    model_type = _model_type(path)
    if model_type not in MODEL_TYPES:
        return
    for option in ("train_files", "val_files"):
        files = config.data.get(option)
        for file in [files] if isinstance(files, str) else files or []:
            if _has_videos(file, config.data.get("video_key", "videos")):
                raise UserError(
                    f"data.{option}: {file} has videos and actor_rollout_ref.model.path={path} is a {model_type}: with "
                    "verl 0.9.1 its vLLM would answer another prompt than the one that is trained (docs/upstream.md): "
                    "use a Qwen2.5-VL, or data without videos"
                )


def _model_type(path: Any) -> str | None:
    try:
        return json.loads((Path(path) / "config.json").read_text()).get("model_type")
    except (OSError, TypeError, ValueError, AttributeError):  # a name of a hub, no model: others say so
        return None


def _has_videos(file: str, column: str) -> bool:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as parquet:
            if column not in parquet.schema_arrow.names:
                return False
            for batch in parquet.iter_batches(batch_size=64, columns=[column]):
                if pc.any(pc.greater(pc.list_value_length(batch.column(0)), 0)).as_py():
                    return True
    except (OSError, ValueError, NotImplementedError):  # no parquet file, or none of lists: not sure
        pass
    return False
