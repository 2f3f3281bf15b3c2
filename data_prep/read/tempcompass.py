# SPDX-License-Identifier: Apache-2.0
"""TempCompass in its own forms: questions/{task}.json, or parquet files below a folder of each task's name.

Its four tasks become questions with lettered options: multiple choice as it is, yes/no with the options "yes" and "no",
caption matching with its two captions, captioning with its pieces of information (one of them fits the video).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path
from typing import Any

from data_prep.read.answers import plain_options, text_position
from data_prep.read.question import Question, Reading
from data_prep.read.records import load_json, load_parquet, need, read_records, text_of
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.letters import LETTERS

TASKS = ("multi-choice", "yes_no", "caption_matching", "captioning")
COLUMNS = ("video_id", "question", "answer", "dim")
# Ours: the original asks for a caption in the model's own words, which letters cannot answer.
WHICH_INFORMATION = "Which piece of information is consistent with the video?"
_OPTION = re.compile(r"\s*(?:(?:Option|Sentence|Caption|Information)\s+)?([A-Z]|\d\d?)[.:]\s*(.*\S)\s*")


def read(path: Path) -> Reading:
    """Every task in the folder (or its `questions` folder), or the one task of a file."""
    files = _files(path)
    whole = Reading([], {}, [file for file, _ in files])
    for file, task in files:
        raw = list(_from_parquet(file) if file.suffix == ".parquet" else _from_json(file))
        read_one = partial(_record, task=task, notes=whole.notes)
        whole.add(read_records(file, raw, lambda record, _, read_one=read_one: read_one(*record)))
    return whole


def _files(path: Path) -> list[tuple[Path, str]]:
    if not path.is_dir():
        task = path.stem if path.suffix == ".json" else path.parent.name
        if task not in TASKS:
            raise UserError(f"{path}: must be called (or lie in a folder called) one of {', '.join(TASKS)}")
        return [(path, task)]
    folder = path / "questions" if (path / "questions").is_dir() else path
    files = [(folder / f"{task}.json", task) for task in TASKS if (folder / f"{task}.json").is_file()]
    files = files or [(file, task) for task in TASKS for file in sorted((folder / task).glob("*.parquet"))]
    if not files:
        raise UserError(f"--annotations {path}: none of TempCompass's files is here, such as multi-choice.json")
    return files


def _from_json(path: Path) -> Iterator[tuple[dict[str, Any], str, str, str]]:
    """(record, video, name of the question, where)"""
    content = load_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected an object of videos, found {type(content).__name__}")
    for video in content:
        where = f"{path}: video {ascii(video)[1:-1]:.60}"
        for dim in need(content, video, dict, f"{path}"):
            for number, record in enumerate(need(content[video], dim, list, where)):
                name = f"{video}-{dim}-{number}"
                yield record, video, name, f"{where}, {ascii(dim)[1:-1]:.40}, question {number}"


def _from_parquet(path: Path) -> Iterator[tuple[dict[str, Any], str, str, str]]:
    numbers: dict[tuple[str, str], int] = {}
    for row, record in enumerate(load_parquet(path, COLUMNS)):
        where = f"{path}: record {row}"
        video, dim = text_of(record, "video_id", where), text_of(record, "dim", where)
        numbers[video, dim] = numbers.get((video, dim), -1) + 1
        yield record, video, f"{video}-{dim}-{numbers[video, dim]}", where


def _record(record: Any, video: str, name: str, where: str, task: str, notes: list[str]) -> Question:
    asked, answer = text_of(record, "question", where), text_of(record, "answer", where)
    if task == "captioning" and record.get("mc_question"):  # the parquet form has the question of its evaluation too
        asked, answer, task = text_of(record, "mc_question", where), text_of(record, "mc_answer", where), "multi-choice"
        name = f"captioning-{name}"
    else:
        name = f"{task}-{name}"
    if task == "yes_no":
        question, options = asked, ("yes", "no")
        right = text_position(answer.lower(), options, where)
    else:
        question, labels, options = _split(asked, where)
        right = _answer_position(answer, labels, options, where, notes)
        question = WHICH_INFORMATION if task == "captioning" else question
    return Question(where, name, video, f"videos/{video}.mp4", question, options, right)


def _split(asked: str, where: str) -> tuple[str, list[str], tuple[str, ...]]:
    """Question, labels ("A" or "1") and texts of the options, from lines such as "Caption A: …"."""
    lines = [line for line in asked.splitlines() if line.strip() not in ("", "Generated Caption:")]
    first = next((i for i, line in enumerate(lines) if i and _OPTION.fullmatch(line)), len(lines))
    matches = [_OPTION.fullmatch(line) for line in lines[first:]]
    labels = [match[1] for match in matches if match]
    expected = [list(LETTERS[: len(matches)]), [str(i + 1) for i in range(len(matches))]]
    if not matches or labels not in expected:
        raise UserError(f"{where}: 'question' does not end in options A, B, ... (or 1, 2): {ascii(asked[-60:])}")
    return "\n".join(lines[:first]).strip(), labels, plain_options([match[2] for match in matches], where, "question")


def _answer_position(
    answer: str, labels: list[str], options: tuple[str, ...], where: str, notes: list[str]
) -> tuple[int, ...]:
    """The option whose label and text `answer` is; a piece of information {'subject': …, 'order': text} has its text.

    Four published answers have the text of one option and the label of another (a train is "faster", labelled as
    "the same speed"); its other tasks say that the text is right. One has a slip of the pen in the text of its option.
    Both are noted. Anything else that does not fit is refused.
    """
    match = _OPTION.fullmatch(answer)
    if match and match[1] in labels:
        labelled, text = labels.index(match[1]), match[2]
        texts = [_information(option) for option in options]
        holding = [i for i in range(len(options)) if text in (options[i], texts[i])]
        if labelled in holding:
            return (labelled,)
        if len(holding) == 1:
            notes.append(f"{where}: the answer's text is option {labels[holding[0]]}, its label {match[1]}; text taken")
            return (holding[0],)
        if not holding and texts[labelled] and text in texts[labelled]:
            notes.append(f"{where}: the answer's text is a part of its option {match[1]}; label taken")
            return (labelled,)
        alike = [SequenceMatcher(None, text, other).ratio() for other in texts]
        if not holding and alike[labelled] > 0.95 and alike[labelled] == max(alike) and alike.count(max(alike)) == 1:
            notes.append(f"{where}: the answer's text is not quite that of its option {match[1]}; label taken")
            return (labelled,)
    raise UserError(f"{where}: 'answer' is not one of the options: {ascii(answer):.80}")


def _information(option: str) -> str:
    """The last value of a piece of information, written as a Python dictionary; "" for other options."""
    try:
        piece = ast.literal_eval(option) if option.startswith("{") else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        piece = None
    return str([*piece.values()][-1]) if isinstance(piece, dict) and piece else ""
