# SPDX-License-Identifier: Apache-2.0
"""Eq. 4 against the products it needs and against a naive dense computation: time, peak memory, distance from float64.

`python -m benchmarks.divergence --peak IMPL CASE` prints the bytes one call adds, in a process of its own.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable
from typing import Any

import torch

from benchmarks import measure
from recipe.tw_grpo.divergence import group_divergence, group_divergence_reference

TITLE = "D_t of one group (Eq. 4)"
_BARE_COLUMNS = {"cpu": 2048, "cuda": 32_768}


@dataclasses.dataclass(frozen=True)
class Case:
    """One group: G responses of T tokens (ragged: each T / 32 shorter than the one before), V, d, dtype."""

    responses: int
    positions: int
    vocabulary: int
    width: int
    dtype: str
    ragged: bool = False

    @property
    def name(self) -> str:
        """As the table shows it."""
        shape = f"{self.responses} x {self.positions} x {self.vocabulary:,} x {self.width:,} {self.dtype}"
        return f"{shape}, ragged" if self.ragged else shape

    def sizes(self) -> list[int]:
        """Tokens of each response."""
        step = self.positions // 32 if self.ragged else 0
        return [self.positions - i * step for i in range(self.responses)]

    def make(self, device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """States, LM head and lengths; logits have a standard deviation of about 2."""
        g = torch.Generator(device).manual_seed(0)
        dtype = getattr(torch, self.dtype)
        sizes = self.sizes()
        states = torch.randn(sum(sizes), self.width, generator=g, device=device).to(dtype)
        weight = torch.empty(self.vocabulary, self.width, dtype=dtype, device=device)
        weight.normal_(0, 2 / math.sqrt(self.width), generator=g)
        return states, weight, torch.tensor(sizes)


CASES = {
    "cpu": [
        Case(8, 128, 152_064, 256, "float32"),
        Case(8, 128, 152_064, 256, "float32", ragged=True),
        Case(8, 128, 38_016, 256, "float32"),
        Case(8, 512, 38_016, 256, "float32"),
        Case(8, 32, 152_064, 3584, "bfloat16"),
    ],
    "cuda": [
        Case(8, 128, 152_064, 3584, "bfloat16"),
        Case(8, 400, 152_064, 3584, "bfloat16"),
        Case(8, 400, 152_064, 3584, "bfloat16", ragged=True),
        Case(8, 4096, 152_064, 3584, "bfloat16"),
    ],
}


def naive(states: torch.Tensor, weight: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Eq. 4 written down: dense logits, softmax, mean, in float32."""
    sizes = lengths.tolist()
    padded = torch.nn.utils.rnn.pad_sequence(list(states.split(sizes)), batch_first=True)
    # As a model does: a product in the dtype of the states where the device is made for it, then float32.
    logits = padded @ weight.T if states.is_cuda else padded.float() @ weight.float().T
    log_p = logits.float().log_softmax(-1)
    ended = torch.arange(padded.shape[1], device=states.device) >= lengths.to(states.device)[:, None]
    log_p = log_p.masked_fill_(ended[..., None], -math.log(weight.shape[0]))
    p = log_p.exp()
    mean = p.mean(0).clamp_min(torch.finfo(p.dtype).tiny).log_()
    return (p * (log_p - mean)).sum((0, 2))


def bare(states: torch.Tensor, weight: torch.Tensor, passes: int) -> None:
    """The products alone, tile by tile into one buffer: in float32, or bfloat16 on a GPU."""
    columns = _BARE_COLUMNS[states.device.type]
    dtype = states.dtype if states.is_cuda else torch.float32
    states = states.to(dtype)
    out = states.new_empty(states.shape[0], columns)
    for _ in range(passes):
        for rows in weight.split(columns):
            torch.mm(states, rows.to(dtype).T, out=out[:, : rows.shape[0]])


def implementations(case: Case, device: str) -> dict[str, Callable[[], Any]]:
    """What is compared, by name; naive only where its five tensors [G, T, V] of float32 fit into memory."""
    states, weight, lengths = case.make(device)
    work: dict[str, Callable[[], Any]] = {
        "one bare pass": lambda: bare(states, weight, 1),
        "two bare passes": lambda: bare(states, weight, 2),
        "streaming": lambda: group_divergence(states, weight, lengths, impl="streaming"),
        "compiled": lambda: group_divergence(states, weight, lengths, impl="compiled"),
    }
    dense = 5 * 4 * case.responses * case.positions * case.vocabulary + 4 * weight.numel()
    if dense < 0.8 * _free(device):
        work["naive"] = lambda: naive(states, weight, lengths)
    return work


def _free(device: str) -> int:
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    with open("/proc/meminfo") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))


def run(device: str = "cpu", repeats: int = 5, cases: list[Case] | None = None) -> list[dict[str, Any]]:
    """One record a case: median seconds and extra bytes of every implementation, seconds of compiling, exactness."""
    from recipe.tw_grpo.kernels import fused

    records = []
    for case in CASES[device] if cases is None else cases:
        work = implementations(case, device)
        if not fused.is_available(device):
            del work["compiled"]
        first = {name: measure.once(function, device) for name, function in work.items()}
        seconds = measure.interleaved(work, repeats, device)
        extra = {}
        for name in work:
            if device == "cuda":
                extra[name] = measure.cuda_peak(work[name])
            elif "bare" not in name:
                extra[name] = measure.cpu_peak("benchmarks.divergence", "--peak", name, str(CASES["cpu"].index(case)))
        records.append(
            {
                "case": case.name,
                **dataclasses.asdict(case),
                "seconds": {name: measure.median(values) for name, values in seconds.items()},
                "all_seconds": seconds,
                "first_call_seconds": first,
                "extra_bytes": extra,
            }
        )
    return records


def exactness(device: str, dtype: str) -> dict[str, Any]:
    """Largest relative error of a group of 8 x 6 tokens against the float64 definition, for D_t around 1 and 1e-4."""
    errors = {}
    for spread in (1.0, 0.01):
        g = torch.Generator().manual_seed(1)
        common = torch.randn(6, 3584, generator=g)
        kind = getattr(torch, dtype)
        states = torch.cat([common + spread * torch.randn(6, 3584, generator=g) for _ in range(8)]).to(device, kind)
        weight = (torch.randn(20_000, 3584, generator=g) * 2 / math.sqrt(3584)).to(device, kind)
        lengths = torch.tensor([6] * 8)
        truth = group_divergence_reference((states.double() @ weight.double().T).view(8, 6, -1), lengths)
        for name, function in {
            "streaming": lambda s=states, w=weight, n=lengths: group_divergence(s, w, n, impl="streaming"),
            "compiled": lambda s=states, w=weight, n=lengths: group_divergence(s, w, n, impl="compiled"),
            "naive": lambda s=states, w=weight, n=lengths: naive(s, w, n),
        }.items():
            errors[f"{name}, D = {truth.mean():.0e}"] = ((function().double() - truth).abs() / truth).max().item()
    return {"device": device, "dtype": dtype, "relative_error": errors}


def rows(records: list[dict[str, Any]]) -> list[list[str]]:
    """The table of `run`'s records."""
    table = [["G x T x V x d", "implementation", "seconds", "x naive", "x two bare passes", "extra MiB"]]
    for record in records:
        seconds = record["seconds"]
        for name, value in seconds.items():
            against = [
                f"{value / seconds[other]:.2f}" if other in seconds else "" for other in ("naive", "two bare passes")
            ]
            extra = record["extra_bytes"].get(name)
            table.append(
                [record["case"], name, f"{value:.4g}", *against, f"{extra / measure.MIB:,.0f}" if extra else ""]
            )
    return table


def _peak(name: str, index: int) -> int:
    work = implementations(CASES["cpu"][index], "cpu")[name]
    before = measure.reset_resident_peak()
    work()
    return measure.resident_peak() - before


if __name__ == "__main__":
    print(_peak(sys.argv[2], int(sys.argv[3])))
