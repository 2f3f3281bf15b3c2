# SPDX-License-Identifier: Apache-2.0
"""MVBench in its own form: a folder of 20 JSON files, one a task, of {video, question, candidates, answer}.

Five of the tasks ask about a part of the video and add `start` and `end`; the videos of a task lie in a folder that
only MVBench's code names, so it is named here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_prep.read.answers import lettered_options, question_of, text_position
from data_prep.read.question import Question, Reading
from data_prep.read.records import load_json, name_of, read_records, records_of, seconds_of, text_of
from recipe.tw_grpo.toolbox.errors import UserError

_STAR = "star/Charades_v1_480"
_CLEVRER = "clevrer/video_validation"
_PERCEPTION = "perception/videos"
# Task (name of its file) -> folder of its videos, and whether its questions are about a part of the video.
TASKS = {
    "action_antonym": ("ssv2_video", False),
    "action_count": (_PERCEPTION, False),
    "action_localization": ("sta/sta_video", True),
    "action_prediction": (_STAR, True),
    "action_sequence": (_STAR, True),
    "character_order": (_PERCEPTION, False),
    "counterfactual_inference": (_CLEVRER, False),
    "egocentric_navigation": ("vlnqa", False),
    "episodic_reasoning": ("tvqa/frames_fps3_hq", True),
    "fine_grained_action": ("Moments_in_Time_Raw/videos", False),
    "fine_grained_pose": ("nturgbd", False),
    "moving_attribute": (_CLEVRER, False),
    "moving_count": (_CLEVRER, False),
    "moving_direction": (_CLEVRER, False),
    "object_existence": (_CLEVRER, False),
    "object_interaction": (_STAR, True),
    "object_shuffle": (_PERCEPTION, False),
    "scene_transition": ("scene_qa/video", False),
    "state_change": (_PERCEPTION, False),
    "unexpected_action": ("FunQA_test/test", False),
}


def read(path: Path) -> Reading:
    """All tasks of a folder (or of its `json` folder), or the one task of a file."""
    if path.is_dir():
        folder = path / "json" if (path / "json").is_dir() else path
        files = [folder / f"{task}.json" for task in TASKS if (folder / f"{task}.json").is_file()]
        if not files:
            raise UserError(f"--annotations {path}: none of MVBench's files is here, such as action_sequence.json")
    elif path.stem in TASKS:
        files = [path]
    else:
        raise UserError(f"{path}: the name of a file of MVBench is that of its task, such as action_sequence.json")
    whole = Reading([], {}, files)
    for file in files:
        content = records_of(file, load_json(file), "the list of an MVBench task")
        numbered = list(enumerate(content))
        part = read_records(file, numbered, lambda pair, where, task=file.stem: _record(*pair, where, task))
        whole.add(part)
    return whole


def _record(number: int, record: Any, where: str, task: str) -> Question:
    folder, has_clip = TASKS[task]
    video = name_of(record, "video", where)
    clip = seconds_of(record, where) if has_clip else None
    if has_clip and clip is None:
        raise UserError(f"{where}: 'start' and 'end' are missing, {task} asks about a part of the video")
    options = lettered_options(record.get("candidates"), where, "candidates")
    return Question(
        where=where,
        question_id=f"{task}-{number}",
        scene=video,
        video=f"{folder}/{video}",
        text=question_of(record, "question", options, where),
        options=options,
        right=text_position(text_of(record, "answer", where), options, where),
        clip=clip,
    )
