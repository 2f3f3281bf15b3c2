# SPDX-License-Identifier: Apache-2.0
"""Runs the launch script with the replacements of a rehearsal, again to resume, and prints one line a check.

Nothing of the script is repeated here: its variables and overrides behind it are all that is used. checks.py judges
what the run left behind, differences.py says what was replaced.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

from examples.rehearsal import checks
from examples.rehearsal.differences import differences, read_args, table
from recipe.tw_grpo.toolbox.command_line import Parser, integer, run_main
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.supervise import supervise

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "run_qwen25vl_7b_twgrpo.sh"
ARGS = ("recipe/cpu_platform/overrides.args", "recipe/cpu_platform/packed.args", "examples/rehearsal/overrides.args")
RECORD = "rehearsal.json"  # marks a folder as ours; only such a folder is ever replaced


def script_arguments(environment: dict[str, str], overrides: list[str]) -> list[str]:
    """The overrides the launch script would train with."""
    return subprocess.run(
        ["bash", str(SCRIPT), *overrides],
        env=os.environ | environment | {"DRY_RUN": "args"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()


def replacements(precision: str, resume: bool = True) -> dict[str, str]:
    """The overrides of a rehearsal, each with its reason."""
    files = [*ARGS, *(["examples/rehearsal/fp32.args"] if precision == "fp32" else [])]
    if resume:
        files.append("examples/rehearsal/resume.args")
    return {override: reason for name in files for override, reason in read_args(ROOT / name).items()}


def prepare(out: Path) -> None:
    """An empty folder at `out`; a rehearsal that is there goes."""
    if out.exists() and not (out / RECORD).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"OUT={out} is no folder of a rehearsal: name another one")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns 1 when a check fails."""
    parser = Parser(prog="python -m examples.rehearsal.run", description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of the run")
    add("--steps", type=integer(1), required=True, help="training steps of the first start")
    add("--resume", type=integer(0, 1), required=True, help="whether a second start trains one step more")
    add("--estimator", required=True, help="algorithm.adv_estimator")
    add("--precision", choices=tuple(checks.BOUNDS), required=True)
    add("--model", type=Path, required=True, help="folder of the policy")
    add("--train", type=Path, required=True, help="parquet of the questions")
    add("--validation", type=Path, required=True, help="parquet of the held-out questions")
    add("overrides", nargs=argparse.REMAINDER, help="-- and further overrides of verl")
    options = parser.parse_args(arguments)
    out = options.out.resolve()
    yours = options.overrides[1:] if options.overrides[:1] == ["--"] else options.overrides
    reasons = replacements(options.precision, bool(options.resume))
    overrides = [*reasons, *yours]
    environment = {
        "PYTHON": sys.executable,
        "MODEL_PATH": str(options.model),
        "TRAIN_FILE": str(options.train),
        "VAL_FILE": str(options.validation),
        "ADV_ESTIMATOR": options.estimator,
        "OUTPUT_DIR": str(out / "run"),
        "STEPS": str(options.steps),
        "RESUME": "auto",
        checks.MARK: uuid.uuid4().hex,  # every process of the run inherits it
    }
    rehearsed = script_arguments(environment, overrides)
    if os.environ.get("DRY_RUN") == "args":
        print("\n".join(rehearsed))
        return 0
    found = differences(script_arguments({}, []), rehearsed, reasons)
    print(f"{SCRIPT.name}: all its settings but these {len(found)}", *table(found), sep="\n", flush=True)

    prepare(out)
    (out / RECORD).write_text(json.dumps({"estimator": options.estimator, "precision": options.precision}) + "\n")
    os.environ.update(environment)
    run = checks.Run(out / "run", options.model, options.train, options.estimator, options.precision)
    verdicts: list[checks.Verdict] = []
    for start in range(options.resume + 1):
        first, last = (0, options.steps) if start == 0 else (options.steps, options.steps + 1)
        metrics = out / "run" / "metrics" / f"{start:03d}.jsonl"
        os.environ["STEPS"] = str(last)
        code = supervise(
            ["bash", str(SCRIPT), *overrides],
            log=out / f"script.{start:03d}.log",
            metrics=metrics,
            steps=last,
            first=first,
        )
        made = [checks.ends(code, first, environment[checks.MARK])]
        if code == 0:
            made += run.verdicts(metrics, first, last)
        print(*made, sep="\n", flush=True)
        verdicts += made
        if code:
            break
    failed = sum(not verdict.holds for verdict in verdicts)
    print(f"rehearsal in {out}: {len(verdicts) - failed} of {len(verdicts)} checks hold")
    return int(failed > 0)


if __name__ == "__main__":
    run_main(main)
