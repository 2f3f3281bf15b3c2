# SPDX-License-Identifier: Apache-2.0
"""`actor_rollout_ref.actor.optim.lr_scheduler_type=linear` for verl's FSDP engines: the published run's learning rate.

verl 0.9.1 knows "constant" and "cosine" and refuses others (verl/workers/config/optimizer.py, FSDPOptimizerConfig).
The rate of the published run is Hugging Face's default: linear from optim.lr to 0 over the run, here by the same
function of transformers. Works for every estimator; any other value stays verl's to accept or refuse.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

LINEAR = "linear"


def accept_linear(optimizer_config: type) -> None:
    """Make verl's FSDPOptimizerConfig take `lr_scheduler_type: linear` beside its own two."""
    original = optimizer_config.__post_init__

    @functools.wraps(original)
    def __post_init__(self) -> None:
        linear = self.lr_scheduler_type == LINEAR
        if linear:
            self.lr_scheduler_type = "constant"  # verl's own check of everything else
        original(self)
        if linear and self.lr_scheduler_type == "constant":  # the deprecated `warmup_style` wins in verl, so here too
            self.lr_scheduler_type = LINEAR

    optimizer_config.__post_init__ = __post_init__


def linear_schedule(optimizer: torch.optim.Optimizer, config: Any) -> torch.optim.lr_scheduler.LRScheduler:
    """The rate of update t (from 0) of N: lr * (N - t) / N, after a linear warm-up where verl's settings ask for one.

    Args:
        optimizer: of the engine.
        config: verl's FSDPOptimizerConfig with total_training_steps, which its trainer sets.

    Raises:
        ValueError: the number of steps is not known.
    """
    from transformers import get_linear_schedule_with_warmup

    steps = config.total_training_steps
    if steps < 1:
        raise ValueError(f"optim.lr_scheduler_type={LINEAR} needs the number of steps, found {steps}")
    warmup = config.lr_warmup_steps
    warmup = int(config.lr_warmup_steps_ratio * steps) if warmup is None or warmup <= 0 else warmup
    return get_linear_schedule_with_warmup(optimizer, num_warmup_steps=warmup, num_training_steps=steps)
