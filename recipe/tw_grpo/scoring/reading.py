# SPDX-License-Identifier: Apache-2.0
"""Reads a log of any form: its records (`containers.py`), their form (`forms/`), what its truths mean (`truths.py`).

Lines of a killed run that are not whole JSON are left out and counted; rows a resumed run wrote again are dropped and
counted (the last one counts), and so are open-ended questions. What an answer is worth is `score.py`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from recipe.tw_grpo.answers import parse_truth
from recipe.tw_grpo.scoring.answer_key import read_key, with_key
from recipe.tw_grpo.scoring.containers import records_of
from recipe.tw_grpo.scoring.forms import FORMS, form_of, unknown_form
from recipe.tw_grpo.scoring.sample import Sample
from recipe.tw_grpo.scoring.truths import decide
from recipe.tw_grpo.toolbox.errors import UserError

__all__ = ["Log", "Sample", "categories", "read_log"]

# Fields that divide a benchmark into categories; the first one in which a log has several values is taken.
CATEGORY_FIELDS = (
    "category",
    "type",
    "task_type",
    "sub_category",
    "domain",
    "question_type",
    "original_question_type",
    "data_source",
)
FOLDER = "folder"  # --by folder: the folder the video lies in
_MOST_CATEGORIES = 40
_MOST_FIELDS = 40  # named in a message


@dataclasses.dataclass
class Log:
    """A log: its samples in the order of their lines, the dead duplicates among them left out.

    Attributes:
        duplicates: rows dropped because a later row answers the same question.
        unreadable: lines that are not whole JSON.
        open_ended: responses to questions without options, left out.
        names: names of the fields of its records.
    """

    path: Path
    form: str
    samples: list[Sample]
    duplicates: list[Sample]
    unreadable: int
    open_ended: int = 0
    names: tuple[str, ...] = ()


def read_log(path: Path, truths: Path | None = None) -> Log:
    """Read one log.

    Args:
        truths: a file with right answers by id, for a log that has none (`answer_key.py`).

    Raises:
        UserError: no such file, nothing readable in it, an unknown form, or a record that does not fit its form.
    """
    path, form, unreadable, open_ended = Path(path), None, 0, 0
    samples: list[Sample] = []
    names: dict[str, None] = {}
    known = read_key(truths) if truths else {}
    for number, record in records_of(path):
        if record is None:
            unreadable += 1
            continue
        where = f"{path}: line {number}"
        if len(names) < _MOST_FIELDS:
            names.update(dict.fromkeys(map(str, record)))
        form = form or form_of(record)
        if form is None:
            raise unknown_form(record, where)
        for sample in FORMS[form].samples(record, where, number):
            if known:
                sample = with_key(sample, known)
            if sample.open_ended:
                open_ended += 1
            else:
                samples.append(sample)
    if form is None or not (samples or open_ended):
        raise UserError(f"{path}: no response in it ({unreadable} lines are not whole JSON)")
    if form == "verl":  # several responses to one question are wanted there: the first, the second, …
        kept, dropped = _numbered(samples), []
    else:
        decide(samples, path, from_zero=form == "lmms-eval")  # its tasks take the data sets' own, NExT-QA's from 0
        kept, dropped = _without_duplicates(samples)
    return Log(path, form, kept, dropped, unreadable, open_ended, tuple(names))


def _numbered(samples: list[Sample]) -> list[Sample]:
    seen: Counter[str] = Counter()
    for sample in samples:
        seen[sample.key] += 1
        sample.key += f"#{seen[sample.key]}"
    return samples


def _without_duplicates(samples: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    """The samples that count and those a later one replaces: the same id, question and right letters.

    A log in which one id has several questions is several tasks one after the other: there the question belongs to
    the key. A row without a question is taken for its id's only one.
    """
    asked: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        asked[sample.key] |= {sample.asked} - {""}
    several = any(len(questions) > 1 for questions in asked.values())
    truths: dict[str, list[Any]] = defaultdict(list)
    for sample in samples:
        questions = asked[sample.key]
        if several and questions:
            sample.key += "\n" + (sample.asked or min(questions))
        truth = parse_truth(sample.truth or "", sample.options) or sample.truth
        different = truths[sample.key]
        if truth not in different:
            different.append(truth)
        if different.index(truth):
            sample.key += f"#{different.index(truth) + 1}"
    last = {sample.key: i for i, sample in enumerate(samples)}
    kept = [sample for i, sample in enumerate(samples) if last[sample.key] == i]
    return kept, [sample for i, sample in enumerate(samples) if last[sample.key] != i]


def categories(samples: list[Sample], field: str | None) -> tuple[str | None, list[str | None]]:
    """The field that divides the samples into categories, and each sample's.

    Args:
        field: a field of the records, "folder" for the folder of the video, None to look for one.

    Raises:
        UserError: no record has the field.
    """
    if field == FOLDER:
        return FOLDER, [Path(sample.video).parent.name or None for sample in samples]
    for name in (field,) if field else CATEGORY_FIELDS:
        values = [sample.fields.get(name) for sample in samples]
        different = {str(value) for value in values if value not in (None, "")}
        if field and not different:
            known = sorted({key for sample in samples for key in sample.fields})
            raise UserError(f"--by {field}: the log has no such field; it has {', '.join([*known, FOLDER])}")
        if field or 1 < len(different) <= _MOST_CATEGORIES:
            return name, [None if value in (None, "") else str(value) for value in values]
    return None, [None] * len(samples)
