# SPDX-License-Identifier: Apache-2.0
"""What the probes of the time positions share: a Qwen2.5-VL folder without weights, a prompt, both sides' positions.

The positions are computed by verl's agent loop and by vLLM's processor and model class, as in a run; nothing of them is
rewritten here. Imports transformers, verl and vLLM when called.
"""

from __future__ import annotations

import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Video = tuple["torch.Tensor", dict[str, Any]]  # frames [T, 3, H, W], and qwen-vl-utils' metadata
TOKENS = (
    "<|endoftext|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "see",
    "then",
    "now",
)


def write(folder: str | Path, kind: str = "qwen2_5_vl", *, weights: bool = False) -> str:
    """Write config, tokenizer and processor of a small model of this model_type (qwen2_vl or qwen2_5_vl).

    Args:
        weights: also write a random model, float32.

    Returns:
        The folder.
    """
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    core = Tokenizer(models.WordLevel({token: number for number, token in enumerate(TOKENS)}, unk_token=TOKENS[0]))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.add_special_tokens(list(TOKENS[:5]))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=core, eos_token=TOKENS[0], pad_token=TOKENS[0])
    size = {"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 1024}
    options = {"size": size, "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2}
    newer = kind == "qwen2_5_vl"
    (transformers.Qwen2_5_VLProcessor if newer else transformers.Qwen2VLProcessor)(
        image_processor=transformers.Qwen2VLImageProcessor(**options),
        tokenizer=tokenizer,
        video_processor=transformers.Qwen2VLVideoProcessor(**options),
        chat_template="{{ messages }}",
    ).save_pretrained(folder)
    rope = {"rope_type": "default", "type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10000.0}
    text = dict(vocab_size=len(TOKENS), hidden_size=64, intermediate_size=64, num_hidden_layers=2, rope_parameters=rope)
    text |= dict(num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=4096, initializer_range=0.2)
    text |= dict(bos_token_id=0, eos_token_id=0)
    vision = dict(depth=1, num_heads=2, patch_size=14, spatial_merge_size=2, temporal_patch_size=2)
    vision |= dict(hidden_size=64, intermediate_size=64, out_hidden_size=64, tokens_per_second=2) if newer else {}
    vision |= {} if newer else dict(embed_dim=64, hidden_size=64, mlp_ratio=1)
    ids = dict(vision_start_token_id=1, vision_end_token_id=2, image_token_id=3, video_token_id=4)
    config = (transformers.Qwen2_5_VLConfig if newer else transformers.Qwen2VLConfig)(
        text_config=text, vision_config=vision, **ids
    )
    config.architectures = ["Qwen2_5_VLForConditionalGeneration" if newer else "Qwen2VLForConditionalGeneration"]
    config.save_pretrained(folder)
    if weights:
        import torch

        torch.manual_seed(0)
        transformers.AutoModelForImageTextToText.from_config(config, dtype=torch.float32).save_pretrained(folder)
    return str(folder)


def processor(folder: str) -> Any:
    """transformers' processor of the folder, with the model's configuration beside it as verl keeps it."""
    from transformers import AutoConfig, AutoProcessor

    loaded = AutoProcessor.from_pretrained(folder)
    loaded.config = AutoConfig.from_pretrained(folder)
    return loaded


def video(frames: int, fps: float, *, height: int = 56, width: int = 84, of: int | None = None) -> Video:
    """`frames` noise frames of a video of `of` frames (default: all of them) that was taken at `fps`."""
    import torch

    generator = torch.Generator().manual_seed(frames)
    pixels = torch.randint(0, 255, (frames, 3, height, width), generator=generator, dtype=torch.uint8).float()
    total = of or frames
    chosen = torch.linspace(0, total - 1, frames).round().long().tolist()
    return pixels, {"fps": fps, "frames_indices": chosen, "total_num_frames": total}


def prompt(*modalities: str) -> str:
    """Text with a slot for each of "video" and "image", in this order, and words around them."""
    slots = {"image": TOKENS[3], "video": TOKENS[4]}
    return "see " + " then ".join(f"{TOKENS[1]} {slots[one]} {TOKENS[2]}" for one in modalities) + " now"


def two_videos_and_a_picture() -> tuple[str, list[Video], list[Any]]:
    """A prompt's text, its videos (CLEVRER's 16 of 128 frames at 25 fps, and 12 frames at 1.2 fps) and its picture."""
    from PIL import Image

    videos = [video(16, 25.0, of=128), video(12, 1.2)]
    return prompt("video", "image", "video"), videos, [Image.new("RGB", (84, 56), "red")]


def positions_of_verl(
    agent_loop: types.ModuleType, folder: str, text: str, videos: list[Video] | None, images: list[Any] | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """([L] ids, [3, L] positions) by verl's agent loop, with the processor that verl's model configuration makes.

    Args:
        agent_loop: the module verl.experimental.agent_loop.agent_loop.
    """
    import torch
    from verl.workers.config import HFModelConfig

    owner = HFModelConfig(path=folder).processor
    metadata = {"video_metadata": [about for _, about in videos], "do_sample_frames": False} if videos else {}
    pixels = [frames for frames, _ in videos] if videos else None
    ids = owner(text=[text], images=images, videos=pixels, return_tensors="pt", **metadata)["input_ids"]
    worker_class = agent_loop.AgentLoopWorker
    worker = types.SimpleNamespace(processor=owner, tokenizer=owner.tokenizer)
    output = types.SimpleNamespace(multi_modal_data={"videos": videos, "images": images}, mm_processor_kwargs={})
    inputs = worker_class._compute_multi_modal_inputs(worker, output, ids)
    positions = worker_class._compute_position_ids(worker, ids, torch.ones_like(ids), inputs)
    return ids[0], positions[0, 1:]  # the first row counts tokens


def processed_by_vllm(
    folder: str, text: str, videos: list[Video] | None, images: list[Any] | None, dtype: str = "bfloat16"
) -> tuple[Any, Any]:
    """(model configuration, prompt with its features) as vLLM's own processor of the folder makes them."""
    from vllm.config import ModelConfig
    from vllm.multimodal import MULTIMODAL_REGISTRY
    from vllm.multimodal.processing import ProcessorInputs, TimingContext

    config = ModelConfig(model=folder, tokenizer=folder, dtype=dtype, seed=0, max_model_len=4096)
    vllm_processor = MULTIMODAL_REGISTRY.create_processor(config)
    data = {"video": videos, "image": images}
    items = vllm_processor.info.parse_mm_data({name: value for name, value in data.items() if value})
    ids = processor(folder).tokenizer(text)["input_ids"]
    given = ProcessorInputs(prompt=ids, mm_data_items=items, hf_processor_mm_kwargs={})
    return config, vllm_processor.apply(given, TimingContext())


def positions_of_vllm(
    folder: str, text: str, videos: list[Video] | None, images: list[Any] | None, dtype: str = "bfloat16"
) -> tuple[torch.Tensor, torch.Tensor]:
    """([L] ids, [3, L] positions) by vLLM: its processor, then its model class's own function."""
    import torch
    from vllm.model_executor.models.registry import ModelRegistry

    config, done = processed_by_vllm(folder, text, videos, images, dtype)
    features = [
        types.SimpleNamespace(modality=modality, data=item, mm_position=place)
        for modality, places in done["mm_placeholders"].items()
        for item, place in zip(done["mm_kwargs"][modality], places, strict=True)
    ]
    model, _ = ModelRegistry.resolve_model_cls(config.hf_config.architectures, config)
    self = types.SimpleNamespace(config=config.hf_config)
    self.iter_mm_grid_thw = types.MethodType(model.iter_mm_grid_thw, self)
    positions, _ = model.get_mrope_input_positions(self, done["prompt_token_ids"], features)
    return torch.tensor(done["prompt_token_ids"]), positions


def intended(
    owner: Any, ids: torch.Tensor, text: str, videos: list[Video] | None, images: list[Any] | None
) -> torch.Tensor:
    """[3, L] positions of the same ids by the rule, in whole-number arithmetic where a float could round wrongly."""
    from fractions import Fraction

    import torch

    from recipe.tw_grpo.integration.repairs import time_positions

    config, merge = owner.config, owner.config.vision_config.spatial_merge_size
    videos, images = iter(videos or []), iter(images or [])
    columns, at, largest = [], 0, -1
    while at < len(ids):
        start = largest + 1
        if ids[at] == config.video_token_id:
            frames, metadata = next(videos)
            times, rows, columns_ = -(-len(frames) // 2), frames.shape[2] // 14 // merge, frames.shape[3] // 14 // merge
            sampled = Fraction(str(metadata["fps"])) * len(metadata["frames_indices"]) / metadata["total_num_frames"]
            seconds = Fraction(1) if time_positions.rule() == time_positions.PUBLISHED else 2 / sampled
            step = seconds * getattr(config.vision_config, "tokens_per_second", 0) or Fraction(1)
        elif ids[at] == config.image_token_id:
            width, height = next(images).size
            times, rows, columns_, step = 1, height // 14 // merge, width // 14 // merge, Fraction(1)
        else:
            times, rows, columns_, step = 1, 1, 1, Fraction(1)
        block = [
            (start + int(time * step), start + row, start + column)
            for time in range(times)
            for row in range(rows)
            for column in range(columns_)
        ]
        columns += block
        largest, at = max(max(place) for place in block), at + len(block)
    return torch.tensor(columns).T
