# SPDX-License-Identifier: Apache-2.0
"""`python -m examples.paper.run --rows ROW ROW --seeds 1 2 3` runs rows of the paper and prints their table.

Rows and seeds that are done are not run again; one that was interrupted goes on where its launch script can. After --
come overrides for all runs. The table is printed, and written to OUT/table.json and OUT/table.md.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from examples.paper.catalogue import BASE_FILE, Row, trained, training_sets
from examples.paper.plan import CLUSTER, STEPS, TINY, TINY_LAUNCHER, Run, plan
from examples.paper.table import cells, measure, table
from examples.tiny.training_sets import make_training_sets
from recipe.tw_grpo.runs.folder import reward_settings, versions
from recipe.tw_grpo.toolbox.command_line import Parser, integer, run_main
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.files import move_aside, write_whole
from recipe.tw_grpo.toolbox.supervise import supervise
from recipe.tw_grpo.toolbox.tables import markdown, print_table

ROOT = Path(__file__).resolve().parents[2]
_VALIDATION = "data.val_files="


def execute(run: Run) -> int:
    """Start a run, or go on with it, and wait for its end; the exit code of its launch script.

    What lies in its folder from other settings is moved aside, never deleted.
    """
    recorded = run.recorded()
    if run.folder.exists() and (recorded is None or recorded.get("identity") != run.identity()):
        print(f"the run that was in {run.folder} is now in {move_aside(run.folder)}", flush=True)
    run.record.parent.mkdir(parents=True, exist_ok=True)
    write_whole(run.record, json.dumps({"identity": run.identity()}, indent=1) + "\n")
    environment = os.environ | run.environment()
    if run.where == TINY:  # it has a supervisor of its own
        return _wait(subprocess.Popen(run.command(), env=environment, cwd=ROOT))
    metrics = run.folder / "metrics"
    metrics.mkdir(parents=True, exist_ok=True)
    log = metrics / f"{len(list(metrics.iterdir())):03d}.jsonl"
    os.environ.update(run.environment() | {"VERL_FILE_LOGGER_PATH": str(log)})
    about = {"estimator": None, "seed": run.seed, "steps": run.steps, "command": run.shell()}
    about |= {"reward_kwargs": reward_settings(run.command()), "versions": versions()}
    write_whole(run.folder / "run.json", json.dumps(about, indent=1) + "\n")
    return supervise(run.command(), log=run.folder / "train.log", metrics=log, steps=run.steps, patience=7200)


def _wait(process: subprocess.Popen) -> int:
    """Wait for a launch script that cleans up after itself; what stops this process stops it first."""

    def stop(number: int, _: object) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        return process.wait()
    except SystemExit:
        process.terminate()  # Ctrl-C has reached it already; a second signal does no harm
        process.wait()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def collect(runs: dict[tuple[str, int], Run], labels: dict[str, str], reference: str) -> dict[str, Any]:
    """The table of what is done; runs that rows share are read once."""
    numbers: dict[str, dict[int, Any]] = {}
    missing: dict[str, dict[int, str]] = {}
    known: dict[Path, Any] = {}
    for (name, seed), run in runs.items():
        why = run.missing()
        if why is None:
            if run.folder not in known:
                known[run.folder] = measure(run.folder, run.dump)
            numbers.setdefault(name, {})[seed] = known[run.folder]
        else:
            missing.setdefault(name, {})[seed] = why
    return table(numbers, labels, reference, missing)


def check_data(chosen: Sequence[Row], where: str) -> None:
    """Raise UserError for a row whose training set is not to be had there."""
    for row in chosen:
        about = training_sets()[row.train_file]
        if where == TINY and row.train_file != BASE_FILE and not about.tiny:
            raise UserError(f"{row.name}: {row.train_file} has no counterpart on the tiny world: see tiny_inverted")
        if where == CLUSTER and not about.command:
            raise UserError(f"{row.name} is a row of the tiny world: --where {TINY}")


def tiny_data(chosen: Sequence[Row], out: Path) -> tuple[Path, dict[str, Path]]:
    """The tiny world's validation file, and what stands there for the training files that rows name."""
    made = subprocess.run(
        ["bash", TINY_LAUNCHER], env=os.environ | {"ASSETS_ONLY": "1"}, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    if made.returncode:
        raise UserError("the tiny world could not be made, see above")
    assets = Path(made.stdout.strip().splitlines()[-1])
    named = {row.train_file for row in chosen} - {BASE_FILE}
    if not named:
        return assets / "validation.parquet", {}
    sets = make_training_sets(assets / "toy-clevrer", out / "data")
    return assets / "validation.parquet", {file: sets[training_sets()[file].tiny] for file in named}


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="python -m examples.paper.run", description="Run rows of the paper and print their table.")
    add = parser.add_argument
    add("--rows", nargs="+", required=True, metavar="ROW", help="as in docs/paper_index.md; the first is the reference")
    add("--seeds", nargs="+", type=integer(0), default=[1, 2, 3], metavar="N", help="one run of each row a seed")
    add("--where", choices=(TINY, CLUSTER), default=TINY, help="toy world on a CPU, or the real launch script")
    add("--out", type=Path, help="folder of the runs; default: outputs/paper-WHERE")
    add("--steps", type=integer(1), help=f"training steps; default: {STEPS[TINY]} tiny, {STEPS[CLUSTER]} cluster")
    add("--reference", metavar="ROW", help="compare with this row instead of the first")
    add("--dry-run", action="store_true", help="print the command of every run that is not done, and stop")
    add("--table-only", action="store_true", help="run nothing: the table of what is done")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 1 when a run did not end well or is missing from the table."""
    argv = list(sys.argv[1:] if argv is None else argv)
    split = argv.index("--") if "--" in argv else len(argv)
    args, extra = build_parser().parse_args(argv[:split]), tuple(argv[split + 1 :])
    chosen = trained(list(dict.fromkeys(args.rows)))
    check_data(chosen, args.where)
    reference = args.reference or chosen[0].name
    if reference not in [row.name for row in chosen]:
        raise UserError(f"--reference {reference} is not among --rows {' '.join(args.rows)}")
    out = (args.out or Path("outputs") / f"paper-{args.where}").resolve()
    named = [override.removeprefix(_VALIDATION) for override in extra if override.startswith(_VALIDATION)]
    if args.where == TINY:
        validation, tiny_files = tiny_data(chosen, out)
    else:
        validation, tiny_files = Path(os.environ.get("VAL_FILE", "")), {}
        if not named and not validation.is_file():
            raise UserError(
                f"VAL_FILE={validation if validation.name else ''}: name the parquet every run is measured on, for "
                "example VAL_FILE=data/benchmarks/clevrer.parquet (data_prep/benchmarks.py)"
            )
    validation = Path(named[-1]).resolve() if named else validation.resolve()
    runs = plan(
        chosen,
        list(dict.fromkeys(args.seeds)),
        where=args.where,
        out=out,
        steps=args.steps or STEPS[args.where],
        validation=validation,
        tiny_files=tiny_files,
        extra=extra,
    )
    todo = {run.folder: run for run in runs.values() if run.missing()}
    print(f"{len({run.folder for run in runs.values()})} runs, {len(todo)} to do, in {out}", flush=True)
    if args.dry_run:
        for run in todo.values():
            print(run.shell())
        return 0
    if not args.table_only:
        for number, run in enumerate(todo.values(), 1):
            print(f"[{number}/{len(todo)}] {run.row.name}, seed {run.seed}: {run.folder}", flush=True)
            code = execute(run)
            if code in (130, 143):  # stopped by the user
                return code
            if code:
                print(
                    f"paper: {run.row.name}, seed {run.seed} ended with exit code {code}", file=sys.stderr, flush=True
                )
    result = collect(runs, {row.name: row.label for row in chosen}, reference)
    result = {"where": args.where, "steps": args.steps or STEPS[args.where], "validation": str(validation)} | result
    for title, texts in (tables := cells(result)):
        print()
        print_table(texts, title)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "table.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    write_whole(out / "table.md", "\n".join(markdown(texts, title) for title, texts in tables))
    print(f"\ntable: {out}/table.json, {out}/table.md")
    gaps = [(row["row"], seed, why) for row in result["rows"] for seed, why in row["missing"].items()]
    for name, seed, why in gaps:
        print(f"paper: {name}, seed {seed} is not in the table: {why}", file=sys.stderr, flush=True)
    return 1 if gaps else 0


if __name__ == "__main__":
    run_main(main)
