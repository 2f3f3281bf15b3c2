# SPDX-License-Identifier: Apache-2.0
"""`python -m recipe.tw_grpo.evaluation.table OUT [OUT2 …]` prints the paper's Table 1 from folders of evaluated models.

A row a model, a column a benchmark and protocol: exact accuracy in percent with its 95 % interval (bootstrap clustered
by video), recomputed from the answers. Below stand the paper's numbers, as its claim, and the protocol of every number.
Whether two models differ is the scorer's `compare`, on their answers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipe.tw_grpo.evaluation.launch import ANSWERS, RECORD, SCORES
from recipe.tw_grpo.scoring.__main__ import with_interval
from recipe.tw_grpo.scoring.published import BENCHMARKS, PROTOCOLS, TABLE_1
from recipe.tw_grpo.scoring.reading import read_log
from recipe.tw_grpo.scoring.score import summarize
from recipe.tw_grpo.toolbox.command_line import Parser, run_main
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.files import json_lines, write_whole
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
        scored = summarize(read_log(record.parent / ANSWERS), identity["rule"])
        scores[name] = scored | {"protocol": protocol_of(record.parent / ANSWERS)}
    if not scores:
        raise UserError(f"{folder}: no finished benchmark in it: run examples/eval_qwen25vl_7b.sh with OUT={folder}")
    if len(models) > 1:
        raise UserError(f"{folder}: evaluations of {' and '.join(sorted(models))}: one model a folder")
    return {"model": models.pop(), "folder": str(folder), "benchmarks": scores, "unfinished": unfinished}


def protocol_of(answers: Path) -> str:
    """The column data_source of the questions that were answered: data set, protocol and prompt (docs/data.md)."""
    with answers.open("rb") as file:
        sources = {str((record or {}).get("data_source") or "not recorded") for _, record in json_lines(file)}
    return " and ".join(sorted(sources))


def cells(models: Sequence[dict[str, Any]]) -> list[tuple[str, list[list[str]]]]:
    """Two tables of texts: models by benchmarks with the paper's claims, and what each benchmark is made of."""
    seen = {(name, scored["protocol"]) for model in models for name, scored in model["benchmarks"].items()}
    order = [*BENCHMARKS, *sorted({name for name, _ in seen} - BENCHMARKS.keys())]
    columns = [(name, protocol) for name in order for protocol in sorted(p for n, p in seen if n == name)]
    main = [["model", *(_head(name, protocol, seen) for name, protocol in columns)]]
    for model in models:
        row = [model["model"]]
        for name, protocol in columns:
            scored = model["benchmarks"].get(name)
            same = scored is not None and scored["protocol"] == protocol
            row.append(with_interval(scored["acc"], scored["acc_interval"]) if same else "-")
        main.append(row)
    if any(name in BENCHMARKS for name, _ in columns):
        for label, numbers in TABLE_1.items():
            claims = dict(zip(BENCHMARKS, numbers, strict=True))
            values = (claims.get(name) for name, _ in columns)
            main.append([f"published: {label}", *("-" if claim is None else f"{claim:.1f}" for claim in values)])
    parts = [["", "questions", "correct", "soft %", "single %", "multi %", "multi soft %", "malformed", "protocol"]]
    for model in models:
        for name in dict(columns):
            if scored := model["benchmarks"].get(name):
                row = [f"{BENCHMARKS.get(name, name)}: {model['folder']}", str(scored["n"]), str(scored["correct"])]
                row.append(with_interval(scored["soft_acc"], scored["soft_acc_interval"]))
                row += [with_interval(scored[kind][key], scored[kind][f"{key}_interval"]) for kind, key in
                        (("single", "acc"), ("multi", "acc"), ("multi", "soft_acc"))]  # fmt: skip
                other = name in PROTOCOLS and scored["protocol"] != PROTOCOLS[name]
                said = f"{scored['protocol']}; published: {PROTOCOLS[name]}" if other else scored["protocol"]
                parts.append([*row, str(sum(scored["malformed"].values())), said])
    title = "exact accuracy, percent [95 % interval, bootstrap clustered by video]; published: the paper's claims"
    return [(title, main), ("the same by kind of question, and how it was asked", parts)]


def _head(name: str, protocol: str, seen: set[tuple[str, str]]) -> str:
    """The benchmark, and its protocol where the table has several of it."""
    label = BENCHMARKS.get(name, name)
    return label if sum(other == name for other, _ in seen) == 1 else f"{label} ({protocol})"


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
