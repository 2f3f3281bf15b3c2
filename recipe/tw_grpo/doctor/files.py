# SPDX-License-Identifier: Apache-2.0
"""The files a run opens minutes after its start: data files with their videos, and the model's folder.

All videos are looked for; a few are opened, for their pixels and the tokens these become. No model is loaded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from recipe.tw_grpo.toolbox.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

OPENED = 8  # videos of a file that are opened, evenly over it
BEARABLE = 0.25  # share of bad videos up to which a run goes on without them; more looks like a wrong folder
FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen2", "qwen3")  # model_type; tried with this plugin
_COLUMNS = ("prompt", "data_source", "reward_model")


def data_problems(config: DictConfig, notes: list[str]) -> Iterator[str]:
    """One line for every data file that cannot be used; to `notes` what a run leaves out of those that can."""
    done = set()
    for name in ("train_files", "val_files"):
        value = config.data.get(name)
        for path in [value] if isinstance(value, str) else list(value or ()):
            if "://" in path or path in done:  # hdfs://: verl's to fetch
                continue
            done.add(path)
            yield from _one_file(f"data.{name}={path}", Path(path), config, notes)


def _one_file(setting: str, path: Path, config: DictConfig, notes: list[str]) -> Iterator[str]:
    if not path.is_file():
        yield f"{setting} is not there: write it with data_prep (docs/data.md), or name another"
        return
    if path.suffix != ".parquet":
        return  # verl reads JSON too; its rows have no fixed form
    try:
        table = pq.read_table(path)
    except (OSError, ValueError) as error:
        yield f"{setting} is no parquet file ({' '.join(str(error).split())[:80]}): write it again with data_prep"
        return
    wanted = {config.data.get("prompt_key", "prompt"), *_COLUMNS[1:]}
    if missing := sorted(wanted - set(table.column_names)):
        yield f"{setting} has no column {missing[0]}: verl needs {', '.join(sorted(wanted))}; write it with data_prep"
        return
    if not table.num_rows:
        yield f"{setting} has no row: see the report beside it for what was left out"
        return
    if config.data.get("video_key", "videos") in table.column_names:
        yield from _videos(setting, table.column(config.data.get("video_key", "videos")).to_pylist(), config, notes)


def _videos(setting: str, column: list[Any], config: DictConfig, notes: list[str]) -> Iterator[str]:
    from data_prep.check.records import check_video_entry, video_tokens

    missing, opened = [], max(1, len(column) // OPENED)
    limit, too_long, tried, unreadable = config.data.max_prompt_length, None, 0, []
    for row, entries in enumerate(column):
        for entry in entries or ():
            entry = {key: value for key, value in entry.items() if value is not None}
            problem = check_video_entry(entry, decode=False)
            if problem:
                missing.append((row, problem))
            elif row % opened == 0:
                tried += 1
                try:
                    tokens = video_tokens(entry)
                except (UserError, OSError, ValueError) as error:
                    unreadable.append(f"row {row}: {error}")
                    continue
                if tokens >= limit and (too_long is None or tokens > too_long[1]):
                    too_long = row, tokens
    if missing:
        row, problem = missing[0]
        rows = f"{len(missing)} of {len(column)} rows"
        line = f"{setting}: {rows} name a video that cannot be used, first row {row}: {problem}"
        if len(missing) > BEARABLE * len(column):
            yield line
        else:
            notes.append(f"{line}; the run leaves such prompts out and counts them")
    if unreadable:
        line = f"{setting}: {len(unreadable)} of {tried} opened videos cannot be read, {unreadable[0]}"
        if len(unreadable) > BEARABLE * tried:
            yield line
        else:
            notes.append(f"{line}; the run leaves such prompts out and counts them")
    if too_long:
        yield (
            f"data.max_prompt_length={limit} is too short: the video of row {too_long[0]} of {setting} alone has "
            f"{too_long[1]} tokens: raise it, or prepare the data with fewer frames or pixels"
        )


def model_problems(config: DictConfig) -> Iterator[str]:
    """One line for a model that cannot be loaded; nothing for a name that the hub will be asked for."""
    path = str(config.actor_rollout_ref.model.path)
    setting, folder = f"actor_rollout_ref.model.path={path}", Path(path).expanduser()
    if folder.is_dir():
        yield from _folder(setting, folder)
    elif path.startswith(("/", ".", "~")) or path.count("/") != 1:
        if "://" not in path:
            yield f"{setting} is no folder: name one with config.json and *.safetensors, or a model of the hub"
    elif os.environ.get("HF_HUB_OFFLINE") == "1" and not _cached(path):
        yield f"{setting} is not in the cache of this machine and HF_HUB_OFFLINE=1: unset it, or name a folder"


def model_notes(config: DictConfig) -> Iterator[str]:
    """What is not known about the model yet."""
    path = str(config.actor_rollout_ref.model.path)
    if not Path(path).expanduser().is_dir() and path.count("/") == 1 and not _cached(path):
        yield f"actor_rollout_ref.model.path={path} is not on this machine yet: the first start downloads it"


def _cached(name: str) -> bool:
    try:
        from huggingface_hub import try_to_load_from_cache

        return isinstance(try_to_load_from_cache(name, "config.json"), str)
    except (ImportError, ValueError):  # ValueError: not a name the hub can have
        return False


def _folder(setting: str, folder: Path) -> Iterator[str]:
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        yield f"{setting} has no readable config.json: name the folder of a whole Hugging Face model"
        return
    if kind not in FAMILIES:
        yield f"{setting} is a {kind}: this plugin has been tried with {', '.join(FAMILIES)}"
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        yield f"{setting} holds no weights (*.safetensors): copy them, or take actor/huggingface of a checkpoint"
    if not (folder / "tokenizer_config.json").is_file():
        yield f"{setting} has no tokenizer_config.json: copy tokenizer and processor beside the weights"
