# SPDX-License-Identifier: Apache-2.0
"""The 7B launch script's own settings run on the CPU bench: the short form of examples/rehearse_cpu.sh, and the list of
everything that it replaces.
"""

import os
import subprocess
from pathlib import Path

import pytest

from examples.rehearsal.differences import YOURS, differences
from examples.rehearsal.run import replacements

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "examples/run_qwen25vl_7b_twgrpo.sh"
DEVICE = {
    "trainer.device",
    "ray_kwargs.ray_init.num_gpus",
    "ray_kwargs.ray_init.num_cpus",
    "ray_kwargs.ray_init.include_dashboard",
    "ray_kwargs.ray_init.object_store_memory",
    "actor_rollout_ref.ref.strategy",
    "actor_rollout_ref.actor.use_torch_compile",
    "actor_rollout_ref.actor.fsdp_config.use_torch_compile",
    "actor_rollout_ref.rollout.enforce_eager",
    "actor_rollout_ref.rollout.free_cache_engine",
    "actor_rollout_ref.rollout.enable_sleep_mode",
    "actor_rollout_ref.rollout.checkpoint_engine.update_weights_bucket_megabytes",
    "actor_rollout_ref.rollout.engine_kwargs.vllm.distributed_executor_backend",
    "actor_rollout_ref.rollout.agent.num_workers",
    "reward.num_workers",
    "data.dataloader_num_workers",
    "transfer_queue.backend.SimpleStorage.num_data_storage_units",
    "trainer.v1.sampler.sampler_kwargs.poll_interval",
}
FLASH_ATTENTION = {"actor_rollout_ref.model.override_config.attn_implementation"}
MODEL = {"actor_rollout_ref.model.path", "data.train_files", "data.val_files"}
STEPS = {"trainer.total_training_steps", "trainer.save_freq", "trainer.test_freq"}
STEPS |= {"actor_rollout_ref.actor.optim.lr_scheduler_type"}  # of a rehearsal that resumes
FOLDERS = {"trainer.default_local_dir", "trainer.rollout_data_dir"}
PRECISION = {
    "actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype",
    "actor_rollout_ref.actor.fsdp_config.mixed_precision.reduce_dtype",
    "actor_rollout_ref.actor.fsdp_config.mixed_precision.buffer_dtype",
    "actor_rollout_ref.rollout.dtype",
}


def arguments(script: str, *overrides: str, **variables: str) -> list[str]:
    """What `script` would train with."""
    done = subprocess.run(
        ["bash", script, *overrides],
        cwd=ROOT,
        env=os.environ | {"DRY_RUN": "args"} | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def script() -> list[str]:
    return arguments(SCRIPT)


@pytest.fixture(scope="module")
def rehearsed() -> list[str]:
    """In fp32, with an override behind; bf16 leaves PRECISION out."""
    return arguments("examples/rehearse_cpu.sh", "actor_rollout_ref.rollout.n=4", PRECISION="fp32")


def test_nothing_else_of_the_script_is_replaced(script, rehearsed):
    assert not PRECISION & {one.lstrip("+").partition("=")[0] for one in replacements("bf16")}
    found = {one.key: one for one in differences(script, rehearsed, replacements("fp32"))}
    yours = found.pop("actor_rollout_ref.rollout.n")
    assert (yours.before, yours.after, yours.reason) == ("8", "4", YOURS)
    assert found.keys() == DEVICE | FLASH_ATTENTION | MODEL | STEPS | FOLDERS | PRECISION
    assert all(one.reason and one.reason != YOURS for one in found.values())


@pytest.mark.parametrize(
    "setting",
    [
        "actor_rollout_ref.model.use_remove_padding=True",
        "actor_rollout_ref.model.enable_gradient_checkpointing=True",
        "actor_rollout_ref.actor.fsdp_config.param_offload=True",
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1",
        "trainer.n_gpus_per_node=2",
    ],
)
def test_what_a_cpu_could_be_spared_stays(script, rehearsed, setting):
    assert setting in script
    assert [one for one in rehearsed if one.startswith(setting.partition("=")[0] + "=")] == [setting]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [("STEPS", "0", "STEPS=0"), ("PRECISION", "fp16", "bf16 nor fp32"), ("MODEL_KIND", "qwen3_vl", "issue 5024")],
)
def test_what_cannot_be_rehearsed_is_refused_in_one_line(name, value, says):
    done = subprocess.run(
        ["bash", "examples/rehearse_cpu.sh"], cwd=ROOT, env=os.environ | {name: value}, capture_output=True, text=True
    )
    assert done.returncode == 2 and says in done.stderr and len(done.stderr.splitlines()) == 1


def test_the_script_runs_with_the_small_model(tmp_path):
    """One step in fp32, where a difference between sampler and actor cannot hide in rounding."""
    done = subprocess.run(
        ["bash", "examples/rehearse_cpu.sh"],
        cwd=ROOT,
        env=os.environ | {"OUT": str(tmp_path / "run"), "STEPS": "1", "RESUME": "0", "PRECISION": "fp32"},
        capture_output=True,
        text=True,
        timeout=1500,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(("ok  ", "FAIL"))]
    assert done.returncode == 0, "\n".join(lines) + done.stderr[-3000:]
    about = {line.partition("step 1: ")[2].partition(":")[0] for line in lines}
    assert about >= {"sampler and actor agree", "sixteen frames", "responses end by themselves", "a live group"}
    assert about >= {"a gradient", "trained parameters change", "frozen parameters do not", "D_t is Eq. 4's"}
