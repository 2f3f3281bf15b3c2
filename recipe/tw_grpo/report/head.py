# SPDX-License-Identifier: Apache-2.0
"""What the page of some runs knows at once: their curves, settings, notes, and a row of numbers for every group.

The same numbers as summary.json and the pictures, from `run_report.py`; texts and frames come after, group by group.
Every value is plain JSON, every number finite or null.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipe.tw_grpo.report.reading import Run
from recipe.tw_grpo.report.run_report import fifths, per_step, window
from recipe.tw_grpo.report.samples import Group, Positions
from recipe.tw_grpo.runs.folder import MAY_CHANGE

MOST_ROWS = 20_000  # groups listed; of longer runs only those whose texts are in the page
_BINS, _STEP_BINS = 100, 60  # of the maps over positions and steps
_FIRST = 300  # groups of Figure A2
_KINDS = {"single": 1, "multi": 2}
_VALIDATION = re.compile(r"val-(?:core|aux)/(.+)/([a-z_]+)/mean@\d+")
_MEASURES = ("score", "acc", "soft_acc", "format", "single_acc", "single_soft_acc", "multi_acc", "multi_soft_acc")
_FAILED = re.compile(r"tw_grpo: (.+ cannot be used: .+)")
_MOST_FAILED = 200  # lines
_LOGGED = {
    "entropy": "actor/entropy",
    "grad_norm": "actor/grad_norm",
    "failed_prompts": "tw_grpo/failed_prompts",
    "failed_responses": "tw_grpo/failed_responses",
    "agreement": "training/rollout_actor_probs_pearson_corr",
    "probs_diff": "training/rollout_probs_diff_mean",
    "seconds": "timing_s/step",
    "answer_entropy": "multi_answer/answer_entropy",
}


def settings_of(run: Run) -> dict[str, Any]:
    """Settings by dotted name: the overrides of the command, and the composed configuration where run.json has it."""
    command, identity = run.settings.get("command"), run.settings.get("identity")
    try:
        words = shlex.split(command) if isinstance(command, str) else []
    except ValueError:  # a command that was cut
        words = []
    pairs = (word.lstrip("+~").partition("=") for word in words)
    settings = {name: value for name, sign, value in pairs if sign and "." in name and "/" not in name}
    composed = identity.get("settings") if isinstance(identity, dict) else None
    return settings | (composed if isinstance(composed, dict) else {})


def row_of(run: Run, settings: Mapping[str, Any]) -> str:
    """What the seeds of one row of a table have in common: everything but seeds, names of files and how often saved."""
    identity = run.settings.get("identity")
    data = sorted(map(str, identity["data"].values())) if isinstance(identity, dict) and identity.get("data") else None
    same = {
        name: Path(str(value)).name if name.endswith("_files") else str(value)
        for name, value in settings.items()
        if not name.endswith("seed") and not name.startswith(MAY_CHANGE) and not (data and name.endswith("_files"))
    }
    whole = json.dumps([run.settings.get("estimator"), data, same], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def train_files(settings: Mapping[str, Any]) -> list[str]:
    """The parquet files a run was trained on, as its settings name them."""
    files = settings.get("data.train_files") or []
    if isinstance(files, str):
        files = [part.strip(" '\"") for part in files.strip("[]").split(",")]
    return [str(file) for file in files if file]


def run_head(run: Run, summary: Mapping[str, Any], sentence: str, facts: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """One run of the page, `digests` of the run included.

    Args:
        run: read with a digest.
        summary: of `run_report.summarize`.
        sentence: the verdict on the reward.
        facts: names and texts of the table at the top.
    """
    settings = settings_of(run)
    groups = [group for step in run.steps for group in run.digests[step].groups]
    listed = groups if len(groups) <= MOST_ROWS else [group for group in groups if group.packed is not None]
    prompts: dict[str, int] = {}
    rows = [_row(group, prompts.setdefault(group.prompt, len(prompts))) for group in listed]
    seconds = summary["seconds_per_step"]
    asked = summary["steps_asked"]
    left = (asked - run.steps[-1]) * seconds if seconds and isinstance(asked, int) and asked > run.steps[-1] else None
    return {
        "name": run.folder.name or str(run.folder),
        "folder": str(run.folder.resolve()),
        "estimator": summary["estimator"],
        "seed": summary["seed"],
        "steps": summary["steps"],
        "last_step": run.steps[-1],
        "steps_asked": asked,
        "seconds_left": left,
        "row": row_of(run, settings),
        "verdict": sentence,
        "notes": list(run.notes),
        "failed": failed_records(run.folder),
        "facts": [list(fact) for fact in facts],
        "best_constant": summary["best_constant_reward"],
        "smooth": window(len(run.steps)),
        "series": _series(run),
        "validation": _validation(run),
        "times": _times(run),
        "positions": _positions(run),
        "settings": {name: str(value) for name, value in sorted(settings.items())}
        | {f"version of {name}": str(value) for name, value in (run.settings.get("versions") or {}).items()},
        "prompts": list(prompts),
        "groups": rows,
        "groups_all": len(groups),
        "groups_kept": sum(group.packed is not None for group in groups),
    }


def failed_records(folder: Path) -> list[str]:
    """The lines of the logs that name a record which could not be used, each once."""
    lines: dict[str, None] = {}
    for log in sorted(folder.glob("train*.log")):
        with log.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if "cannot be used" in line and (match := _FAILED.search(re.sub(r"\x1b\[[0-9;]*m", "", line))):
                    lines[match.group(1).strip()] = None
    return list(lines)[:_MOST_FAILED]


def _row(group: Group, prompt: int) -> list[Any]:
    """step, number, prompt, kind (0 unknown, 1 single, 2 multi), mean reward, dead, broken, cut, size, texts here."""
    scores = group.scores
    return [
        group.step,
        group.number,
        prompt,
        _KINDS.get(group.kind or "", 0),
        round(sum(scores) / len(scores), 4),
        int(max(scores) == min(scores)),
        group.broken,
        group.cut,
        len(scores),
        int(group.packed is not None),
    ]


def _series(run: Run) -> dict[str, list[float | None]]:
    """Arrays over the run's steps: those of `per_step`, accuracies by kind, what verl logged, D_t and w_t."""
    series: dict[str, Sequence[float]] = dict(per_step(run))
    for kind, several in (("single", False), ("multi", True)):
        for name in ("acc", "soft_acc"):
            sums: dict[int, list[float]] = {}
            for response in run.responses:
                value = response.parts[name]
                if not math.isnan(value) and (len(response.truth) > 1) is several:
                    sums.setdefault(response.step, []).append(value)
            series[f"{kind}_{name}"] = [_mean(sums.get(step)) for step in run.steps]
    for name, logged in _LOGGED.items():
        series[name] = [run.metrics.get(step, {}).get(logged, math.nan) for step in run.steps]
    for i, name in enumerate(("divergence_content", "weight_content", "divergence_padding", "weight_padding")):
        parts = [run.digests[step].positions for step in run.steps]
        series[name] = [p.parts[2 * i] / p.parts[2 * i + 1] if p and p.parts[2 * i + 1] else math.nan for p in parts]
    return {name: rounded(values) for name, values in series.items()} | {"step": run.steps}


def _validation(run: Run) -> dict[str, dict[str, list[list[float]]]]:
    """{data source: {measure: [[step, value], …]}} of verl's own validation metrics."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    for step, data in sorted(run.metrics.items()):
        for name, value in data.items():
            match = _VALIDATION.fullmatch(name)
            if match and match[2] in _MEASURES:
                found.setdefault(match[1], {}).setdefault(match[2], []).append([step, _short(value)])
    return found


def _times(run: Run) -> dict[str, list[float | None]]:
    """Seconds of the parts of each step, the longest first; what verl times outside the step (testing) too."""
    parts: dict[str, list[float]] = {}
    for i, step in enumerate(run.steps):
        for name, value in run.metrics.get(step, {}).items():
            if name.startswith("timing_s/") and name != "timing_s/step":
                parts.setdefault(name.removeprefix("timing_s/"), [math.nan] * len(run.steps))[i] = value
    longest = sorted(parts, key=lambda name: -np.nansum(parts[name]))
    return {name: rounded(parts[name]) for name in longest[:8]}


def _positions(run: Run) -> dict[str, Any] | None:
    """Means of D_t and w_t by position (Figure A2) and by position and step (Figure A3's D_t, unfolded)."""
    sums = {step: run.digests[step].positions for step in run.steps if run.digests[step].positions}
    if not sums:
        return None
    longest = max(len(p.count) for p in sums.values())
    edges = np.unique(np.linspace(0, longest, min(longest, _BINS) + 1).round().astype(int))
    first, last = fifths(list(sums))
    few, groups = [], 0
    for step, p in sums.items():
        if groups < _FIRST:
            few.append(step)
            groups += int(p.count[0])
    parts = {"all": list(sums), "first": sorted(first), "last": sorted(last), "paper": few}
    blocks = [block for block in np.array_split(np.array(list(sums)), min(len(sums), _STEP_BINS)) if len(block)]
    maps = [_binned([sums[step] for step in block.tolist()], edges) for block in blocks]
    return {
        "edges": edges.tolist(),
        "profiles": {name: _binned([sums[step] for step in steps], edges) for name, steps in parts.items()},
        "paper_groups": groups,
        "steps": [[int(block[0]), int(block[-1])] for block in blocks],
        "map": {name: [row[name] for row in maps] for name in ("d", "w")},
    }


def _binned(sums: Iterable[Positions], edges: np.ndarray) -> dict[str, list[float | None]]:
    """d, w and w_std (over groups) by bins of positions, null where no group reaches."""
    totals = np.zeros((4, edges[-1]))
    for p in sums:
        totals[:, : len(p.count)] += (p.count, p.divergence, p.weights, p.squares)
    count, d, w, squares = np.add.reduceat(totals, edges[:-1], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt(np.maximum(0, squares / count - (w / count) ** 2))
        return {"d": rounded(d / count), "w": rounded(w / count), "w_std": rounded(spread)}


def rounded(values: Iterable[float]) -> list[float | None]:
    """Five digits are more than a screen shows; null for what is not finite."""
    return [_short(float(value)) for value in values]


def _short(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _mean(values: Sequence[float] | None) -> float:
    return sum(values) / len(values) if values else math.nan
