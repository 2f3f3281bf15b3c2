# SPDX-License-Identifier: Apache-2.0
"""FlashAttention's kernels computed by PyTorch, so that what verl builds on them runs on a CPU: packed vision-language
models and Ulysses sequence parallelism. Only the kernels are exchanged; everything of verl and transformers around them
stays as it is.
"""

from __future__ import annotations

import torch

NAME = "packed_by_torch"  # "flash" in it would make transformers look for a kernel


def attention(query, key, value, attention_mask, query_length, is_causal=True, *args, position_ids=None, **kwargs):
    """[1, S, heads, d] of packed sequences, each starting at position 0 (one sequence without `position_ids`)
    -> [1, S, heads, d]; grouped heads."""
    assert attention_mask is None and query.shape[0] == 1
    starts = torch.zeros(query.shape[1])
    if position_ids is not None:
        assert position_ids.shape[-1] == query.shape[1], "positions of the whole packed row, not of this rank's part"
        starts = position_ids.reshape(-1) == 0
    return _attend(query[0], key[0], value[0], starts.cumsum(0), is_causal)[None]


def varlen(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p, softmax_scale, causal):
    """[S, heads, d] of the sequences between cu_seqlens -> [S, heads, d]."""
    assert torch.equal(cu_seqlens_q, cu_seqlens_k) and not dropout_p and softmax_scale is None
    return _attend(q, k, v, torch.arange(len(cu_seqlens_q) - 1).repeat_interleave(cu_seqlens_q.diff()), causal)


def _attend(query, key, value, sequence, causal):
    order = torch.arange(len(sequence))
    seen = sequence[:, None] == sequence[None]
    if causal:
        seen &= order[:, None] >= order[None]
    out = torch.nn.functional.scaled_dot_product_attention(
        query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1), attn_mask=seen, enable_gqa=True
    )
    return out.transpose(0, 1).contiguous()


def use() -> None:
    """For this process: models whose attention implementation is NAME; call before verl builds its engine."""
    import verl.models.transformers.monkey_patch as patch
    import verl.models.transformers.qwen2_vl as qwen2_vl
    from transformers import AttentionInterface
    from transformers.integrations import flash_attention
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    patch._flash_attention_forward = attention  # inside verl's all-to-all
    flash_attention._flash_attention_forward = attention  # models that verl does not patch
    AttentionInterface.register(NAME, flash_attention.flash_attention_forward)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, lambda *args, **kwargs: None)  # packed rows have no mask
    qwen2_vl.flash_attn_varlen_func, qwen2_vl._flash_attention_forward = varlen, attention
    qwen2_vl._flash_supports_window_size = qwen2_vl._flash_supports_deterministic = False
    qwen2_vl._flash_use_top_left_mask = False
