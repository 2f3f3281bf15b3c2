# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks [kind …] --json FILE` measures, `--docs FILE` prints docs/performance.md from such a file.

One JSON holds every kind, each with the machine it was measured on; a later run replaces only the kinds it measures.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import balancing, divergence, measure
from recipe.tw_grpo.toolbox.command_line import Parser, integer, run_main
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.tables import markdown

KINDS = {
    "divergence": "D_t of one group (Eq. 4)",
    "balancing": "whole prompts on a rank, against single responses",
}
_TABLES = {"divergence": divergence.rows, "balancing": balancing.rows}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write the JSON, print the tables."""
    parser = Parser(
        description="What the method costs. Nothing else should run beside it.",
        epilog="example: python -m benchmarks divergence --json docs/performance.json --docs docs/performance.md",
    )
    parser.add_argument("kinds", nargs="*", metavar="kind", help=f"of {', '.join(KINDS)}; none: print what FILE holds")
    parser.add_argument(
        "--json", type=Path, required=True, help="file of all measurements; kinds measured are replaced"
    )
    parser.add_argument("--docs", type=Path, help="also write the tables of all kinds in the JSON as a page")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="for divergence")
    parser.add_argument("--repeats", type=integer(1), default=5, help="rounds; medians are printed")
    parser.add_argument("--log", type=Path, help="for balancing: lines with step and output, 8 a step")
    args = parser.parse_args(argv)
    for kind in args.kinds:
        if kind not in KINDS:
            raise UserError(f"{kind!r} is none of {', '.join(KINDS)}")
    if "balancing" in args.kinds and args.log is None:
        raise UserError("balancing needs --log, for example clevrer_train_rollouts.jsonl of the published run")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no GPU here")
    try:
        data: dict[str, Any] = json.loads(args.json.read_text()) if args.json.exists() else {}
    except ValueError as error:
        raise UserError(f"{args.json}: no JSON, so nothing can be added to it") from error
    for kind in args.kinds:
        found = {"machine": measure.machine(args.device)}
        if kind == "divergence":
            found["records"] = divergence.run(args.device, args.repeats)
        else:
            found["records"] = balancing.run(args.log)
        name = f"{kind} on cuda" if args.device == "cuda" and kind == "divergence" else kind
        data[name] = found
        args.json.write_text(json.dumps(data, indent=1) + "\n")
    page = document(data)
    if args.docs:
        args.docs.write_text(page)
    print(page)
    return 0


def document(data: dict[str, Any]) -> str:
    """docs/performance.md."""
    parts = ["# What it costs\n", "Printed by `python -m benchmarks`; do not edit. Medians; repeats interleaved.\n"]
    for name, found in data.items():
        kind = name.partition(" ")[0]
        where = found["machine"]
        parts.append(f"## {KINDS[kind][0].upper()}{KINDS[kind][1:]}\n")
        parts.append(
            f"{where.get('card', where['processor'])}, {where['cores']} cores, torch {where['torch']}, "
            f"load {where['load']:.1f} at the start, {where['commit']}.\n"
        )
        parts.append(markdown(_TABLES[kind](found["records"])))
    return "\n".join(parts)


if __name__ == "__main__":
    run_main(main)
