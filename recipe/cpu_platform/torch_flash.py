# SPDX-License-Identifier: Apache-2.0
"""FlashAttention's kernels computed by PyTorch, so that what verl builds on them runs on a CPU: packed rows
(`use_remove_padding=True`) and Ulysses sequence parallelism. Only the kernels are exchanged; everything of verl and
transformers around them stays as it is. patches.py puts them in place; a model takes them by
`+actor_rollout_ref.model.override_config.attn_implementation=packed_by_torch`.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch

NAME = "packed_by_torch"  # "flash" in it would make transformers look for a kernel


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    query_length: int,
    is_causal: bool = True,
    *args: Any,
    position_ids: torch.Tensor | None = None,
    **kwargs: Any,
) -> torch.Tensor:
    """What transformers' `_flash_attention_forward` gives for packed sequences, each starting at position 0.

    Args:
        query, key, value: [1, S, heads, d]; fewer key and value heads than query heads are shared.
        attention_mask: None, packed rows have none.
        query_length: not used, S is the length.
        is_causal: whether a token sees those before it only.
        position_ids: [1, S]; None: the row is one sequence.

    Returns:
        [1, S, heads, d].

    Raises:
        NotImplementedError: an option of the kernels that is not computed here.
    """
    wanted = [name for name in ("sliding_window", "softcap", "dropout") if kwargs.get(name)]
    if wanted or attention_mask is not None or query.shape[0] != 1:
        raise NotImplementedError(f"{NAME} computes unmasked packed rows only, not {wanted or 'padded batches'}")
    length = query.shape[1]
    ends = [length]
    if position_ids is not None:
        if position_ids.shape[-1] != length:
            raise NotImplementedError(f"{NAME} needs the positions of the whole packed row, not of this rank's part")
        starts = (position_ids.reshape(-1) == 0).nonzero().flatten().tolist()
        ends = [*starts[1:], length]
    return _attend(query[0], key[0], value[0], ends, is_causal)[None]


def varlen(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float,
    softmax_scale: float | None,
    causal: bool,
) -> torch.Tensor:
    """`flash_attn_varlen_func`: [S, heads, d] of the sequences between `cu_seqlens` -> [S, heads, d]."""
    if dropout_p or softmax_scale is not None or not torch.equal(cu_seqlens_q, cu_seqlens_k):
        raise NotImplementedError(f"{NAME} knows neither dropout, nor a softmax scale, nor cross-attention")
    return _attend(q, k, v, cu_seqlens_q[1:].tolist(), causal)


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, ends: list[int], causal: bool) -> torch.Tensor:
    """Attention [S, heads, d] within each of the sequences that end before `ends`."""
    parts, start = [], 0
    for end in ends:
        q, k, v = (x[start:end].transpose(0, 1)[None] for x in (query, key, value))
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)
        parts.append(out[0].transpose(0, 1))
        start = end
    return torch.cat(parts)


def into_ulysses(monkey_patch: ModuleType) -> None:
    """Give the name NAME to transformers, and the kernel to verl's all-to-all, which wraps whatever stands there."""
    from transformers import AttentionInterface
    from transformers.integrations import flash_attention
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    monkey_patch._flash_attention_forward = attention
    flash_attention._flash_attention_forward = attention  # models that verl does not patch
    AttentionInterface.register(NAME, flash_attention.flash_attention_forward)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, lambda *args, **kwargs: None)  # packed rows have no mask


def into_qwen2_vl(qwen2_vl: ModuleType) -> None:
    """Give the kernels to verl's own attention of Qwen2-VL and Qwen2.5-VL.

    verl casts fp32 to bf16 for the kernels, which know no fp32 (qwen2_vl.py:210). These know it, so nothing is cast,
    and a run in fp32 is one.
    """
    qwen2_vl.flash_attn_varlen_func, qwen2_vl._flash_attention_forward = varlen, attention
    qwen2_vl._flash_supports_window_size = qwen2_vl._flash_supports_deterministic = False
    qwen2_vl._flash_use_top_left_mask = False
    qwen2_vl.fa_peft_integration_check = lambda query, key, value, target_dtype=None: (query, key, value)


def _packed_rows(length: int = 5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two packed sequences [1, 2 * length, 2, 8], their positions, and attention by the definition."""
    x = torch.randn(1, 2 * length, 2, 8, generator=torch.Generator().manual_seed(0))
    positions = torch.arange(length).repeat(2)[None]
    rows = x.view(2, length, 2, 8).transpose(1, 2)
    scores = (rows @ rows.transpose(-1, -2) / 8**0.5).masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
    return x, positions, (scores.softmax(-1) @ rows).transpose(1, 2).reshape(x.shape)


def _is_wrong(forward: Any, **options: Any) -> bool:
    x, positions, exact = _packed_rows()
    try:
        found = forward(x, x, x, None, query_length=x.shape[1], position_ids=positions, is_causal=True, **options)
    except (NameError, TypeError, ImportError):  # what a missing kernel shows as
        return True
    return not torch.allclose(found, exact, atol=1e-6)


def ulysses_fails(monkey_patch: ModuleType) -> bool:
    """Whether verl's all-to-all has no kernel to call, or transformers no attention of this name."""
    from transformers import AttentionInterface

    return NAME not in AttentionInterface() or _is_wrong(monkey_patch._ulysses_flash_attention_forward)


def qwen2_vl_fails(qwen2_vl: ModuleType) -> bool:
    """Whether verl's attention of Qwen2.5-VL has no kernel to call."""
    return _is_wrong(qwen2_vl._custom_flash_attention_forward)
