# SPDX-License-Identifier: Apache-2.0
"""The rows of the paper, from rows.yaml beside this file, each with the numbers that scoring/published.py has for it.

A trained row is a list of overrides to examples/run_qwen25vl_7b_twgrpo.sh, the base; nothing is composed here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from recipe.tw_grpo.runs.paper_row import read_tables, row_of
from recipe.tw_grpo.scoring.published import ABLATION_COLUMNS, BENCHMARKS, TABLES
from recipe.tw_grpo.toolbox.errors import UserError

FILE = Path(__file__).resolve().with_name("rows.yaml")
_COLUMNS = {"benchmarks": tuple(BENCHMARKS.values()), "clevrer": ABLATION_COLUMNS, "none": ()}
LAUNCHER, EVALUATION = "examples/run_qwen25vl_7b_twgrpo.sh", "examples/eval_qwen25vl_7b.sh"
TRAIN_FILE = "data.train_files="
BASE_FILE = "data/clevrer_train.parquet"


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        name: of the row, also for ROW= of the launch script.
        label: the row in words.
        overrides: Hydra overrides in their order, empty for a row that is the base; None for a row that is not trained.
        model: what is evaluated, of a row that is not trained; "" for one that the paper quotes.
        published: percent, for the columns of its table, None where its cell is blank; empty without numbers.
        note: where the paper leaves a choice, "" where it does not.
    """

    name: str
    label: str
    overrides: tuple[str, ...] | None
    model: str
    published: tuple[float | None, ...]
    note: str

    @property
    def train_file(self) -> str:
        """What a trained row is trained on, a key of `training_sets`."""
        files = [o.removeprefix(TRAIN_FILE) for o in self.overrides or () if o.startswith(TRAIN_FILE)]
        return files[-1] if files else BASE_FILE


@dataclasses.dataclass(frozen=True)
class TrainingSet:
    """`command` writes it, "" where only the tiny world has it; `tiny`: its counterpart there, "" for none."""

    command: str = ""
    tiny: str = ""


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
    result = []
    for table in read_tables(FILE)["tables"]:
        numbers = TABLES.get(table["title"], {})
        rows = []
        for name, row in table["rows"].items():
            overrides = tuple(row["overrides"]) if "overrides" in row else None
            published = numbers.get(row["label"], ())
            rows.append(Row(name, row["label"], overrides, row.get("model", ""), published, row.get("note", "")))
        result.append(Table(table["title"], _COLUMNS[table["columns"]], table.get("note", ""), tuple(rows)))
    return tuple(result)


@cache
def training_sets() -> dict[str, TrainingSet]:
    """Every training file that a row names, and the base's."""
    return {file: TrainingSet(**about) for file, about in read_tables(FILE)["training_sets"].items()}


@cache
def differences() -> tuple[tuple[str, str, str, str], ...]:
    """What still differs from the published run: what, there, in the base, why."""
    return tuple(tuple(entry) for entry in read_tables(FILE)["differences"])


def rows(names: Sequence[str] | None = None) -> list[Row]:
    """The rows of these names in this order, all rows without names.

    Raises:
        UserError: a name that is no row, with the nearest that is one.
    """
    known = {row.name: row for table in tables() for row in table.rows}
    return list(known.values()) if names is None else [row_of(known, name) for name in names]


def trained(names: Sequence[str]) -> list[Row]:
    """The same of rows that are to be trained.

    Raises:
        UserError: also a row that is evaluated or quoted.
    """
    chosen = rows(names)
    for row in chosen:
        if row.overrides is None:
            raise UserError(f"{row.name} is a row of the paper that is not trained: see docs/paper_index.md")
    return chosen


def runs_as(row: Row) -> Row:
    """The first row of the catalogue with the same overrides: what has the same settings is run once."""
    same = sorted(row.overrides)
    return next(other for other in rows() if other.overrides is not None and sorted(other.overrides) == same)
