# SPDX-License-Identifier: Apache-2.0
"""What a line of verl's rollout or validation dump means: the one reader of report, scorer, evaluation and recompute.

verl writes input, output, gts, score and uid; the reward manager `multi_answer` adds what its score is made of (in
validation beside the rest, in rollouts of TW-GRPO within "reward"), and the trainer the columns of TOKENS. Rows that
verl adds to fill a batch are no responses: here they are dropped.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recipe.tw_grpo.integration import names
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.files import json_lines

TOKENS = ("prompt_ids", "response_ids", names.TOKEN_DIVERGENCE, names.TOKEN_WEIGHTS)
_KINDS = {"input": str, "output": str, "uid": str, "score": (int, float, type(None)), "index": (int, str)}
_KINDS |= dict.fromkeys(TOKENS, list)


class Incomplete(UserError):
    """A dump that is missing, breaks off, or does not answer every question once."""


@dataclasses.dataclass(slots=True)
class Line:
    """One response of a dump.

    Attributes:
        uid: verl's id of the prompt, equal for the responses of a group; "" when the line has none.
        prompt, response: texts.
        truth: text of the right letters, None when there is none.
        score: what was trained on, None when it is no finite number.
        index: of the prompt's record in its parquet, as text; "" when the line has none.
        video: name of the video, "" when the line has none.
        parts: what the reward manager said of the response, among other things.
        record: the whole line.
    """

    uid: str
    prompt: str
    response: str
    truth: str | None
    score: float | None
    index: str
    video: str
    parts: Mapping[str, Any]
    record: dict[str, Any]


def read_line(record: dict[str, Any], where: str, needs: Sequence[str] = ()) -> Line | None:
    """One line of a dump, None for a row that verl added to fill a batch.

    Args:
        record: the line's object.
        where: file and line, for messages.
        needs: columns that have to be there besides the two texts.

    Raises:
        UserError: a column is missing or of the wrong kind.
    """
    key, truth, score = record.get("uid"), record.get("gts"), record.get("score")
    if isinstance(key, str) and names.is_placeholder(key):
        return None
    for name in ("input", "output", *needs):
        if name not in record or not isinstance(record[name], _KINDS[name]):
            by = " with adv_estimator=tw_grpo" if name in TOKENS else ""
            raise UserError(
                f"{where}: {name!r} is missing or of the wrong kind: this is no dump of verl's V1 trainer{by}"
            )
    truth = ",".join(map(str, truth)) if isinstance(truth, list) else truth
    parts = record["reward"] if isinstance(record.get("reward"), dict) else record
    return Line(
        uid=names.uid_of(key) if isinstance(key, str) else "",
        prompt=record["input"],
        response=record["output"],
        truth=truth if isinstance(truth, str) else None,
        score=float(score) if isinstance(score, int | float) and math.isfinite(score) else None,
        index="" if record.get("index") is None else str(record["index"]),
        video=str(parts.get("video") or ""),
        parts=parts,
        record=record,
    )


def read_dump(path: Path, needs: Sequence[str] = ()) -> Iterator[tuple[str, Line]]:
    """Place (file and line) and content of every response of a dump that has to be whole.

    Raises:
        Incomplete: there is no such file, or a line breaks off.
        UserError: as `read_line`.
    """
    try:
        with path.open("rb") as file:
            for number, record in json_lines(file):
                where = f"{path}: line {number}"
                if record is None:
                    raise Incomplete(f"{where} breaks off")
                if (line := read_line(record, where, needs)) is not None:
                    yield where, line
    except FileNotFoundError:
        raise Incomplete(f"{path}: verl has not written it: the run did not end") from None
