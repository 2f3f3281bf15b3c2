# SPDX-License-Identifier: Apache-2.0
"""`actor_rollout_ref.actor.freeze_vision_tower=True` for verl's FSDP engines; the paper trained so.

verl 0.9.1 declares the option (verl/workers/config/actor.py:161) and its FSDP engines never read it: their constructor
is given the engine's part of the actor's configuration only. `carry_to_engine` takes the option along with that part,
and the engine freezes by it. The option works for every estimator, so a baseline can be trained under equal conditions.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

OPTION = "freeze_vision_tower"
_TOWERS = ("visual", "vision_tower", "vision_model")  # as transformers names them


def carry_to_engine(actor_config: type) -> None:
    """Make every instance of verl's FSDPActorConfig that sets the option hand it to its `engine` configuration."""
    original = actor_config.__post_init__

    @functools.wraps(original)
    def __post_init__(self) -> None:
        original(self)
        if getattr(self, OPTION):
            # The configuration classes refuse ordinary assignment; verl sets the engine's `strategy` in the same way.
            object.__setattr__(self.engine, OPTION, True)

    actor_config.__post_init__ = __post_init__


def asked_for(engine_config: Any) -> bool:
    """Whether this engine's configuration came with the option."""
    return bool(getattr(engine_config, OPTION, False))


def freeze_vision_tower(model: torch.nn.Module) -> int:
    """Turn off gradients of the vision tower, the projection into the language model included.

    Returns:
        Number of frozen parameters.

    Raises:
        ValueError: the model has no vision tower.
    """
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in _TOWERS:
            module.requires_grad_(False)
            return sum(parameter.numel() for parameter in module.parameters())
    raise ValueError(
        f"actor_rollout_ref.actor.{OPTION}=True, but {type(model).__name__} has no vision tower "
        f"({', '.join(_TOWERS)}): leave the option out"
    )
