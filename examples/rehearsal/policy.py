# SPDX-License-Identifier: Apache-2.0
"""The rehearsed model: Qwen2.5-VL-7B's structure at a thousandth of its size.

What the real one has and a smaller model easily lacks: window and full attention in the tower, heads that share
key-value heads, rotary sections, an LM head of its own, and rows of embeddings and head beyond the tokenizer.
"""

from __future__ import annotations

from examples.tiny.policy import PolicySize

SIZE = PolicySize(
    hidden_size=128,
    intermediate_size=256,
    num_layers=3,
    num_heads=4,
    num_key_value_heads=2,
    vision_depth=4,
    vision_hidden_size=64,
    vision_intermediate_size=128,
    vision_num_heads=2,
    max_positions=32768,
    window_size=112,  # px, the real one's
    full_attention_blocks=(1, 3),
    vocabulary_multiple=128,
)
