# SPDX-License-Identifier: Apache-2.0
"""Reads what a verl run leaves on disk: rollout dumps, the logs of verl's "file" logger, and the launcher's run.json.

Each response is reduced to a few numbers as it is read, so that runs with gigabytes of dumps fit. What cannot be read
is left out and said in `Run.notes`; what is made of the numbers is `run_report.py`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from recipe.tw_grpo.answers import parse_answer, parse_truth
from recipe.tw_grpo.config import RewardConfig
from recipe.tw_grpo.groups import grouped
from recipe.tw_grpo.integration import names
from recipe.tw_grpo.reward import score_response
from recipe.tw_grpo.runs.dump import Line, read_line
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.files import json_lines
from recipe.tw_grpo.toolbox.letters import LETTERS, listed_options

PARTS = ("reward", "soft_acc", "acc", "format", "response_length")


@dataclasses.dataclass(slots=True)
class Response:
    """One line of a rollout dump, reduced to numbers.

    Attributes:
        step: training step it was sampled in.
        group: id of its group (verl's uid of the prompt in this step).
        prompt: what tells one question of the data set from another, for clustering.
        truth: right letters, empty when the record names none.
        n_options: options the prompt lists as "A. …", "B. …", None when it lists none that fit.
        parts: numbers by the names in PARTS, and "recomputed", the score recomputed from the text; NaN where unknown.
        weights: count, sum and largest of its token weights; a count of 0 when it has none.
    """

    step: int
    group: str
    prompt: tuple[str, str, str]
    truth: frozenset[str]
    n_options: int | None
    parts: dict[str, float]
    weights: tuple[int, float, float]


@dataclasses.dataclass(slots=True)
class WeightMap:
    """The group shown as heat map: per response its token ids and weights (equal lengths), its score and answer."""

    step: int
    truth: str
    ids: list[list[int]]
    weights: list[np.ndarray]
    scores: list[float]
    answers: list[str]


# A response, its line and its token weights; what is made of the rows of a step, given the step.
Row = tuple[Response, Line, np.ndarray]
Digest = Callable[[int, Sequence[Row]], Any]


@dataclasses.dataclass
class Run:
    """Everything read from one run's folder; `digests` holds what the caller's function made of each step."""

    folder: Path
    settings: dict[str, Any]
    reward: RewardConfig
    responses: list[Response] = dataclasses.field(default_factory=list)
    metrics: dict[int, dict[str, float]] = dataclasses.field(default_factory=dict)
    weight_map: WeightMap | None = None
    digests: dict[int, Any] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def steps(self) -> list[int]:
        """Steps with at least one response, ascending."""
        return sorted({response.step for response in self.responses})


class Files:
    """What was read of each dump, so that a run that goes on is read again at the cost of its new steps."""

    def __init__(self) -> None:
        self._parts: dict[Path, tuple[Any, Run]] = {}

    def part(self, run: Run, path: Path, digest: Digest | None) -> Run:
        """The responses of one dump as a run of their own; read only when the file has changed."""
        stat = path.stat()
        state = (stat.st_mtime_ns, stat.st_size, run.reward)
        before, part = self._parts.get(path, (None, None))
        if part is None or before != state:
            part = Run(run.folder, run.settings, run.reward)
            _read_step(part, path, digest)
            self._parts[path] = state, part
        return part


def read_run(folder: Path, digest: Callable[[Run, int], Digest] | None = None, files: Files | None = None) -> Run:
    """Read OUT/rollouts/{step}.jsonl, OUT/metrics/*.jsonl and OUT/run.json.

    run.json may be missing (a run not started by our scripts); a line that is not whole JSON is left out and noted.

    Args:
        folder: OUT.
        digest: given the run's settings and how many dumps there are, the function that makes `Run.digests`.
        files: of an earlier call.

    Raises:
        UserError: no such folder, no readable rollout, run.json unreadable, or lines that are not verl's.
    """
    folder = Path(folder)
    dumps = [path for path in _in_order(folder / "rollouts") if path.stem.isdigit()]
    if not dumps:
        raise UserError(
            f"{folder}/rollouts has no {{step}}.jsonl: give the output folder of a run with "
            "trainer.rollout_data_dir=OUT/rollouts"
        )
    run = Run(folder, {}, RewardConfig())
    _read_settings(run)
    makes, files = digest(run, len(dumps)) if digest else None, files or Files()
    for path in dumps:
        part = files.part(run, path, makes)
        run.responses += part.responses
        run.notes += part.notes
        run.digests |= part.digests
        run.weight_map = part.weight_map or run.weight_map
    if not run.responses:
        raise UserError(f"{folder}/rollouts: {len(dumps)} files and no complete response in them: " + run.notes[0])
    if run.settings.get("estimator") is None:
        run.settings["estimator"] = "tw_grpo" if any(response.weights[0] for response in run.responses) else None
    for path in _in_order(folder / "metrics"):
        _read_metrics(run, path)
    _check(run)
    return run


def _in_order(folder: Path) -> list[Path]:
    """The .jsonl files of a folder, 9 before 10."""
    pieces = {path: re.split(r"(\d+)", path.stem) for path in folder.glob("*.jsonl")}
    return sorted(pieces, key=lambda path: [int(p) if p.isdecimal() else p for p in pieces[path]])


def _read_settings(run: Run) -> None:
    path = run.folder / "run.json"
    if not path.is_file():
        run.notes.append(f"{path} is missing: seed, tokenizer and reward settings of the run are not known")
        return
    try:
        settings = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}): write it again or remove it") from None
    if not isinstance(settings, dict):
        raise UserError(f'{path} must hold one object such as {{"estimator": "tw_grpo", "seed": 0}}')
    run.settings = settings
    run.reward = RewardConfig.from_mapping(settings.get("reward_kwargs"))


def _records(path: Path, notes: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of every complete line; one note for the others."""
    broken, number = [], 0
    try:
        with path.open("rb") as file:
            for number, record in json_lines(file):
                if record is None:
                    broken.append(number)
                else:
                    yield number, record
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if broken:
        lines = f"line {broken[0]}" if len(broken) == 1 else f"{len(broken)} lines (first: {broken[0]})"
        verb = "is" if len(broken) == 1 else "are"
        notes.append(f"{path}: {lines} of {number} {verb} not complete JSON (run killed while writing?), left out")
    elif number == 0:
        notes.append(f"{path} is empty (run killed while writing?), left out")


def read_rows(run: Run, path: Path) -> list[Row]:
    """The responses of one dump; what is left out goes into the run's notes.

    Raises:
        UserError: lines that are not verl's.
    """
    step, unusable, rows = int(path.stem), [], []
    for number, record in _records(path, run.notes):
        line = read_line(record, f"{path}: line {number}", ("uid", "score"))
        if line is None:
            continue
        if line.score is None:
            unusable.append(number)
            continue
        weights = _numbers(path, number, record, names.TOKEN_WEIGHTS)
        rows.append((_response(run, step, line, weights), line, weights))
    if unusable:
        run.notes.append(f"{path}: {len(unusable)} scores are not finite (first: line {unusable[0]}), left out")
    return rows


def _read_step(run: Run, path: Path, digest: Digest | None) -> None:
    """Add the responses of one dump, and make its widest group the heat map."""
    step, rows = int(path.stem), read_rows(run, path)
    run.responses += [response for response, _, _ in rows]
    if digest and rows:
        run.digests[step] = digest(step, rows)
    if candidates := [row for row in rows if row[2].size]:
        groups = grouped(candidates, lambda row: row[0].group).values()
        widest = max(groups, key=lambda rows: max(float(weights.std()) for _, _, weights in rows))
        run.weight_map = _weight_map(run, step, [(line, weights) for _, line, weights in widest])


def _numbers(path: Path, number: int, record: dict[str, Any], field: str) -> np.ndarray:
    try:
        values = np.asarray(record.get(field) or [], dtype=np.float64)
        if values.ndim == 1 and np.isfinite(values).all():
            return values
    except (TypeError, ValueError):
        pass
    raise UserError(f"{path}: line {number}: {field!r} is not a list of finite numbers, one per response token")


@lru_cache(maxsize=64)  # a group's prompt is the same
def _options(prompt: str) -> tuple[str, ...]:
    return tuple(listed_options(prompt))


def _response(run: Run, step: int, line: Line, weights: np.ndarray) -> Response:
    ids, options = line.record.get("response_ids"), _options(line.prompt)
    truth = parse_truth(line.truth, options, run.reward.rule) if line.truth else frozenset()
    parts = {"reward": line.score, "response_length": float(len(ids)) if ids else math.nan}
    if any(truth):
        scored = score_response(line.response, line.truth, options, run.reward)
        parts |= {name: float(scored[name]) for name in ("soft_acc", "acc", "format")}
        parts["recomputed"] = float(scored["score"])
    count = len(weights)
    return Response(
        step=step,
        group=f"{step}:{line.uid}",
        prompt=(line.index, line.prompt, str(line.truth)),
        truth=truth,
        n_options=_count_options(line.prompt, truth),
        parts={name: parts.get(name, math.nan) for name in (*PARTS, "recomputed")},
        weights=(count, float(weights.sum()), float(weights.max()) if count else math.nan),
    )


def _count_options(prompt: str, truth: Collection[str]) -> int | None:
    """How many options a prompt lists; None unless the right letters are among them."""
    count = len(_options(prompt))
    return count if count and set(truth) <= set(LETTERS[:count]) else None


def _weight_map(run: Run, step: int, rows: list[tuple[Line, np.ndarray]]) -> WeightMap:
    rows = sorted(rows, key=lambda row: -row[0].score)
    ids = [line.record.get("response_ids") or [] for line, _ in rows]
    return WeightMap(
        step=step,
        truth=str(rows[0][0].truth),
        ids=[row if len(row) == len(w) else [] for row, (_, w) in zip(ids, rows, strict=True)],
        weights=[weights for _, weights in rows],
        scores=[line.score for line, _ in rows],
        answers=[",".join(sorted(parse_answer(line.response, rule=run.reward.rule))) for line, _ in rows],
    )


def _read_metrics(run: Run, path: Path) -> None:
    for number, record in _records(path, run.notes):
        step, data = record.get("step"), record.get("data")
        if not isinstance(step, int) or not isinstance(data, dict):
            raise UserError(f"{path}: line {number}: verl's file logger writes an integer 'step' and an object 'data'")
        numbers = {name: float(v) for name, v in data.items() if isinstance(v, int | float) and math.isfinite(v)}
        run.metrics.setdefault(step, {}).update(numbers)  # a later start did the step again


def _check(run: Run) -> None:
    """Notes on what the report cannot show or what does not fit together."""
    steps, recomputed = run.steps, [r for r in run.responses if not math.isnan(r.parts["recomputed"])]
    missing = sorted(set(range(steps[0], steps[-1] + 1)) - set(steps))
    if missing:
        run.notes.append(f"{run.folder}/rollouts: no responses of {len(missing)} steps (first: {missing[0]})")
    if len(recomputed) < len(run.responses):
        lost = len(run.responses) - len(recomputed)
        run.notes.append(f"{lost} of {len(run.responses)} responses have no right letters in 'gts': no accuracy there")
    differ = sum(not math.isclose(r.parts["recomputed"], r.parts["reward"], abs_tol=1e-4) for r in recomputed)
    if differ:
        run.notes.append(
            f"{differ} of {len(recomputed)} scores are not those of this reward on the dumped text: other reward "
            "settings (put reward_kwargs into run.json) or answers that repeat an option's text"
        )
    if not any("timing_s/step" in data for data in run.metrics.values()):
        run.notes.append(f"{run.folder}/metrics has no timing_s/step: seconds per step are not known")
    if run.settings["estimator"] == "tw_grpo" and run.weight_map is None:
        run.notes.append(f"{run.folder}/rollouts has no token_weights, although the estimator is tw_grpo")
