# SPDX-License-Identifier: Apache-2.0
"""examples/setup_gpu.sh refuses in one line, before it installs anything, what cannot work; its lock is complete."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements/gpu.txt").read_text()
PINS = dict(re.findall(r"^([a-z0-9-]+)==(\S+) \\$", LOCK, re.MULTILINE))
PYPROJECT = (ROOT / "pyproject.toml").read_text()


@pytest.fixture
def machine(tmp_path):
    """A PATH of a machine with a GPU, a new driver and nvcc, each replaceable; and how to call the script on it."""
    commands = tmp_path / "bin"
    commands.mkdir()

    def put(name, *lines):
        (commands / name).unlink(missing_ok=True)  # it may be a link to the real command: never write through it
        (commands / name).write_text("#!/bin/sh\n" + "\n".join(lines) + "\n")
        (commands / name).chmod(0o755)

    put("nvidia-smi", "echo 580.95.05")
    put("nvcc", "exit 0")
    for name in (
        "bash",
        "dirname",
        "basename",
        "head",
        "cat",
        "cksum",
        "sed",
        "awk",
        "grep",
        "mkdir",
        "rm",
        "ls",
        "df",
        "flock",
    ):
        path = next((Path(folder) / name for folder in ("/usr/bin", "/bin") if (Path(folder) / name).exists()), None)
        if path:
            (commands / name).symlink_to(path)
    put("uname", '[ "$1" = -s ] && echo Linux || echo x86_64')

    def call(*arguments, **variables):
        environment = {"PATH": str(commands), "VENV": str(tmp_path / "venv"), "CUDA_HOME": str(tmp_path), **variables}
        script = ["/bin/bash", str(ROOT / "examples/setup_gpu.sh"), *arguments]
        done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=60)
        assert not (tmp_path / "venv").exists()
        return done

    call.put, call.remove = put, lambda name: (commands / name).unlink()
    return call


def refused(done):
    assert done.returncode == 2 and done.stdout == "", done
    (line,) = done.stderr.splitlines()
    return line


def test_an_unknown_option(machine):
    assert "--with-out-device is no option" in refused(machine("--with-out-device"))


def test_another_architecture(machine):
    machine.put("uname", '[ "$1" = -s ] && echo Linux || echo aarch64')
    assert "Linux aarch64" in refused(machine())


def test_no_driver(machine):
    machine.remove("nvidia-smi")
    line = refused(machine())
    assert "nvidia-smi" in line and "--without-device" in line


def test_a_driver_without_a_gpu(machine):
    machine.put("nvidia-smi", "echo 'No devices were found'", "exit 6")
    assert "lists none" in refused(machine())


@pytest.mark.parametrize("version", ["575.57.08", "535.261.03", "470.256.02"])
def test_an_old_driver_names_the_ways_out(machine, version):
    machine.put("nvidia-smi", f"echo {version}")
    line = refused(machine())
    assert version in line and "TORCH_WHEEL_INDEX" in line and "image" in line


def test_cuda_12_builds_take_an_older_driver_but_not_any(machine):
    machine.put("nvidia-smi", "echo 470.256.02")
    assert "older than r525" in refused(machine(TORCH_WHEEL_INDEX="/wheels"))
    machine.put("nvidia-smi", "echo 535.261.03")
    assert "needs Python 3.12" in refused(machine(TORCH_WHEEL_INDEX="/wheels"))  # the next thing it looks for


def test_flash_attention_without_a_compiler(machine):
    machine.remove("nvcc")
    line = refused(machine())
    assert "FLASH_ATTN" in line and "nvcc" in line and "--no-flash-attn" in line
    for arguments in (["--no-flash-attn"], ["--without-device"]):
        assert "needs Python 3.12" in refused(machine(*arguments))


def test_a_flash_attention_that_is_nowhere(machine):
    assert "FLASH_ATTN=/no/such.whl is no file" in refused(machine(FLASH_ATTN="/no/such.whl"))


def test_another_python(machine):
    machine.put("python3", '[ "$1" = --version ] && echo Python 3.13.0 && exit 0', "exit 1")
    line = refused(machine())
    assert "needs Python 3.12, found Python 3.13.0" in line
    assert "PYTHON=false is not a Python 3.12" in refused(machine(PYTHON="false"))


def test_too_little_disk(machine):
    machine.put("python3.12", "exit 0")
    machine.put("df", "echo header", "echo x 100000000 1 11000000 1 /")
    line = refused(machine())
    assert "needs 12 GB" in line and "11 GB are free" in line


# --- the lock


def test_the_lock_has_the_versions_verl_pins():
    wanted = {"torch": "2.11.0", "torchvision": "0.26.0", "vllm": "0.24.0", "transformers": "5.9.0", "verl": "0.9.1"}
    assert wanted.items() <= PINS.items()


def test_every_package_of_the_lock_has_hashes():
    blocks = re.split(r"^(?=[a-z0-9-]+==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(PINS) > 200
    assert all("--hash=sha256:" in block for block in blocks)


def test_every_direct_requirement_is_pinned_and_flash_attention_is_none_of_them():
    lines = (ROOT / "requirements/gpu.in").read_text().splitlines()
    names = [re.match(r"[A-Za-z0-9-]+", line).group(0) for line in lines if line and not line.startswith("#")]
    assert names and set(names) <= set(PINS)
    assert "flash-attn" not in PINS
    assert not re.search(r'^ *"flash-attn', PYPROJECT, re.MULTILINE)


def test_what_pip_installs_with_the_gpu_extra_is_in_the_lock():
    """In verl's image `pip install --no-deps -e .` is enough only if nothing of ours is missing from the set."""
    body = re.search(r"^dependencies = \[(.*?)^\]", PYPROJECT, re.MULTILINE | re.DOTALL).group(1)
    body += re.search(r"^gpu = \[(.*?)^\]", PYPROJECT, re.MULTILINE | re.DOTALL).group(1)
    names = set(re.findall(r'"([a-z0-9-]+)', body))
    assert {"torch", "av", "vllm"} <= names <= set(PINS)
    pins = dict(re.findall(r'"([a-z0-9-]+)(?:\[[^]]*\])?==([^"]+)"', body))
    assert pins.items() <= PINS.items()


def test_the_script_and_the_lock_name_no_index():
    for name in ("requirements/gpu.in", "requirements/gpu.txt", "examples/setup_gpu.sh", "examples/setup_common.sh"):
        text = "\n".join(line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#"))
        assert not re.search(r"https?://|file:/", text), name
    assert os.access(ROOT / "examples/setup_gpu.sh", os.R_OK)
