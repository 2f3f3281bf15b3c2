# SPDX-License-Identifier: Apache-2.0
"""Is this the machine the settings are for: GPUs, flash-attn, a video reader. A dry run only notes what is missing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig


def problems(config: DictConfig) -> Iterator[str]:
    """One line for everything a real start needs and this machine has not."""
    if config.trainer.get("device") == "cpu" or os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu":
        return
    import torch

    if torch.version.cuda is None:
        yield (
            f"torch {torch.__version__} is a CPU build: use the GPU environment (bash examples/setup_gpu.sh), or set "
            "VERL_PLATFORM=cpu"
        )
        return
    count, wanted = torch.cuda.device_count(), config.trainer.n_gpus_per_node
    if config.trainer.nnodes == 1 and count < wanted:  # of more nodes this may be one without GPUs
        seen = os.environ.get("CUDA_VISIBLE_DEVICES")
        limited = f" (CUDA_VISIBLE_DEVICES={seen})" if seen is not None else ""
        yield (
            f"trainer.n_gpus_per_node={wanted}: torch {torch.__version__} sees {count} GPUs{limited}: set "
            "GPUS_PER_NODE, or see what nvidia-smi says"
        )
    model = config.actor_rollout_ref.model
    chosen = (model.get("override_config") or {}).get("attn_implementation", "flash_attention_2")
    if chosen == "flash_attention_2" and find_spec("flash_attn") is None:
        yield (
            "flash-attn is not installed: set +actor_rollout_ref.model.override_config.attn_implementation=sdpa and "
            "actor_rollout_ref.model.use_remove_padding=False, or install it (docs/gpu.md)"
        )
    if not os.environ.get("FORCE_QWENVL_VIDEO_READER"):
        from recipe.tw_grpo.integration.video_reader import no_reader

        if problem := no_reader():
            yield problem
