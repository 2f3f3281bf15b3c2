# SPDX-License-Identifier: Apache-2.0
"""Time and memory of things that are compared: repeats interleaved, medians, the machine and its versions by name."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

MIB = 1 << 20


def machine(device: str) -> dict[str, Any]:
    """Name, cores or card, versions, threads, and the load the machine was under when the measurement began."""
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "load": os.getloadavg()[0],
        "device": device,
        "commit": _commit(),
    }
    if device == "cuda":
        found |= {"card": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
    return found


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return done.stdout.strip()


def interleaved(work: Mapping[str, Callable[[], Any]], repeats: int, device: str) -> dict[str, list[float]]:
    """Seconds of every piece of work, `repeats` rounds of all of them one after the other."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, function in work.items():
            seconds[name].append(once(function, device))
    return seconds


def once(function: Callable[[], Any], device: str) -> float:
    """Seconds of one call, the device's work included."""
    _wait(device)
    start = time.perf_counter()
    function()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def median(values: list[float]) -> float:
    """Of seconds."""
    return statistics.median(values)


def cuda_peak(function: Callable[[], Any]) -> int:
    """Bytes a call allocates on the GPU beyond what is there before it."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    function()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def cpu_peak(module: str, *arguments: str) -> int:
    """Bytes by which the resident memory of a process of its own grows: `python -m module arguments` prints them."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def resident_peak() -> int:
    """Bytes this process has held at most since `reset_resident_peak`."""
    status = Path("/proc/self/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) << 10


def reset_resident_peak() -> int:
    """Forget the peak; returns the bytes that are resident now."""
    Path("/proc/self/clear_refs").write_text("5")
    return resident_peak()
