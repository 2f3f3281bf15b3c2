# SPDX-License-Identifier: Apache-2.0
"""A page that shows records to a person: the frames the model sees, the question, its options, the right ones marked.

One file that needs no other: pictures are inside, texts are escaped, nothing is loaded from anywhere.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from data_prep.check.records import Row, entry_of, name_of, options_of, prompt_of, right_letters
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.letters import LETTERS

STRIP = 8  # frames of a strip
HEIGHT = 120  # pixels of a frame on the page

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:1240px;padding:0 1em;color:#1c1c1c;background:#fff}
h1{font-size:1.35em;overflow-wrap:anywhere} table{border-collapse:collapse}
td,th{vertical-align:top;text-align:left;padding:.1em 1em .1em 0}
article{border-top:1px solid #c8c8c8;padding:1em 0} .strip{display:flex;flex-wrap:wrap;gap:3px;margin:.5em 0}
.strip img{height:120px;display:block} .id{color:#666;font-size:.85em;overflow-wrap:anywhere}
.question{font-weight:600;white-space:pre-wrap;overflow-wrap:anywhere;margin:.3em 0}
ul{list-style:none;padding:0;margin:.3em 0} li{padding:.1em .5em;white-space:pre-wrap;overflow-wrap:anywhere}
.right{background:#dff3e0;border-left:4px solid #2b8a3e} .wrong{border-left:4px solid #e4e4e4}
.bad{color:#b00020} .inverted{background:#fff1cc;padding:0 .4em}
"""


def frame_strip(entry: Mapping[str, Any]) -> tuple[list[bytes], str]:
    """Up to STRIP of the frames the model is given, as small JPEG files, and a line about how many there are.

    Raises:
        UserError: they cannot be decoded.
    """
    from PIL import Image

    if isinstance(entry["video"], list):
        files = [name.removeprefix("file://") for name in entry["video"]]
        count, rate = len(files), entry.get("sample_fps", 2.0)
        chosen = [files[i] for i in _evenly(count)]
        try:
            pictures = [_small(Image.open(name)) for name in chosen]
        except (OSError, ValueError) as error:
            raise UserError(f"frames cannot be read ({' '.join(str(error).split())[:120]})") from None
        note = "stored frames"
    else:
        from data_prep.videos.frames import reader_name, sampled_frames

        video, rate = sampled_frames(entry)
        count = len(video)
        pictures = [_small(Image.fromarray(video[i].permute(1, 2, 0).numpy())) for i in _evenly(count)]
        note = f"read with {reader_name()}"
    return pictures, f"{len(pictures)} of {count} frames, {rate:.3g} a second, {note}"


def _evenly(count: int) -> list[int]:
    shown = min(STRIP, count)
    return [round(i * (count - 1) / max(shown - 1, 1)) for i in range(shown)]


def _small(picture: Any) -> bytes:
    picture = picture.convert("RGB")
    picture.thumbnail((4 * HEIGHT, 2 * HEIGHT))  # twice the height on the page, for sharp screens
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=80)
    return file.getvalue()


def article(number: int, row: Row) -> str:
    """One record as HTML."""
    info = row.get("extra_info") or {}
    entry = entry_of(row)
    try:
        pictures, note = frame_strip(entry) if entry and entry.get("video") else ([], "no video")
        images = "".join(
            f'<img alt="frame {i + 1}" src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'
            for i, data in enumerate(pictures)
        )
        strip = f'<div class="strip">{images}</div><div class="id">{_safe(note)}</div>'
    except UserError as error:
        strip = f'<div class="bad">{_safe(error)}</div>'
    right, question = right_letters(row), info.get("question") or prompt_of(row)
    items = "".join(
        f'<li class="{"right" if letter in right else "wrong"}">{letter}. {_safe(option)}'
        f"{' ✓' if letter in right else ''}</li>"
        for letter, option in zip(LETTERS, options_of(row), strict=False)
    )
    source = f"{_safe(row.get('data_source') or '')} · right: {_safe(','.join(right))}"
    original = ""
    if info.get("inverted"):
        source += f' · <span class="inverted">inverted ({_safe(info.get("style") or "")})</span>'
        original = (
            f'<div class="id">was: {_safe(info.get("original_question") or "")} — '
            f"{_safe(' | '.join(info.get('original_options') or []))}</div>"
        )
    clip = ""
    if entry and entry.get("video_end") is not None:
        clip = f" · {entry.get('video_start', 0):g} to {entry['video_end']:g} s"
    return (
        f'<article><div class="id">{_safe(name_of(number, row))} · {source}{clip}</div>{strip}'
        f'<div class="question">{_safe(question)}</div><ul>{items}</ul>{original}</article>'
    )


def page(path: Path, rows: Sequence[tuple[int, Row]], lines: Sequence[str], problems: Sequence[str]) -> str:
    """The whole page: what was counted, what is wrong, and the records of `rows` (position in the file, row)."""
    counted = "".join(
        f"<tr><th>{_safe(name)}</th><td>{_safe(value)}</td></tr>"
        for name, _, value in (line.strip().partition(": ") for line in lines)
    )
    wrong = "".join(f'<p class="bad">{_safe(line)}</p>' for line in problems)
    articles = "\n".join(article(number, row) for number, row in rows)
    title = _safe(path.name)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body>\n<h1>{title}</h1>\n<table>{counted}</table>\n{wrong}\n{articles}\n"
        "</body></html>\n"
    )


def _safe(text: object) -> str:
    """Text for HTML; characters that no file may hold (lone surrogates, control characters) become `?`."""
    clean = str(text).encode("utf-8", "replace").decode()
    return escape("".join(c if c in "\n\t" or ord(c) >= 32 else "?" for c in clean))
