# SPDX-License-Identifier: Apache-2.0
"""`python -m examples.paper.index` prints docs/paper_index.md from the rows of the paper; a test compares the two."""

from __future__ import annotations

from examples.paper.catalogue import LAUNCHER, runs_as, tables

HEAD = f"""# The paper's tables, row by row

Printed by `python -m examples.paper.index` from `examples/paper/rows.yaml` and `examples/paper/rows/`. A row is
a file of overrides to `{LAUNCHER}`, which is the base;
`pytest tests/verl/test_paper_rows.py` composes every row with verl's own configuration code and checks that it
differs from the base in exactly its overrides.

```
ROW=NAME bash {LAUNCHER}                  # train one row; DRY_RUN=1 composes and checks it, no GPU
MODEL=outputs/…/huggingface bash examples/eval_qwen25vl_7b.sh           # its column of the table
python -m examples.paper.run --rows NAME NAME --seeds 1 2 3 --where cluster    # several rows and seeds, and their table
python -m examples.paper.run --rows NAME NAME --seeds 1 2 3 --where tiny       # the same on the toy world, no GPU
```

"Published" is what the paper claims (arXiv 2505.24718v3, percent), not what this project has measured.
Rows with the same settings are run once. All have 500 steps, 1,000 CLEVRER training questions, two GPUs.
"""


def index() -> str:
    """The whole page as Markdown."""
    lines = [HEAD]
    for table in tables():
        lines.append(f"## {table.title}\n")
        if table.note:
            lines.append(f"{table.note}\n")
        numbers = (
            f"published ({' / '.join(table.columns)})" if any(row.published for row in table.rows) else "published"
        )
        lines.append(f"| row | file; command `… bash {LAUNCHER}` | differs from the base in | {numbers} |")
        lines.append("|---|---|---|---|")
        for row in table.rows:
            same = runs_as(row)
            changes = "<br>".join(f"`{override}`" for override in row.overrides) or "nothing"
            if same is not row:
                changes += f" (as [{same.name}](../{same.file}))"
            claim = " / ".join(f"{number:.1f}" for number in row.published) or "-"
            lines.append(f"| {row.label} | [`ROW={row.name}`](../{row.file}) | {changes} | {claim} |")
        lines.append("")
        lines += [f"* {row.label}: {row.note}" for row in table.rows if row.note]
        if lines[-1]:
            lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    print(index(), end="")
