# SPDX-License-Identifier: Apache-2.0
"""qwen-vl-utils with a torchcodec that does not load: stock chooses it, with the plugin it goes on to decord.

Needs a machine on which torchcodec is installed and finds no FFmpeg, as in both pinned sets.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("verl")

ROOT = Path(__file__).resolve().parents[2]
ASK = """
import json, os, sys
import verl
os.environ.pop("FORCE_QWENVL_VIDEO_READER", None)  # the CPU platform sets it
from qwen_vl_utils import vision_process
from recipe.tw_grpo.integration import video_reader
from recipe.tw_grpo.toolbox import torchcodec
said = {"loads": torchcodec.problem() is None, "defect": video_reader.defect(vision_process)}
try:
    said["backend"] = vision_process.get_video_reader_backend()
except RuntimeError as error:
    said["error"] = str(error)
print("RESULT " + json.dumps(said))
"""


def ask(code=ASK, **variables):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=ROOT)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    return json.loads(line.removeprefix("RESULT ")), done.stderr


def test_the_plugin_goes_on_to_decord_and_says_so():
    said, printed = ask()
    if said["loads"]:
        pytest.skip("torchcodec finds FFmpeg here: there is nothing to repair")
    assert said == {"loads": False, "defect": False, "backend": "decord"}
    assert "tw_grpo: videos are read with decord: torchcodec does not load" in printed


def test_stock_chooses_a_reader_that_does_not_load():
    said, _ = ask(VERL_USE_EXTERNAL_PLUGINS="cpu_platform")
    if said["loads"]:
        pytest.skip("torchcodec finds FFmpeg here: there is nothing to repair")
    assert said == {"loads": False, "defect": True, "backend": "torchcodec"}


def test_without_any_reader_the_first_video_names_the_ways_out():
    hide = (
        "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n, *a: None if n == 'decord' else f(n, *a)\n"
    )
    said, _ = ask(ASK.replace("from qwen_vl_utils import", hide + "from qwen_vl_utils import"))
    if said["loads"]:
        pytest.skip("torchcodec finds FFmpeg here: there is nothing to repair")
    assert "no video can be read" in said["error"] and "decord" in said["error"] and "FFmpeg" in said["error"]
