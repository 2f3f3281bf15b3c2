# SPDX-License-Identifier: Apache-2.0
"""Eq. 4: D_t = sum_i KL(p_i,t || m_t), how much the G responses of one prompt disagree about the token at position t.

m_t is the mean of the G next-token distributions over the whole vocabulary, and a response that has already ended at t
counts as the uniform distribution. `group_divergence` computes D_t from the last hidden states and the LM head, tile by
tile of the vocabulary, so nothing of size [G, T, V] ever exists; `group_divergence_reference` is the definition as
printed, dense and in float64. Neither carries a gradient.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import torch

from recipe.tw_grpo.config import CHOICES

_TILE_ELEMENTS = 1 << 24  # of one working buffer [sum(lengths), tile]: 64 MiB in float32

# Below this |r| the closed form (1+r) log1p(r) - r cancels; ten terms of its series are exact to float64 there.
_SERIES_BELOW = 0.05
_SERIES_TERMS = 12


def group_divergence_reference(logits: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Eq. 4 as printed, dense and in float64. Slow and large: for tests and small groups.

    Args:
        logits: [G, T, V] any float dtype, divided by the sampling temperature already; t >= lengths[i] is ignored.
        lengths: [G] integer, tokens of each response, 1 <= lengths[i] <= T.

    Returns:
        [T] float64, in nats, 0 <= D_t <= G ln G.
    """
    n_responses, n_positions, vocabulary = logits.shape
    p = torch.softmax(logits.detach().double(), dim=-1)
    ended = torch.arange(n_positions, device=p.device) >= torch.as_tensor(lengths, device=p.device)[:, None]
    p = torch.where(ended[..., None], 1.0 / vocabulary, p)
    # The mean of the smallest positive p rounds to 0, and p log(p / 0) would be infinite.
    m = p.mean(dim=0).clamp_min(torch.finfo(p.dtype).tiny)
    kl = torch.xlogy(p, p) - torch.xlogy(p, m)  # 0 log 0 = 0
    return kl.sum(dim=(0, 2))


@torch.no_grad()
def group_divergence(
    hidden_states: torch.Tensor,
    lm_head_weight: torch.Tensor,
    lengths: torch.Tensor,
    *,
    temperature: float = 1.0,
    divergence: str = "kl",
    impl: str = "auto",
) -> torch.Tensor:
    """D_t of one group from its last hidden states (Eq. 4), without materialising logits.

    Memory beyond the inputs: a few buffers of [max(sum(lengths), T), tile] elements, tile chosen so that one holds at
    most 2**24 elements (but at least 64 vocabulary entries).

    Args:
        hidden_states: [sum(lengths), d] float, the states that PREDICT each response token (for token t of a response
            the state one position before it), responses one after the other.
        lm_head_weight: [V, d] float, any float dtype; logits are hidden_states @ lm_head_weight.T / temperature.
        lengths: [G] integer, tokens of each response, all >= 1.
        temperature: sampling temperature of the policy; > 0.
        divergence: "kl" is Eq. 4; "logspace_k3" is the public code's formula: the mean over the G responses of
            sum_v exp(d) - d - 1 with d = mean_j log p_j - log p_i clamped to [-11, 11].
        impl: "streaming" (vocabulary tiles), "dense" (the float64 definition; "kl" only) or "auto" (streaming).

    Returns:
        [max(lengths)] float32 (float64 for float64 hidden states), in nats, >= 0.

    Raises:
        ValueError: shapes that do not fit, a length below 1, a temperature that is not positive, an unknown option.
    """
    sizes = [int(n) for n in torch.as_tensor(lengths).tolist()]
    if not sizes or min(sizes) < 1:
        raise ValueError(f"lengths={sizes} must name at least one response, each of at least one token")
    if hidden_states.dim() != 2 or hidden_states.shape[0] != sum(sizes):
        raise ValueError(f"hidden_states has shape {tuple(hidden_states.shape)}, expected [{sum(sizes)}, d]")
    width = hidden_states.shape[1]
    if lm_head_weight.dim() != 2 or lm_head_weight.shape[1] != width:
        raise ValueError(f"lm_head_weight has shape {tuple(lm_head_weight.shape)}, expected [V, {width}]")
    if not temperature > 0:
        raise ValueError(f"temperature={temperature} must be larger than 0")
    if divergence not in CHOICES["divergence"]:
        raise ValueError(f"divergence={divergence!r} is none of {', '.join(CHOICES['divergence'])}")
    if impl == "dense" and divergence == "kl":
        logits = hidden_states.double() @ lm_head_weight.double().T / temperature
        padded = torch.nn.utils.rnn.pad_sequence(list(logits.split(sizes)), batch_first=True)
        return group_divergence_reference(padded, lengths).to(_compute_dtype(hidden_states))
    if impl not in ("auto", "streaming"):
        raise ValueError(f"impl={impl!r} is none of auto, streaming, dense (dense only with divergence='kl')")

    dtype = _compute_dtype(hidden_states)
    terms = _kl_tile if divergence == "kl" else _logspace_k3_tile
    total = hidden_states.new_zeros(max(sizes), dtype=torch.float64)
    # verl calls this inside its autocast, which would round every logit to bfloat16.
    with torch.autocast(hidden_states.device.type, enabled=False):
        group = _Group(hidden_states.to(dtype) / temperature, lm_head_weight, sizes)
        for tile in group.log_ratio_tiles():
            total += terms(tile, group)
    if divergence == "kl":
        total.clamp_(0, len(sizes) * math.log(len(sizes)))  # rounding of huge logits must not break the bound
    return total.to(dtype)


def _compute_dtype(hidden_states: torch.Tensor) -> torch.dtype:
    return torch.float64 if hidden_states.dtype == torch.float64 else torch.float32


@dataclasses.dataclass
class _Tile:
    """One vocabulary tile, everything relative to the distribution q_t of the longest response (the base).

    Attributes:
        log_q: [T, tile] log q_t.
        log_ratio: [sum(sizes), tile] log(p_i,t / q_t) of each response token; exactly 0 where states are equal.
        log_ratio_uniform: [T, tile] log(U / q_t), for the responses that have ended.
    """

    log_q: torch.Tensor
    log_ratio: torch.Tensor
    log_ratio_uniform: torch.Tensor


class _Group:
    """The packed states of one group and the tiles of their log-probabilities.

    Responses agree far more than they differ, so everything is kept relative to the longest response: the rounding of
    its logits is common to all responses of a position and drops out, and only their differences are rounded.
    """

    def __init__(self, hidden: torch.Tensor, weight: torch.Tensor, sizes: list[int]) -> None:
        self.sizes = sizes
        self.vocabulary = weight.shape[0]
        self.weight = weight
        self.base = hidden.split(sizes)[sizes.index(max(sizes))]  # [T, d]: alive at every position
        self.offset = hidden - self.at_positions(self.base)  # [sum(sizes), d]
        t = torch.arange(max(sizes), device=hidden.device)
        ended = t[:, None] >= torch.tensor(sizes, device=hidden.device)
        self.n_ended = ended.sum(dim=1, keepdim=True).to(hidden.dtype)  # [T, 1]

    def at_positions(self, positions: torch.Tensor) -> torch.Tensor:
        """[T, ...] -> [sum(sizes), ...]: for each packed token the row of its position."""
        return torch.cat([positions[:n] for n in self.sizes])

    def over_responses(self, rows: torch.Tensor, start: torch.Tensor, operation: Callable[..., object]) -> torch.Tensor:
        """Fold [sum(sizes), ...] into `start` [T, ...] with an in-place operation, response by response in order."""
        for response in rows.split(self.sizes):
            operation(start[: response.shape[0]], response)
        return start

    def sum(self, rows: torch.Tensor) -> torch.Tensor:
        """[sum(sizes), ...] -> [T, ...]: the sum over the responses that are alive at each position."""
        return self.over_responses(rows, rows.new_zeros(max(self.sizes), *rows.shape[1:]), torch.Tensor.add_)

    def _logit_tiles(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Per tile: logits of the base [T, tile], and what each token's logits are above them [sum(sizes), tile]."""
        for rows in self.weight.split(max(64, _TILE_ELEMENTS // self.offset.shape[0])):
            columns = rows.to(device=self.base.device, dtype=self.base.dtype).T
            yield self.base @ columns, self.offset @ columns

    def log_ratio_tiles(self) -> Iterator[_Tile]:
        """First pass: the normalisers; second pass: the tiles."""
        double = {"dtype": torch.float64, "device": self.base.device}
        base_normalizer = torch.full((self.base.shape[0],), -math.inf, **double)
        normalizer = torch.full((self.offset.shape[0],), -math.inf, **double)
        for base, above in self._logit_tiles():
            base_normalizer = torch.logaddexp(base_normalizer, base.logsumexp(dim=-1).double())
            normalizer = torch.logaddexp(normalizer, above.add_(self.at_positions(base)).logsumexp(dim=-1).double())
        shift = (normalizer - self.at_positions(base_normalizer)).to(self.base.dtype)
        base_normalizer = base_normalizer.to(self.base.dtype)
        for base, above in self._logit_tiles():
            log_q = base.sub_(base_normalizer[:, None])
            yield _Tile(log_q, above.sub_(shift[:, None]), -math.log(self.vocabulary) - log_q)


def _kl_tile(tile: _Tile, group: _Group) -> torch.Tensor:
    """Share of one tile in Eq. 4, [T] float64.

    Summed over the vocabulary, sum_i p_i log(p_i / m) equals sum_i m [(1 + r_i) log(1 + r_i) - r_i] with
    r_i = (p_i - m) / m, because both p_i and m sum to one. Here no term is negative, so small divergences survive.
    """
    some_ended = group.n_ended > 0
    top = torch.where(some_ended, tile.log_ratio_uniform, -math.inf)
    top = group.over_responses(tile.log_ratio, top, lambda top, row: torch.maximum(top, row, out=top))
    p = tile.log_ratio.sub_(group.at_positions(top)).exp_()  # relative to the largest probability of the group
    uniform = torch.where(some_ended, tile.log_ratio_uniform - top, 0).exp_()
    m = (group.sum(p) + group.n_ended * uniform) / len(group.sizes)  # >= 1 / G: no division by zero below
    per_token = _relative_entropy_term(p, group.at_positions(m))
    of_ended = group.n_ended * _relative_entropy_term(uniform, m)
    scale = m * torch.exp(tile.log_q + top)
    return (scale * (group.sum(per_token) + of_ended)).sum(dim=-1).double()


def _relative_entropy_term(p: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
    """(1 + r) log(1 + r) - r >= 0 with r = (p - m) / m, accurate for small |r| as well."""
    r = (p - m) / m
    # m is a rounded mean: equal probabilities must give exactly 0, or min-max would stretch rounding to full scale.
    r = torch.where(r.abs() > 4 * torch.finfo(r.dtype).eps, r.clamp_min_(-1), 0)
    closed = torch.special.xlog1py(1 + r, r) - r  # 0 log 0 = 0 at r = -1
    series = torch.zeros_like(r)
    for k in range(_SERIES_TERMS, 1, -1):  # sum_{k>=2} (-1)^k r^k / (k (k-1)), Horner
        series = series.mul_(-r).add_(1.0 / (k * (k - 1)))
    return torch.where(r.abs() < _SERIES_BELOW, series.mul_(r).mul_(r), closed).clamp_min_(0)


def _logspace_k3_tile(tile: _Tile, group: _Group) -> torch.Tensor:
    """Share of one tile in the public code's divergence, [T] float64."""
    n_responses = len(group.sizes)
    ended = torch.where(group.n_ended > 0, group.n_ended * tile.log_ratio_uniform, 0)
    mean = (group.sum(tile.log_ratio) + ended) / n_responses
    per_token = _k3(group.at_positions(mean) - tile.log_ratio).sum(dim=-1)
    of_ended = (group.n_ended * _k3(mean - tile.log_ratio_uniform)).sum(dim=-1)
    return (group.sum(per_token) + of_ended).double() / n_responses


def _k3(d: torch.Tensor) -> torch.Tensor:
    d = d.clamp(-11, 11)
    return (torch.expm1(d) - d).clamp_min_(0)
