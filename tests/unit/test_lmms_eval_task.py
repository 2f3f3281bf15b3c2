# SPDX-License-Identifier: Apache-2.0
"""The lmms-eval task folder: its functions on rows as data_prep writes them, and, where lmms-eval is installed, its own
task loader, prompts, scoring and means. A whole evaluation with a model is a command of docs/scoring.md.
"""

import importlib.util
import os
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from data_prep.write.prompts import MULTI_ANSWER, multi_answer_prompt
from data_prep.write.schema import arrow_schema, build_record, write_parquet
from recipe.tw_grpo.toolbox.files import read_args

ROOT = Path(__file__).resolve().parents[2]
FOLDER, TASK = ROOT / "examples/lmms_eval", "clevrer_counterfactual/clevrer_counterfactual.yaml"
DECODING = ROOT / "recipe/tw_grpo/evaluation/decoding.args"
QUESTIONS = [  # options, right ones, a response, its exact and soft accuracy
    (("The cube falls", "The disc stops", "Nothing"), (0, 2), "<think>x</think><answer>A, C</answer>", 1.0, 1.0),
    (("The cube falls", "The disc stops", "Nothing"), (0, 2), "<answer>nothing</answer>", 0.0, 0.5),
    (("The cube falls", "The disc stops"), (1,), "The answer is (B).", 1.0, 1.0),
    (("The cube falls", "The disc stops"), (1,), "<answer>A or B</answer>", 0.0, 0.0),
    (("The cube falls", "The disc stops"), (0, 1), "<answer>A, B, C</answer>", 0.0, 0.0),
]
MEANS = {"acc": 2 / 5, "soft_acc": 2.5 / 5, "acc_single": 1 / 2, "acc_multi": 1 / 3, "soft_acc_multi": 1.5 / 3}


def test_the_task_decodes_as_the_paper():
    """lmms-eval reads numbers only from its own file."""
    task = yaml.safe_load(re.sub(r"!function", "", (FOLDER / TASK).read_text()))["generation_kwargs"]
    prefix = "actor_rollout_ref.rollout.val_kwargs."
    decoding = dict(line.removeprefix(prefix).split("=") for line in read_args(DECODING))
    assert {name: str(task[name]) for name in decoding} == decoding


def load_utils():
    spec = importlib.util.spec_from_file_location("task_utils", FOLDER / "clevrer_counterfactual/utils.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def parquet(tmp_path):
    sampling = {"fps": 2.0, "max_frames": 16}
    records = [
        build_record(
            data_source="clevrer_counterfactual",
            prompt=multi_answer_prompt("Without it, what will happen?", options),
            video=tmp_path / f"video_{i // 2}.mp4",
            sampling=sampling,
            right=right,
            extra_info={
                "index": i,
                "scene": i,
                "question_id": 0,
                "question": "Without it, what will happen?",
                "options": list(options),
                "split": "validation",
                "video": f"video_{i // 2}.mp4",
            },
        )
        for i, (options, right, *_) in enumerate(QUESTIONS)
    ]
    path = tmp_path / "clevrer_counterfactual.parquet"
    write_parquet(records, arrow_schema(sampling), path, {})
    return path


def check(docs, target, text, visual, process, means):
    """The same expectations for our functions and for lmms-eval's task made of them."""
    items: dict[str, list] = {}
    for doc, (options, right, response, acc, soft) in zip(docs, QUESTIONS, strict=True):
        assert target(doc) == ",".join("ABC"[i] for i in right)
        assert text(doc).startswith("Without it, what will happen?\nA. ") and text(doc).endswith(MULTI_ANSWER)
        assert visual(doc) == [doc["videos"][0]["video"].removeprefix("file://")] and visual(doc)[0].endswith(".mp4")
        found = process(doc, [response])
        assert (found["acc"]["score"], found["soft_acc"]["score"]) == (acc, soft), response
        assert found["acc"]["video"] == doc["extra_info"]["video"] and found["acc"]["options"] == list(options)
        for name, item in found.items():
            items.setdefault(name, []).append(item)
    assert {name: means(name)(values) for name, values in items.items()} == pytest.approx(MEANS)


def test_functions_of_the_task(parquet):
    utils = load_utils()
    docs = pq.read_table(parquet).to_pylist()
    check(
        docs,
        utils.doc_to_target,
        utils.doc_to_text,
        utils.doc_to_visual,
        utils.process_results,
        lambda _: utils.mean_score,
    )
    several = utils.process_results(docs[0], ["<answer>A</answer>", "<answer>A, C</answer>"])
    assert several["soft_acc"]["score"] == 0.75 and several["soft_acc"]["pred"] == ["A", "A,C"]


def test_lmms_eval_loads_and_scores_the_folder(parquet, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf/datasets"))
    monkeypatch.setenv("HF_HUB_OFFLINE", os.environ.get("HF_HUB_OFFLINE", "1"))
    tasks = pytest.importorskip("lmms_eval.tasks", reason="lmms-eval is not installed (pip install lmms-eval==0.7.3)")
    monkeypatch.chdir(parquet.parent)
    manager = tasks.TaskManager(include_path=str(FOLDER), include_defaults=False)
    assert manager.all_tasks == ["clevrer_counterfactual"]
    task = tasks.get_task_dict(["clevrer_counterfactual"], manager)["clevrer_counterfactual"]
    check(
        list(task.test_docs()),
        task.doc_to_target,
        task.doc_to_text,
        task.doc_to_visual,
        task.process_results,
        lambda name: task.aggregation()[name],
    )
    assert task.higher_is_better() == dict.fromkeys(MEANS, True)
