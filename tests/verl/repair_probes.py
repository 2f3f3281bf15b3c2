# SPDX-License-Identifier: Apache-2.0
"""Runs in a process of its own: probes of all repairs, and both sides' positions of many videos, as one JSON line.

`python repair_probes.py [positions]`; what is repaired is decided by the environment, as in a run.
"""

import importlib
import json
import os
import sys
import tempfile
import warnings

warnings.filterwarnings("ignore")
import torch  # noqa: E402
import verl  # noqa: E402, F401  loads the plugins
from vllm.plugins import load_general_plugins  # noqa: E402

from recipe.tw_grpo.integration import repairs  # noqa: E402
from recipe.tw_grpo.integration.repairs import probe_model, time_positions  # noqa: E402


def cases():
    """{name: (model_type, text, videos, pictures)}."""
    from PIL import Image

    of = probe_model.video
    one = {
        "CLEVRER, 16 of 128 frames at 25": of(16, 25.0, of=128),
        "the published 10 frames at 2": of(10, 25.0, of=125),
        "2 a second": of(16, 2.0),
        "1.2 a second, a step that a float32 cuts short": of(12, 1.2),
        "4.8 a second": of(16, 4.8),
        "29.97, cut short": of(6, 29.97, of=91),
        "half a minute": of(16, 30.0, of=900),
        "two minutes, steps longer than a second": of(16, 29.97, of=3597),
        "every frame at 24": of(40, 24.0),
        "one grid": of(2, 1.0),
        "a single frame": of(1, 1.0),
        "an odd number of frames": of(5, 3.0),
        "a wide picture, text behind it beyond the last grid": of(4, 24.0, height=28, width=560),
    }
    cases = {name: ("qwen2_5_vl", probe_model.prompt("video"), [video], None) for name, video in one.items()}
    picture = Image.new("RGB", (84, 56), "red")
    cases["picture and two videos"] = ("qwen2_5_vl", *probe_model.two_videos_and_a_picture())
    cases["pictures alone"] = ("qwen2_5_vl", probe_model.prompt("image", "image"), None, [picture, picture])
    pixels, about = of(8, 4.0)
    videos = [(pixels, about), (pixels, about | {"fps": 1.0}), (pixels, about | {"total_num_frames": 11})]
    cases["the same frames at three rates"] = ("qwen2_5_vl", probe_model.prompt(*["video"] * 3), videos, None)
    cases["Qwen2-VL"] = ("qwen2_vl", probe_model.prompt("video", "image"), [of(16, 25.0, of=128)], [picture])
    cases["Qwen2-VL, long"] = ("qwen2_vl", probe_model.prompt("video"), [of(40, 1.0)], None)
    return cases


def compare(folder, kind, text, videos, pictures):
    """Which sides agree with the rule, and what the temporal row of each side is."""
    agent_loop = importlib.import_module("verl.experimental.agent_loop.agent_loop")
    ids, verls = probe_model.positions_of_verl(agent_loop, folder, text, videos, pictures)
    same, vllms = probe_model.positions_of_vllm(folder, text, videos, pictures)
    assert ids.tolist() == same.tolist(), "the two sides have different prompts"
    rule = probe_model.intended(probe_model.processor(folder), ids, text, videos, pictures)
    return {"verl": verls.tolist() == rule.tolist(), "vllm": vllms.tolist() == rule.tolist(), "grids": rule[0].tolist()}


def main() -> None:
    torch.set_num_threads(1)
    result = {"identity": repairs.identity(), "announcement": repairs.announcement()}
    load_general_plugins()
    result["defects"] = {one.module: one.defect(importlib.import_module(one.module)) for one in repairs.REPAIRS}
    if "positions" in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as place:
            for kind in ("qwen2_5_vl", "qwen2_vl"):
                probe_model.write(os.path.join(place, kind), kind)
            result["positions"] = {
                name: compare(os.path.join(place, kind), kind, *case) for name, (kind, *case) in cases().items()
            }
            os.environ[time_positions.VARIABLE] = time_positions.PUBLISHED
            result["published"] = {
                name: compare(os.path.join(place, kind), kind, *case) for name, (kind, *case) in cases().items()
            }
            del os.environ[time_positions.VARIABLE]
            _, text, videos, _ = cases()["the same frames at three rates"]
            _, done = probe_model.processed_by_vllm(os.path.join(place, "qwen2_5_vl"), text, videos, None)
            result["cache keys"] = done["mm_hashes"]["video"]
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
