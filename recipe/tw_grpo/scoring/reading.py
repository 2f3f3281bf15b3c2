# SPDX-License-Identifier: Apache-2.0
"""Reads response logs of four forms into one: the public repositories' JSONL, verl's dumps, lmms-eval's samples, ours.

A form is recognised by its fields. Lines of a killed run that are not whole JSON are left out and counted; rows a
resumed run wrote again are dropped and counted (the last one counts). What an answer is worth is `score.py`.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from recipe.tw_grpo.runs.dump import read_line
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.files import json_lines
from recipe.tw_grpo.toolbox.letters import listed_options

GENERIC_KEYS = 'response (text), truth ("A,C"), and optionally id, question, options, video, category'
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


@dataclasses.dataclass(slots=True)
class Sample:
    """One response of a log.

    Attributes:
        key: what tells its question (and, of several responses to it, which one) from the others of the log.
        question: its text, as far as the log has it, for people.
        video: what is drawn together in a bootstrap; the question where the log names no video.
        response: the text the model wrote.
        truth: text of the right letters, None when the log has none.
        options: texts of the options, None when they are not known.
        untagged: written by one of the public scripts that take the whole output for the answer.
        recorded: the soft score the log itself gives, None when it has none.
        fields: the short fields of its record, for categories.
        line: line number.
    """

    key: str
    question: str
    video: str
    response: str
    truth: str | None
    options: tuple[str, ...] | None
    untagged: bool
    recorded: float | None
    fields: dict[str, Any]
    line: int


@dataclasses.dataclass
class Log:
    """A log: its samples in the order of their lines, the dead duplicates among them left out.

    Attributes:
        duplicates: rows dropped because a later row answers the same question.
        unreadable: lines that are not whole JSON.
    """

    path: Path
    form: str
    samples: list[Sample]
    duplicates: list[Sample]
    unreadable: int


def read_log(path: Path) -> Log:
    """Read one log.

    Raises:
        UserError: no such file, nothing readable in it, an unknown form, or a record that does not fit its form.
    """
    path, form, unreadable = Path(path), None, 0
    samples: list[Sample] = []
    seen: Counter[str] = Counter()
    for number, record in _records(path):
        if record is None:
            unreadable += 1
            continue
        form = form or _form_of(record, f"{path}: line {number}")
        for sample in _READERS[form](record, f"{path}: line {number}", number):
            if form == "verl":  # several responses to one question are wanted there: the first, the second, …
                seen[sample.key] += 1
                sample.key += f"#{seen[sample.key]}"
            samples.append(sample)
    if not samples:
        raise UserError(f"{path}: no response in it ({unreadable} lines are not whole JSON)")
    last = {sample.key: i for i, sample in enumerate(samples)}
    kept = [sample for i, sample in enumerate(samples) if last[sample.key] == i]
    dropped = [sample for i, sample in enumerate(samples) if last[sample.key] != i]
    return Log(path, form, kept, dropped, unreadable)


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


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Line number and object of every line, None for a line that is no whole object; a JSON list counts as lines."""
    try:
        if path.is_dir():
            raise UserError(f"{path}: is a folder; give its files, for example {path}/*.jsonl")
        with path.open("rb") as file:
            start = file.read(64).lstrip()[:1]
            file.seek(0)
            if start == b"[":
                try:
                    records = json.load(file)
                except (ValueError, RecursionError) as error:
                    raise UserError(f"{path}: not a JSON list ({error})") from None
                for number, record in enumerate(records, 1):
                    yield number, record if isinstance(record, dict) else None
                return
            for number, record in json_lines(file):
                if record is None and number == 1 and start == b"{" and (listed := _one_object(path)) is not None:
                    yield from enumerate(listed, 1)
                    return
                yield number, record
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _one_object(path: Path) -> list[Any] | None:
    """The samples of a file that is one object over many lines, as older lmms-eval writes them; None if it is not."""
    try:
        logs = json.loads(path.read_bytes()).get("logs")
    except (ValueError, RecursionError):
        return None
    return logs if isinstance(logs, list) and all(isinstance(record, dict) for record in logs) else None


def _form_of(record: dict[str, Any], where: str) -> str:
    if "model_output" in record:
        return "public"
    if "doc_id" in record and ("filtered_resps" in record or "resps" in record):
        return "lmms-eval"
    if "input" in record and "output" in record:
        return "verl"
    if "response" in record or "output" in record:
        return "generic"
    found = ", ".join(map(str, record)) or "nothing"
    raise UserError(
        f"{where}: not a known form of log (found {found:.200}): public JSONL has 'model_output', verl's dumps "
        f"'input' and 'output', lmms-eval's 'doc_id' and 'filtered_resps'; a generic line has {GENERIC_KEYS}"
    )


def _public(record: dict[str, Any], where: str, line: int) -> Iterator[Sample]:
    question = record.get("question")
    question = question if isinstance(question, dict) else {"question": question}
    response = _text(record, "model_output", where)
    asked, video = question.get("problem") or question.get("question"), question.get("video")
    listed = question.get("options") or listed_options(str(asked or ""))
    # Not the folder of the video and not fields that scripts add: two models' logs come from two machines.
    identity = [*map(question.get, ("problem_id", "question_id", "id")), Path(str(video)).name, asked, listed]
    key = json.dumps(identity, ensure_ascii=False)
    score = record.get("accuracy_score")
    yield Sample(
        key=key if record.get("question") is not None else f"line {line}",
        question=str(asked or key),
        video=str(video or key),
        response=response,
        truth=_optional_text(record, "ground_truth", where),
        options=_options(listed, where),
        # Only the scripts without extraction copy the whole output there; the others cut it out of something longer.
        untagged=bool(response) and record.get("extracted_answer") == response,
        recorded=float(score) if isinstance(score, int | float) else None,
        fields=_short(question),
        line=line,
    )


def _verl(record: dict[str, Any], where: str, number: int) -> Iterator[Sample]:
    line = read_line(record, where)
    if line is None:
        return
    score = line.parts.get("soft_acc")
    key = json.dumps([line.index, line.video, line.prompt, line.truth], ensure_ascii=False)
    yield Sample(
        key=key,
        question=line.prompt.strip(),
        video=line.video or key,
        response=line.response,
        truth=line.truth,
        options=tuple(listed_options(line.prompt)) or None,
        untagged=False,
        recorded=float(score) if isinstance(score, int | float) else None,
        fields=_short(record),
        line=number,
    )


def _lmms_eval(record: dict[str, Any], where: str, line: int) -> Iterator[Sample]:
    answers = _flat(record.get("filtered_resps", record.get("resps")))
    whole = _flat(record.get("resps", []))
    if len(whole) == len(answers):  # its filter takes the thoughts away, and their tags belong to the format
        pairs = zip(whole, answers, strict=True)
        answers = [w if isinstance(w, str) and w.strip().endswith(str(f).strip()) else f for w, f in pairs]
    doc = record["doc"] if isinstance(record.get("doc"), dict) else {}
    # What a task's process_results returned stands beside the rest; ours puts video and category there.
    ours = next((v for v in record.values() if isinstance(v, dict) and "video" in v and v is not doc), {})
    fields = _short(record) | _short(doc) | _short(ours)
    asked = record.get("input")
    asked = asked if isinstance(asked, str) else ""
    listed = ours.get("options") or doc.get("options") or listed_options(asked)
    key = f"{record['doc_id']} {record.get('doc_hash', '')}".strip()
    for i, answer in enumerate(answers):
        if not isinstance(answer, str):
            raise UserError(f"{where}: 'filtered_resps' holds no text; only generate_until tasks can be scored")
        yield Sample(
            key=key if len(answers) == 1 else f"{key}#{i + 1}",
            question=asked or str(doc.get("question") or ours.get("question") or key),
            video=str(fields.get("video") or key),
            response=answer,
            truth=_optional_text(record, "target", where),
            options=_options(listed, where),
            untagged=False,
            recorded=float(own["score"])
            if isinstance(own := record.get("soft_acc"), dict) and len(answers) == 1
            else None,
            fields=fields,
            line=line,
        )


def _flat(answers: Any) -> list[Any]:
    """The responses of one sample, which lmms-eval writes as [[text]], [text] or text by version."""
    while isinstance(answers, list) and len(answers) == 1:
        answers = answers[0]
    return answers if isinstance(answers, list) else [answers]


def _generic(record: dict[str, Any], where: str, line: int) -> Iterator[Sample]:
    name = "response" if "response" in record else "output"
    truth = record.get("truth", record.get("ground_truth"))
    truth = ",".join(map(str, truth)) if isinstance(truth, list) else truth
    if truth is not None and not isinstance(truth, str):
        raise UserError(f"{where}: 'truth' must be a text such as \"A,C\" or a list of letters, found {truth!r:.60}")
    key = f"line {line}" if record.get("id") is None else str(record["id"])
    yield Sample(
        key=key,
        question=str(record.get("question") or key),
        video=str(record.get("video") or key),
        response=_text(record, name, where),
        truth=truth,
        options=_options(record.get("options"), where),
        untagged=False,
        recorded=None,
        fields=_short(record),
        line=line,
    )


_READERS: dict[str, Callable[[dict[str, Any], str, int], Iterator[Sample]]] = {
    "public": _public,
    "verl": _verl,
    "lmms-eval": _lmms_eval,
    "generic": _generic,
}


def _text(record: dict[str, Any], key: str, where: str) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        found = "is missing" if key not in record else f"is no text: {value!r:.60}"
        raise UserError(f"{where}: {key!r} {found}; every line of a log must have it")
    return value


def _optional_text(record: dict[str, Any], key: str, where: str) -> str | None:
    return None if record.get(key) is None else _text(record, key, where)


def _options(listed: Any, where: str) -> tuple[str, ...] | None:
    if not listed:
        return None
    if not isinstance(listed, list | tuple) or not all(isinstance(option, str) for option in listed):
        raise UserError(f"{where}: 'options' must be a list of texts, found {listed!r:.60}")
    return tuple(listed)


def _short(record: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in record.items()
        if isinstance(value, int | float) or (isinstance(value, str) and len(value) <= 200)
    }
