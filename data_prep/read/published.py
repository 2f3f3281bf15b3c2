# SPDX-License-Identifier: Apache-2.0
"""Benchmarks in one file of their own form: MMVU, Video-MME, NExT-GQA, CLEVRER counterfactual.

Where each form was learned stands in docs/data.md. Readers give the path of a video as published; they look for none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_prep import clevrer_counterfactual
from data_prep.read import nextgqa
from data_prep.read.answers import (
    Question,
    Reading,
    answer_positions,
    id_of,
    letter_positions,
    load_table,
    read_records,
    records_of,
)
from data_prep.read.records import lettered_options, load_json, need, plain_options, text_of
from data_prep.videos.folder import read_map
from data_prep.videos.sampling import clevrer_path
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.letters import LETTERS

VIDEOMME_COLUMNS = ("videoID", "question_id", "question", "options", "answer")
NEXT_MAP = "map_vid_vidorID.json"


def read_mmvu(path: Path) -> Reading:
    """validation.json: multiple-choice questions; open-ended ones are left out and counted."""
    content = records_of(path, load_json(path), "the list of MMVU's validation.json")
    return read_records(path, content, _mmvu_record)


def _mmvu_record(record: Any, where: str) -> Question | str:
    question_id = text_of(record, "id", where)
    where = f"{where} (id {ascii(question_id)[1:-1]:.40})"
    if text_of(record, "question_type", where) != "multiple-choice":
        return "not multiple choice"
    choices = need(record, "choices", dict, where)
    if list(choices) != list(LETTERS[: len(choices)]):
        raise UserError(f"{where}: 'choices' must be lettered A, B, C, ..., found {ascii(list(choices)):.60}")
    options = plain_options(list(choices.values()), where, "choices")
    # .../resolve/main/videos/Art/0.mp4 as an address, or a path
    video = text_of(record, "video", where).partition("/resolve/main/")
    right = letter_positions(text_of(record, "answer", where), options, where)
    if right is None or len(right) > 1:
        raise UserError(f"{where}: 'answer' must be one letter, found {ascii(record['answer']):.60}")
    scene = (video[2] or video[0]).removeprefix("videos/").removesuffix(".mp4")
    return Question(where, question_id, scene, video[2] or video[0], text_of(record, "question", where), options, right)


def read_videomme(path: Path) -> Reading:
    """The parquet file of Video-MME (or the same columns as JSON); subtitles are another protocol and not read."""
    rows = load_table(path, VIDEOMME_COLUMNS) if path.suffix == ".parquet" else load_json(path)
    return read_records(path, records_of(path, rows, "a list of Video-MME's rows"), _videomme_record)


def _videomme_record(record: Any, where: str) -> Question:
    question_id = id_of(record, ["question_id"], where)
    where = f"{where} (question_id {ascii(question_id)[1:-1]:.40})"
    scene = text_of(record, "videoID", where)
    options = lettered_options(need(record, "options", list, where), where)
    right = answer_positions(text_of(record, "answer", where), options, where)
    return Question(where, question_id, scene, f"data/{scene}.mp4", text_of(record, "question", where), options, right)


def read_nextgqa(path: Path) -> Reading:
    """NExT-GQA's test.csv and NExT-QA's, by the reader of the inversion; folders by the map, if it lies beside it."""
    beside = path.with_name(NEXT_MAP)
    folders = read_map(beside) if beside.is_file() else {}
    questions = [
        Question(q.where, q.question_id, q.scene, f"{folders.get(q.video, q.video)}.mp4", q.text, q.options, (q.right,))
        for q in nextgqa.read(path)[0]
    ]
    return Reading(questions, {}, [path, beside] if folders else [path])


def read_clevrer(path: Path) -> Reading:
    """CLEVRER's validation.json: counterfactual questions with a right choice, several right ones included."""
    items, counts, _ = clevrer_counterfactual.read_items(path)
    questions = [
        Question(
            f"{path}: scene {item.scene}, question {item.question_id}",
            f"{item.scene}-{item.question_id}",
            str(item.scene),
            clevrer_path("video", "validation", item.scene, "mp4")
            if item.video == f"video_{item.scene:05d}.mp4"
            else item.video,
            item.question,
            item.options,
            item.right,
        )
        for item in items
        if item.right
    ]
    reasons = {"not counterfactual": "other types", "without a right choice": "without a right choice"}
    left_out = {reason: counts[name] for reason, name in reasons.items() if counts[name]}
    return Reading(questions, left_out, [path])
