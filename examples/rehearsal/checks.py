# SPDX-License-Identifier: Apache-2.0
"""What must hold of a rehearsal, one line each, judged from the files it left behind: verl's metrics, its dump of every
response, and the policy saved after every step.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from data_prep.videos.sampling import PAPER_FRAMES
from recipe.cpu_platform import choice, patches

choice.prepare_environment()  # qwen-vl-utils reads its variable when it is imported
patches.install("torchvision")  # transformers imports it

MARK = "TW_GRPO_REHEARSAL"  # environment variable that every process of a run inherits
RANKS, RESPONSES = 2, 8
TOWER = "visual."  # in the names of the frozen parameters


@dataclass(frozen=True)
class Bounds:
    """Largest differences that rounding explains.

    `probability` is of training/rollout_probs_diff_mean, `kl` of |rollout_corr/kl|, `divergence` of D_t relative to
    max(D_t, 1e-3 nats).
    """

    probability: float
    kl: float
    divergence: float


# fp32: sums of a few hundred terms in another order. bf16: eight bits; logits of about 10 are off by some hundredths,
# and so are log-probabilities; D_t, a difference of such, by most of a small value.
BOUNDS = {"fp32": Bounds(1e-5, 1e-5, 1e-3), "bf16": Bounds(2e-2, 1e-2, 0.5)}


@dataclass(frozen=True)
class Verdict:
    """One check: what it is about, whether it holds, the numbers."""

    what: str
    holds: bool
    numbers: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.holds else 'FAIL'}  {self.what}: {self.numbers}"


def ends(code: int, first: int, mark: str) -> Verdict:
    """The command ended well and none of its processes lives: they all carry `mark` in their environment."""
    alive = []
    for process in psutil.process_iter(["pid", "name"]):
        try:
            if process.environ().get(MARK) == mark:
                alive.append(f"{process.info['pid']} {process.info['name']}")
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    what = "the run" if first == 0 else f"the run that resumes after step {first}"
    left = f"left {', '.join(alive)}" if alive else "no process left"
    return Verdict(f"{what} ends by itself", code == 0 and not alive, f"exit code {code}, {left}")


@dataclass(frozen=True)
class Run:
    """A rehearsal's folder, the policy it began with, its training file, what was asked for."""

    out: Path
    model: Path
    data: Path
    estimator: str
    precision: str

    def policy(self, step: int) -> Path:
        """The Hugging Face folder of the policy after `step` steps."""
        return self.model if step == 0 else self.out / f"checkpoints/global_step_{step}/actor/huggingface"

    def verdicts(self, metrics: Path, first: int, last: int) -> Iterator[Verdict]:
        """All checks of one start, which did the steps after `first` up to `last`."""
        found: dict[int, dict[str, Any]] = {}
        for line in metrics.read_text().splitlines():
            record = json.loads(line)
            found.setdefault(record["step"], {}).update(record["data"])
        trained = sorted(step for step, values in found.items() if "actor/grad_norm" in values)
        wanted = list(range(first + 1, last + 1))
        what = "it trains from the initial policy" if first == 0 else f"it goes on after step {first}"
        yield Verdict(what, trained == wanted, f"steps {trained}, expected {wanted}")
        for step in wanted:
            if step in found:
                yield from self._of_step(step, found[step])
        validated = {name: value for name, value in found.get(last, {}).items() if name.startswith("val-core/")}
        numbers = ", ".join(f"{name} {value:.3f}" for name, value in validated.items()) or "no val-core metric"
        yield Verdict(f"step {last}: validation", bool(validated), numbers)

    def _of_step(self, step: int, metrics: dict[str, Any]) -> Iterator[Verdict]:
        bounds = BOUNDS[self.precision]
        rows = [json.loads(line) for line in (self.out / f"rollouts/{step}.jsonl").read_text().splitlines()]
        yield _agreement(step, metrics, bounds)
        yield self._videos(step, rows, metrics)
        yield self._endings(step, rows, metrics)
        yield _live_group(step, rows)
        norm = metrics["actor/grad_norm"]
        yield Verdict(f"step {step}: a gradient", 0 < norm < float("inf"), f"actor/grad_norm {norm:.3g}")
        yield from self._parameters(step)
        if self.estimator == "tw_grpo":
            yield self._divergence(step, bounds)

    @functools.cached_property
    def _config(self) -> Any:
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(self.model)

    def _videos(self, step: int, rows: list[dict[str, Any]], metrics: dict[str, float]) -> Verdict:
        """Each prompt has the vision tokens of all its temporal grids; without token ids (grpo) it is long enough."""
        from examples.rehearsal.videos import tokens_of_a_grid

        height, width = tokens_of_a_grid()
        expected = PAPER_FRAMES // 2 * height * width
        if "prompt_ids" not in rows[0]:
            shortest = metrics["prompt_length/min"]
            numbers = f"the shortest prompt has {shortest:.0f} tokens, {expected} of a video; {len(rows)} responses"
            return Verdict(f"step {step}: sixteen frames", expected < shortest < 2 * expected, numbers)
        counts = sorted({row["prompt_ids"].count(self._config.video_token_id) for row in rows})
        numbers = f"{counts} vision tokens a prompt, expected {expected}; {len(rows)} responses"
        return Verdict(f"step {step}: sixteen frames", counts == [expected] and len(rows) == RANKS * RESPONSES, numbers)

    def _endings(self, step: int, rows: list[dict[str, Any]], metrics: dict[str, float]) -> Verdict:
        """Each response ends with a token that ends it, not at the limit; without token ids none is at the limit."""
        from omegaconf import OmegaConf
        from transformers import GenerationConfig

        if "response_ids" not in rows[0]:
            config = OmegaConf.load(self.out / "config.yaml")
            longest, limit = metrics["response_length/max"], config.data.max_response_length
            numbers = f"at most {longest:.0f} tokens, the limit is {limit}"
            return Verdict(f"step {step}: responses end by themselves", longest < limit, numbers)
        stops = GenerationConfig.from_pretrained(self.model).eos_token_id
        ended = sum(row["response_ids"][-1] in stops for row in rows)
        lengths = [len(row["response_ids"]) for row in rows]
        numbers = f"{ended} of {len(rows)}, {min(lengths)} to {max(lengths)} tokens"
        return Verdict(f"step {step}: responses end by themselves", ended == len(rows), numbers)

    def _parameters(self, step: int) -> Iterator[Verdict]:
        """What is trained moved, what is frozen did not."""
        before, after = _weights(self.policy(step - 1)), _weights(self.policy(step))
        if before.keys() != after.keys():
            yield Verdict(f"step {step}: parameters", False, f"other names: {sorted(before.keys() ^ after.keys())[:3]}")
            return
        moved = {name: not torch.equal(before[name], after[name]) for name in before}
        trained = [name for name in moved if TOWER not in name]
        frozen = [name for name in moved if TOWER in name]
        still = [name for name in trained if not moved[name]]
        numbers = f"{len(trained) - len(still)} of {len(trained)} tensors" + (f", not {still[:3]}" if still else "")
        yield Verdict(f"step {step}: trained parameters change", bool(trained) and not still, numbers)
        changed = [name for name in frozen if moved[name]]
        numbers = f"{len(frozen) - len(changed)} of {len(frozen)} tensors stay" + (
            f", not {changed[:3]}" * bool(changed)
        )
        yield Verdict(f"step {step}: frozen parameters do not", bool(frozen) and not changed, numbers)

    def _divergence(self, step: int, bounds: Bounds) -> Verdict:
        """The dumped D_t is that of the dense float64 definition, from the saved policy that answered."""
        from recipe.tw_grpo.runs.recompute import recompute

        groups = recompute(
            str(self.policy(step - 1)),
            self.out / f"rollouts/{step}.jsonl",
            self.data,
            temperature=1.0,
            tolerance=bounds.divergence,
        )
        error = max(group["D_relative_error"] for group in groups)
        most = max(group["D_max"] for group in groups)
        whole = [group["G"] for group in groups] == [RESPONSES] * RANKS
        numbers = f"largest relative error {error:.1e} (bound {bounds.divergence:g}), largest D_t {most:.3g} nats"
        return Verdict(f"step {step}: D_t is Eq. 4's", whole and most > 0 and error <= bounds.divergence, numbers)


def _agreement(step: int, metrics: dict[str, Any], bounds: Bounds) -> Verdict:
    """vLLM's log-probabilities are the actor's."""
    difference, kl = metrics["training/rollout_probs_diff_mean"], metrics["rollout_corr/kl"]
    numbers = f"rollout_probs_diff_mean {difference:.1e} (bound {bounds.probability:g}), "
    numbers += f"max {metrics['training/rollout_probs_diff_max']:.1e}; rollout_corr/kl {kl:.1e} (bound {bounds.kl:g})"
    return Verdict(
        f"step {step}: sampler and actor agree", difference <= bounds.probability and abs(kl) <= bounds.kl, numbers
    )


def _live_group(step: int, rows: list[dict[str, Any]]) -> Verdict:
    """At least one prompt's responses have different rewards."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        groups.setdefault(row["uid"].rsplit("_", 2)[0], []).append(row["score"])
    live = sum(len(set(scores)) > 1 for scores in groups.values())
    mean = sum(row["score"] for row in rows) / len(rows)
    return Verdict(f"step {step}: a live group", live > 0, f"{live} of {len(groups)}, mean reward {mean:.2f}")


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}
