# SPDX-License-Identifier: Apache-2.0
"""recipe.cpu_platform across processes: gloo ranks through verl, vLLM's processes without verl, launch settings."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CPU = {**os.environ, "VERL_PLATFORM": "cpu", "OMP_NUM_THREADS": "1", "VERL_USE_EXTERNAL_PLUGINS": "cpu_platform"}

RANK = """
import torch, verl
from verl.utils.distributed import initialize_global_process_group_ray
initialize_global_process_group_ray(timeout_second=120)
rank = torch.distributed.get_rank()
x = torch.tensor([float(rank + 1)])
torch.distributed.all_reduce(x)
print("RESULT", torch.distributed.get_world_size(), torch.distributed.get_backend(), x.item())
torch.distributed.destroy_process_group()
"""


def test_two_ranks_reduce_through_verls_own_initialisation(tmp_path):
    shared = {"WORLD_SIZE": "2", "DIST_INIT_METHOD": f"file://{tmp_path}/store"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK],
            env={**CPU, **shared, "RANK": str(rank)},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in ranks:
            out, err = process.communicate(timeout=240)
            assert "RESULT 2 cpu:gloo 3.0" in out, out + err[-3000:]
    finally:
        for process in ranks:
            process.kill()


VLLM_PROCESS = """
import json, sys
import torch
from vllm.v1.engine.core import EngineCoreProc  # what a spawned engine process imports first; brings torchvision along
from vllm.plugins import load_general_plugins
load_general_plugins()
import vllm.model_executor.layers.utils as utils
from vllm.model_executor.layers.linear import UnquantizedLinearMethod

layer = torch.nn.Linear(32, 32, bias=False)
before = layer.weight
UnquantizedLinearMethod().process_weights_after_loading(layer)
print("RESULT", json.dumps({
    "verl": "verl" in sys.modules, "torchvision": "torchvision" in sys.modules,
    "weight kept": layer.weight is before, "operators": hasattr(torch.ops.torchvision, "nms")}))
"""


def test_a_vllm_process_that_never_imports_verl_is_patched():
    """vLLM's engine and worker processes load vLLM's plugins only."""
    done = subprocess.run(
        [sys.executable, "-c", VLLM_PROCESS], env=CPU, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert done.returncode == 0 and lines, done.stdout[-2000:] + done.stderr[-4000:]
    expected = {"verl": False, "torchvision": True, "weight kept": True, "operators": True}
    assert json.loads(lines[-1].removeprefix("RESULT ")) == expected


OVERRIDES = """
import json, sys
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
import verl
from verl.checkpoint_engine import CheckpointEngineRegistry
from verl.utils.import_utils import import_external_libs
from verl.utils.config import omega_conf_to_dataclass
found = []
for ranks in (1, 2):
    with initialize_config_module(config_module="verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", overrides=[*sys.argv[1:], f"trainer.n_gpus_per_node={ranks}"])
    ray_init = OmegaConf.to_container(OmegaConf.create({**config.ray_kwargs.ray_init}))  # verl/trainer/main_ppo.py:72
    transfer = omega_conf_to_dataclass(config.actor_rollout_ref.rollout).checkpoint_engine
    import_external_libs(transfer.custom_backend_module or None)  # verl/checkpoint_engine/base.py:336
    engine = CheckpointEngineRegistry.get(transfer.backend).__name__
    found.append([ray_init["num_gpus"], config.actor_rollout_ref.ref.strategy, engine])
print("RESULT", json.dumps(found))
"""


@pytest.mark.parametrize(
    "files, expected",
    [
        (["overrides"], [[1, "fsdp2", "ColocatedCheckpointEngine"], [2, "fsdp2", "ColocatedCheckpointEngine"]]),
        (["overrides", "separate_async"], [[2, "fsdp2", "GlooCheckpointEngine"]] * 2),
    ],
)
def test_overrides_compose_in_verls_own_configuration(files, expected):
    lines = [line for file in files for line in (ROOT / f"recipe/cpu_platform/{file}.args").read_text().splitlines()]
    overrides = [line for line in lines if line and not line.startswith("#")] + ["actor_rollout_ref.rollout.name=vllm"]
    done = subprocess.run(
        [sys.executable, "-c", OVERRIDES, *overrides], env=CPU, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    results = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert done.returncode == 0 and results, done.stderr[-4000:]
    assert json.loads(results[0].removeprefix("RESULT ")) == expected


def test_env_sh_chooses_the_platform_and_keeps_what_is_set():
    script = f". {ROOT}/recipe/cpu_platform/env.sh; echo $VERL_PLATFORM $WANDB_MODE $HF_HUB_OFFLINE"
    environment = {"PATH": os.environ["PATH"], "WANDB_MODE": "online"}
    done = subprocess.run(["bash", "-euc", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cpu", "online", "1"]
