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

from benchmarks import balancing, divergence, inversion, measure, on_paper, rewards, step, video
from recipe.tw_grpo.toolbox.command_line import Parser, integer, run_main
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.tables import markdown

# kind: module, the options its `run` takes
KINDS = {
    "divergence": (divergence, ("device", "repeats")),
    "step": (step, ("pairs",)),
    "on_paper": (on_paper, ()),
    "balancing": (balancing, ("log",)),
    "video": (video, ("parquet",)),
    "rewards": (rewards, ("log",)),
    "inversion": (inversion, ("annotations",)),
}


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
    parser.add_argument("--repeats", type=integer(1), default=5, help="rounds of divergence; medians are printed")
    parser.add_argument("--pairs", type=integer(1), default=3, help="pairs of runs of step")
    parser.add_argument("--log", type=Path, help="for balancing and rewards: lines with step and output, 8 a step")
    parser.add_argument("--annotations", type=Path, help="for inversion: a NExT-GQA file")
    parser.add_argument("--parquet", type=Path, help="for video: a data file made without --frames-dir")
    args = parser.parse_args(argv)
    for kind in args.kinds:
        if kind not in KINDS:
            raise UserError(f"{kind!r} is none of {', '.join(KINDS)}")
        for option in KINDS[kind][1]:
            if getattr(args, option) is None:
                raise UserError(f"{kind} needs --{option}")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no GPU here")
    try:
        data: dict[str, Any] = json.loads(args.json.read_text()) if args.json.exists() else {}
    except ValueError as error:
        raise UserError(f"{args.json}: no JSON, so nothing can be added to it") from error
    for kind in args.kinds:
        machine = measure.machine(args.device)
        module, options = KINDS[kind]
        name = f"{kind} on cuda" if args.device == "cuda" and kind == "divergence" else kind
        data[name] = {"machine": machine, "records": module.run(*(getattr(args, option) for option in options))}
        args.json.write_text(json.dumps(data, indent=1) + "\n")
    page = document(data)
    if args.docs:
        args.docs.write_text(page)
    print(page)
    return 0


def document(data: dict[str, Any]) -> str:
    """docs/performance.md."""
    parts = ["# What it costs\n", "Printed by `python -m benchmarks`; do not edit. Medians; repeats interleaved.\n"]
    for name in sorted(data, key=lambda name: list(KINDS).index(name.partition(" ")[0])):
        kind, where = KINDS[name.partition(" ")[0]][0], data[name]["machine"]
        parts.append(f"## {kind.TITLE}\n")
        parts.append(f"{kind.__doc__.partition(chr(10))[0]}\n")
        parts.append(
            f"{where.get('card', where['processor'])}, {where['cores']} cores, torch {where['torch']}, "
            f"load {where['load']:.1f} at the start, {where['commit']}.\n"
        )
        if note := getattr(kind, "NOTE", ""):
            parts.append(f"{note}\n")
        parts.append(markdown(kind.rows(data[name]["records"])))
    return "\n".join(parts)


if __name__ == "__main__":
    run_main(main)
