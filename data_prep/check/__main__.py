# SPDX-License-Identifier: Apache-2.0
"""Look at a parquet file before training on it: counts, distributions, a check of every record, a page of pictures.

`python -m data_prep.check FILE.parquet` ends with code 2 and one line for each kind of problem if a record could not
be trained on. It changes nothing but the page it writes.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from data_prep.check.contact_sheet import page
from data_prep.check.records import (
    Problems,
    Row,
    check_text,
    check_video_entry,
    empty_keys,
    entry_of,
    name_of,
    options_of,
    prompt_counter,
    prompt_of,
    right_letters,
)
from recipe.tw_grpo.toolbox.command_line import Parser, integer, run_main
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.files import write_whole
from recipe.tw_grpo.toolbox.letters import LETTERS

COLUMNS = ("data_source", "prompt", "videos", "reward_model", "extra_info")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """All rows of `path`.

    Raises:
        UserError: no such file, no parquet file, or one without the columns of data_prep.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        table = pq.read_table(path)
        rows = table.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path}: not a parquet file ({' '.join(str(error).split())[:120]})") from None
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise UserError(f"{path}: column {missing[0]!r} is missing; is this a file of data_prep?")
    nested = {"prompt": pa.types.is_list, "videos": pa.types.is_list}
    nested |= {"reward_model": pa.types.is_struct, "extra_info": pa.types.is_struct}
    for name, fits in nested.items():
        kind = table.schema.field(name).type
        if not fits(kind) or (pa.types.is_list(kind) and not pa.types.is_struct(kind.value_type)):
            raise UserError(f"{path}: column {name!r} has the type {kind}, see docs/data.md, Schema")
    if not rows:
        raise UserError(f"{path}: no records")
    return rows


def check_rows(
    rows: Sequence[Row], decode: bool | str, limit: int | None, count_tokens: Callable[[Row], int] | None
) -> tuple[Problems, list[int]]:
    """Problems of all rows, and prompt lengths in tokens (empty without `count_tokens`).

    The same prompt and video twice is no problem (benchmarks repeat questions), unless the right answers differ.
    """
    problems, lengths = Problems(), []
    answers: dict[Any, int] = {}
    checked: dict[str, str | None] = {}
    for number, row in enumerate(tqdm(rows, desc="records", unit="record", disable=None)):
        where = name_of(number, row)
        for kind, sentence in check_text(row):
            problems.add(kind, where, sentence)
        entry = entry_of(row)
        key = repr((row["videos"], entry))
        if key not in checked:
            checked[key] = empty_keys(row) or check_video_entry(entry, decode)
        if checked[key]:
            problems.add("video", where, checked[key])
        first = answers.setdefault((prompt_of(row), key), number)
        if right_letters(rows[first]) != right_letters(row):
            problems.add("contradiction", where, f"same prompt and video as record {first}, another ground truth")
        if count_tokens is not None and not checked[key]:
            try:
                lengths.append(count_tokens(row))
                if limit is not None and lengths[-1] > limit:
                    problems.add("prompt length", where, f"{lengths[-1]:,} tokens, --max-prompt-length is {limit:,}")
            except UserError as error:
                problems.add("video", where, str(error))
    indices = Counter((row["extra_info"] or {}).get("index") for row in rows)
    twice = [index for index, count in indices.items() if index is not None and count > 1]
    if twice:
        problems.add("index", f"index {twice[0]}", f"{len(twice)} values of extra_info.index occur more than once")
    return problems, lengths


def statistics_lines(rows: Sequence[Row], lengths: Sequence[int]) -> list[str]:
    """Lines "name: distribution" about the file."""
    letters = Counter(letter for row in rows for letter in right_letters(row))
    infos = [row["extra_info"] or {} for row in rows]
    words = sorted(len((info.get("question") or prompt_of(row)).split()) for info, row in zip(infos, rows, strict=True))
    lines = [
        f"records: {len(rows):,}, videos: {len({repr((entry_of(row) or {}).get('video')) for row in rows}):,}",
        f"data sources: {_shares(Counter(row['data_source'] for row in rows))}",
        f"kinds: {_shares(Counter(info.get('kind') for info in infos))}",
        f"number of options: {_shares(Counter(len(options_of(row)) for row in rows))}",
        f"number of right options: {_shares(Counter(len(right_letters(row)) for row in rows))}",
        f"right letters: {_shares(letters, LETTERS)}",
        f"words in a question: least {words[0]}, median {median(words):g}, most {words[-1]}",
    ]
    repeated = len(rows) - len({(prompt_of(row), repr(entry_of(row))) for row in rows})
    if repeated:
        lines.append(f"repeated: {repeated:,} records have the prompt and video of an earlier one")
    if any(info.get("inverted") for info in infos):
        styles = Counter(info.get("style") if info.get("inverted") else "not inverted" for info in infos)
        lines.append(f"inverted: {_shares(styles)}")
    if lengths:
        lines.append(f"tokens of a prompt: least {min(lengths):,}, median {median(lengths):g}, most {max(lengths):,}")
    return lines


def _shares(counts: Counter, order: Sequence[Any] | None = None) -> str:
    total = counts.total()
    keys = [key for key in order if key in counts] if order else sorted(counts, key=str)
    keys += [key for key in sorted(counts, key=str) if key not in keys]
    return ", ".join(f"{key}: {counts[key]:,} ({counts[key] / total:.1%})" for key in keys[:30])


def sample_lines(rows: Sequence[tuple[int, Row]]) -> list[str]:
    """A few records as text."""
    lines = []
    for number, row in rows:
        lines += [f"--- {name_of(number, row)}, ground truth {','.join(right_letters(row))}", prompt_of(row)]
    return lines


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        description="Count, check and show the records of a parquet file of data_prep.",
        epilog="example: python -m data_prep.check train.parquet --model Qwen/Qwen2.5-VL-7B-Instruct "
        "--max-prompt-length 4096 --page train.html",
    )
    add = parser.add_argument
    add("file", type=Path, metavar="FILE.parquet")
    add("--page", type=Path, help="HTML file to write; default: FILE.parquet.html")
    add("--samples", type=integer(0), default=24, help="records on the page, chosen by --seed; 0: no page")
    add("--print", type=integer(0), default=2, dest="printed", help="records printed as text")
    add("--seed", type=int, default=0, help="of the samples")
    add("--no-decode", action="store_true", help="only look whether videos exist (decoding takes the time)")
    add("--whole-videos", action="store_true", help="decode all of every video, not its beginning only (slow)")
    add("--model", type=Path, help="folder of a model: count the tokens of every prompt with its tokenizer")
    add("--max-prompt-length", type=integer(1), help="data.max_prompt_length of the run; needs --model")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Print, check, write the page; 2 if a record has a problem."""
    args = build_parser().parse_args(argv)
    if args.max_prompt_length and not args.model:
        raise UserError("--max-prompt-length needs --model, the folder of the tokenizer")
    if args.model and not args.model.is_dir():
        raise UserError(f"--model {args.model}: no such folder")
    rows = read_rows(args.file)
    counter = prompt_counter(args.model) if args.model else None
    problems, lengths = check_rows(
        rows, "whole" if args.whole_videos else not args.no_decode, args.max_prompt_length, counter
    )
    lines = statistics_lines(rows, lengths)
    order = sorted(random.Random(args.seed).sample(range(len(rows)), min(len(rows), max(args.samples, args.printed))))
    numbered = [(number, rows[number]) for number in order]
    print("\n".join([*lines, *sample_lines(numbered[: args.printed])]))
    if args.samples:
        target = args.page or args.file.with_name(args.file.name + ".html")
        shown = tqdm(numbered[: args.samples], desc="page", unit="record", disable=None)
        write_whole(target, page(args.file, shown, lines, problems.lines()))
        print(f"page with {min(args.samples, len(numbered))} records: {target}")
    for line in problems.lines():
        print(f"check: {args.file}: {line}", file=sys.stderr)
    return 2 if problems.count else 0


if __name__ == "__main__":
    run_main(main)
