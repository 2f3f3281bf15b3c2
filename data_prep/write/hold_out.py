# SPDX-License-Identifier: Apache-2.0
"""Questions held out of a training parquet by whole videos: `python -m data_prep.write.hold_out FILE …`.

A video is wholly on one side, because questions about one video answer each other. Which videos are held out depends
on their names and the seed only, so that adding records later moves no video to the other side.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recipe.tw_grpo.toolbox.command_line import Parser, integer, run_main
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.files import whole_file


def held_out_rows(videos: Sequence[str], questions: int, seed: int) -> list[int]:
    """Rows to hold out: whole videos, in an order of their names' hashes, as long as they hold at most `questions`.

    Args:
        videos: the video of each row.
        questions: the most rows to hold out.
        seed: of the order.

    Returns:
        Row numbers, ascending; never all rows.
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for row, video in enumerate(videos):
        rows[video].append(row)
    chosen: list[int] = []
    order = sorted(rows, key=lambda video: hashlib.sha256(f"{seed}/{Path(video).name}/{video}".encode()).digest())
    for video in order[: len(order) - 1]:
        if len(chosen) + len(rows[video]) <= questions:
            chosen += rows[video]
    return sorted(chosen)


def video_of(record: dict) -> str:
    """What a record's question is about: its video's name, else the path of its first video."""
    extra = record.get("extra_info") or {}
    videos = record.get("videos") or []
    return str(extra.get("video") or (videos[0]["video"] if videos else ""))


def hold_out(file: Path, train: Path, validation: Path, questions: int, seed: int) -> tuple[int, int]:
    """Write both parts of `file`, with its schema and its notes; how many records each has.

    Raises:
        UserError: no parquet of data_prep, or a single video.
    """
    try:
        table = pq.read_table(file)
        videos = [video_of(record) for record in table.select(["extra_info", "videos"]).to_pylist()]
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise UserError(f"{file}: no parquet written by data_prep ({error})") from None
    rows = held_out_rows(videos, questions, seed)
    if not rows:
        raise UserError(
            f"{file}: no video of its {len(set(videos))} can be held out with at most {questions} questions: "
            "allow more, or give a validation file of your own"
        )
    kept = sorted(set(range(len(table))) - set(rows))
    for path, part in ((train, kept), (validation, rows)):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            pq.write_table(table.take(part), temporary)
    return len(kept), len(rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = Parser(
        prog="python -m data_prep.write.hold_out",
        description=__doc__.split("\n\n")[0],
        epilog="example: python -m data_prep.write.hold_out data/clevrer_train.parquet --train data/train.parquet "
        "--validation data/validation.parquet",
    )
    add = parser.add_argument
    add("file", type=Path, help="parquet of data_prep")
    add("--train", type=Path, required=True, help="what stays, for training")
    add("--validation", type=Path, required=True, help="what is held out")
    add("--questions", type=integer(1), default=100, help="the most questions to hold out")
    add("--seed", type=integer(0), default=0, help="which videos")
    args = parser.parse_args(argv)
    train, validation = hold_out(args.file, args.train, args.validation, args.questions, args.seed)
    print(f"{args.file}: {validation} questions held out by video in {args.validation}, {train} left in {args.train}")


if __name__ == "__main__":
    run_main(main)
