# SPDX-License-Identifier: Apache-2.0
"""Tables of text cells: on a terminal, as Markdown, as LaTeX. The first row is the head, the first column the names."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

Rows = Sequence[Sequence[str]]
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def print_table(rows: Rows, title: str | None = None) -> None:
    """Print a table: with rich on a terminal that has it, else aligned plain text."""
    if sys.stdout.isatty():
        try:
            from rich.console import Console
            from rich.table import Table
            from rich.text import Text
        except ImportError:
            pass
        else:
            table = Table(title=title and Text(title), title_justify="left")
            for i, name in enumerate(rows[0]):
                table.add_column(Text(name), justify="right" if i else "left")
            for row in rows[1:]:
                table.add_row(*map(Text, row))
            Console().print(table)
            return
    if title:
        print(title)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def markdown(rows: Rows, title: str | None = None) -> str:
    """A GitHub table; bars and line breaks in cells are escaped."""
    lines = [f"**{title}**", ""] if title else []
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    lines.append(f"| {' | '.join(cells[0])} |")
    lines.append("|---|" + "---:|" * (len(cells[0]) - 1))
    lines += [f"| {' | '.join(row)} |" for row in cells[1:]]
    return "\n".join(lines) + "\n"


def latex(rows: Rows, title: str | None = None) -> str:
    """A `tabular` with the lines of booktabs; special characters are escaped."""
    cells = [[re.sub(r"[\\~^&%$#_{}]", lambda m: _LATEX[m.group()], cell) for cell in row] for row in rows]
    body = [" & ".join(row) + r" \\" for row in cells]
    lines = [f"% {' '.join(title.split())}"] if title else []
    lines += [r"\begin{tabular}{l" + "r" * (len(cells[0]) - 1) + "}", r"\toprule", body[0], r"\midrule", *body[1:]]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"
