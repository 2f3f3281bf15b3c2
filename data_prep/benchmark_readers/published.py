# SPDX-License-Identifier: Apache-2.0
"""Benchmarks in one file of their own form: MMVU, Video-MME, NExT-GQA, CLEVRER counterfactual.

Where each form was learned stands in docs/data.md. Readers give the path of a video as published; they look for none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_prep import clevrer_counterfactual
from data_prep.benchmark_readers.common import (
    Question,
    Reading,
    answer_positions,
    id_of,
    letter_positions,
    lettered_options,
    load_json,
    load_table,
    plain_options,
    read_records,
    records_of,
    text_of,
    text_position,
    text_positions,
)
from data_prep.prompts import LETTERS
from data_prep.records import need
from data_prep.videos import clevrer_path
from recipe.tw_grpo.errors import UserError

VIDEOMME_COLUMNS = ("videoID", "question_id", "question", "options", "answer")
NEXT_COLUMNS = ("question", "answer", "qid", "a0", "a1", "a2", "a3", "a4")
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
    """NExT-GQA's test.csv (answer: a text) or NExT-QA's (answer: 0 to 4); folders by the map beside it, if it is."""
    rows = load_table(path, NEXT_COLUMNS)
    beside = path.with_name(NEXT_MAP)
    folders = load_json(beside) if beside.is_file() else {}
    if not isinstance(folders, dict):
        raise UserError(f"{beside}: expected an object, found {type(folders).__name__}")
    reading = read_records(path, rows, lambda row, where: _next_record(row, where, folders))
    reading.inputs += [beside] if beside.is_file() else []
    return reading


def _next_record(row: Any, where: str, folders: dict[str, Any]) -> Question:
    video = id_of(row, ["video_id", "video"], where)
    question_id = f"{video}_{id_of(row, ['qid'], where)}"
    where = f"{where} (id {ascii(question_id)[1:-1]:.40})"
    options = plain_options([row[f"a{i}"] for i in range(5)], where, "a")
    answer = id_of(row, ["answer"], where)
    if answer not in ("0", "1", "2", "3", "4"):
        right = text_position(answer, options, where)
    elif text_positions(answer, options) in ([], [int(answer)]):
        right = (int(answer),)
    else:
        raise UserError(f"{where}: 'answer' {answer} is an index and the text of another option")
    place = f"{need(folders, video, str, NEXT_MAP)}.mp4" if video in folders else f"{video}.mp4"
    return Question(where, question_id, video, place, text_of(row, "question", where), options, right)


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
    ]
    reasons = {"not counterfactual": "other types", "without a right choice": "without a right choice"}
    left_out = {reason: counts[name] for reason, name in reasons.items() if counts[name]}
    return Reading(questions, left_out, [path])
