# SPDX-License-Identifier: Apache-2.0
"""What `tw-grpo check` makes of settings: those that run stay accepted, the others are refused by name, all at once.

Each row changes the composed settings of the paper's launch script. Why a refused one cannot run is the line of verl
that doctor/settings.py names, or verl's own check.
"""

import copy
import os
import subprocess
from pathlib import Path

import pytest
import yaml

pytest.importorskip("verl")

from omegaconf import OmegaConf  # noqa: E402

from recipe.tw_grpo.doctor import check, dry_run, environment  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
A, R, D, T = "actor_rollout_ref.actor.", "actor_rollout_ref.rollout.", "data.", "trainer."
TWO, ONE, THREE, NONE = {}, {"GPUS_PER_NODE": "1"}, {"GPUS_PER_NODE": "3"}, {"GPUS_PER_NODE": "0"}
EIGHT, NODES = {"GPUS_PER_NODE": "8"}, {"NNODES": "2", "GPUS_PER_NODE": "8"}

# variables, overrides, the setting that the refusal names (None: accepted)
CASES = [
    (TWO, [], None),
    (ONE, [], None),
    (THREE, [], None),
    (EIGHT, [], None),
    (NODES, [], None),
    (NONE, [], T + "n_gpus_per_node"),
    (TWO, [T + "nnodes=0"], T + "nnodes"),
    # tensor parallel
    (TWO, [R + "tensor_model_parallel_size=2"], None),
    (TWO, [R + "tensor_model_parallel_size=3"], R + "tensor_model_parallel_size"),
    (TWO, [R + "tensor_model_parallel_size=4"], R + "tensor_model_parallel_size"),
    (EIGHT, [R + "tensor_model_parallel_size=4"], None),
    (EIGHT, [R + "tensor_model_parallel_size=3"], R + "tensor_model_parallel_size"),
    (NODES, [R + "tensor_model_parallel_size=16"], None),
    # files
    (TWO, [D + "val_files=null"], D + "val_files"),
    (TWO, [D + "train_files=null"], D + "train_files"),
    # names
    (TWO, [T + 'logger=["console","wandbb"]'], T + "logger"),
    (TWO, [T + 'logger=["console","wandb"]'], None),
    (TWO, [T + "logger=console"], None),
    (TWO, [D + "truncation=errror"], D + "truncation"),
    (TWO, [D + "truncation=left"], None),
    (TWO, [T + "resume_mode=auot"], T + "resume_mode"),
    (TWO, [T + "resume_mode=disable"], None),
    (TWO, [T + "resume_mode=resume_path"], T + "resume_from_path"),
    (TWO, [T + "resume_mode=resume_path", T + "resume_from_path=/no/global_step_5"], T + "resume_from_path"),
    (TWO, [A + "checkpoint.save_contents=[modle]"], A + "checkpoint.save_contents"),
    (TWO, [A + "checkpoint.save_contents=[model,extra]"], None),
    (TWO, [A + "checkpoint.load_contents=[modl]"], A + "checkpoint.load_contents"),
    (TWO, ["reward.reward_manager.name=multi_answr"], "reward.reward_manager.name"),
    (TWO, ["reward.reward_manager.name=naive"], None),
    (TWO, [R + "name=hf"], R + "name"),
    (TWO, [R + "name=vlm"], R + "name"),
    (TWO, [R + "agent.default_agent_loop=nonesuch"], R + "agent.default_agent_loop"),
    (TWO, [R + "agent.default_agent_loop=tool_agent"], None),
    (TWO, [R + "agent.agent_loop_config_path=/no/agent.yaml"], R + "agent.agent_loop_config_path"),
    # who gets how many rows
    (TWO, [A + "ppo_micro_batch_size_per_gpu=3"], A + "ppo_micro_batch_size_per_gpu"),
    (TWO, [A + "ppo_micro_batch_size_per_gpu=0"], A + "ppo_micro_batch_size_per_gpu"),
    (TWO, [A + "ppo_micro_batch_size_per_gpu=8"], None),
    (TWO, [A + "ppo_micro_batch_size_per_gpu=16"], A + "ppo_micro_batch_size_per_gpu"),
    (TWO, [R + "log_prob_micro_batch_size_per_gpu=3"], R + "log_prob_micro_batch_size_per_gpu"),
    (TWO, [R + "log_prob_micro_batch_size_per_gpu=4"], None),
    (TWO, [A + "ppo_mini_batch_size=4"], "ppo_mini_batch_size"),
    (TWO, [D + "train_batch_size=4"], None),
    (TWO, [D + "train_batch_size=6", A + "ppo_mini_batch_size=4"], None),  # verl fills the batch up
    (TWO, [D + "train_batch_size=3"], D + "train_batch_size"),
    (TWO, [R + "n=7"], None),
    (TWO, [R + "n=1"], R + "n"),
    (TWO, [A + "ulysses_sequence_parallel_size=2"], None),
    (TWO, [A + "ulysses_sequence_parallel_size=3"], A + "ulysses_sequence_parallel_size"),
    (
        TWO,
        [A + "ulysses_sequence_parallel_size=2", "actor_rollout_ref.model.use_remove_padding=False"],
        "use_remove_padding",
    ),
    # lengths
    (TWO, [R + "max_model_len=8192"], None),
    (TWO, [R + "max_model_len=4096"], R + "max_model_len"),
    (TWO, [D + "max_response_length=8192", R + "enable_chunked_prefill=False"], None),  # verl raises the other one
    (TWO, [A + "use_dynamic_bsz=True", A + "ppo_max_token_len_per_gpu=2048"], A + "ppo_max_token_len_per_gpu"),
    (TWO, [A + "use_dynamic_bsz=True", A + "ppo_max_token_len_per_gpu=16384"], None),
    (
        TWO,
        [R + "log_prob_use_dynamic_bsz=True", R + "log_prob_max_token_len_per_gpu=1024"],
        R + "log_prob_max_token_len_per_gpu",
    ),
    # sampling
    (TWO, [R + "temperature=0"], R + "temperature"),
    (TWO, [R + "temperature=1.5"], None),
    (TWO, [R + "gpu_memory_utilization=0.95"], None),
    (TWO, [R + "gpu_memory_utilization=50"], R + "gpu_memory_utilization"),
    # what is read by nobody
    (TWO, ["algorithm.norm_adv_by_std_in_grpo=False"], "algorithm.norm_adv_by_std_in_grpo"),
    ({"ADV_ESTIMATOR": "grpo"}, ["algorithm.norm_adv_by_std_in_grpo=False"], None),
    (TWO, [T + "val_only=True"], T + "val_only"),
    (TWO, [T + "val_only=True", T + "val_before_train=True"], None),
    ({"STEPS": "0"}, [], T + "total_training_steps"),
    # the rest
    (TWO, ["actor_rollout_ref.model.lora_rank=32", "actor_rollout_ref.model.lora_alpha=64"], None),
    (TWO, ["actor_rollout_ref.model.lora_rank=1000"], "lora_rank"),
    (TWO, [A + "entropy_coeff=0.01"], None),
    (TWO, [A + "use_kl_loss=True"], "actor_rollout_ref.ref"),  # the script gives the reference no micro-batch
    (TWO, [A + "use_kl_loss=True", "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=1"], None),
    (TWO, ["algorithm.use_kl_in_reward=True"], "actor_rollout_ref.ref"),
    (TWO, [A + "ppo_epochs=2"], None),
    (TWO, [A + "shuffle=True"], None),
    (TWO, [T + "balance_batch=False"], None),
    (TWO, [A + "freeze_vision_tower=False"], None),
    (TWO, [A + "strategy=megatron"], A + "strategy"),
    (TWO, [T + "use_v1=False"], T + "use_v1"),
]


@pytest.fixture(scope="module")
def composed():
    """Composed settings of the launch script by its variables; composed once each."""
    known = {}

    def of(variables):
        key = tuple(sorted(variables.items()))
        if key not in known:
            clean = {name: value for name, value in os.environ.items() if name not in environment.VARIABLES}
            script = ["bash", str(ROOT / "examples/run_qwen25vl_7b_twgrpo.sh")]
            env = clean | {"DRY_RUN": "args"} | variables
            printed = subprocess.run(script, env=env, capture_output=True, text=True, check=True).stdout
            known[key] = dry_run.compose(printed.splitlines())
        return copy.deepcopy(known[key])

    return of


def changed(config, overrides):
    for override in overrides:
        key, _, value = override.partition("=")
        assert OmegaConf.select(config, key.rpartition(".")[0]) is not None, key
        OmegaConf.update(config, key, yaml.safe_load(value))
    return config


@pytest.mark.parametrize("variables, overrides, named", CASES, ids=lambda value: str(value)[:70])
def test_a_setting_is_accepted_or_refused_by_name(composed, variables, overrides, named):
    lines = check.setting_problems(changed(composed(variables), overrides))
    if named is None:
        assert lines == []
    else:
        assert any(named in line for line in lines), lines
        assert all("\n" not in line and len(line) < 400 for line in lines)


def test_the_table_is_as_long_as_promised():
    assert len(CASES) >= 60


def test_three_mistakes_are_three_lines(composed):
    wrong = [R + "n=1", T + "resume_mode=auot", R + "max_model_len=100"]
    lines = check.setting_problems(changed(composed({}), wrong))
    assert [line.partition("=")[0] for line in lines] == [R + "n", R + "max_model_len", T + "resume_mode"]
