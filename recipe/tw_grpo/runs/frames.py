# SPDX-License-Identifier: Apache-2.0
"""The frames a model saw of a prompt, as one small picture: the record of its parquet file, read by qwen-vl-utils.

Sampling is that of training, because it is the same code; only the size is another. Nothing here ends a report: what
cannot be shown is a line in `notes`.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recipe.tw_grpo.groups import grouped
from recipe.tw_grpo.toolbox import torchcodec, torchvision_operators

HEIGHT = 96  # px of a frame in the strip
MOST = 16  # frames of a strip; of more, so many at equal distances
_QUALITY = 70


class Frames:
    """Strips of the prompts of some parquet files, each made once."""

    def __init__(self, files: Sequence[str | Path], beside: Path) -> None:
        """`files` as the run's command names them; relative ones are looked for from here, then from `beside` up."""
        self.notes: list[str] = []
        self._files = [_existing(Path(file), beside) for file in files]
        self._records: dict[str, list[dict[str, Any]]] | None = None
        self._strips: dict[str, dict[str, Any] | None] = {}
        self._module: Any = None

    def entry(self, index: str, prompt: str) -> Mapping[str, Any] | None:
        """The first video of the record with this index; where several have it, of the one whose question is asked."""
        if self._records is None:
            self._records = self._read()
        records = self._records.get(index, [])
        if len(records) > 1:
            records = [record for record in records if record["question"] and record["question"] in prompt]
        return records[0]["videos"][0] if records and records[0]["videos"] else None

    def strip(self, entry: Mapping[str, Any]) -> dict[str, Any] | None:
        """{picture (base64 JPEG), count, shown, video} of an `entry`; None, and a note, when it cannot be read."""
        source = entry["video"]
        name = str(Path(str(source[0])).parent if isinstance(source, list) else source).removeprefix("file://")
        key = f"{name} {entry.get('video_start')} {entry.get('video_end')}"
        if key not in self._strips:
            try:
                self._strips[key] = self._drawn(entry, name)
            except Exception as error:  # decord, torchcodec and PIL each raise their own kinds
                reason = " ".join(str(error).split())[:160] or type(error).__name__
                self.notes.append(f"frames of {name} cannot be shown: {reason}")
                self._strips[key] = None
        return self._strips[key]

    def _read(self) -> dict[str, list[dict[str, Any]]]:
        import pyarrow.parquet as pq

        records = []
        for file in self._files:
            try:
                names = set(pq.read_schema(file).names)
                table = pq.read_table(file, columns=[n for n in ("videos", "extra_info") if n in names])
            except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
                self.notes.append(f"{file} cannot be read, so its frames are not shown: {str(error).splitlines()[0]}")
                continue
            for row in table.to_pylist():
                about = row.get("extra_info") or {}
                records.append({"index": str(about.get("index")), "question": about.get("question"),
                                "videos": row.get("videos")})  # fmt: skip
        return grouped(records, lambda record: record["index"])

    def _drawn(self, entry: Mapping[str, Any], name: str) -> dict[str, Any]:
        from PIL import Image

        frames = self._sampled({key: value for key, value in entry.items() if value is not None})
        count = len(frames)
        if count > MOST:
            frames = [frames[round(i * (count - 1) / (MOST - 1))] for i in range(MOST)]
        width = max(1, round(frames[0].width * HEIGHT / frames[0].height))
        picture = Image.new("RGB", ((width + 2) * len(frames) - 2, HEIGHT), "white")
        for i, frame in enumerate(frames):
            picture.paste(frame.resize((width, HEIGHT)), (i * (width + 2), 0))
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=_QUALITY)
        data = base64.b64encode(file.getvalue()).decode()
        return {"picture": data, "count": count, "shown": len(frames), "video": Path(name).name}

    def _sampled(self, entry: dict[str, Any]) -> list[Any]:
        """PIL pictures of the frames that qwen-vl-utils samples; listed ones are those of the record."""
        from PIL import Image

        if isinstance(entry["video"], list):
            return [Image.open(str(path).removeprefix("file://")).convert("RGB") for path in entry["video"]]
        path = Path(entry["video"].removeprefix("file://"))
        if not path.exists():
            raise FileNotFoundError("the file is not there")
        if self._module is None:
            torchvision_operators.install()
            from qwen_vl_utils import vision_process

            self._module = vision_process
        video = self._reader()(entry)[0]
        return [Image.fromarray(frame.permute(1, 2, 0).byte().numpy()) for frame in video]

    def _reader(self) -> Any:
        readers, forced = self._module.VIDEO_READER_BACKENDS, self._module.FORCE_QWENVL_VIDEO_READER
        return readers[forced or ("decord" if torchcodec.problem() else "torchcodec")]


def _existing(file: Path, beside: Path) -> Path:
    # A relative name is meant from where the run was started: most often here, or some folders above the run.
    places = (Path(), beside, *list(beside.resolve().parents)[:3])
    return next((place / file for place in places if (place / file).exists()), file)
