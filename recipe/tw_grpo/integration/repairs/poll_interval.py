# SPDX-License-Identifier: Apache-2.0
"""The replay buffer's poll interval: a setting that verl accepts, stores and never reads."""

from __future__ import annotations

import functools
from types import ModuleType

from recipe.tw_grpo.toolbox.repair import Repair


def _honour_poll_interval(replay_buffer: ModuleType) -> None:
    """`trainer.v1.sampler.sampler_kwargs.poll_interval` arrives in the buffer and is ignored: it polls every 2 s.

    That is most of a step of a tiny model. A custom sampler class would cost verl's own group filtering, which
    trainer_base.py:172 keeps for the stock classes.
    """
    original = replay_buffer.ReplayBuffer.__init__

    @functools.wraps(original)
    def __init__(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.poll_interval = float((self.sampler_kwargs or {}).get("poll_interval", self.poll_interval))

    replay_buffer.ReplayBuffer.__init__ = __init__


def _poll_interval_is_ignored(replay_buffer: ModuleType) -> bool:
    buffer = replay_buffer.ReplayBuffer(
        trainer_mode="sync",
        trainer_config={},
        max_off_policy_threshold=None,
        max_off_policy_strategy="drop",
        sampler_kwargs={"poll_interval": 0.25},
    )
    return buffer.poll_interval != 0.25


REPAIR = Repair(
    "poll-interval",
    "verl.trainer.ppo.v1.replay_buffer",
    "verl 0.9.1 trainer/ppo/v1/replay_buffer.py:156-157 keeps sampler_kwargs, reads no poll_interval there",
    _honour_poll_interval,
    _poll_interval_is_ignored,
    ("0.9.1", "0.9.1"),
)
