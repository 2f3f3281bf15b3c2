# SPDX-License-Identifier: Apache-2.0
"""Does an environment made by examples/setup_gpu.sh work? Every check is run, whatever became of the others.

`python -m recipe.tw_grpo.doctor.self_check` prints one line a check: `ok`, `FAULT` or `not checked`, and exits with 2
when one is a fault. With --without-device what needs a GPU is `not checked`; in a clone that also runs the unit tests
and the repairs' probes against the installed verl and vLLM.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from recipe.tw_grpo.doctor import dry_run, preflight
from recipe.tw_grpo.toolbox.command_line import Parser, run_main

ROOT = Path(__file__).resolve().parents[3]  # of the clone, where there is one
SCRIPTS = ("run_qwen25vl_7b_twgrpo.sh", "run_qwen25vl_7b_grpo.sh", "eval_qwen25vl_7b.sh")
NO_DRIVER = "libcuda.so.1"  # the driver's own library: its absence is the one fault of a machine without a GPU


class Fault(Exception):
    """A check failed; the message is one line with the way out."""


class NotChecked(Exception):
    """A check cannot be made here; the message says why."""


def torch_build(device: bool) -> str:
    """torch is a CUDA build, and sees a GPU that can compute in bfloat16."""
    import torch

    build = f"torch {torch.__version__}, CUDA {torch.version.cuda}"
    if torch.version.cuda is None:
        raise Fault(f"{build}: this is a CPU build, install requirements/gpu.txt")
    if not device:
        return build
    if not torch.cuda.is_available():
        raise Fault(f"{build}: it sees no GPU; compare the driver's CUDA version that nvidia-smi prints")
    names = {torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())}
    if torch.cuda.get_device_capability() < (8, 0):
        raise Fault(f"{', '.join(names)}: bfloat16 needs compute capability 8.0 (A100 or newer)")
    return f"{build}, {torch.cuda.device_count()} x {', '.join(sorted(names))}"


def verl_and_plugin(device: bool) -> str:
    """verl's trainer and FSDP engine import, and the plugin's parts are in its registries."""
    for module in ("verl.trainer.main_ppo", "verl.trainer.ppo.v1", "verl.workers.engine.fsdp.transformer_impl"):
        importlib.import_module(module)
    from verl.experimental.reward_loop.reward_manager.registry import get_reward_manager_cls
    from verl.trainer.ppo.core_algos import get_adv_estimator_fn

    from recipe.tw_grpo.config import ESTIMATOR, REWARD_MANAGER

    get_adv_estimator_fn(ESTIMATOR)
    get_reward_manager_cls(REWARD_MANAGER)
    return f"verl {version('verl')}, estimator {ESTIMATOR}, reward manager {REWARD_MANAGER}"


def vllm(device: bool) -> str:
    """vLLM and verl's server around it import; with a GPU vLLM's compiled part loads too."""
    import vllm as package

    importlib.import_module("verl.workers.rollout.vllm_rollout.vllm_async_server")
    compiled = next(Path(package.__file__).parent.glob("_C*.so")).name.partition(".")[0]
    try:
        importlib.import_module(f"vllm.{compiled}")
    except ImportError as error:
        if device or NO_DRIVER not in str(error):
            raise Fault(f"vLLM's compiled part does not load ({error}): is it built for this torch's CUDA?") from None
    return f"vLLM {package.__version__}" + ("" if device else "; its compiled part needs the driver, not checked")


def flash_attention(device: bool) -> str:
    """flash-attn imports, and attends on the GPU."""
    if not device:
        raise NotChecked("flash-attn needs a GPU")
    try:
        from flash_attn import flash_attn_func
    except ImportError as error:
        raise Fault(f"flash-attn does not import ({error}): set FLASH_ATTN, or use --no-flash-attn") from None
    import torch

    query = torch.randn(1, 8, 2, 64, device="cuda", dtype=torch.bfloat16)
    if not torch.isfinite(flash_attn_func(query, query, query)).all():
        raise Fault("flash-attn gives numbers that are not finite: its wheel is for another torch or GPU")
    return f"flash-attn {version('flash-attn')}"


def video(device: bool) -> str:
    """A video that is written here comes back through qwen-vl-utils as verl reads it, with the right brightness."""
    import av
    import numpy as np
    from qwen_vl_utils import vision_process

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grey.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=8)
            stream.width = stream.height = 112
            stream.pix_fmt = "yuv420p"
            for level in np.linspace(20, 230, 16):
                picture = np.full((112, 112, 3), round(level), np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
        frames = vision_process.fetch_video({"video": str(path), "nframes": 4})
    levels = [float(frame.float().mean()) for frame in frames]
    if len(levels) != 4 or np.abs(np.subtract(levels, (20, 90, 160, 230))).max() > 8:
        raise Fault(f"a grey video of levels 20, 90, 160, 230 came back as {[round(level) for level in levels]}")
    return f"read with {vision_process.get_video_reader_backend()}"


def _run(command: Sequence[str], **variables: str) -> list[str]:
    """The lines that a command of the clone prints.

    Raises:
        Fault: it failed; with its last lines.
    """
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise Fault(f"exit code {done.returncode}: {' | '.join(lines[-3:])}")
    return done.stdout.splitlines()


def compositions(device: bool) -> str:
    """The launch scripts' settings compose, and verl and the plugin accept them."""
    present = [name for name in SCRIPTS if (ROOT / "examples" / name).exists()]
    if not present:
        raise NotChecked("there is no clone around this package")
    preflight.check(os.environ)
    for name in present:
        dry_run.compose_checked(_run(["bash", f"examples/{name}"], DRY_RUN="args"))
    return ", ".join(present)


def _tests(folder: str, pattern: str) -> str:
    files = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests" / folder).glob(pattern))]
    if not files or not find_spec("pytest"):
        raise NotChecked(f"tests/{folder}/{pattern} or pytest is not here")
    # tests/verl would choose the CPU platform where there is no GPU, and this verl is the GPU set's.
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    return _run([*pytest, *files], VERL_PLATFORM="nvidia")[-1].strip("= ")


def probes(device: bool) -> str:
    """Every repair: the defect is there without it and gone with it, in the installed verl and vLLM."""
    return _tests("verl", "test_repairs.py")


def engine_probes(device: bool) -> str:
    """The repairs within verl's FSDP engine, which in this set runs on a GPU only: said, so that nobody misses them."""
    raise NotChecked("verl's engine needs a GPU here; tests/run.sh runs its probes with the CPU set")


def unit_tests(device: bool) -> str:
    """tests/unit."""
    return _tests("unit", "test_*.py")


Check = Callable[[bool], str]
CHECKS: dict[str, Check] = {
    "torch": torch_build,
    "verl": verl_and_plugin,
    "vllm": vllm,
    "flash-attn": flash_attention,
    "video": video,
    "settings": compositions,
}
WITHOUT_DEVICE: dict[str, Check] = {"probes": probes, "engine": engine_probes, "unit tests": unit_tests}


def run(checks: dict[str, Check], device: bool) -> Iterator[tuple[str, str, str, float]]:
    """(name, ok | FAULT | not checked, one line, seconds) of every check, in order."""
    for name, check in checks.items():
        start = time.monotonic()
        try:
            state, line = "ok", check(device)
        except NotChecked as error:
            state, line = "not checked", str(error)
        except Fault as error:
            state, line = "FAULT", str(error)
        except SystemExit:  # verl's check with the plugin's in front: the line is on stderr already
            state, line = "FAULT", "refused, see the line above"
        except Exception as error:  # whatever an import raises is a finding here, and the next check is still run
            state, line = "FAULT", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        yield name, state, line, time.monotonic() - start


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 2 when a check is a fault."""
    parser = Parser(prog="python -m recipe.tw_grpo.doctor.self_check", description=__doc__.split("\n\n")[0])
    parser.add_argument("--without-device", action="store_true", help="leave out what needs a GPU, run what does not")
    parser.add_argument("--no-flash-attn", action="store_true", help="flash-attn is left out on purpose")
    args: argparse.Namespace = parser.parse_args(argv)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    checks = CHECKS | (WITHOUT_DEVICE if args.without_device else {})
    if args.no_flash_attn:
        del checks["flash-attn"]
    faults = 0
    for name, state, line, seconds in run(checks, device=not args.without_device):
        faults += state == "FAULT"
        print(f"{state:<11} {name:<10} {line} ({seconds:.0f} s)", flush=True)
    return 2 if faults else 0


if __name__ == "__main__":
    run_main(main)
