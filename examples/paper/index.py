# SPDX-License-Identifier: Apache-2.0
"""`python -m examples.paper.index` prints docs/paper_index.md from the rows of the paper; a test compares the two."""

from __future__ import annotations

from examples.paper.catalogue import BASE_FILE, EVALUATION, LAUNCHER, Row, differences, runs_as, tables, training_sets

HEAD = f"""# The paper's tables, row by row

Printed by `python -m examples.paper.index` from `examples/paper/rows.yaml` and `recipe/tw_grpo/scoring/published.py`. A
trained row is a list of overrides to `{LAUNCHER}`, which is the base;
`pytest tests/verl/test_paper_rows.py` composes every row with verl's own configuration code and checks that it
differs from the base in exactly its overrides.

```
ROW=NAME bash {LAUNCHER}                  # train one row; DRY_RUN=1 composes and checks it, no GPU
MODEL=outputs/…/huggingface bash {EVALUATION}           # its column of the table
python -m examples.paper.run --rows NAME NAME --seeds 1 2 3 --where cluster    # several rows and seeds, and their table
python -m examples.paper.run --rows NAME NAME --seeds 1 2 3 --where tiny       # the same on the toy world, no GPU
python -m recipe.tw_grpo.scoring published                                     # the printed totals against their parts
```

"Published" is what the paper claims (arXiv 2505.24718v3, percent), not what this project has measured. Rows with the
same settings are run once. All have 500 steps of two prompts, two GPUs, and training sets of the same size.
A row without a start is quoted by the paper from another paper; its model is another one and is not run here.
"""

SAME = """## What differs from the published run

The base follows the published run where the paper and its public scripts leave things to Hugging Face's trainer: AdamW
without weight decay, a learning rate that falls linearly to 0 (`optim.lr_scheduler_type=linear`, which the plugin adds
to verl's two), top_k 50, 2 frames a second up to 16 (10 of a CLEVRER video) at up to 256 x 28 x 28 pixels. These stay:
"""


def _start(row: Row) -> str:
    if row.overrides is None:
        return f"`MODEL={row.model}`" if row.model else "-"
    return f"`ROW={row.name}`" if training_sets()[row.train_file].command else f"`--rows {row.name} --where tiny`"


def _changes(row: Row) -> str:
    if row.overrides is None:
        return "evaluated only" if row.model else "quoted"
    changes = "<br>".join(f"`{override}`" for override in row.overrides) or "nothing"
    same = runs_as(row)
    return changes if same is row else f"{changes} (as `{same.name}`)"


def index() -> str:
    """The whole page as Markdown."""
    lines = [HEAD, SAME, "| | published run | base | why |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(difference)} |" for difference in differences()]
    lines += ["\n## Training data\n", "All rows that name no other file are trained on the first one.\n", "```"]
    lines += [about.command for about in training_sets().values() if about.command]
    lines += [
        "```\n",
        "Each file has 1,100 questions. The launch script holds 100 of them out by whole videos and trains",
    ]
    lines += [f"on the others; with `VAL_FILE` it trains on all. `{BASE_FILE}` is read from the folder you start in.\n"]
    for table in tables():
        lines.append(f"## {table.title}\n")
        if table.note:
            lines.append(f"{table.note}\n")
        printed = any(row.published for row in table.rows)
        head = f"published ({' / '.join(table.columns)})" if printed else "published"
        lines += [f"| row | start | differs from the base in | {head} |", "|---|---|---|---|"]
        for row in table.rows:
            claim = " / ".join("-" if number is None else f"{number:.1f}" for number in row.published) or "-"
            lines.append(f"| {row.label} | {_start(row)} | {_changes(row)} | {claim} |")
        lines.append("")
        lines += [f"* {row.label}: {row.note}" for row in table.rows if row.note]
        if lines[-1]:
            lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    print(index(), end="")
