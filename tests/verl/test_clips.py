# SPDX-License-Identifier: Apache-2.0
"""A STAR record's clip is what qwen-vl-utils really reads: verl hands it each entry of the `videos` column."""

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_prep import qai_star
from examples.tiny.render import write_mp4

READ = """
import json, sys
from recipe.cpu_platform import patches
patches.install("torchvision")  # stock torchvision cannot be imported beside the CPU build of torch
from qwen_vl_utils.vision_process import fetch_video
video = json.loads(sys.argv[1])
whole = {key: value for key, value in video.items() if key not in ("video_start", "video_end")}
print(json.dumps([[len(pixels), float(pixels.float().mean())] for pixels in map(fetch_video, (video, whole))]))
"""


def test_only_the_clip_is_read(tmp_path):
    pytest.importorskip("verl")
    frames = np.zeros((40, 56, 56, 3), np.uint8)
    frames[10:20] = 255  # at 8 frames a second the clip 1.25 to 2.45 s is white, all else black
    write_mp4(frames, tmp_path / "v0.mp4", 8)
    choices = [{"choice_id": 0, "choice": "The box."}, {"choice_id": 1, "choice": "The bag."}]
    record = {"question_id": "Interaction_T1_0", "question": "Which object was taken by the person?", "video_id": "v0",
              "start": 1.25, "end": 2.45, "choices": choices, "answer": "The bag."}  # fmt: skip
    (tmp_path / "star.json").write_text(json.dumps([record]))
    arguments = ["--annotations", str(tmp_path / "star.json"), "--video-root", str(tmp_path), "--num-frames", "4"]
    qai_star.main([*arguments, "--output", str(tmp_path / "star.parquet"), "--check-videos"])
    (row,) = pq.read_table(tmp_path / "star.parquet").to_pylist()
    environment = {**os.environ, "VERL_PLATFORM": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", READ, json.dumps(row["videos"][0])], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    clip, whole = json.loads(done.stdout.splitlines()[-1])
    assert clip[0] == whole[0] == 4 and clip[1] > 240 > 200 > whole[1]
