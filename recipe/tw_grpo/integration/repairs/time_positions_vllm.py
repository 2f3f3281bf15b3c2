# SPDX-License-Identifier: Apache-2.0
"""vLLM's side of the time positions: Qwen2.5-VL's processor in vLLM drops what it is told about a video's sampling.

vLLM's position function follows the rule of time_positions.py as soon as it gets the seconds between two grids. The
file is read in vLLM's processes and imports neither torch nor vLLM nor verl by itself.
"""

from __future__ import annotations

import functools
from types import ModuleType

from recipe.tw_grpo.integration.repairs import time_positions
from recipe.tw_grpo.toolbox.repair import Repair


def _keep_metadata(qwen2_5_vl: ModuleType) -> None:
    """Keep a video's metadata beside its frames (also for the cache key) and compute second_per_grid_ts from it.

    Without it transformers assumes 24 fps of every video, and vLLM rounds the result to the model's dtype. Models that
    derive from Qwen2.5-VL in vLLM (its omni version, openPangu) are left as they are.
    """
    info, processor = qwen2_5_vl.Qwen2_5_VLProcessingInfo, qwen2_5_vl.Qwen2_5_VLMultiModalProcessor
    get_data_parser, call_hf_processor = info.get_data_parser, processor._call_hf_processor

    @functools.wraps(get_data_parser)
    def get_data_parser_with_metadata(self):
        parser = get_data_parser(self)
        if type(self) is info:
            parser.__class__ = _parser_class(type(parser))
        return parser

    @functools.wraps(call_hf_processor)
    def call_hf_processor_with_rates(self, prompt, mm_data, mm_kwargs, tok_kwargs):
        videos = mm_data.get("videos")
        if not videos or type(self.info) is not info:
            return call_hf_processor(self, prompt, mm_data, mm_kwargs, tok_kwargs)
        frames = [video[0] if isinstance(video, tuple) else video for video in videos]
        # The frames have been sampled: a processor whose configuration asks for sampling must not do it again.
        mm_data = {**mm_data, "videos": frames, "do_sample_frames": False}
        outputs = call_hf_processor(self, prompt, mm_data, mm_kwargs, tok_kwargs)
        a_grid = self.info.get_hf_processor(**mm_kwargs).video_processor.temporal_patch_size
        outputs["second_per_grid_ts"] = time_positions.seconds_of_videos(list(videos), a_grid)
        return outputs

    info.get_data_parser = get_data_parser_with_metadata
    processor._call_hf_processor = call_hf_processor_with_rates


@functools.cache
def _parser_class(parser: type) -> type:
    """vLLM's parser for this model, whose videos stay (frames, metadata) where metadata came with them."""
    from vllm.multimodal.parse import VideoProcessorItems

    class ParserWithMetadata(parser):
        def _parse_video_data(self, data):
            items = super()._parse_video_data(data)
            if not isinstance(items, VideoProcessorItems):  # embeddings, or no video
                return items
            # The frames as vLLM has parsed them; the metadata as it came, which vLLM 0.24 does not keep.
            listed = [getattr(one, "media", one) for one in (data if isinstance(data, list) else [data])]
            if len(listed) != len(items.data):  # one array [videos, frames, ...]
                return items
            with_metadata = [
                (frames, one[1]) if isinstance(one, tuple) and one[1] is not None else frames
                for frames, one in zip(items.data, listed, strict=True)
            ]
            return type(items)(with_metadata, metadata=items.metadata)

    return ParserWithMetadata


def _rate_is_lost(qwen2_5_vl: ModuleType) -> bool:
    """vLLM's own positions, on what its own processor gives, are not those of the rule."""
    import tempfile

    from recipe.tw_grpo.integration.repairs import probe_model

    with tempfile.TemporaryDirectory() as folder:
        path = probe_model.write(folder)
        case = probe_model.two_videos_and_a_picture()
        ids, positions = probe_model.positions_of_vllm(path, *case)
        return positions.tolist() != probe_model.intended(probe_model.processor(path), ids, *case).tolist()


REPAIR = Repair(
    time_positions.REPAIR.name,
    "vllm.model_executor.models.qwen2_5_vl",
    "vLLM 0.24.0 model_executor/models/qwen2_vl.py:862 (0.27.1: :846) makes a data parser without "
    "video_needs_metadata, so multimodal/parse.py drops the metadata",
    _keep_metadata,
    _rate_is_lost,
    ("0.24.0", "0.27.1"),
)
