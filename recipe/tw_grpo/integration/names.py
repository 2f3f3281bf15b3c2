# SPDX-License-Identifier: Apache-2.0
"""Every key of ours that crosses a process, once: what driver, workers, reward loop and dumps call the same thing.

The driver and the workers exchange batches through TransferQueue; a key that only one side knew by another name would
be lost without an error. Nothing of verl is imported here.
"""

from __future__ import annotations

import dataclasses
import re

# Non-tensor entries of a batch, set by trainer.py and read by engine.py. One a pass: neither sees the other's.
DIVERGENCE_REQUEST = "tw_grpo_divergence"  # log-probability pass: return D_t; a DivergenceRequest
NORMALIZATION_REQUEST = "tw_grpo_normalization"  # update: normalise the loss so (config.CHOICES)

ROW = "tw_grpo_row"  # tensor entry that follows each response through verl's micro-batching, within one worker

# Fields of TransferQueue, nested [B, (length)] float32, and columns of the rollout dump.
TOKEN_DIVERGENCE = "token_divergence"  # D_t of the group, from the engine
TOKEN_WEIGHTS = "token_weights"  # w_t, from the driver
LOSS_WEIGHTS = "rollout_is_weights"  # verl's own field: the one further tensor it hands to a policy loss

FAILURES = "tw_grpo_failures"  # partition of TransferQueue: a note for each failed response, see failures.py


@dataclasses.dataclass(frozen=True)
class DivergenceRequest:
    """What the trainer asks of the engine's log-probability pass.

    Attributes:
        divergence: one of config.CHOICES.
        left_out: uids of prompts whose D_t nobody needs; theirs is NaN.
        offload: keep hidden states on the CPU until their group is complete.
    """

    divergence: str
    left_out: frozenset[str] = frozenset()
    offload: bool = False


_PLACEHOLDER = re.compile(r"pad[0-9a-f]{32}_")  # verl/trainer/ppo/padding_utils.py fills batches with such rows


def uid_of(key: str) -> str:
    """Prompt id of a TransferQueue key, which verl writes as {uid}_{session}_{output}."""
    return key.rsplit("_", 2)[0]


def is_placeholder(key: str) -> bool:
    """Whether a TransferQueue key is that of a row verl added to fill a batch; nobody answered anything there."""
    return bool(_PLACEHOLDER.match(key))
