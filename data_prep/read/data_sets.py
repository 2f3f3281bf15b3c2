# SPDX-License-Identifier: Apache-2.0
"""Which data set a question is from, as far as its ids, its type and its video's path say so.

The derived JSON forms are the same for all data sets. A file of another one would be read, and its questions written
under this one's name. Where a record says nothing, nothing is said about it.
"""

from __future__ import annotations

import re

from data_prep.read.question import Question
from recipe.tw_grpo.toolbox.errors import UserError

NEXT, STAR, CLEVRER = "NExT-QA", "STAR", "CLEVRER"
# Folders of a path, in small letters and without punctuation. Collections come first: MVBench has a folder `star`.
_FOLDERS = {
    "mvbench": "MVBench", "tempcompass": "TempCompass", "mmvu": "MMVU", "videomme": "Video-MME",
    "videommmu": "VideoMMMU", "vsibench": "VSI-Bench", "perceptiontest": "PerceptionTest", "activitynet": "ActivityNet",
    "nextqa": NEXT, "nextgqa": NEXT, "nextvideo": NEXT,
    "star": STAR, "charadesv1480": STAR, "charades": STAR,
    "clevrer": CLEVRER,
}  # fmt: skip
_NEXT_TYPES = {"CW", "CH", "TN", "TC", "TP", "DC", "DL", "DO", "DB"}
_STAR_ID = re.compile(r"(Interaction|Sequence|Prediction|Feasibility)_T\d+(_\d+)?")


def data_set_of(question: Question) -> str | None:
    """The data set a question says it is from, None if it says nothing."""
    folders = [re.sub(r"[^a-z0-9]", "", folder.lower()) for folder in question.video.split("/")]
    said = next((_FOLDERS[name] for name in _FOLDERS if name in folders), None)
    if said:
        return said
    if question.kind in _NEXT_TYPES:
        return NEXT
    if _STAR_ID.fullmatch(question.question_id) or _STAR_ID.fullmatch(question.kind):
        return STAR
    return CLEVRER if re.fullmatch(r"video_\d{5}", question.scene) else None


def refuse_other_data_set(question: Question, *names: str) -> Question:
    """`question`; raises UserError if it says that it is from a data set that is none of `names`."""
    said = data_set_of(question)
    if said and said not in names:
        raise UserError(f"{question.where}: is a question of {said}, expected {' or '.join(names)}; take its file")
    return question
