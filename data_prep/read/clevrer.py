# SPDX-License-Identifier: Apache-2.0
"""CLEVRER's counterfactual questions: a list of scenes {scene_index, video_filename, questions [{question_id,
question_type, question, choices [{choice_id, choice, answer: "correct" or "wrong"}]}]}, several right choices or none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tqdm import tqdm

from data_prep.read.answers import lettered_options, question_of
from data_prep.read.question import Question, Reading
from data_prep.read.records import load_json, need, text_of
from data_prep.videos.find import SPLITS
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.letters import LETTERS

OTHER_TYPES = "other types"


def find_annotations(path: Path, split: str | None) -> tuple[Path, str]:
    """The json file and the name of its split, from a file or from the folder of the data set."""
    if path.is_dir():
        split = split or "train"
        for candidate in (path / "questions" / f"{split}.json", path / f"{split}.json"):
            if candidate.is_file():
                return candidate, split
        raise UserError(f"--annotations {path}: found neither questions/{split}.json nor {split}.json in this folder")
    if not path.is_file():
        raise UserError(f"--annotations {path}: no such file or folder")
    return path, split or next((name for name in SPLITS if name in path.stem), "train")


def load_scenes(path: Path) -> list[Any]:
    """The list of scenes in the json file `path`."""
    scenes = load_json(path)
    if not isinstance(scenes, list):
        raise UserError(f"{path}: expected a list of scenes as in CLEVRER's questions/train.json, found {type(scenes)}")
    return scenes


def parse_choices(question: dict[str, Any], where: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Option texts in choice_id order and the positions of the right ones."""
    found: dict[int, tuple[str, bool]] = {}
    choices = need(question, "choices", list, where)
    if not 1 <= len(choices) <= len(LETTERS):
        raise UserError(f"{where}: 'choices' has {len(choices)} entries, expected 1 to {len(LETTERS)}")
    for position, choice in enumerate(choices):
        choice_id = need(choice, "choice_id", int, f"{where}, choice at position {position}")
        inside = f"{where}, choice {choice_id}"
        answer = need(choice, "answer", str, inside)
        if answer not in ("correct", "wrong"):
            raise UserError(f"{inside}: 'answer' must be 'correct' or 'wrong', found {answer!a:.60}")
        if choice_id in found:
            raise UserError(f"{inside}: this choice_id occurs twice")
        found[choice_id] = text_of(choice, "choice", inside), answer == "correct"
    ordered = [found[choice_id] for choice_id in sorted(found)]
    options = lettered_options([text for text, _ in ordered], where, "choices")
    return options, tuple(i for i, (_, correct) in enumerate(ordered) if correct)


def read(path: Path) -> Reading:
    """Counterfactual questions in file order, also those without a right choice (they have one when inverted).

    Raises:
        UserError: a key that is missing or of the wrong type, named with file, scene and question.
    """
    reading = Reading([], {}, [path])
    seen: dict[tuple[int, int], str] = {}
    labels: dict[tuple, tuple[int, ...]] = {}
    for number, scene in enumerate(tqdm(load_scenes(path), desc="scenes", unit="scene", disable=None)):
        index = need(scene, "scene_index", int, f"{path}: record {number}")
        where = f"{path}: scene {index}"
        video = text_of(scene, "video_filename", where)
        reading.scenes.add(index)
        for position, question in enumerate(need(scene, "questions", list, where)):
            inside = f"{where}, question at position {position}"
            if need(question, "question_type", str, inside) != "counterfactual":
                reading.left_out[OTHER_TYPES] = reading.left_out.get(OTHER_TYPES, 0) + 1
                continue
            question_id = need(question, "question_id", int, inside)
            inside = f"{where}, question {question_id}"
            if (index, question_id) in seen:
                raise UserError(f"{inside}: it occurs twice, also at {seen[index, question_id]}")
            seen[index, question_id] = f"record {number}"
            options, right = parse_choices(question, inside)
            text = question_of(question, "question", options, inside)
            if labels.setdefault((index, text, options), right) != right:
                raise UserError(f"{inside}: the scene has this question and its choices twice, with other answers")
            reading.questions.append(Question(inside, str(question_id), str(index), video, text, options, right))
    return reading
