# SPDX-License-Identifier: Apache-2.0
"""What must hold for every row of a parquet file before it is trained on: each check gives a sentence or nothing.

Rows are those of schema.build_record, read back; the checks trust none of it, because files are edited and moved.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from data_prep.videos import frames as stored
from data_prep.videos.files import FRAME_FOLDER_FPS, check_video, check_whole_video, picture_files, refuse_shape
from data_prep.videos.sampling import TOKEN_PIXELS
from data_prep.write.prompts import MEDIA_TAGS, VIDEO_TAG
from recipe.tw_grpo.toolbox import torchvision_operators
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.letters import LETTERS

Row = Mapping[str, Any]


class Problems:
    """Problems by kind: how many records, and the first one in words."""

    def __init__(self) -> None:
        self.first: dict[str, str] = {}
        self.count: dict[str, int] = defaultdict(int)

    def add(self, kind: str, where: str, sentence: str) -> None:
        """Count one record with a problem of `kind`."""
        self.first.setdefault(kind, f"{where}: {sentence}")
        self.count[kind] += 1

    def lines(self) -> list[str]:
        """One line a kind, in the order in which they were first found."""
        return [f"{kind}: {self.count[kind]:,} record(s), first {line}" for kind, line in self.first.items()]


def name_of(number: int, row: Row) -> str:
    """How messages name a row."""
    info = row.get("extra_info") or {}
    names = [f"{key} {ascii(info[key])[1:-1]:.40}" for key in ("scene", "question_id") if info.get(key)]
    return f"record {number}" + (f" ({', '.join(names)})" if names else "")


def prompt_of(row: Row) -> str:
    """The text of the one user message ("" if there is no such message)."""
    messages = row.get("prompt") or []
    return ((messages[0] or {}).get("content") or "") if len(messages) == 1 else ""


def options_of(row: Row) -> list[str]:
    """The options the prompt shows, without letters: the lines "A. …", "B. …" in a row that end it."""
    known = (row.get("extra_info") or {}).get("options")
    if known:
        return [option or "" for option in known]
    return [match[2] for match in re.finditer(r"^([A-Z])\. (.*)$", prompt_of(row), re.MULTILINE)]


def right_letters(row: Row) -> list[str]:
    """The letters of the ground truth, as they stand."""
    return ((row.get("reward_model") or {}).get("ground_truth") or "").split(",")


def check_text(row: Row) -> Iterator[tuple[str, str]]:
    """(kind, sentence) for every problem of prompt, options and ground truth."""
    messages = row.get("prompt") or []
    if len(messages) != 1 or (messages[0] or {}).get("role") != "user" or not prompt_of(row).strip():
        yield "prompt", "must be one user message that is not empty"
        return
    prompt, options, letters = prompt_of(row), options_of(row), right_letters(row)
    if prompt.count(VIDEO_TAG) != 1 or sum(prompt.count(tag) for tag in MEDIA_TAGS) != 1:
        yield "video tag", f"the prompt must hold {VIDEO_TAG} once and no other tag"
    lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
    unseen = [line for line in lines if f"\n{line}\n" not in f"{prompt}\n"]
    if not options or not all(option.strip() for option in options):
        yield "options", "there are none, or an empty one"
    elif unseen:
        yield "letters", f"the prompt has no line {unseen[0]!a:.60}"
    allowed = LETTERS[: len(options)]
    if not set(letters) <= set(allowed):
        yield "ground truth", f"{','.join(letters)!a:.40} is not among the options {allowed}"
    elif letters != sorted(set(letters)):
        yield "ground truth", f"{','.join(letters)!a:.40} has a letter twice or out of order"
    elif len({options[allowed.index(letter)] for letter in letters}) < len(letters):
        yield "equal options", "two right options have the same text"
    elif (row.get("extra_info") or {}).get("kind") not in (None, "single" if len(letters) == 1 else "multi"):
        yield "kind", f"{row['extra_info']['kind']!a:.20} does not fit the ground truth {','.join(letters)!a:.40}"


def entry_of(row: Row) -> dict[str, Any] | None:
    """The one entry of `videos` without keys that are None, or None."""
    videos = row.get("videos") or []
    entry = videos[0] if len(videos) == 1 else None
    return {key: value for key, value in entry.items() if value is not None} if isinstance(entry, dict) else None


def empty_keys(row: Row) -> str | None:
    """A sentence if qwen-vl-utils would be given a None: a key it looks up is there, with nothing in it."""
    entry = (row.get("videos") or [None])[0] or {}
    empty = [key for key, value in entry.items() if value is None and key not in ("video_start", "video_end")]
    return f"{empty[0]!r} of the entry of `videos` is empty" if empty else None


def check_video_entry(entry: Mapping[str, Any] | None, decode: bool | str) -> str | None:
    """What is wrong with a `videos` entry, or None; `decode`: its beginning (True), all of it ("whole"), or nothing."""
    video = (entry or {}).get("video")
    if not video:
        return "`videos` must have one entry with a `video`"
    if isinstance(video, list):
        return _check_frames([name.removeprefix("file://") for name in video], decode)
    path = Path(str(video).removeprefix("file://"))
    if not path.exists():
        return f"video {path} does not exist"
    try:
        check_video(path, bool(decode))
        if decode == "whole":
            check_whole_video(path, entry.get("video_end"))
        if decode and path.is_file() and entry.get("video_start"):
            _, seconds, _ = video_shape(path)
            if seconds and entry["video_start"] >= seconds:
                return f"the clip starts at {entry['video_start']:g} s, video {path} ends at {seconds:g} s"
    except UserError as error:
        return str(error)
    return None


def _check_frames(paths: Sequence[str], decode: bool) -> str | None:
    from PIL import Image

    if len(paths) < 2 or len(paths) % 2:
        return f"{len(paths)} listed frames; an even number is needed"
    sizes = set()
    for path in paths:
        try:
            if decode:
                with Image.open(path) as picture:
                    picture.load()
                    sizes.add(picture.size)
            elif os.path.getsize(path) == 0:
                return f"frame {path} has zero bytes"
        except (OSError, ValueError) as error:
            return f"frame {path} cannot be read ({' '.join(str(error).split())[:80]})"
    return f"listed frames have different sizes, {paths[0]} and others" if len(sizes) > 1 else None


def video_shape(path: Path) -> tuple[int, float, tuple[int, int]]:
    """Frames, seconds and (height, width) as the container states them; nothing is decoded."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        seconds = float(stream.duration * stream.time_base) if stream.duration else (container.duration or 0) / 1e6
        frames = stream.frames or round(seconds * rate)
        return frames, frames / float(rate), (stream.height, stream.width)


def video_tokens(entry: Mapping[str, Any]) -> int:
    """Vision tokens of Qwen2.5-VL for an entry, by qwen-vl-utils' own rules for how many frames of what size.

    Raises:
        UserError: a video too short for them.
    """
    if isinstance(entry["video"], list):  # equal pixel limits: the size is theirs
        return (len(entry["video"]) + 1) // 2 * entry["max_pixels"] // TOKEN_PIXELS
    module = stored.qwen()
    path = Path(str(entry["video"]).removeprefix("file://"))
    if path.is_dir():
        return entry["max_frames"] // 2 * entry["max_pixels"] // TOKEN_PIXELS if picture_files(path) else 0
    total, seconds, (height, width) = video_shape(path)
    rate = total / seconds if seconds else FRAME_FOLDER_FPS
    try:
        if "video_start" in entry or "video_end" in entry:
            _, _, total = module.calculate_video_frame_range(dict(entry), total, rate)
        count = module.smart_nframes(dict(entry), total_frames=total, video_fps=rate)
    except ValueError as error:
        raise UserError(f"video {path}: {error}") from None
    refuse_shape(path, height, width)
    if "resized_height" in entry:
        height, width = entry["resized_height"], entry["resized_width"]
    else:
        limits = {"min_pixels": entry["min_pixels"], "max_pixels": entry["max_pixels"]}
        height, width = module.smart_resize(height, width, factor=28, **limits)
    return count // 2 * height * width // TOKEN_PIXELS


def prompt_counter(model: Path) -> Callable[[Row], int]:
    """A function from a row to its prompt's length in tokens, video included, with the tokenizer in folder `model`.

    Raises:
        UserError: the folder has no tokenizer with a chat template.
    """
    torchvision_operators.install()  # transformers imports torchvision
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(model), local_files_only=True)
    except (OSError, ValueError) as error:
        raise UserError(f"--model {model}: no tokenizer in this folder ({' '.join(str(error).split())[:90]})") from None
    template = model / "chat_template.jinja"
    if not tokenizer.chat_template and template.is_file():
        tokenizer.chat_template = template.read_text(encoding="utf-8")
    if not tokenizer.chat_template:
        raise UserError(f"--model {model}: its tokenizer has no chat template")

    def count(row: Row) -> int:
        parts = re.split(f"({VIDEO_TAG})", prompt_of(row))
        content = [{"type": "video"} if part == VIDEO_TAG else {"type": "text", "text": part} for part in parts if part]
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        words = len(tokenizer(text, add_special_tokens=False)["input_ids"])
        try:
            return words - 1 + video_tokens(entry_of(row) or {})  # one placeholder becomes the video's tokens
        except KeyError as error:
            raise UserError(f"the entry of `videos` has no key {error}, so its tokens cannot be counted") from None

    return count
