# SPDX-License-Identifier: Apache-2.0
"""Attention patterns that every trained language model has, given to a tiny one as initial weights.

Heads that look one or two tokens back and heads that look at equal content take a random transformer millions of tokens
to find; a warm start of two minutes has a million. Nothing here knows of worlds, questions or answers.
"""

from __future__ import annotations

import torch

_CONTENT = 0.5  # scale of what an attending head copies
_NOISE = 0.05
_SHARPNESS = 6.0  # amplitude of a look-back head: its weight on the right token is above 0.9
_FREQUENCIES = 6  # rotary frequencies a look-back head uses, the fastest ones


@torch.no_grad()
def give_attention_patterns(model: torch.nn.Module, *, seed: int, looking_back: tuple[int, ...] = (1, 2)) -> None:
    """Overwrite the language model's weights of a Qwen2.5-VL in place; equal seeds give equal weights.

    Every head starts by attending to equal content and copying it; in the first layer, the first head of key-value head
    i looks `looking_back[i]` tokens back instead, which a constant query and a rotated constant key do. Embeddings get
    unit variance, the LM head starts as their transpose.

    Args:
        model: Qwen2_5_VLForConditionalGeneration; heads that share a key-value head start with equal queries.
        seed: seed of the noise.
        looking_back: distances in tokens, at most as many as there are key-value heads.
    """
    language = model.model.language_model
    hidden = model.config.text_config.hidden_size
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int, scale: float) -> torch.Tensor:
        return scale * torch.randn(*shape, generator=generator)

    embeddings = model.get_input_embeddings().weight
    embeddings.copy_(noise(*embeddings.shape, scale=1.0))
    model.get_output_embeddings().weight.copy_(embeddings * 0.08)
    same = torch.eye(hidden)
    text = model.config.text_config
    size, shared = hidden // text.num_attention_heads, text.num_attention_heads // text.num_key_value_heads
    of_kv = (
        torch.arange(hidden).view(-1, shared, size)[:, 0].flatten()
    )  # what a key-value head sees: its first head's part
    of_head = of_kv.view(-1, size).repeat_interleave(shared, dim=0).flatten()
    for layer in language.layers:
        attention = layer.self_attn
        for projection, start in (
            (attention.q_proj, same[of_head]),
            (attention.k_proj, same[of_kv]),
            (attention.v_proj, _CONTENT * same[of_kv]),
            (attention.o_proj, _CONTENT * same[:, of_head] / shared),
        ):
            projection.weight.copy_(start + noise(*start.shape, scale=_NOISE))
            if projection.bias is not None:
                projection.bias.zero_()
        for weight in layer.mlp.parameters():
            weight.copy_(noise(*weight.shape, scale=0.06))
    for head, distance in enumerate(looking_back):
        _look_back(language, head, shared, distance, noise)


def _look_back(language: torch.nn.Module, kv_head: int, shared: int, distance: int, noise) -> None:
    """Let a head of the first layer attend `distance` tokens back, by biases that rotary positions turn into a peak."""
    attention = language.layers[0].self_attn
    size = attention.head_dim
    angles = language.rotary_emb.inv_freq[:_FREQUENCIES] * distance
    query, key = torch.zeros(size), torch.zeros(size)
    query[:_FREQUENCIES] = _SHARPNESS
    key[:_FREQUENCIES] = _SHARPNESS * torch.cos(angles)
    key[size // 2 : size // 2 + _FREQUENCIES] = _SHARPNESS * torch.sin(angles)
    for projection, head, bias in ((attention.q_proj, kv_head * shared, query), (attention.k_proj, kv_head, key)):
        rows = slice(size * head, size * (head + 1))
        projection.weight[rows] = noise(size, projection.weight.shape[1], scale=0.02)
        projection.bias[rows] = bias
