# SPDX-License-Identifier: Apache-2.0
"""Time positions of Qwen2-VL and Qwen2.5-VL: one rule for the policy that is trained and the one that answers.

A video's temporal grid k stands at start + floor(k * seconds a grid * tokens_per_second), fractions kept, and the text
behind a picture or video goes on at the largest position of all three axes + 1: the rule these models were trained with
and the one of vLLM's own position function, once it knows the rate (time_positions_vllm.py). This file holds the rule
and verl's side; `runs/recompute.py` uses the same rule. Qwen3-VL writes its time into the prompt and is not touched.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.repair import Repair

if TYPE_CHECKING:
    import torch

VARIABLE = "TW_GRPO_TIME_POSITIONS"
SAMPLING, PUBLISHED = "sampling", "published"
FAMILIES = ("qwen2_vl", "qwen2_5_vl")  # model_type of the configurations whose positions follow this rule
ASSUMED_FPS = 24.0  # what transformers assumes of a video without metadata (video_utils.py, sampled_fps)
PUBLISHED_SECONDS = 1.0  # the published TW-GRPO run gave the processor no rate


def rule() -> str:
    """`sampling`, or `published` when TW_GRPO_TIME_POSITIONS asks for 1.0 s a grid whatever the rate.

    Raises:
        UserError: the variable has another value.
    """
    value = os.environ.get(VARIABLE, "").strip().lower() or SAMPLING
    if value not in (SAMPLING, PUBLISHED):
        raise UserError(f"{VARIABLE}={value} is neither {SAMPLING} nor {PUBLISHED}")
    return value


def seconds_per_grid(metadata: Any, frames_per_grid: int) -> float:
    """Seconds between two temporal grids of a sampled video.

    Args:
        metadata: what qwen-vl-utils (or vLLM's loader) says of the video: its fps, frames_indices (those sampled) and
            total_num_frames, of the clip where one was cut; a mapping or an object. None: 24 fps, as in transformers.
        frames_per_grid: temporal_patch_size of the video processor.

    Returns:
        Double precision on purpose: a float32 of 1 / 1.2 fps is too small, and grid 3 would fall one position short.
    """
    if rule() == PUBLISHED:
        return PUBLISHED_SECONDS
    get = metadata.get if isinstance(metadata, Mapping) else functools.partial(_attribute, metadata)
    fps, indices, total = get("fps"), get("frames_indices"), get("total_num_frames")
    fps = float(fps) if fps else ASSUMED_FPS
    if indices is not None and total:
        fps *= len(indices) / float(total)
    return frames_per_grid / fps


def _attribute(metadata: Any, name: str) -> Any:
    return getattr(metadata, name, None)


def seconds_of_videos(videos: list[Any], frames_per_grid: int) -> torch.Tensor:
    """[videos] float64: `seconds_per_grid` of each video, given as (frames, metadata) or as frames alone."""
    import torch

    metadata = [video[1] if isinstance(video, tuple) else None for video in videos]
    return torch.tensor([seconds_per_grid(one, frames_per_grid) for one in metadata], dtype=torch.float64)


def position_ids(
    config: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    image_grid_thw: torch.Tensor | None = None,
    video_grid_thw: torch.Tensor | None = None,
    second_per_grid_ts: torch.Tensor | None = None,
    **ignored: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions of text, pictures and videos, with the arguments of transformers' `get_rope_index`.

    Args:
        config: of a model in FAMILIES; its token ids, spatial_merge_size and, if it has any, tokens_per_second.
        input_ids: [B, L], pictures and videos as runs of their own token.
        attention_mask: [B, L], 0 for padding; None: no padding.
        image_grid_thw, video_grid_thw: [n, 3] patches in time, height and width, in the order of the prompts.
        second_per_grid_ts: [videos] seconds between two grids, of a model with tokens_per_second; the rule `published`
            does not ask for them.

    Returns:
        [3, B, L] temporal, vertical, horizontal positions (0 for padding), and [B, 1] what the next position is beyond
        the length.

    Raises:
        ValueError: grids and tokens do not belong together, or the seconds of a video are missing.
    """
    import torch

    merge = config.vision_config.spatial_merge_size
    tokens_per_second = getattr(config.vision_config, "tokens_per_second", None)
    images = iter([] if image_grid_thw is None else image_grid_thw.tolist())
    videos = iter([] if video_grid_thw is None else video_grid_thw.tolist())
    seconds = iter([] if second_per_grid_ts is None else torch.as_tensor(second_per_grid_ts).double().tolist())
    if rule() == PUBLISHED and video_grid_thw is not None:
        seconds = iter([PUBLISHED_SECONDS] * len(video_grid_thw))
    positions = torch.zeros(3, *input_ids.shape, dtype=torch.long)
    deltas = []
    for row, ids in enumerate(input_ids.cpu()):
        valid = torch.ones_like(ids, dtype=torch.bool) if attention_mask is None else attention_mask[row].cpu().bool()
        ids = ids[valid].tolist()
        parts, start, at = [], 0, 0
        while at < len(ids):
            token, step = ids[at], 1.0
            if token == config.video_token_id:
                grid = next(videos, None)
                if tokens_per_second is not None and grid is not None:
                    if (length := next(seconds, None)) is None:
                        raise ValueError("a video without second_per_grid_ts: its positions in time are unknown")
                    step = length * tokens_per_second
            elif token == config.image_token_id:
                grid = next(images, None)
            else:
                end = at + 1
                while end < len(ids) and ids[end] not in (config.image_token_id, config.video_token_id):
                    end += 1
                parts.append(torch.arange(end - at).expand(3, -1) + start)
                start, at = start + end - at, end
                continue
            part = None if grid is None else _grid(*grid, merge, step) + start
            count = 0 if part is None else part.shape[1]
            if not count or ids[at : at + count] != [token] * count:
                raise ValueError(f"token {at} of the prompt begins a picture or video that its grids do not describe")
            parts.append(part)
            start, at = int(part.max()) + 1, at + count
        whole = torch.cat(parts, dim=1)
        positions[:, row, valid] = whole
        deltas.append(int(whole.max()) + 1 - len(ids))
    return positions.to(input_ids.device), torch.tensor(deltas, device=input_ids.device)[:, None]


def _grid(times: int, height: int, width: int, merge: int, step: float) -> torch.Tensor:
    """[3, times * rows * columns]: floor(k * step), row, column of each merged patch."""
    import torch

    axes = [torch.arange(times), torch.arange(height // merge), torch.arange(width // merge)]
    time, row, column = (axis.flatten() for axis in torch.meshgrid(*axes, indexing="ij"))
    return torch.stack([(time.double() * step).floor().long(), row, column])


# --- verl's side ----------------------------------------------------------------------------------------------------


def _one_rule(agent_loop: ModuleType) -> None:
    """verl's agent loop asks transformers for the positions and never says a video's rate.

    transformers would cut the step to whole seconds and let the text go on at max(height, width) of the grid, which
    lies inside a long video. The agent loop gets the rates of its videos, and this file's rule from its processor.
    Training, validation and evaluation all pass here.
    """
    worker = agent_loop.AgentLoopWorker
    compute_inputs, compute_positions = worker._compute_multi_modal_inputs, worker._compute_position_ids

    @functools.wraps(compute_inputs)
    def _compute_multi_modal_inputs(self, output, *args, **kwargs):
        inputs = compute_inputs(self, output, *args, **kwargs)
        videos = (getattr(output, "multi_modal_data", None) or {}).get("videos")
        if videos and "second_per_grid_ts" in inputs and _follows(self.processor):
            frames = self.processor.video_processor.temporal_patch_size
            inputs["second_per_grid_ts"] = seconds_of_videos(list(videos), frames)
        return inputs

    @functools.wraps(compute_positions)
    def _compute_position_ids(self, input_ids, attention_mask, multi_modal_inputs, *args, **kwargs):
        processor = self.processor
        if _follows(processor) and getattr(processor.get_rope_index, "func", None) is not position_ids:
            processor.get_rope_index = functools.partial(position_ids, processor.config)
            processor.get_rope_index_kwargs = _seconds_for_positions  # verl's own hook
        return compute_positions(self, input_ids, attention_mask, multi_modal_inputs, *args, **kwargs)

    worker._compute_multi_modal_inputs = _compute_multi_modal_inputs
    worker._compute_position_ids = _compute_position_ids


def _follows(processor: Any) -> bool:
    """Is this the processor of a model of FAMILIES? verl keeps the model's configuration beside it."""
    return getattr(getattr(processor, "config", None), "model_type", None) in FAMILIES


def _seconds_for_positions(multi_modal_inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {"second_per_grid_ts": multi_modal_inputs.get("second_per_grid_ts")}


def _rate_is_ignored(agent_loop: ModuleType) -> bool:
    """The positions of verl's agent loop are not those of the rule: two videos of two rates and a picture."""
    import tempfile

    from recipe.tw_grpo.integration.repairs import probe_model

    with tempfile.TemporaryDirectory() as folder:
        path = probe_model.write(folder)
        case = probe_model.two_videos_and_a_picture()
        ids, positions = probe_model.positions_of_verl(agent_loop, path, *case)
        return positions.tolist() != probe_model.intended(probe_model.processor(path), ids, *case).tolist()


REPAIR = Repair(
    "time-positions",
    "verl.experimental.agent_loop.agent_loop",
    "verl 0.9.1 experimental/agent_loop/agent_loop.py:932 gives get_rope_index no second_per_grid_ts; transformers "
    "5.9.0 models/qwen2_5_vl/modeling_qwen2_5_vl.py:1069 cuts it to whole seconds, :1077 goes on inside the video",
    _one_rule,
    _rate_is_ignored,
    ("0.9.1", "0.9.1"),
)
