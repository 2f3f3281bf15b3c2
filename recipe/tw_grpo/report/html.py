# SPDX-License-Identifier: Apache-2.0
"""report.html: the curves, settings and samples of one run or several in one file that loads no address.

The file has a fixed room, shared by its runs; samples and frames that do not fit are left out, evenly over the steps,
and the page says how many. The scripts are in `page/`, the charts are uPlot's (MIT, its licence beside it).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from recipe.tw_grpo.report.head import run_head, settings_of, train_files
from recipe.tw_grpo.report.reading import Files, Run, read_run
from recipe.tw_grpo.report.run_report import summarize
from recipe.tw_grpo.report.samples import Digest, Group
from recipe.tw_grpo.report.tables import rises_table, verdict, whole_run
from recipe.tw_grpo.report.tokens import TokenTexts, load_tokenizer
from recipe.tw_grpo.runs.frames import Frames
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.files import whole_file
from recipe.tw_grpo.toolbox.html import FRAME_ROOM, TEXT_ROOM, assets, page

PAGE = Path(__file__).parent / "page"
STYLES = ("uPlot.min.css", "report.css")
SCRIPTS = ("uPlot.iife.min.js", "store.js", "curves.js", "panels.js", "maps.js", "samples.js", "group.js", "main.js")
LICENCE = "uPlot.LICENSE.txt"  # goes with every copy of its code, so with every page
Read = tuple[Run, dict[str, Any]]


def read_for_page(folder: Path, shared_by: int = 1, files: Files | None = None) -> Read:
    """A run with its digests and its summary; `shared_by` is how many runs share the room of the page.

    Raises:
        UserError: as `read_run`.
    """

    run = read_run(folder, lambda run, dumps: digest_of(run, TEXT_ROOM / shared_by / dumps), files)
    return run, summarize(run)


def digest_of(run: Run, room: float) -> Digest:
    """What makes and packs the groups of a run, with its own tokenizer; `room` as of `Digest`."""
    tokenizer = load_tokenizer(run)
    return Digest(run, settings_of(run), TokenTexts(tokenizer) if tokenizer else None, room)


def heads_of(read: Sequence[Read]) -> list[dict[str, Any]]:
    """What `head.run_head` says of each run, with its tables."""
    return [
        run_head(run, summary, verdict(summary), whole_run(summary)) | {"rises": rises_table(summary)}
        for run, summary in read
    ]


def frames_of(run: Run) -> Frames:
    """The strips of a run's prompts, from the files it was trained on."""
    return Frames(train_files(settings_of(run)), run.folder)


def write_page(read: Sequence[Read], target: Path) -> None:
    """Write the page of some runs, whole or not at all; what could not be shown goes into their notes.

    Raises:
        UserError: the folder of `target` is not there.
    """
    if not target.parent.is_dir():
        raise UserError(f"{target}: {target.parent} is no folder")
    strips: dict[str, Any] = {}
    blobs: list[tuple[str, bytes]] = []
    chosen = []
    for i, (run, _) in enumerate(read):
        kept = [group for step in run.steps for group in run.digests[step].groups if group.packed is not None]
        chosen.append(_choose_strips(run, i, kept, FRAME_ROOM // len(read), strips))
        blobs += [(f"g{i}-{group.step}-{group.number}", group.packed) for group in kept]
    heads = heads_of(read)
    for (run, _), head, more in zip(read, heads, chosen, strict=True):
        head |= {"link": os.path.relpath(run.folder, target.parent), **more}
    with whole_file(target) as part, part.open("w", encoding="utf-8") as file:
        file.writelines(page_of(heads, strips, blobs))


def page_of(
    heads: Sequence[dict[str, Any]] | None,
    strips: dict[str, Any],
    blobs: Sequence[tuple[str, bytes]],
    served: bool = False,
) -> Iterator[str]:
    """Pieces of the page; `served` for one that asks its server for runs, groups and frames as they come."""
    names = ", ".join(head["name"] for head in heads or ())
    return page(
        f"{names}: TW-GRPO report" if names else "TW-GRPO report",
        styles=assets(*(PAGE / name for name in STYLES)),
        scripts=assets(*(PAGE / name for name in SCRIPTS)),
        data={
            "head": {"served": served, "runs": heads or []},
            "licence": {LICENCE: assets(PAGE / LICENCE)[0]},
            **strips,
        },
        blobs=blobs,
        reach="'self'" if served else "'none'",
    )


def _choose_strips(run: Run, number: int, kept: Sequence[Group], room: int, strips: dict[str, Any]) -> dict[str, Any]:
    """Add strips to `strips` as s{run}-{n} while there is room: which group has which, by "{step}-{number}", and notes.

    Evenly over the run: every second group, then every second of the rest, and so on.
    """
    frames, mine, of_group = frames_of(run), {}, {}
    full = False
    for group in _spread(kept):
        entry = frames.entry(group.index, group.prompt) if group.index else None
        if entry is None:
            continue
        key = str(sorted((name, str(value)) for name, value in entry.items()))
        if key not in mine and not full:
            strip = frames.strip(entry)
            mine[key] = None
            if strip is not None:
                room -= len(strip["picture"])
                full = room < 0
                mine[key] = len(of_group)
                strips[f"s{number}-{mine[key]}"] = strip
        if mine.get(key) is not None:
            of_group[f"{group.step}-{group.number}"] = mine[key]
    notes = frames.notes[:5]
    if kept and not of_group:
        notes.append("no frames are shown: run.json names no data file that is here, or its records have no videos")
    return {"strips": of_group, "page_notes": notes}


def _spread(groups: Sequence[Group]) -> Iterator[Group]:
    """All groups, so that any first part of them lies evenly over the whole."""
    n, width = len(groups), max(1, len(groups).bit_length())
    for i in range(1 << width):
        place = int(f"{i:0{width}b}"[::-1], 2)
        if place < n:
            yield groups[place]
