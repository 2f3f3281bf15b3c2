# SPDX-License-Identifier: Apache-2.0
"""The wheel stands alone: built from the tracked files, it writes launch scripts that give verl the same settings."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from recipe.tw_grpo.runs import scripts
from recipe.tw_grpo.toolbox.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Folder of an environment in which only this project is installed, from its wheel."""
    place = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git clone to build from")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():
            (place / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / "source" / name, follow_symlinks=False)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index", "--quiet"]
    subprocess.run([*pip, "wheel", *offline, "--no-build-isolation", "-w", place, place / "source"], check=True)
    (wheel,) = place.glob("tw_grpo-*.whl")
    subprocess.run([*pip, "install", *offline, "--target", place / "site", wheel], check=True)
    return place / "site"


def run(command, **variables):
    keep = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "VERL_PLATFORM")}
    environment = keep | {"PYTHON": sys.executable} | variables
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd="/", timeout=60)


@pytest.mark.parametrize("script", scripts.LAUNCHERS)
def test_the_written_scripts_give_the_same_overrides_as_the_clones(installed, tmp_path, script):
    done = run([sys.executable, "-S", "-m", "recipe.tw_grpo", "scripts", tmp_path / "x"], PYTHONPATH=str(installed))
    assert done.returncode == 0, done.stderr
    written = run(["bash", tmp_path / "x" / script], DRY_RUN="args", OUT="/o")
    cloned = run(["bash", ROOT / "examples" / script], DRY_RUN="args", OUT="/o")
    assert written.returncode == cloned.returncode == 0, written.stderr
    here = str(tmp_path)
    assert [line.replace(here, str(ROOT)) for line in written.stdout.splitlines()] == cloned.stdout.splitlines()


def test_the_rows_of_the_paper_come_with_them(installed, tmp_path):
    run([sys.executable, "-S", "-m", "recipe.tw_grpo", "scripts", tmp_path], PYTHONPATH=str(installed))
    done = run(["bash", tmp_path / scripts.LAUNCHERS[0]], DRY_RUN="args", ROW="tablea1_g12",
               PYTHONPATH=str(installed))  # fmt: skip
    assert "actor_rollout_ref.rollout.n=12" in done.stdout.splitlines()


def test_a_changed_script_is_not_overwritten(tmp_path):
    scripts.write(tmp_path)
    scripts.write(tmp_path)  # the same contents are no conflict
    mine = tmp_path / scripts.LAUNCHERS[0]
    mine.write_text("mine")
    (tmp_path / scripts.LAUNCHERS[1]).unlink()
    with pytest.raises(UserError, match="other contents"):
        scripts.write(tmp_path)
    assert mine.read_text() == "mine" and not (tmp_path / scripts.LAUNCHERS[1]).exists()
