# SPDX-License-Identifier: Apache-2.0
"""Qwen3-VL with video is refused in one line, and only where model and data are sure."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_module

from recipe.tw_grpo.integration import validation
from recipe.tw_grpo.toolbox.errors import UserError


def config(tmp_path, model_type, column, *overrides):
    """verl's configuration with a model of this type, and data whose column `videos` is `column` (None: without)."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text(json.dumps({"model_type": model_type}))
    rows = {"prompt": [[{"role": "user", "content": "<video>?"}]] * 2}
    pq.write_table(pa.table(rows if column is None else rows | {"videos": column}), tmp_path / "data.parquet")
    data = [f"data.{name}={tmp_path}/data.parquet" for name in ("train_files", "val_files")]
    options = [f"actor_rollout_ref.model.path={tmp_path}/model", "actor_rollout_ref.rollout.n=8", *data]
    options += ["data.train_batch_size=4", "trainer.n_gpus_per_node=2", *overrides]
    with initialize_config_module(config_module="verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=options)


TW_GRPO, BASELINE = ("algorithm.adv_estimator=tw_grpo",), ("reward.reward_manager.name=multi_answer",)
VIDEOS = [[], [{"video": "a.mp4", "max_frames": 16}]]


@pytest.mark.parametrize("overrides", [TW_GRPO, BASELINE], ids=["tw_grpo", "grpo with our reward"])
def test_refused(tmp_path, overrides):
    with pytest.raises(UserError) as refusal:
        validation.check(config(tmp_path, "qwen3_vl", VIDEOS, *overrides))
    line = str(refusal.value)
    assert "\n" not in line and "data.train_files" in line and "data.parquet" in line and "Qwen2.5-VL" in line


@pytest.mark.parametrize(
    "model_type, column, overrides",
    [
        ("qwen2_5_vl", VIDEOS, TW_GRPO),
        ("qwen3_vl", None, TW_GRPO),
        ("qwen3_vl", pa.array([[], []], pa.list_(pa.string())), TW_GRPO),
        ("qwen3_vl", VIDEOS, ()),  # nothing of ours
        ("qwen3", VIDEOS, TW_GRPO),
    ],
)
def test_accepted(tmp_path, model_type, column, overrides):
    validation.check(config(tmp_path, model_type, column, *overrides))


@pytest.mark.parametrize("option", ["actor_rollout_ref.model.path=nowhere/model", "data.train_files=nowhere.parquet"])
def test_what_cannot_be_read_is_left_to_others(tmp_path, option):
    validation.check(config(tmp_path, "qwen3_vl", [[], []], *TW_GRPO, option))
