# SPDX-License-Identifier: Apache-2.0
"""FlashAttention's packed attention computed by PyTorch, so that verl's Ulysses sequence parallelism runs on a CPU.

verl puts its all-to-all into `flash_attention_forward` of transformers, around the kernel's wrapper. `use()` makes that
function an attention implementation of its own name and exchanges the wrapper; everything of verl stays as it is.
"""

from __future__ import annotations

import torch

NAME = "packed_by_torch"  # "flash" in it would make transformers look for a kernel


def kernel(query, key, value, attention_mask, query_length, is_causal=True, *args, position_ids=None, **kwargs):
    """[1, S, heads, d] of packed sequences, each starting at position 0 -> [1, S, heads, d]; causal, grouped heads."""
    assert attention_mask is None and is_causal and position_ids is not None and query.shape[0] == 1
    assert position_ids.shape[-1] == query.shape[1], "positions of the whole packed row, not of this rank's part"
    sequence = (position_ids.reshape(-1) == 0).cumsum(0)
    order = torch.arange(len(sequence))
    seen = (sequence[:, None] == sequence[None]) & (order[:, None] >= order[None])
    out = torch.nn.functional.scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=seen, enable_gqa=True
    )
    return out.transpose(1, 2).contiguous()


def use() -> None:
    """For this process: models whose attention implementation is NAME; call before verl builds its engine."""
    import verl.models.transformers.monkey_patch as patch
    from transformers import AttentionInterface
    from transformers.integrations import flash_attention
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    patch._flash_attention_forward = kernel
    AttentionInterface.register(NAME, flash_attention.flash_attention_forward)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, lambda *args, **kwargs: None)  # packed rows have no mask
