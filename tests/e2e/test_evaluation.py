# SPDX-License-Identifier: Apache-2.0
"""The evaluation script with real verl and vLLM: held-out toy worlds, every question once, numbers of the answers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recipe.tw_grpo.reward import score_response

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = 16
TOY = {"DEVICE": "cpu", "BENCHMARKS": "toy_clevrer", "FRAMES": "", "PIXELS": "", "MAX_PROMPT": "128"}
TOY |= {"MAX_RESPONSE": "64", "PART": "0", "PYTHON": sys.executable}


def evaluate(model, data, out, **variables):
    environment = os.environ | TOY | {"MODEL": str(model), "DATA": str(data), "OUT": str(out)} | variables
    command = ["bash", str(ROOT / "examples/eval_qwen25vl_7b.sh"), "actor_rollout_ref.rollout.max_model_len=256"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT, timeout=1500)


@pytest.fixture(scope="module")
def evaluated(run, tiny_assets, tmp_path_factory):
    """The checkpoint of the training run on questions about held-out worlds."""
    folder = tmp_path_factory.mktemp("evaluation")
    held_out = pq.read_table(tiny_assets / "validation.parquet").slice(0, QUESTIONS)
    pq.write_table(held_out, folder / "toy_clevrer.parquet")
    model = run.out / "checkpoints/global_step_3/actor/huggingface"
    done = evaluate(model, folder, folder / "out")
    log = folder / "out/toy_clevrer/parts/000/validation.log"
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{log.read_text()[-5000:] if log.exists() else ''}"
    return folder, model, held_out.to_pylist(), done


def test_every_question_is_answered_once_in_order_and_scored_by_the_rules(evaluated):
    folder, _, asked, done = evaluated
    out = folder / "out/toy_clevrer"
    answers = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    assert [row["index"] for row in answers] == [str(record["extra_info"]["index"]) for record in asked]
    assert [row["video"] for row in answers] == [record["extra_info"]["video"] for record in asked]
    worth = [score_response(row["output"], record["reward_model"]["ground_truth"], record["extra_info"]["options"])
             for row, record in zip(answers, asked, strict=True)]  # fmt: skip
    assert [row["soft_acc"] for row in answers] == [parts["soft_acc"] for parts in worth]
    scores = json.loads((out / "scores.json").read_text())
    assert (scores["n"], scores["correct"]) == (QUESTIONS, sum(parts["acc"] for parts in worth))
    assert scores["format"] > 0.9  # it was taught the format: this is the model, not noise
    low, high = scores["acc_interval"]
    assert low <= scores["acc"] <= high
    assert "toy_clevrer" in done.stdout and f"table: {folder}/out/table.json" in done.stdout
    assert (out / "config.yaml").read_text().count("val_only: true") == 1
    assert json.loads((out / "evaluation.json").read_text())["versions"]["verl"] == "0.9.1"


def test_what_is_done_is_not_done_again(evaluated):
    folder, model, _, _ = evaluated
    before = (folder / "out/toy_clevrer/answers.jsonl").stat().st_mtime_ns
    again = evaluate(model, folder, folder / "out")
    assert again.returncode == 0 and "done already" in again.stdout
    assert (folder / "out/toy_clevrer/answers.jsonl").stat().st_mtime_ns == before
