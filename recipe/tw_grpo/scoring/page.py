# SPDX-License-Identifier: Apache-2.0
"""`compare A B --html FILE`: both answers to every question side by side, with the options and the frames.

The page has the look of a run's report and a room of its own: questions whose score changed come first, then the others
while there is room, and it says how many are not there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipe.tw_grpo.runs.frames import Frames
from recipe.tw_grpo.scoring.compare import Pair, letters
from recipe.tw_grpo.scoring.score import Scored
from recipe.tw_grpo.toolbox.files import whole_file
from recipe.tw_grpo.toolbox.html import FRAME_ROOM, TEXT_ROOM, assets, packed, page

PAGE = Path(__file__).parent / "page"
EVALUATION = "evaluation.json"  # beside the answers of an evaluation; it names the questions' file


def write_comparison(
    target: Path,
    result: dict[str, Any],
    table: Sequence[Sequence[str]],
    pairs: Sequence[tuple[Pair, str | None]],
    data: Path | None = None,
) -> None:
    """Write the page, whole or not at all.

    Args:
        target: the file; its folder has to be there.
        result: of `compare.compare`.
        table: its table of differences.
        pairs: of `compare.pairs_of`.
        data: parquet file of the questions; None for what the evaluation beside a log names.
    """
    frames = Frames([data] if data else _files(result), Path(result["a"]).parent)
    changed = sorted(range(len(pairs)), key=lambda i: pairs[i][0][0].soft == pairs[i][0][1].soft)
    rows: list[list[Any]] = []
    blobs: list[tuple[str, bytes]] = []
    strips: dict[str, Any] = {}
    numbers: dict[int, int] = {}
    text_room, frame_room = TEXT_ROOM, FRAME_ROOM
    for i in changed:
        (x, y), category = pairs[i]
        both = _packed(x, y)
        if text_room < len(both):
            break
        text_room -= len(both)
        index = x.sample.fields.get("index")
        entry = None if index is None else frames.entry(str(index), x.sample.question)
        strip = frames.strip(entry) if entry and frame_room > 0 else None
        number = None
        if strip is not None:
            number = numbers.setdefault(id(strip), len(numbers))  # one object a video
            if f"s{number}" not in strips:
                frame_room -= len(strip["picture"])
                strips[f"s{number}"] = strip
        rows.append([x.sample.question[:200], x.kind, category, x.soft, y.soft, letters(x.predicted),
                     letters(y.predicted), number])  # fmt: skip
        blobs.append((f"q{len(rows) - 1}", both))
    head = {
        "a": result["a"],
        "b": result["b"],
        "rule": result["rule"],
        "only": [result["only_in_a"], result["only_in_b"]],
        "table": [list(row) for row in table],
        "rows": rows,
        "all": len(pairs),
        "notes": frames.notes[:5],
    }
    pieces = page(
        f"{Path(result['b']).name} against {Path(result['a']).name}",
        styles=assets(PAGE / "compare.css"),
        scripts=assets(PAGE / "compare.js"),
        data={"head": head, **strips},
        blobs=blobs,
    )
    with whole_file(target) as part, part.open("w", encoding="utf-8") as file:
        file.writelines(pieces)


def _files(result: dict[str, Any]) -> list[str]:
    """The questions' file that an evaluation beside one of the logs names."""
    for log in (result["a"], result["b"]):
        try:
            identity = json.loads(Path(log).with_name(EVALUATION).read_bytes())["identity"]
            return [str(identity["data"])]
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return []


def _packed(x: Scored, y: Scored) -> bytes:
    """One question as gzip of the JSON that `compare.js` reads."""
    sample = x.sample
    question = {
        "question": sample.question,
        "video": sample.video,
        "options": list(sample.options or ()),
        "right": letters(x.truth),
        "answers": [
            {"text": z.sample.response, "predicted": letters(z.predicted), "soft": z.soft, "exact": z.right,
             "malformed": z.malformed, "line": z.sample.line} for z in (x, y)
        ],
    }  # fmt: skip
    return packed(question)
