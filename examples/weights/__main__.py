# SPDX-License-Identifier: Apache-2.0
"""`python -m examples.weights --out FOLDER` makes the numbers of docs/weights.md; `--docs docs` puts them there.

A run that was stopped goes on: prompts that have a file in FOLDER are not sampled again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from examples.weights import figures, measures, sample
from recipe.tw_grpo.toolbox.command_line import Parser, integer, run_main
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.files import write_whole


def main(argv: Sequence[str] | None = None) -> None:
    """Sample, measure, draw."""
    n = len(sample.read_prompts())
    parser = Parser(description="What the token weights do on SmolLM2-135M-Instruct.")
    parser.add_argument("--out", type=Path, required=True, help="folder of samples, numbers and figures")
    parser.add_argument("--prompts", type=integer(1, n), default=n, help="only the first so many prompts")
    parser.add_argument("--docs", type=Path, help="also weights.md, weights.json, images/weights.svg in this folder")
    args = parser.parse_args(argv)
    page = args.docs and args.docs / "weights.md"
    if page and not page.is_file():
        raise UserError(f"--docs {args.docs}: there is no weights.md in it")
    args.out.mkdir(parents=True, exist_ok=True)
    results = rounded(measures.results(sample.sample(args.out, args.prompts)))
    write_whole(args.out / "weights.json", json.dumps(results, separators=(",", ":")) + "\n")
    figures.draw(results, args.out / "weights.svg")
    for name, table in figures.tables(results).items():
        print(f"{name}\n\n{table}")
    if page:
        write_whole(page, figures.fill(page.read_text(encoding="utf-8"), results))
        write_whole(args.docs / "weights.json", (args.out / "weights.json").read_text())
        figures.draw(results, args.docs / "images/weights.svg")


def rounded(value: Any) -> Any:
    """Numbers to four digits behind the point, at any depth."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    run_main(main)
