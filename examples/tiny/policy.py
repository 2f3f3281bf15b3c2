# SPDX-License-Identifier: Apache-2.0
"""A Qwen2.5-VL of about a million parameters, built from a config: tokenizer, processor, model, folder on disk.

The architecture, the chat template and the files are those of the real model, so transformers, vLLM and verl load
the folder like any other. Nothing is downloaded and nothing is trained here; warm_start.py does the training.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from recipe.cpu_platform import patches

patches.install("torchvision")  # transformers imports it next; neither verl nor vLLM has been imported here

from transformers import (  # noqa: E402
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

END_OF_TURN, END_OF_TEXT = "<|im_end|>", "<|endoftext|>"
SPECIAL_TOKENS = (
    END_OF_TEXT,
    "<|im_start|>",
    END_OF_TURN,
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# One token each wherever they stand, but ordinary text when decoded: the reward has to see them.
TAGS = ("<think>", "</think>", "<answer>", "</answer>")

# Words keep the blank before them, as in Qwen's own pattern, except single capital letters: "A", "C" of "<answer>A, C"
# and "C" of "C. The disc…" are the same token, so that an option letter means one thing to the model.
_WORDS = (
    r"[A-Z](?![\p{L}\p{N}])"
    r"|[^\s\p{L}\p{N}]+ (?=[A-Z](?![\p{L}\p{N}]))"
    r"| (?=[A-Z](?![\p{L}\p{N}]))"
    r"| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Qwen2.5-VL's turns and vision markers, without the default system message (ten tokens that say nothing here).
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' or 'video' in part %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class PolicySize:
    """Sizes of the network. A head is a multiple of 16 wide: rotary sections of 1/8, 3/16, 3/16 of it.

    `window_size` (px) and `full_attention_blocks` are those of the vision tower; None: a tiny picture is one window,
    and the last block alone sees all of it. `vocabulary_multiple` > 1 pads embeddings and LM head beyond the tokenizer
    to the next larger multiple, as the real models are padded; 1 pads nothing.
    """

    hidden_size: int = 128
    intermediate_size: int = 384
    num_layers: int = 4
    num_heads: int = 4
    num_key_value_heads: int = 4
    vision_depth: int = 2
    vision_hidden_size: int = 64
    vision_intermediate_size: int = 128
    vision_num_heads: int = 2
    patch_size: int = 14
    max_positions: int = 4096
    window_size: int | None = None
    full_attention_blocks: tuple[int, ...] | None = None
    vocabulary_multiple: int = 1

    def __post_init__(self) -> None:
        if self.hidden_size % (16 * self.num_heads):
            raise ValueError(
                f"hidden_size must be a multiple of 16 * num_heads, got {self.hidden_size}, {self.num_heads}"
            )
        if self.num_heads % self.num_key_value_heads:
            raise ValueError(f"{self.num_heads} heads cannot share {self.num_key_value_heads} key-value heads equally")


def build_tokenizer(corpus: Iterable[str], phrases: Iterable[str] = ()) -> PreTrainedTokenizerFast:
    """Byte-level BPE trained on ``corpus``: encodes any text, and every word that is frequent there as one token.

    Each of ``phrases`` (instructions that stand in every prompt word for word, say) becomes one token as well.
    Deterministic: equal corpora give equal tokenizers.
    """
    whole = sorted(phrases, key=len, reverse=True)
    words = "|".join([*(re.escape(phrase).replace("\\ ", " ") for phrase in whole), _WORDS])
    core = Tokenizer(models.BPE())
    core.normalizer = normalizers.NFC()
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,  # never reached: training stops when each word is one token
        min_frequency=2,
        # sorted: the alphabet arrives in arbitrary order, and ids must not depend on it
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(corpus, trainer)
    core.add_special_tokens(list(SPECIAL_TOKENS))
    core.add_tokens(list(TAGS))
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END_OF_TURN,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[token for token in SPECIAL_TOKENS if token not in (END_OF_TURN, END_OF_TEXT)],
        model_max_length=PolicySize.max_positions,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def build_processor(
    tokenizer: PreTrainedTokenizerFast, *, max_pixels: int, patch_size: int = PolicySize.patch_size
) -> Qwen2_5_VLProcessor:
    """Qwen2.5-VL's own processor; pictures up to ``max_pixels`` (height x width) keep their size."""
    cell = 2 * patch_size
    size = {"shortest_edge": cell * cell, "longest_edge": max_pixels}
    kwargs = {"size": size, "patch_size": patch_size, "temporal_patch_size": 2, "merge_size": 2}
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**kwargs),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(**kwargs),
        chat_template=CHAT_TEMPLATE,
    )


def padded_vocabulary(tokens: int, multiple: int) -> int:
    """Rows of embeddings and head: `tokens` for a multiple of 1, else the next multiple that is larger."""
    return tokens if multiple == 1 else (tokens // multiple + 1) * multiple


def build_model(
    tokenizer: PreTrainedTokenizerFast, *, size: PolicySize | None = None, seed: int = 0
) -> Qwen2_5_VLForConditionalGeneration:
    """A randomly initialised model in fp32; equal seeds give equal weights.

    The vocabulary is ``len(tokenizer)`` exactly unless ``size.vocabulary_multiple`` pads it: verl forbids every id at
    or above it in vLLM only, so what probability a padded tail has shows as a difference between actor and rollout.
    """
    size = size or PolicySize()
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    ends = {
        "bos_token_id": ids[END_OF_TEXT],
        "eos_token_id": ids[END_OF_TURN],
        "pad_token_id": ids[END_OF_TEXT],
    }
    head_dim = size.hidden_size // size.num_heads
    text = {
        "vocab_size": padded_vocabulary(len(tokenizer), size.vocabulary_multiple),
        "hidden_size": size.hidden_size,
        "intermediate_size": size.intermediate_size,
        "num_hidden_layers": size.num_layers,
        "num_attention_heads": size.num_heads,
        "num_key_value_heads": size.num_key_value_heads,
        "max_position_embeddings": size.max_positions,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "rope_parameters": {
            "rope_type": "default",
            "type": "default",
            "mrope_section": [head_dim // 8, head_dim * 3 // 16, head_dim * 3 // 16],
            "rope_theta": 1000000.0,
        },
        **ends,
    }
    vision = {
        "depth": size.vision_depth,
        "hidden_size": size.vision_hidden_size,
        "intermediate_size": size.vision_intermediate_size,
        "num_heads": size.vision_num_heads,
        "in_channels": 3,
        "patch_size": size.patch_size,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "tokens_per_second": 2,
        "window_size": size.window_size or 16 * size.patch_size,
        "out_hidden_size": size.hidden_size,
        "fullatt_block_indexes": list(size.full_attention_blocks or [size.vision_depth - 1]),
        "hidden_act": "silu",
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
        **ends,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(config).float()
    model.generation_config = GenerationConfig(
        eos_token_id=[ids[END_OF_TURN], ids[END_OF_TEXT]], pad_token_id=ids[END_OF_TEXT], do_sample=True
    )
    return model


def save_policy(
    folder: Path, model: Qwen2_5_VLForConditionalGeneration, processor: Qwen2_5_VLProcessor, extra: dict[str, str]
) -> None:
    """Write an ordinary Hugging Face folder, whole or not at all; ``extra`` maps further file names to their text.

    A folder that stands at the target is replaced.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        model.save_pretrained(partial)
        processor.save_pretrained(partial)
        for name, text in extra.items():
            (partial / name).write_text(text, encoding="utf-8")
        partial.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
