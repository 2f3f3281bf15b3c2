# SPDX-License-Identifier: Apache-2.0
"""Files of several processes: what one makes, another waits for; folders moved aside; files of overrides."""

import os
import subprocess
import sys
from pathlib import Path

from recipe.tw_grpo.toolbox.files import move_aside, read_args

ROOT = Path(__file__).resolve().parents[2]
# Makes FOLDER unless it is there; says which it was. The first one waits for a line on stdin in the middle.
MAKE = """
import sys
from pathlib import Path
from recipe.tw_grpo.toolbox.files import one_at_a_time
folder = Path(sys.argv[1])
with one_at_a_time(folder):
    if folder.exists():
        print("found", flush=True)
    else:
        print("making", flush=True)
        if sys.stdin.readline() != "end\\n":
            sys.exit(3)
        folder.mkdir()
"""


def start(folder):
    return subprocess.Popen(
        [sys.executable, "-c", MAKE, str(folder)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_second_process_waits_and_finds_what_the_first_made(tmp_path):
    folder = tmp_path / "new" / "policy"
    first = start(folder)
    assert first.stdout.readline() == "making\n"
    second = start(folder)
    assert f"waiting for another process that makes {folder}" in second.stderr.readline()
    assert second.poll() is None
    first.communicate("end\n", timeout=60)
    assert second.communicate(timeout=60)[0] == "found\n" and first.returncode == second.returncode == 0


def test_when_the_first_dies_the_second_makes_it(tmp_path):
    folder = tmp_path / "policy"
    first = start(folder)
    assert first.stdout.readline() == "making\n"
    second = start(folder)
    second.stderr.readline()
    first.kill()
    first.communicate()
    assert second.communicate("end\n", timeout=60)[0] == "making\n" and folder.is_dir()


def test_a_folder_is_moved_to_the_first_free_number(tmp_path):
    (tmp_path / "run.1").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/a").write_text("x")
    assert move_aside(tmp_path / "run") == tmp_path / "run.2"
    assert (tmp_path / "run.2/a").read_text() == "x" and not (tmp_path / "run").exists()


def test_overrides_of_a_file(tmp_path):
    (tmp_path / "a.args").write_text("# why\n\n a.b=1 \n'c={x: 1}'\n")
    assert read_args(tmp_path / "a.args") == ("a.b=1", "'c={x: 1}'")
