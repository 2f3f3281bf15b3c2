# SPDX-License-Identifier: Apache-2.0
"""Is the CPU platform chosen, do the installed versions fit, and which environment variables follow from the choice.

Standard library only: this is read in every verl and vLLM process, before torch-heavy modules are imported.
"""

from __future__ import annotations

import os
import sys
from importlib import metadata
from typing import NoReturn

VERL_VERSION = "0.9.1"
VLLM_VERSION = "0.27.1"

# Read by verl and vLLM long after their plugins were loaded, so they can be set here, in every process.
ENVIRONMENT = {
    # verl/workers/engine/base.py:405 looks engines up by device; the FSDP engines are registered for cuda and npu only
    # (verl/workers/engine/fsdp/transformer_impl.py:1143). The vendor of the look-up stays "cpu".
    "VERL_ENGINE_DEVICE": "cuda",
    # GiB; vllm/platforms/cpu.py:137 otherwise takes a share of the machine's memory for each replica.
    "VLLM_CPU_KVCACHE_SPACE": "1",
    # qwen_vl_utils/vision_process.py:386: torchvision 0.28 has no read_video, torchcodec's wheel wants CUDA libraries.
    "FORCE_QWENVL_VIDEO_READER": "decord",
}


def chosen() -> bool:
    """True when the user chose the CPU platform; the same rule as verl/plugin/platform/platform_manager.py:92."""
    return os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu"


def prepare_environment() -> None:
    """Set the variables of `ENVIRONMENT` that the user has not set; child processes inherit them."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def refuse_other_versions() -> None:
    """Exit with code 2 and one line on stderr when verl or vLLM is not the version the patches were written for.

    SystemExit, because verl/__init__.py logs a plugin's exceptions at DEBUG level and goes on without it. A missing
    vLLM is accepted: the training side works alone.
    """
    verl = _version("verl")
    if verl != VERL_VERSION:
        _refuse(f"verl {VERL_VERSION}", f"verl {verl}" if verl else "no verl")
    vllm = _version("vllm-cpu")
    gpu_build = _version("vllm")
    if vllm is None and gpu_build is not None:
        _refuse(f"vllm-cpu {VLLM_VERSION}", f"vllm {gpu_build}")
    if vllm is not None and vllm != VLLM_VERSION:
        _refuse(f"vllm-cpu {VLLM_VERSION}", f"vllm-cpu {vllm}")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _refuse(wanted: str, found: str) -> NoReturn:
    print(
        f"recipe.cpu_platform: VERL_PLATFORM=cpu needs {wanted}, found {found}: "
        "install requirements/cpu.txt (bash examples/setup_cpu.sh) or unset VERL_PLATFORM",
        file=sys.stderr,
        flush=True,
    )
    raise SystemExit(2)
