# SPDX-License-Identifier: Apache-2.0
"""A Qwen2.5-VL micro-batch without picture or video: verl's placeholder rows of failed responses.

With micro-batches of one row every failed response makes such a micro-batch, and a prompt that fails as a whole makes
them at any size; a resumed run meets the same record again.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

from recipe.tw_grpo.toolbox.repair import Repair


class _UnpackingModel:
    """The model as verl's text-only branch reads it: everything is the model's, its tower returns plain features."""

    def __init__(self, model: Any, unpack: Any) -> None:
        self._model, self._unpack = model, unpack

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def visual(self, *args: Any, **kwargs: Any) -> Any:
        return self._unpack(self._model.visual(*args, **kwargs))[0]


def _plain_features(qwen2_vl: ModuleType) -> None:
    """Give verl's text-only branch the tensor it was written for: the tower of transformers 5 returns an object.

    The branch runs the tower on an empty picture and adds zero times its mean, so that every rank of FSDP takes part;
    that stays verl's own code.
    """
    original = qwen2_vl._get_input_embeds

    @functools.wraps(original)
    def _get_input_embeds(
        model, input_ids, attention_mask=None, pixel_values=None, pixel_values_videos=None, *args, **kwargs
    ):
        if pixel_values is None and pixel_values_videos is None:
            model = _UnpackingModel(model, qwen2_vl.unpack_visual_output)
        return original(model, input_ids, attention_mask, pixel_values, pixel_values_videos, *args, **kwargs)

    qwen2_vl._get_input_embeds = _get_input_embeds


def _text_alone_fails(qwen2_vl: ModuleType) -> bool:
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    rope = {"rope_type": "default", "type": "default", "mrope_section": [2, 2, 2], "rope_theta": 10000.0}
    text = dict(vocab_size=16, hidden_size=24, intermediate_size=24, num_hidden_layers=1, rope_parameters=rope)
    text |= dict(num_attention_heads=2, num_key_value_heads=1)
    vision = dict(depth=1, hidden_size=32, intermediate_size=32, num_heads=2, out_hidden_size=24)
    ids = dict(image_token_id=3, video_token_id=4, vision_start_token_id=1, vision_end_token_id=2)
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
    base = Qwen2_5_VLForConditionalGeneration(config).model
    tokens = torch.tensor([[5, 6, 7]])
    try:
        states = qwen2_vl.qwen2_vl_base_forward(base, tokens, position_ids=torch.arange(3).expand(4, 1, -1))[0]
    except AttributeError as error:
        if "has no attribute 'mean'" in str(error):
            return True
        raise
    plain = base.language_model(input_ids=tokens)[0]
    return not torch.allclose(states, plain, atol=1e-6)


REPAIR = Repair(
    "placeholder-row",
    "verl.models.transformers.qwen2_vl",
    "verl 0.9.1 models/transformers/qwen2_vl.py:394 takes .mean() of the tower's output, which is no tensor in "
    "transformers 5.9.0",
    _plain_features,
    _text_alone_fails,
    ("0.9.1", "0.9.1"),
)
