# SPDX-License-Identifier: Apache-2.0
"""lmms-eval's samples (`--log_samples`) of any generate_until task: mvbench, nextqa, tempcompass, videomme, mmvu, ours.

    {"doc_id": 0, "doc_hash": "…", "target": "right", "resps": [["B"]], "filtered_resps": ["B"],
     "input": "Where?\\n(A) left\\n(B) right\\n", "doc": {"video": "v1.mp4"},
     "mvbench_accuracy": {"pred_answer": "B", "gt_answer": "B", "score": 1}}

What a metric gets is a number or a table with a score, or with the answer it read and the right one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from recipe.tw_grpo.scoring.sample import (
    SCORES,
    Sample,
    field,
    is_missing,
    make_sample,
    number,
    option_texts,
    truth_of,
    user_text,
)
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.letters import LETTERS, listed_options

_RIGHT = ("gt_answer", "gt-answer", "answer", "target")  # the right answer in the table of a metric
_YES_OR_NO = ("yes", "no")
# A line of TempCompass' caption matching: "Caption A: …", "Option 2: …".
_NAMED = re.compile(r"^(?:Caption|Sentence|Option|Description)\s+([A-Z]|\d):\s+\S.*$", re.MULTILINE)


def fits(record: Mapping[str, Any]) -> bool:
    """Whether this is a record of the form."""
    return "doc_id" in record and ("filtered_resps" in record or "resps" in record)


def samples(record: dict[str, Any], where: str, line: int) -> Iterator[Sample]:
    """The responses to one document."""
    answers = _flat(record.get("filtered_resps", record.get("resps")))
    whole = _flat(record.get("resps", []))
    if len(whole) == len(answers):  # its filter takes the thoughts away, and their tags belong to the format
        pairs = zip(whole, answers, strict=True)
        answers = [w if isinstance(w, str) and w.strip().endswith(str(f).strip()) else f for w, f in pairs]
    doc = record["doc"] if isinstance(record.get("doc"), dict) else {}
    metrics = {name: value for name, value in record.items() if isinstance(value, dict) and value is not doc}
    # What a task's process_results returned stands beside the rest; ours puts video and category there.
    told: dict[str, Any] = {}
    for table in metrics.values():
        told = {**table, **told}
    more = {name: value for name, value in {**doc, **told}.items() if name not in SCORES}
    asked = record.get("input")
    asked = asked if isinstance(asked, str) else user_text(asked)
    truth = truth_of(record, "target", where=where)
    options = _options(doc, told, asked, where)
    yes_or_no = not options and (truth or "").strip().lower() in _YES_OR_NO
    if yes_or_no:
        options = _YES_OR_NO
    truth = _told_letter(truth, options, metrics) or truth
    key = f"{field(record, 'doc_id', where)} {record.get('doc_hash', '')}".strip()
    video = next((v for n in ("video", "video_id", "videoID", "video_path") if not is_missing(v := more.get(n))), None)
    for i, answer in enumerate(answers):
        if not isinstance(answer, str) and answer is not None:
            raise UserError(f"{where}: 'filtered_resps' holds no text; only generate_until tasks can be scored")
        yield make_sample(
            record,
            where,
            line,
            response=answer or "",
            truth=truth,
            key=key if len(answers) == 1 else f"{key}#{i + 1}",
            question=asked or doc.get("question") or told.get("question"),
            options=options,
            video=video,
            recorded=_scores(record, metrics) if len(answers) == 1 else {},
            more=more,
            answer=_first_word(answer) if yes_or_no else None,
        )


def _options(doc: Mapping[str, Any], told: Mapping[str, Any], asked: str, where: str) -> tuple[str, ...] | None:
    """Options of a document: in a field, in NExT-QA's columns a0 to a4, or as the prompt lists them."""
    for table, name in ((told, "options"), (doc, "options"), (doc, "choices"), (doc, "candidates")):
        if texts := option_texts(table.get(name), where):
            return texts
    columns = [doc[f"a{i}"] for i in range(5) if not is_missing(doc.get(f"a{i}"))]
    question = asked or str(doc.get("question") or told.get("question") or "")
    return (
        tuple(match.group().strip() for match in _NAMED.finditer(question))
        or tuple(listed_options(question))
        or (tuple(map(str, columns)) if len(columns) > 1 else ())
        or None
    )


def _told_letter(truth: str | None, options: tuple[str, ...] | None, metrics: Mapping[str, Any]) -> str | None:
    """The letter a metric says is right, where the target is the text of several options."""
    if (options or ()).count(truth or "") < 2:
        return None
    told = {str(table[name]) for table in metrics.values() for name in _RIGHT if name in table}
    letters = {letter for letter in told if letter in LETTERS[: len(options or ())] and len(letter) == 1}
    return letters.pop() if len(letters) == 1 else None


def _first_word(answer: str | None) -> str | None:
    """ "yes" or "no" where a response to a question without options begins so, as TempCompass reads it."""
    word = re.match(r"\W*(yes|no)\b", answer or "", re.IGNORECASE)
    return word.group(1).lower() if word else None


def _scores(record: Mapping[str, Any], metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The score of every metric: a number, or in a table its score, else whether its answer is the right one."""
    scores = {}
    for name, value in record.items():
        if name in SCORES and (score := number(value)) is not None:
            scores[name] = score
    for name, table in metrics.items():
        score = next((s for key in SCORES if (s := number(table.get(key))) is not None), None)
        if score is None and "pred_answer" in table:
            right = next((table[key] for key in _RIGHT if not is_missing(table.get(key))), None)
            score = None if right is None else float(str(table["pred_answer"]).strip() == str(right).strip())
        if score is not None:
            scores[name] = score
    return scores


def _flat(answers: Any) -> list[Any]:
    """The responses of one sample, which lmms-eval writes as [[text]], [text] or text by version."""
    while isinstance(answers, list) and len(answers) == 1:
        answers = answers[0]
    return answers if isinstance(answers, list) else [answers]
