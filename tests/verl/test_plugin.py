# SPDX-License-Identifier: Apache-2.0
"""The plugin in fresh processes: what it registers in real verl, what it costs, and that its failures are loud."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHOICES = ("VERL_USE_EXTERNAL_PLUGINS", "VERL_USE_EXTERNAL_MODULES", "VERL_ENGINE_DEVICE", "VERL_ENGINE_VENDOR")


def python(program: str, *, path: Path | None = None, **variables: str) -> subprocess.CompletedProcess:
    """Run a program in a fresh interpreter; `path` goes to the front of its import path."""
    clean = {name: value for name, value in os.environ.items() if name not in CHOICES}
    if path is not None:
        clean["PYTHONPATH"] = os.pathsep.join([str(path), *filter(None, [clean.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**clean, "OMP_NUM_THREADS": "1", **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


def report(done: subprocess.CompletedProcess) -> dict:
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert done.returncode == 0 and lines, done.stdout[-1000:] + done.stderr[-4000:]
    return json.loads(lines[-1].removeprefix("RESULT "))


REGISTERED = """
import json, sys
import verl
light = sorted(name for name in sys.modules if name.startswith("recipe.tw_grpo"))
heavy = [name for name in ("vllm", "verl.trainer", "verl.workers.rollout") if name in sys.modules]
from verl.trainer.ppo import core_algos
from verl.experimental.reward_loop.reward_manager import get_reward_manager_cls
from verl.workers.engine import EngineRegistry
from verl.trainer.ppo.v1 import get_trainer_cls
import verl.utils.config as config
def described(cls):
    return [base.__name__ for base in cls.__mro__]
print("RESULT " + json.dumps({
    "after import verl": light, "heavy": heavy,
    "estimator": core_algos.get_adv_estimator_fn("tw_grpo").__module__,
    "grpo": core_algos.get_adv_estimator_fn("grpo").__module__,
    "reward manager": get_reward_manager_cls("multi_answer").__name__,
    "naive": get_reward_manager_cls("naive").__module__,
    "engines": [EngineRegistry.get_engine_cls("language_model", kind).__name__ for kind in ("fsdp", "fsdp2")],
    "critic": EngineRegistry.get_engine_cls("value_model", "fsdp2").__name__,
    "trainers": {mode: described(get_trainer_cls(mode)) for mode in ("sync", "colocate_async", "separate_async")},
    "validate": config.validate_config.__wrapped__.__module__,
}))
"""


@pytest.fixture(scope="module")
def registered():
    return report(python(REGISTERED))


def test_importing_verl_imports_nothing_heavy_of_ours(registered):
    light = ("recipe.tw_grpo.integration.repairs", "recipe.tw_grpo.toolbox")
    assert [name for name in registered["after import verl"] if not name.startswith(light)] == [
        "recipe.tw_grpo",
        "recipe.tw_grpo.config",
        "recipe.tw_grpo.integration",
        "recipe.tw_grpo.integration.vllm_plugin",
        "recipe.tw_grpo.plugin",
    ]
    assert registered["heavy"] == []


def test_estimator_and_reward_manager_are_registered_beside_verls(registered):
    assert registered["estimator"] == "recipe.tw_grpo.advantage"
    assert registered["grpo"] == "verl.trainer.ppo.core_algos"
    assert registered["reward manager"] == "MultiAnswerRewardManager"
    assert registered["naive"].startswith("verl.")


def test_the_language_models_engine_is_ours_and_the_critics_is_verls(registered):
    assert registered["engines"] == ["TWGRPOEngine", "TWGRPOEngine"]
    assert registered["critic"] == "FSDPEngineWithValueHead"


def test_every_trainer_mode_is_a_subclass_of_verls(registered):
    for mode, bases in registered["trainers"].items():
        assert bases[0] == f"TWGRPO{bases[3]}" and bases[1:3] == ["TokenWeightsMixin", "GuardMixin"], (mode, bases)
        assert "PPOTrainer" in bases[4:]
    assert len({bases[0] for bases in registered["trainers"].values()}) == 3


def test_configuration_is_checked_in_verls_own_function(registered):
    assert registered["validate"] == "verl.utils.config"


def test_without_the_plugin_verl_refuses_the_estimator():
    program = """
import verl, sys
from verl.trainer.ppo import core_algos
assert "recipe.tw_grpo.plugin" not in sys.modules  # the CPU platform uses the toolbox
core_algos.get_adv_estimator_fn("tw_grpo")
"""
    done = python(program, VERL_USE_EXTERNAL_PLUGINS="cpu_platform")  # a machine without CUDA needs that one
    assert done.returncode == 1
    assert done.stderr.rstrip().splitlines()[-1] == "ValueError: Unknown advantage estimator simply: tw_grpo"


def test_the_plugin_costs_less_than_50_ms():
    program = """
import json, time, verl
start = time.process_time()
import recipe.tw_grpo.plugin
print("RESULT", json.dumps({"seconds": time.process_time() - start}))
"""
    assert report(python(program, VERL_USE_EXTERNAL_PLUGINS="none"))["seconds"] < 0.05


SABOTAGE = """
import importlib.abc, sys
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise ImportError("sabotaged " + name)
sys.meta_path.insert(0, Finder())
"""


def sabotage(folder: Path, module: str) -> Path:
    (folder / "sitecustomize.py").write_text(SABOTAGE.format(module=module))
    return folder


@pytest.mark.parametrize("module", ["recipe.tw_grpo.toolbox.after_import", "recipe.tw_grpo.config"])
def test_a_plugin_that_cannot_be_imported_is_loud(tmp_path, module):
    """verl swallows the exception, so the plugin has to speak for itself."""
    program = "import verl; print('verl goes on')"
    done = python(program, path=sabotage(tmp_path, module), VERL_USE_EXTERNAL_PLUGINS="tw_grpo")
    assert "verl goes on" in done.stdout
    assert "tw_grpo: the plugin could not be loaded" in done.stderr
    assert f"sabotaged {module}" in done.stderr and "Traceback" in done.stderr


@pytest.mark.parametrize(
    "module, imported",
    [
        ("recipe.tw_grpo.advantage", "verl.trainer.ppo.core_algos"),
        ("recipe.tw_grpo.integration.trainer", "verl.trainer.ppo.v1"),
    ],
)
def test_a_registration_that_fails_fails_verls_import(tmp_path, module, imported):
    """Otherwise verl would train something else, or say only that the estimator is unknown."""
    done = python(f"import verl\nimport {imported}", path=sabotage(tmp_path, module))
    assert done.returncode != 0, done.stdout
    assert f"sabotaged {module}" in done.stderr and f"failed on {imported}" in done.stderr
