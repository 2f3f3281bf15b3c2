# SPDX-License-Identifier: Apache-2.0
"""The wheel built from this checkout, in an environment of its own and started from another folder."""

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("setuptools")
ROOT = Path(__file__).resolve().parents[2]
FILES = [f"recipe/cpu_platform/{name}" for name in ("env.sh", "overrides.args", "separate_async.args")]
FILES += ["recipe/tw_grpo/evaluation/decoding.args", "recipe/tw_grpo/plugin.py", "data_prep/qai_nextgqa.py"]
FILES += ["recipe/tw_grpo/doctor/model_sizes.json"]
FILES += ["recipe/tw_grpo/report/page/uPlot.LICENSE.txt"]
PAGES = [
    path for folder in ("report", "scoring", "toolbox") for path in (ROOT / f"recipe/tw_grpo/{folder}/page").iterdir()
]
FILES += [str(path.relative_to(ROOT)) for path in PAGES]


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy of the files git knows: what lies about in a working tree must not help."""
    folder = tmp_path_factory.mktemp("wheel")
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    for name in run("git", "ls-files", "-co", "--exclude-standard", "-z", cwd=ROOT).split("\0"):
        if name and (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / "source" / name)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, folder / "source")
    (built,) = folder.glob("tw_grpo-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Folder of programs of a fresh environment with the wheel; what it depends on comes from this one."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, symlinks=True)
    run(sys.executable, "-m", "pip", "--python", folder, "install", "--no-deps", "--no-index", wheel)
    (packages,) = folder.glob("lib/python*/site-packages")
    # A path named in a .pth file: its own .pth files, this checkout's among them, are not followed.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return tmp_path


def test_the_wheel_has_what_users_run_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert set(FILES) <= set(names)
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"recipe", "data_prep"}


def test_the_code_that_runs_is_the_wheels(installed, elsewhere):
    where = "import recipe.tw_grpo, data_prep; print(recipe.tw_grpo.__file__, data_prep.__file__)"
    assert all(str(installed.parent) in path for path in run(installed / "python", "-c", where).split())


def test_score_report_and_evaluate(installed, elsewhere):
    lines = [
        {"input": "?", "output": f"<answer>{letter}</answer>", "gts": "A", "score": float(letter == "A"), "step": 1,
         "uid": f"u_{i}_0"} for i, letter in enumerate("AB")
    ]  # fmt: skip
    (elsewhere / "run/rollouts").mkdir(parents=True)
    log = elsewhere / "run/rollouts/1.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    scored = json.loads(run(installed / "tw-grpo", "score", "--json", log))
    assert (scored["logs"][0]["n"], scored["logs"][0]["acc"]) == (2, 0.5)
    assert "report: " in run(installed / "tw-grpo", "report", "run") and (elsewhere / "run/report.png").is_file()
    assert 100_000 < (elsewhere / "run/report.html").stat().st_size < 1_000_000
    assert "--benchmark" in run(installed / "tw-grpo", "evaluate", "--help")


@pytest.mark.parametrize("name", ["qai_nextgqa", "qai_star", "clevrer_counterfactual", "benchmarks", "check"])
def test_the_data_commands(installed, elsewhere, name):
    assert "usage: " in run(installed / "python", "-m", f"data_prep.{name}", "--help")
