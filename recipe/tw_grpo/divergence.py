# SPDX-License-Identifier: Apache-2.0
"""Eq. 4: D_t = sum_i KL(p_i,t || m_t), how much the G responses of one prompt disagree about the token at position t.

m_t is the mean of the G next-token distributions over the whole vocabulary, and a response that has already ended at t
counts as the uniform distribution. `group_divergence` computes D_t from the last hidden states and the LM head, tile by
tile of positions and vocabulary, so nothing of size [G, T, V] ever exists; `group_divergence_reference` is the
definition as printed, dense and in float64. Neither carries a gradient. How a tile is computed is in `kernels/`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from recipe.tw_grpo.config import CHOICES
from recipe.tw_grpo.kernels import fused, terms
from recipe.tw_grpo.kernels.plan import CPU, GPU, Budget, Plan, Rectangle, blocks, make_plan
from recipe.tw_grpo.kernels.products import Logits, compute_dtype, full_precision, multiplies_natively

_BUDGETS = {"cpu": CPU}  # any other device: GPU


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

    Memory beyond the inputs does not grow with T or V: logits of as many positions as fit into 64 MiB (on a GPU
    256 MiB), a few tiles of 1 MiB (32 MiB), and the states of these positions. See `kernels/plan.py`.

    Args:
        hidden_states: [sum(lengths), d] float, the states that PREDICT each response token (for token t of a response
            the state one position before it), responses one after the other.
        lm_head_weight: [V, d] float, any float dtype; logits are hidden_states @ lm_head_weight.T / temperature.
        lengths: [G] integer, tokens of each response, all >= 1.
        temperature: sampling temperature of the policy; > 0.
        divergence: "kl" is Eq. 4; "logspace_k3" is the public code's formula: the mean over the G responses of
            sum_v exp(d) - d - 1 with d = mean_j log p_j - log p_i clamped to [-11, 11].
        impl: "streaming" (tiles), "compiled" (tiles whose element-wise work torch.compile fuses; "streaming" where it
            cannot), "dense" (the float64 definition; "kl" only) or "auto" ("compiled" where it pays).

    Returns:
        [max(lengths)] float32 (float64 for float64 hidden states), in nats, >= 0. Exactly 0 where the states of all
        responses are equal.

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
        return group_divergence_reference(padded, lengths).to(compute_dtype(hidden_states))
    if impl not in ("auto", "streaming", "compiled"):
        raise ValueError(f"impl={impl!r} is none of auto, streaming, compiled, dense (dense only with divergence='kl')")

    dtype, device = compute_dtype(hidden_states), hidden_states.device
    n_logits = hidden_states.shape[0] * lm_head_weight.shape[0]
    is_fused = impl == "auto" and fused.pays(n_logits, device, dtype)
    is_fused = is_fused or (impl == "compiled" and fused.is_available(device.type))
    with full_precision(device.type):
        group = _Group(hidden_states, lm_head_weight, sizes, temperature, is_kl=divergence == "kl", is_fused=is_fused)
        total = group.divergence()
    return total.to(dtype)


class _Group:
    """One group: its tiles, their working buffers, and the sums over them.

    First pass over the vocabulary: the normaliser log sum_v exp(logit) of each token; second pass: the summands, which
    need it. Logits stay in memory from one to the other where the budget allows. verl's log-prob pass knows the
    normalisers too (logit of the sampled token - its log-probability), and an error e of one changes the KL of its
    response by e KL + e^2 / 2. But verl rounds logits, and so these, to bfloat16: e is some 0.06 for logits around 16,
    6 % of D_t and 0.01 nats where P2 promises 1 %. And with logits kept, they cost no product here.
    """

    def __init__(
        self,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        sizes: list[int],
        temperature: float,
        *,
        is_kl: bool,
        is_fused: bool,
    ) -> None:
        self.vocabulary, width = weight.shape
        self.sizes = sizes
        self.is_kl, self.is_fused = is_kl, is_fused
        self.responses = hidden.split(sizes)
        self.dtype = compute_dtype(hidden)
        native = hidden.dtype == weight.dtype and multiplies_natively(hidden.device, hidden.dtype)
        moves = weight.device != hidden.device or (weight.dtype != self.dtype and not native)
        budget: Budget = _BUDGETS.get(hidden.device.type, GPU)
        self.plan: Plan = make_plan(sizes, self.vocabulary, budget, raised_width=width if moves else 0, fused=is_fused)
        rows, columns = self.plan.rows, self.plan.columns
        self.logits = Logits(hidden, weight, temperature, rows=rows, columns=columns, native=native)
        new = {"dtype": self.dtype, "device": hidden.device}
        self.kept = torch.empty(rows * (self.vocabulary if self.plan.keeps else columns), **new)
        # Fused functions need no working buffers.
        self.scratch, self.mean, self.terms = (torch.empty(0 if is_fused else rows * columns, **new) for _ in range(3))
        self.total = torch.zeros(max(sizes), dtype=torch.float64, device=hidden.device)
        self.is_equal = torch.zeros(max(sizes), dtype=torch.bool, device=hidden.device)

    def divergence(self) -> torch.Tensor:
        """[T] float64."""
        for block in blocks(self.sizes, self.plan.rows):
            self._add(block)
        n_responses = len(self.sizes)
        if self.is_kl:
            self.total.clamp_(
                0, n_responses * math.log(n_responses)
            )  # rounding of huge logits must not break the bound
            # Probabilities are off by this much relative to the mean, so a smaller D_t cannot be told from 0. Here are
            # uniform responses beside responses that have ended: equal, but by different roundings.
            rounding = torch.finfo(self.dtype).eps * (4 + math.log(self.vocabulary))
            self.total.masked_fill_(self.total < n_responses * rounding**2, 0)
        return self.total.masked_fill_(self.is_equal, 0)

    def _add(self, block: list[Rectangle]) -> None:
        """Add the D_t of a block's positions to the total."""
        states = self.logits.load([self.responses[i][r.start : r.stop] for r in block for i in r.responses])
        for rectangle in block:
            if len(rectangle.responses) == len(self.sizes):
                # A product may round equal rows differently, by the place they have in it.
                of_responses = states[rectangle.rows].view(*rectangle.shape, -1)
                self.is_equal[rectangle.start : rectangle.stop] = (
                    (of_responses - of_responses[:1]).eq_(0).all(dim=-1).all(dim=0)  # False for inf - inf
                )
        of_tiles = [self._first_pass(tile, states.shape[0]) for tile in range(self.plan.tiles)]
        normalizer = torch.stack(of_tiles).logsumexp(dim=0)  # [rows] float64
        for tile, of_tile in enumerate(of_tiles):
            self._second_pass(tile, of_tile, normalizer, block)

    def _columns(self, tile: int) -> int:
        return min(self.plan.columns, self.vocabulary - tile * self.plan.columns)

    def _kept(self, tile: int, rows: int) -> torch.Tensor:
        """[rows, columns], contiguous: where the tile stays between the passes."""
        start = tile * self.plan.rows * self.plan.columns if self.plan.keeps else 0
        columns = self._columns(tile)
        return self.kept[start : start + rows * columns].view(rows, columns)

    def _first_pass(self, tile: int, rows: int) -> torch.Tensor:
        """[rows] float64: log sum exp of the logits of a tile. What stays of it is what `_second_pass` reads."""
        kept = self._kept(tile, rows)
        if self.is_fused:
            top, total = fused.log_sum_exp(self.logits.tile_into(tile, kept))
            return top.double() + total.double().log()
        scratch = self.scratch[: kept.numel()].view_as(kept)
        if self.is_kl:  # the softmax of the tile stays: the second pass scales it and needs no exp
            return terms.softmax_in_place(self.logits.tile_into(tile, scratch), out=kept)
        return terms.softmax_in_place(self.logits.tile_into(tile, kept), out=scratch)

    def _second_pass(self, tile: int, of_tile: torch.Tensor, normalizer: torch.Tensor, block: list[Rectangle]) -> None:
        """Add the share of a tile to the total."""
        kept = self._kept(tile, normalizer.shape[0])
        if not self.plan.keeps:
            self.logits.tile_into(tile, kept)
        rounded = normalizer.to(self.dtype)
        rest = (normalizer - rounded.double()).to(self.dtype)  # a float32 step at 90 is 8e-6, and would be felt
        if self.is_fused:
            function = fused.kl if self.is_kl else fused.logspace_k3
        elif self.is_kl:
            function = terms.kl_in_place
            if self.plan.keeps:
                kept.mul_((of_tile - normalizer).exp_().to(self.dtype)[:, None])
            else:
                kept.sub_(rounded[:, None]).sub_(rest[:, None]).exp_()
        else:
            function = terms.logspace_k3_in_place
            kept.sub_(rounded[:, None]).sub_(rest[:, None])
        for rectangle in block:
            share = self._share(function, kept[rectangle.rows], (rounded, rest), rectangle)
            self.total[rectangle.start : rectangle.stop] += share

    def _share(
        self,
        function: Callable[..., torch.Tensor],
        tile: torch.Tensor,
        normalizer: tuple[torch.Tensor, torch.Tensor],
        rectangle: Rectangle,
    ) -> torch.Tensor:
        """[positions]: what a rectangle of a tile adds."""
        responses, positions = rectangle.shape
        values = tile.view(responses, positions, -1)
        n_ended = len(self.sizes) - responses
        if self.is_fused:
            # A number would be compiled into the function, a tensor is not.
            count = torch.full((), n_ended, dtype=self.dtype, device=tile.device)
            parts = [part[rectangle.rows].view(responses, positions, 1) for part in normalizer]
            return function(values, *parts, count, self.vocabulary)
        of_position = (positions, values.shape[-1])
        mean, per_entry = (buffer[: positions * of_position[1]].view(of_position) for buffer in (self.mean, self.terms))
        return function(
            values, self.scratch[: values.numel()].view_as(values), mean, per_entry, n_ended, self.vocabulary
        )
