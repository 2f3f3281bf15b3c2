# SPDX-License-Identifier: Apache-2.0
"""What stock verl 0.9.1 and vLLM 0.27.1 lack on a CPU, one `Repair` each, applied right after its module is imported.

A patch says which line makes it necessary, how to repair it, and how to see the defect: `defect(module)` runs the real
code and tells whether it still fails, so the same function proves that the patch is needed and that it works.
`python -m recipe.cpu_platform.patches` prints the list.
"""

from __future__ import annotations

import functools
import inspect
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

from recipe.tw_grpo.toolbox import repair, torchvision_operators
from recipe.tw_grpo.toolbox.repair import Repair

# --- verl: process group --------------------------------------------------------------------------------------------


def _gloo_only(distributed: ModuleType) -> None:
    """The default backend "cpu:gloo,<device>:<backend>" names the device cpu twice here: use plain gloo."""
    original = distributed.initialize_global_process_group_ray

    @functools.wraps(original)
    def initialize_global_process_group_ray(timeout_second=None, backend=None):
        return original(timeout_second=timeout_second, backend=backend or "cpu:gloo")

    distributed.initialize_global_process_group_ray = initialize_global_process_group_ray


def _group_is_refused(distributed: ModuleType) -> bool:
    import torch

    try:
        with _one_process(distributed.initialize_global_process_group_ray):
            return not torch.distributed.is_initialized()
    except (RuntimeError, ValueError) as error:
        if "Duplicate device type cpu" in str(error):
            return True
        raise


@contextmanager
def _one_process(initialize: Callable[[], None]) -> Iterator[None]:
    """A torch process group of this process alone, made by `initialize`, for the length of a with block."""
    import torch

    with tempfile.TemporaryDirectory() as folder:
        saved = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "DIST_INIT_METHOD")}
        os.environ.update(RANK="0", WORLD_SIZE="1", DIST_INIT_METHOD=f"file://{folder}/store")
        try:
            initialize()
            yield
        finally:
            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()
            for name, value in saved.items():
                os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


def _gloo_of_one() -> None:
    import torch

    torch.distributed.init_process_group("gloo", init_method=os.environ["DIST_INIT_METHOD"], rank=0, world_size=1)


# --- verl: pinned memory --------------------------------------------------------------------------------------------


def _no_pinned_memory(fsdp_utils: ModuleType) -> None:
    """A forward-only FSDP2 engine (the reference policy) asks for pinned memory, which needs an accelerator."""
    original = fsdp_utils.CPUOffloadPolicy

    class CPUOffloadPolicy(original):
        """torch's policy that never pins."""

        def __init__(self, pin_memory: bool = True) -> None:
            super().__init__(pin_memory=False)

    fsdp_utils.CPUOffloadPolicy = CPUOffloadPolicy


def _pinning_fails(fsdp_utils: ModuleType) -> bool:
    import torch
    from torch.distributed.device_mesh import init_device_mesh

    with _one_process(_gloo_of_one):
        model = torch.nn.Linear(2, 2)
        policy = fsdp_utils.CPUOffloadPolicy(pin_memory=True)
        try:
            fsdp_utils.fully_shard(model, mesh=init_device_mesh("cpu", (1,)), offload_policy=policy)
            model(torch.ones(1, 2))
        except RuntimeError as error:
            if "accelerator" in str(error):  # "Cannot access accelerator device when none is available"
                return True
            raise
    return False


# --- verl: a saved policy -------------------------------------------------------------------------------------------


def _copy_saved_weights(fsdp_utils: ModuleType) -> None:
    """The trainer separate_async sets a policy aside with `tensor.cpu()`, which on a CPU is no copy.

    The optimizer then changes the policy that was set aside, restoring it changes nothing, and the "old"
    log-probabilities (and D_t) of a step's second and later updates are those of the new policy, without an error.
    """
    original = fsdp_utils.fsdp2_sharded_save_to_cpu

    @functools.wraps(original)
    def fsdp2_sharded_save_to_cpu(model):
        state, spec = original(model)
        return {name: (tensor.clone(), of_tensor) for name, (tensor, of_tensor) in state.items()}, spec

    fsdp_utils.fsdp2_sharded_save_to_cpu = fsdp2_sharded_save_to_cpu


def _saved_weights_change(fsdp_utils: ModuleType) -> bool:
    import torch
    from torch.distributed.device_mesh import init_device_mesh

    with _one_process(_gloo_of_one):
        model = torch.nn.Linear(2, 2)
        fsdp_utils.fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
        before = model.weight.full_tensor().detach().clone()
        saved = fsdp_utils.fsdp2_sharded_save_to_cpu(model)
        with torch.no_grad():
            model.weight.add_(1)
        fsdp_utils.fsdp2_sharded_load_from_cpu(model, *saved)
        return not torch.equal(model.weight.full_tensor(), before)


# --- verl: packed rows ----------------------------------------------------------------------------------------------


def _packed_rows_by_torch(monkey_patch: ModuleType) -> None:
    """Packed rows need FlashAttention's kernels: torch_flash.py computes them, under the name packed_by_torch."""
    from recipe.cpu_platform import torch_flash  # imports torch

    torch_flash.into_ulysses(monkey_patch)


def _packed_rows_fail(monkey_patch: ModuleType) -> bool:
    from recipe.cpu_platform import torch_flash

    return torch_flash.ulysses_fails(monkey_patch)


def _qwen2_vl_by_torch(qwen2_vl: ModuleType) -> None:
    """The same for verl's own attention of Qwen2-VL and Qwen2.5-VL, which is a NameError without flash-attn."""
    from recipe.cpu_platform import torch_flash

    torch_flash.into_qwen2_vl(qwen2_vl)


def _qwen2_vl_fails(qwen2_vl: ModuleType) -> bool:
    from recipe.cpu_platform import torch_flash

    return torch_flash.qwen2_vl_fails(qwen2_vl)


# --- vLLM: live weights ---------------------------------------------------------------------------------------------


def _keep_linear_weights(utils: ModuleType) -> None:
    """vLLM packs a linear layer's weight for its CPU kernels after loading and deletes `layer.weight`.

    A weight sync then has nothing to write to ("'Parameter' object has no attribute 'weight_loader'"), and a packed
    copy would go stale. Keep the weight and multiply by it.
    """
    original = utils.dispatch_cpu_unquantized_gemm

    @functools.wraps(original)
    def dispatch_cpu_unquantized_gemm(layer, remove_weight):
        import torch

        if layer.weight.ndim != 2:  # a convolution or stacked experts: not a linear layer, and not deleted
            original(layer, remove_weight)
            return
        layer.cpu_linear = torch.nn.functional.linear

    utils.dispatch_cpu_unquantized_gemm = dispatch_cpu_unquantized_gemm


def _weight_is_lost(utils: ModuleType) -> bool:
    import torch

    layer = torch.nn.Linear(32, 32, bias=False)
    x = torch.ones(1, 32)
    utils.dispatch_cpu_unquantized_gemm(layer, remove_weight=True)
    if layer.weight.numel() == 0:
        return True
    with torch.no_grad():
        layer.weight.fill_(0.5)  # a later sync
        return not torch.allclose(layer.cpu_linear(x, layer.weight, None), torch.full((1, 32), 16.0))


PATCHES: tuple[Repair, ...] = (
    Repair(
        "process-group",
        "verl.utils.distributed",
        'verl 0.9.1 utils/distributed.py:89 builds "cpu:gloo,cpu:gloo", torch 2.13 refuses a device named twice',
        _gloo_only,
        _group_is_refused,
    ),
    Repair(
        "pinned-memory",
        "verl.utils.fsdp_utils",
        "verl 0.9.1 workers/engine/fsdp/transformer_impl.py:462 passes CPUOffloadPolicy(pin_memory=True)",
        _no_pinned_memory,
        _pinning_fails,
    ),
    Repair(
        "saved-policy",
        "verl.utils.fsdp_utils",
        "verl 0.9.1 utils/fsdp_utils.py:1180 keeps local_gpu_tensor.detach().cpu(), the parameter itself on a CPU",
        _copy_saved_weights,
        _saved_weights_change,
    ),
    Repair(
        "packed-rows",
        "verl.models.transformers.monkey_patch",
        "verl 0.9.1 models/transformers/monkey_patch.py:146 calls a kernel of flash-attn, which is a GPU package",
        _packed_rows_by_torch,
        _packed_rows_fail,
    ),
    Repair(
        "packed-rows-qwen2-vl",
        "verl.models.transformers.qwen2_vl",
        "verl 0.9.1 models/transformers/qwen2_vl.py:239 calls flash_attn_varlen_func of flash-attn, a GPU package",
        _qwen2_vl_by_torch,
        _qwen2_vl_fails,
    ),
    Repair(
        "weight-sync",
        "vllm.model_executor.layers.utils",
        "vLLM 0.27.1 model_executor/layers/linear.py:220 calls layers/utils.py:234 with remove_weight=True",
        _keep_linear_weights,
        _weight_is_lost,
    ),
    torchvision_operators.REPAIR,
)


def install(*packages: str) -> None:
    """Apply the patches of modules in these top-level packages when those modules arrive; nothing is imported now.

    Args:
        packages: "verl", "vllm" or "torchvision". Installing a package's patches again changes nothing.
    """
    repair.install(patch for patch in PATCHES if patch.package in packages)


if __name__ == "__main__":
    for patch in PATCHES:
        print(f"{patch.name}: {patch.because}\n    {' '.join(inspect.getdoc(patch.apply).split())}")
