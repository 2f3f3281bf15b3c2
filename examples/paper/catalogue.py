# SPDX-License-Identifier: Apache-2.0
"""The rows of the paper: rows.yaml says what they are called, rows/NAME.args what they change.

A row is a list of overrides to examples/run_qwen25vl_7b_twgrpo.sh, the base; nothing is composed here.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

from recipe.tw_grpo.scoring.published import ABLATION_COLUMNS, ABLATIONS, BENCHMARKS, TABLE_1
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.files import read_args

FOLDER = Path(__file__).resolve().parent
_CLAIMS = {"benchmarks": (tuple(BENCHMARKS.values()), TABLE_1), "clevrer": (ABLATION_COLUMNS, ABLATIONS)}
LAUNCHER = "examples/run_qwen25vl_7b_twgrpo.sh"


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        name: of its file in rows/, and for ROW= of the launch script.
        overrides: Hydra overrides in the order of the file; none for a row that is the base.
        label: the row in words.
        published: percent, for the columns of its table; empty when our sources have no number.
        note: where the paper leaves a choice, "" where it does not.
    """

    name: str
    overrides: tuple[str, ...]
    label: str
    published: tuple[float, ...]
    note: str

    @property
    def file(self) -> str:
        """Path from the root of the repository."""
        return f"examples/paper/rows/{self.name}.args"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table or figure of the paper; `columns` name what `published` of its rows counts."""

    title: str
    columns: tuple[str, ...]
    note: str
    rows: tuple[Row, ...]


@cache
def tables() -> tuple[Table, ...]:
    """All tables in the paper's order."""
    catalogue = OmegaConf.to_container(OmegaConf.load(FOLDER / "rows.yaml"))
    found = []
    for table in catalogue["tables"]:
        columns, claims = _CLAIMS[table["columns"]]
        rows = []
        for name, said in table["rows"].items():
            overrides = read_args(FOLDER / "rows" / f"{name}.args")
            published = claims[said["published"]] if "published" in said else ()
            rows.append(Row(name, overrides, said["label"], published, said.get("note", "")))
        found.append(Table(table["title"], columns, table.get("note", ""), tuple(rows)))
    return tuple(found)


def rows(names: Sequence[str] | None = None) -> list[Row]:
    """The rows of these names in this order, all rows without names.

    Raises:
        UserError: a name that is no row, with the nearest that is one.
    """
    known = {row.name: row for table in tables() for row in table.rows}
    if names is None:
        return list(known.values())
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "the rows are in docs/paper_index.md"
            raise UserError(f"{name} is no row of the paper: {hint}")
    return [known[name] for name in names]


def runs_as(row: Row) -> Row:
    """The first row of the catalogue with the same overrides: what has the same settings is run once."""
    return next(other for other in rows() if sorted(other.overrides) == sorted(row.overrides))
