# SPDX-License-Identifier: Apache-2.0
"""`python -m examples.paper.single_answer IN.parquet OUT.parquet`: the questions with exactly one right option.

That is our reading of "single-choice data" in Table 3. Rows are kept as they are and in their order; `--limit` takes so
many of them, chosen by `--seed`, so that both kinds of data have the same number of questions.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recipe.tw_grpo.toolbox.command_line import Parser, integer, run_main
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.files import whole_file


def single_answer(source: Path, target: Path, limit: int | None = None, seed: int = 0) -> int:
    """Write the questions of `source` with one right option to `target`, whole or not at all; returns how many.

    Raises:
        UserError: `source` is no parquet of data_prep, or has fewer such questions than `limit`.
    """
    try:
        table = pq.read_table(source)
        single = pc.equal(pc.struct_field(table["extra_info"], "kind"), "single")
    except (KeyError, FileNotFoundError, pa.ArrowInvalid) as error:
        raise UserError(f"{source}: no parquet of data_prep with extra_info.kind ({error})") from None
    table = table.filter(single)
    if limit is not None:
        if table.num_rows < limit:
            raise UserError(f"{source}: {table.num_rows} questions have one right option, fewer than --limit {limit}")
        table = table.take(sorted(random.Random(seed).sample(range(table.num_rows), limit)))
    if not table.num_rows:
        raise UserError(f"{source}: no question has exactly one right option")
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(target) as part:
        pq.write_table(table, part, compression="zstd")
    return table.num_rows


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = Parser(prog="python -m examples.paper.single_answer", description=__doc__.split("\n\n")[0])
    parser.add_argument("source", type=Path, metavar="IN", help="parquet written by data_prep")
    parser.add_argument("target", type=Path, metavar="OUT", help="parquet to write")
    parser.add_argument("--limit", type=integer(1), help="so many questions; all without it")
    parser.add_argument("--seed", type=integer(0), default=0, help="chooses them")
    args = parser.parse_args(argv)
    print(f"{single_answer(args.source, args.target, args.limit, args.seed)} questions -> {args.target}")


if __name__ == "__main__":
    run_main(main)
