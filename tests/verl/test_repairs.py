# SPDX-License-Identifier: Apache-2.0
"""Repairs of verl and vLLM: each is needed, works, can be left out, and touches no vLLM but that of a verl server.

Each case runs in a fresh interpreter with the plugins as a run loads them. A test named `..._stock_...` fails once
upstream no longer shows a defect: then the repair and its row in docs/upstream.md can go.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recipe.tw_grpo.integration import repairs
from recipe.tw_grpo.runs.folder import versions

ROOT = Path(__file__).resolve().parents[2]
PROBES = Path(__file__).with_name("repair_probes.py")
VARIABLES = ("TW_GRPO_REPAIRS", "TW_GRPO_VLLM_REPAIRS", "TW_GRPO_TIME_POSITIONS", "VERL_USE_EXTERNAL_PLUGINS")
MODULES = [one.module for one in repairs.REPAIRS]


def python(*arguments: str, path: Path | None = None, **variables: str) -> subprocess.CompletedProcess:
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    clean["PYTHONPATH"] = os.pathsep.join([*([str(path)] if path else []), str(ROOT)])
    return subprocess.run(
        [sys.executable, *arguments],
        env={**clean, "OMP_NUM_THREADS": "1", **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
    )


def result(*arguments: str, **variables: str):
    done = python(*arguments, **variables)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert done.returncode == 0 and lines, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(lines[-1].removeprefix("RESULT "))


@pytest.fixture(scope="module")
def off():
    """Everything switched off, in a process that looks like one of a verl server's."""
    return result(str(PROBES), TW_GRPO_REPAIRS="off", TW_GRPO_VLLM_REPAIRS="1")


@pytest.fixture(scope="module")
def on():
    return result(str(PROBES), "positions", TW_GRPO_VLLM_REPAIRS="1")


@pytest.fixture(scope="module")
def beside():
    """A vLLM that verl did not start, in the same environment and even in a process that has imported verl."""
    return result(str(PROBES), TW_GRPO_REPAIRS="fused-head,position-ids")


@pytest.mark.parametrize("module", MODULES)
def test_stock_code_still_shows_the_defect(off, module):
    assert off["defects"][module], f"{module} works without it now: remove the repair"


@pytest.mark.parametrize("module", MODULES)
def test_repaired_code_does_not_show_it(on, module):
    assert not on["defects"][module]


def test_a_vllm_beside_is_not_touched_and_names_can_be_left_out(beside):
    shown = {module for module, defect in beside["defects"].items() if defect}
    expected = {one.module for one in repairs.REPAIRS if one.package == "vllm"}
    expected |= {one.module for one in repairs.REPAIRS if one.name in ("fused-head", "position-ids")}
    assert shown == expected
    assert beside["identity"]["repairs"] == ["time-positions", "placeholder-row", "poll-interval"]
    assert "left out by TW_GRPO_REPAIRS: position-ids, fused-head" in " ".join(beside["announcement"])


def test_the_log_names_the_active_repairs(on, off):
    assert on["identity"]["repairs"] == list(repairs.NAMES)
    (line,) = on["announcement"]
    assert all(name in line for name in repairs.NAMES) and "time positions: sampling" in line
    assert off["identity"]["repairs"] == []
    assert off["announcement"][0].startswith("tw_grpo: active repairs of verl and vLLM: none")


def test_both_sides_have_the_intended_positions_whatever_the_sampling(on):
    assert len(on["positions"]) >= 18
    wrong = {name: sides for name, sides in on["positions"].items() if not (sides["verl"] and sides["vllm"])}
    assert not wrong


def test_clevrer_has_the_positions_the_model_was_trained_with(on):
    """16 of 128 frames at 25 a second: 2 * 0.64 s a grid; the text goes on behind the last of them."""
    grids = on["positions"]["CLEVRER, 16 of 128 frames at 25"]["grids"]
    assert [place - 2 for place in grids[2:-2:6]] == [0, 1, 2, 3, 5, 6, 7, 8] and grids[-2:] == [11, 12]


def test_the_published_rule_is_kept_on_both_sides(on):
    for name, sides in on["published"].items():
        assert sides["verl"] and sides["vllm"], name
    grids = on["published"]["CLEVRER, 16 of 128 frames at 25"]["grids"]
    assert [place - 2 for place in grids[2:-2:6]] == [0, 2, 4, 6, 8, 10, 12, 14]


def test_the_same_frames_at_another_rate_are_another_video_for_vllms_caches(on):
    assert len(set(on["cache keys"])) == 3


SERVER = """
import asyncio, json, os, types
import verl
from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer
before = os.environ.get("TW_GRPO_VLLM_REPAIRS")
try:  # stops at its first check: a second node without an address
    asyncio.run(vLLMHttpServer.launch_server(types.SimpleNamespace(node_rank=1)))
except AssertionError as error:
    stopped = str(error)
import vllm.model_executor.models.qwen2_5_vl as model
from verl.trainer.constants_ppo import get_ppo_ray_runtime_env
carried = get_ppo_ray_runtime_env()["env_vars"]
print("RESULT " + json.dumps({
    "before": before, "after": os.environ.get("TW_GRPO_VLLM_REPAIRS"), "stopped": stopped,
    "repaired": hasattr(model.Qwen2_5_VLMultiModalProcessor._call_hf_processor, "__wrapped__"),
    "carried": {name: carried.get(name) for name in ("TW_GRPO_REPAIRS", "TW_GRPO_TIME_POSITIONS")}}))
"""


def test_a_verl_server_marks_its_process_before_its_engine_starts():
    done = result("-c", SERVER, TW_GRPO_TIME_POSITIONS="published")
    assert done["before"] is None and done["after"] == "1" and done["repaired"]
    assert "non-master node" in done["stopped"]
    assert done["carried"] == {"TW_GRPO_REPAIRS": None, "TW_GRPO_TIME_POSITIONS": "published"}


# --- the list, versions and settings ---------------------------------------------------------------------------------

LIST = ("-m", "recipe.tw_grpo.integration.repairs")


def test_the_list_names_every_repair_and_its_line():
    done = python(*LIST)
    assert done.returncode == 0, done.stderr
    for one in repairs.REPAIRS:
        assert f"{one.name} ({one.package} " in done.stdout and one.because in done.stdout and ".py:" in one.because
    assert done.stdout.count(": active") == len(repairs.REPAIRS)


@pytest.mark.parametrize("distribution, version", [("verl", "0.9.2"), ("vllm", "0.28.0")])
def test_another_version_gets_no_repair_and_one_loud_line(tmp_path, distribution, version):
    folder = tmp_path / f"{distribution}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    done = python(*LIST, path=tmp_path)
    assert done.returncode == 0, done.stderr
    touched = {one.name for one in repairs.REPAIRS if one.package == distribution}
    warnings = [line for line in done.stderr.splitlines() if "WARNING" in line]
    assert len(warnings) == len(touched)
    assert all(f"{distribution} {version} is not " in line for line in warnings)
    assert f"{distribution} {version} is not" in done.stdout


def test_another_version_is_left_as_it_is(tmp_path):
    folder = tmp_path / "verl-0.9.2.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: verl\nVersion: 0.9.2\n")
    program = """
import verl
from recipe.tw_grpo.integration import repairs
import verl.utils.tensordict_utils as module
print("RESULT", int(repairs.ragged_positions.REPAIR.defect(module)))
"""
    # The CPU platform refuses to work with another verl, and this module needs none of it.
    assert result("-c", program, path=tmp_path, VERL_USE_EXTERNAL_PLUGINS="tw_grpo", VERL_PLATFORM="") == 1
    assert result("-c", program, VERL_USE_EXTERNAL_PLUGINS="tw_grpo", VERL_PLATFORM="") == 0


@pytest.mark.parametrize(
    "variables, complaint",
    [
        ({"TW_GRPO_REPAIRS": "time-position"}, "TW_GRPO_REPAIRS names no repair 'time-position'"),
        ({"TW_GRPO_TIME_POSITIONS": "exact"}, "TW_GRPO_TIME_POSITIONS=exact is neither sampling nor published"),
        ({"TW_GRPO_TIME_POSITIONS": "published", "TW_GRPO_REPAIRS": "off"}, "is not active (TW_GRPO_REPAIRS)"),
    ],
)
def test_settings_that_cannot_be_kept_are_refused_in_one_line(variables, complaint):
    done = python(*LIST, **variables)
    assert done.returncode == 2 and complaint in done.stderr and len(done.stderr.splitlines()) == 1


# --- log-probabilities -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def distances():
    """{repaired or not: {program: largest distance of vLLM's log-probabilities from that program's positions}}."""
    if "vllm" in versions() and not any(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("vLLM's GPU build answers nothing without a GPU")
    script = str(PROBES.with_name("time_positions_log_probs.py"))
    variables = {"yes": {"TW_GRPO_VLLM_REPAIRS": "1"}, "no": {}}
    with ThreadPoolExecutor() as pool:
        done = {name: pool.submit(result, script, "vllm", **chosen) for name, chosen in variables.items()}
        return {name: future.result() for name, future in done.items()}


TRAINED, PLAIN = "verl with the repair (trained, true rate)", "plain vLLM (24 fps assumed)"


def test_repaired_vllm_answers_with_the_policy_that_is_trained(distances):
    assert distances["yes"][TRAINED] < 2e-4  # float32
    assert min(away for name, away in distances["yes"].items() if name != TRAINED) > 0.1


def test_a_plain_vllm_beside_answers_as_stock(distances):
    assert distances["no"][PLAIN] < 2e-4
    assert distances["no"][TRAINED] > 0.1
