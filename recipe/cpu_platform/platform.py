# SPDX-License-Identifier: Apache-2.0
"""The `cpu` platform class for verl's PlatformRegistry (verl 0.9.1 registers nvidia, huawei and amd only).

Ray still schedules by the resource "GPU": verl's placement groups always ask for it, so a run on CPU starts Ray with as
many logical GPUs as it wants data-parallel ranks. This module only defines the class; plugin.py registers it.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterator
from typing import Any

import torch
from verl.plugin.platform import PlatformBase


class _DeviceModule(types.ModuleType):
    """`torch.cpu` plus the functions of `torch.cuda` that verl calls without asking whether they exist.

    They reach them through `get_torch_device()` (verl/utils/device.py:98; for example mem_get_info in
    verl/utils/profiler/performance.py:54). Memory figures are 0, clocks and caches need nothing.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cpu, name)


def _device_module() -> types.ModuleType:
    module = _DeviceModule("recipe.cpu_platform.platform.device_module")
    for name in ("memory_allocated", "max_memory_allocated", "memory_reserved", "max_memory_reserved"):
        setattr(module, name, lambda *args, **kwargs: 0)
    nothing_to_do = ("empty_cache", "ipc_collect", "set_device", "synchronize", "reset_peak_memory_stats")
    for name in (*nothing_to_do, "set_per_process_memory_fraction"):
        setattr(module, name, lambda *args, **kwargs: None)
    module.is_available = lambda: False
    module.device_count = lambda: 1
    module.current_device = lambda: 0
    module.mem_get_info = lambda *args: (0, 0)  # (free, total): "0 used" in verl's memory log lines
    module.get_device_name = lambda *args: "cpu"
    module.get_rng_state = torch.get_rng_state
    module.set_rng_state = torch.set_rng_state
    return module


class PlatformCPU(PlatformBase):
    """A machine without an accelerator: torch on "cpu", collectives over gloo, weights sent through shared memory."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module = _device_module()

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        return False  # never auto-detected, only by VERL_PLATFORM=cpu

    def current_device(self) -> str:
        return "cpu"  # not an index: verl writes tensor.to(get_device_id()), and 0 means the first CUDA device

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None:
        pass

    def synchronize(self, device_index: int | None = None) -> None:
        pass

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        pass

    def empty_cache(self) -> None:
        pass

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"  # Ray numbers its logical GPUs with it

    @contextlib.contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield

    def profiler_start(self) -> None:
        pass

    def profiler_stop(self) -> None:
        pass

    def ray_resource_name(self) -> str:
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        return False  # CUDA IPC handles; verl's other way to vLLM is shared memory

    def cudart(self) -> None:
        return None
