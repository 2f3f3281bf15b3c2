# SPDX-License-Identifier: Apache-2.0
"""`python -m recipe.tw_grpo.evaluation.table OUT [OUT2 …]` prints the paper's Table 1 from folders of evaluated models.

A row a model, a column a benchmark: exact accuracy in percent with its 95 % interval (bootstrap clustered by video),
recomputed from the answers. Below stand the paper's numbers, as its claim. Whether two models differ is the scorer's
`compare`, on their answers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipe.tw_grpo.evaluation.launch import ANSWERS, RECORD, SCORES
from recipe.tw_grpo.scoring.__main__ import with_interval
from recipe.tw_grpo.scoring.published import BENCHMARKS, TABLE_1
from recipe.tw_grpo.scoring.reading import read_log
from recipe.tw_grpo.scoring.score import summarize
from recipe.tw_grpo.toolbox.command_line import Parser, run_main
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.files import write_whole
from recipe.tw_grpo.toolbox.html import assets, page
from recipe.tw_grpo.toolbox.tables import markdown, print_table


def read_model(folder: Path) -> dict[str, Any]:
    """The scores of every finished benchmark of one model, recomputed from its answers.

    Raises:
        UserError: no benchmark is finished there, or its answers are of several models.
    """
    scores, models, unfinished = {}, set(), []
    for record in sorted(folder.glob(f"*/{RECORD}")):
        identity = json.loads(record.read_text(encoding="utf-8"))["identity"]
        name = identity["benchmark"]
        if record.parent.name != name:
            continue  # an older evaluation that was moved aside
        if not (record.parent / SCORES).exists():
            unfinished.append(name)
            continue
        models.add(identity["model"])
        scores[name] = summarize(read_log(record.parent / ANSWERS), identity["rule"])
    if not scores:
        raise UserError(f"{folder}: no finished benchmark in it: run examples/eval_qwen25vl_7b.sh with OUT={folder}")
    if len(models) > 1:
        raise UserError(f"{folder}: evaluations of {' and '.join(sorted(models))}: one model a folder")
    return {"model": models.pop(), "folder": str(folder), "benchmarks": scores, "unfinished": unfinished}


def cells(models: Sequence[dict[str, Any]]) -> list[tuple[str, list[list[str]]]]:
    """Two tables of texts: models by benchmarks with the paper's claims, and what each benchmark is made of."""
    found = {name for model in models for name in model["benchmarks"]}
    names = [name for name in BENCHMARKS if name in found] + sorted(found - BENCHMARKS.keys())
    main = [["model", *(BENCHMARKS.get(name, name) for name in names)]]
    for model in models:
        row = [model["model"]]
        for name in names:
            scored = model["benchmarks"].get(name)
            row.append(with_interval(scored["acc"], scored["acc_interval"]) if scored else "-")
        main.append(row)
    if found & BENCHMARKS.keys():
        for label, numbers in TABLE_1.items():
            claims = dict(zip(BENCHMARKS.values(), numbers, strict=True))
            cells = (claims.get(BENCHMARKS.get(name, name)) for name in names)
            main.append([f"published: {label}", *("-" if claim is None else f"{claim:.1f}" for claim in cells)])
    parts = [["", "questions", "correct", "soft %", "single %", "multi %", "multi soft %", "malformed"]]
    for model in models:
        for name in names:
            if scored := model["benchmarks"].get(name):
                row = [f"{BENCHMARKS.get(name, name)}: {model['folder']}", str(scored["n"]), str(scored["correct"])]
                row.append(with_interval(scored["soft_acc"], scored["soft_acc_interval"]))
                row += [with_interval(scored[kind][key], scored[kind][f"{key}_interval"]) for kind, key in
                        (("single", "acc"), ("multi", "acc"), ("multi", "soft_acc"))]  # fmt: skip
                parts.append([*row, str(sum(scored["malformed"].values()))])
    title = "exact accuracy, percent [95 % interval, bootstrap clustered by video]; published: the paper's claims"
    return [(title, main), ("the same by kind of question", parts)]


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; also writes table.json, table.md and table.html into the first folder."""
    parser = Parser(prog="python -m recipe.tw_grpo.evaluation.table", description="The paper's Table 1 with intervals.")
    parser.add_argument("out", nargs="+", type=Path, metavar="OUT", help="OUT of examples/eval_qwen25vl_7b.sh")
    folders = parser.parse_args(argv).out
    models = [read_model(folder) for folder in folders]
    tables = cells(models)
    for title, texts in tables:
        print()
        print_table(texts, title)
    write_whole(folders[0] / "table.json", json.dumps({"models": models}, indent=1, allow_nan=False) + "\n")
    write_whole(folders[0] / "table.md", "\n".join(markdown(texts, title) for title, texts in tables))
    data = {"tables": [[title, texts] for title, texts in tables]}
    script = assets(Path(__file__).parent / "page" / "table.js")
    write_whole(folders[0] / "table.html", "".join(page("Evaluation", styles=[], scripts=script, data=data)))
    for model in models:
        if model["unfinished"]:
            print(f"\n{model['folder']}: not finished, so without a number: {', '.join(model['unfinished'])}")
    print("\ntable: " + ", ".join(f"{folders[0]}/table.{ending}" for ending in ("json", "md", "html")))


if __name__ == "__main__":
    run_main(main)
