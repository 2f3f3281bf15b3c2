# SPDX-License-Identifier: Apache-2.0
"""A table of two rows and two seeds on the tiny world: four real runs of two steps, and their numbers.

One row has a training set of its own, so that what it is trained on is seen in what it was asked.
"""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recipe.tw_grpo.reward import score_response

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
ROWS = ["table1_tw_grpo", "tiny_inverted"]


def test_two_rows_and_two_seeds(tiny_assets, tmp_path):
    out = tmp_path / "paper"
    command = [sys.executable, "-m", "examples.paper.run", "--rows", *ROWS, "--seeds", "1", "2", "--steps", "2"]
    command += ["--out", str(out), "--", "trainer.save_freq=-1", "trainer.val_before_train=False"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=3000)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    table = json.loads((out / "table.json").read_text())
    assert [row["seeds"] for row in table["rows"]] == [[1, 2], [1, 2]]
    records = pq.read_table(out / "data/inverted.parquet").to_pylist()
    inverted = {record["prompt"][0]["content"].removeprefix("<video>") for record in records}
    for row in table["rows"]:
        for seed in ("1", "2"):
            folder = out / row["row"] / f"seed-{seed}"
            lines = [json.loads(line) for line in (folder / "validation/2.jsonl").read_text().splitlines()]
            right = [score_response(line["output"], line["gts"])["acc"] for line in lines]
            assert len(lines) == 64 and row["runs"][seed]["acc"] == pytest.approx(sum(right) / 64)
            rollouts = [json.loads(line) for line in (folder / "rollouts/1.jsonl").read_text().splitlines()]
            assert ("token_weights" in rollouts[0]) == (row["row"] == "table1_tw_grpo")
            asked = [any(question in rollout["input"] for question in inverted) for rollout in rollouts]
            assert all(asked) if row["row"] == "tiny_inverted" else not all(asked)
            assert any("will not happen" in rollout["input"] for rollout in rollouts) == all(asked)
            assert json.loads((folder / "run.json").read_text())["seed"] == int(seed)
        assert row["acc"]["n"] == 2 and row["acc"]["std"] is not None
    test = table["rows"][1]["against_reference"]["acc"]
    assert test["n"] == 2 and test["p_exact"] >= 0.5  # two pairs cannot show more
    # The same command again starts nothing, and a third seed is one more run of each row.
    again = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert again.returncode == 0 and "4 runs, 0 to do" in again.stdout
    more = [*command[: command.index("--steps")], "3", "--dry-run", *command[command.index("--steps") :]]
    planned = subprocess.run(more, capture_output=True, text=True, cwd=ROOT, timeout=300).stdout
    assert "6 runs, 2 to do" in planned and planned.count("SEED=3") == 2
