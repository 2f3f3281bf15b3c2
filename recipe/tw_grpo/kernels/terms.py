# SPDX-License-Identifier: Apache-2.0
"""The element-wise work on one tile: what it adds to the normalisers, and what it adds to the divergence.

Everything is here twice. The plain functions are written to be read and to be fused by torch.compile; those with
`_in_place` do the same in working buffers, in as few passes over memory as separate operations allow.
"""

from __future__ import annotations

import math

import torch

_CLAMP = 11.0  # of the public code


def log_sum_exp(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[rows, columns] -> [rows] the maximum, and [rows] the sum of exp(logits - maximum)."""
    top = logits.amax(dim=-1)
    return top, (logits - top[:, None]).exp().sum(dim=-1)


def summand(p: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
    """(1 + r) log(1 + r) - r >= 0 with r = (p - m) / m; its value is 1 at p = 0.

    Rounding of r, and of the difference below, is of relative size eps / r. It is independent from entry to entry.
    """
    r = ((p - m) / m).clamp_min(torch.finfo(p.dtype).eps / 2 - 1)  # keeps 0 log 0 finite
    log = torch.log1p(r)
    return (log - r) + r * log


def kl(
    logits: torch.Tensor, normalizer: torch.Tensor, rest: torch.Tensor, n_ended: torch.Tensor, vocabulary: int
) -> torch.Tensor:
    """Share of a tile in Eq. 4.

    Summed over the vocabulary, sum_i p_i log(p_i / m) equals sum_i m [(1 + r_i) log(1 + r_i) - r_i] with
    r_i = (p_i - m) / m, because both p_i and m sum to one. Here no term is negative, so small divergences survive. An
    error e of a response's normaliser changes its KL by about e KL + e^2 / 2.

    Args:
        logits: [A, P, columns] of the A responses that are alive at P positions.
        normalizer: [A, P, 1] log sum_v exp(logits), rounded to the dtype of the logits.
        rest: [A, P, 1] what the rounding took away; a float32 step at 90 is 8e-6, and would be felt.
        n_ended: [] the number of responses that have ended, each the uniform distribution.
        vocabulary: V.

    Returns:
        [P] in the dtype of `logits`.
    """
    p = (logits - normalizer - rest).exp()
    uniform = 1.0 / vocabulary
    m = ((p.sum(dim=0) + n_ended * uniform) / (p.shape[0] + n_ended)).clamp_min(torch.finfo(p.dtype).tiny)
    terms = summand(p, m).sum(dim=0) + n_ended * summand(torch.full_like(m, uniform), m)
    return (m * terms.clamp_min(0)).sum(dim=-1)


def logspace_k3(
    logits: torch.Tensor, normalizer: torch.Tensor, rest: torch.Tensor, n_ended: torch.Tensor, vocabulary: int
) -> torch.Tensor:
    """Share of a tile in the public code's divergence; arguments and result as of `kl`."""
    log_p = logits - normalizer - rest
    log_uniform = -math.log(vocabulary)
    n_responses = log_p.shape[0] + n_ended
    mean = (log_p.sum(dim=0) + n_ended * log_uniform) / n_responses
    d = (mean - log_p).clamp(-_CLAMP, _CLAMP)
    of_ended = (mean - log_uniform).clamp(-_CLAMP, _CLAMP)
    terms = (torch.expm1(d) - d).sum(dim=0) + n_ended * (torch.expm1(of_ended) - of_ended)
    return (terms / n_responses).sum(dim=-1)


def softmax_in_place(logits: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """[rows, columns] -> `out`, the softmax over the tile alone; returns [rows] float64 log sum exp of the tile.

    torch's softmax is one fused pass where maximum, difference, exp and sum would be four.
    """
    torch.softmax(logits, dim=-1, out=out)
    return logits.amax(dim=-1).double() - out.amax(dim=-1).double().log()


def kl_in_place(
    p: torch.Tensor, scratch: torch.Tensor, m: torch.Tensor, terms: torch.Tensor, n_ended: int, vocabulary: int
) -> torch.Tensor:
    """As `kl`, from the probabilities.

    Args:
        p: [A, P, columns] probabilities; overwritten.
        scratch: like p.
        m: [P, columns].
        terms: like m.
        n_ended: the number of responses that have ended.
        vocabulary: V.

    Returns:
        [P].
    """
    uniform = 1.0 / vocabulary
    torch.sum(p, dim=0, out=m)
    m.add_(n_ended * uniform).div_(p.shape[0] + n_ended).clamp_min_(torch.finfo(p.dtype).tiny)
    r = p.sub_(m).div_(m).clamp_min_(torch.finfo(p.dtype).eps / 2 - 1)
    log = torch.log1p(r, out=scratch)
    torch.sum(log.addcmul_(r, log).sub_(r), dim=0, out=terms)
    if n_ended:
        terms.add_(summand(torch.full_like(m, uniform), m), alpha=n_ended)
    return terms.clamp_min_(0).mul_(m).sum(dim=-1)


def logspace_k3_in_place(
    log_p: torch.Tensor, scratch: torch.Tensor, mean: torch.Tensor, terms: torch.Tensor, n_ended: int, vocabulary: int
) -> torch.Tensor:
    """As `logspace_k3`, from the log-probabilities [A, P, columns], which are overwritten; else as `kl_in_place`."""
    n_responses = log_p.shape[0] + n_ended
    log_uniform = -math.log(vocabulary)
    torch.sum(log_p, dim=0, out=mean)
    mean.add_(n_ended * log_uniform).div_(n_responses)
    d = log_p.sub_(mean).neg_().clamp_(-_CLAMP, _CLAMP)
    torch.sum(torch.expm1(d, out=scratch).sub_(d), dim=0, out=terms)
    if n_ended:
        d = mean.sub_(log_uniform).clamp_(-_CLAMP, _CLAMP)
        terms.add_(torch.expm1(d).sub_(d), alpha=n_ended)
    return terms.div_(n_responses).sum(dim=-1)
