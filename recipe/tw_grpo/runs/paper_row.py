# SPDX-License-Identifier: Apache-2.0
"""`python -m recipe.tw_grpo.runs.paper_row rows.yaml ROW` prints the overrides of a row of the paper, one a line.

The launch script calls it for ROW=…; examples/paper reads the same file for everything else it says.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recipe.tw_grpo.toolbox.command_line import Parser, run_main
from recipe.tw_grpo.toolbox.errors import UserError


def read_tables(path: Path) -> dict[str, Any]:
    """rows.yaml as it stands, but `overrides` of every row is a flat list; a row that is not trained has none."""
    import yaml  # comes with verl

    catalogue = yaml.safe_load(path.read_text(encoding="utf-8"))
    for table in catalogue["tables"]:
        for row in table["rows"].values():
            if "overrides" in row:
                row["overrides"] = list(_flat(row["overrides"]))
    return catalogue


def _flat(overrides: Sequence[Any]) -> Iterator[str]:
    for entry in overrides:  # an alias of a shared list is a list in the list
        if isinstance(entry, str):
            yield entry
        else:
            yield from _flat(entry)


def row_of(rows: Mapping[str, Any], name: str) -> Any:
    """`rows[name]`.

    Raises:
        UserError: there is none, with the nearest one.
    """
    if name not in rows:
        near = difflib.get_close_matches(name, rows, n=1)
        hint = f"did you mean {near[0]}?" if near else "the rows are in docs/paper_index.md"
        raise UserError(f"{name} is no row of the paper: {hint}")
    return rows[name]


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = Parser(prog="python -m recipe.tw_grpo.runs.paper_row", description=__doc__.split("\n\n")[0])
    parser.add_argument("file", type=Path, metavar="rows.yaml", help="examples/paper/rows.yaml")
    parser.add_argument("row", metavar="ROW", help="its name, see docs/paper_index.md")
    args = parser.parse_args(argv)
    rows = {name: row for table in read_tables(args.file)["tables"] for name, row in table["rows"].items()}
    row = row_of(rows, args.row)
    if "overrides" not in row:
        raise UserError(f"{args.row} is a row of the paper that is not trained: see docs/paper_index.md")
    for override in row["overrides"]:
        print(override)


if __name__ == "__main__":
    run_main(main)
