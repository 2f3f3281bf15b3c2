# SPDX-License-Identifier: Apache-2.0
"""What verl's own replay buffers make of groups that lost responses; real TransferQueue keys, no training."""

import pytest

pytest.importorskip("verl")
import transfer_queue as tq  # noqa: E402
from verl.trainer.ppo.v1 import replay_buffer  # noqa: E402


@pytest.fixture
def listed(monkeypatch):
    """What TransferQueue lists: one whole group, one that lost a response, one that lost all."""
    prompts = {uid: {"is_prompt": True, "global_steps": 1, "status": status} for uid, status in STATUS.items()}
    responses = {f"{uid}_{session}_0": {"seq_len": 5} for uid, sessions in LEFT.items() for session in sessions}
    monkeypatch.setattr(tq, "kv_list", lambda partition_id=None: {"train": prompts | responses})


STATUS = {"whole": "finished", "partly": "failure", "gone": "failure", "busy": "running"}
LEFT = {"whole": (0, 1), "partly": (1,), "gone": (), "busy": (0,)}


def buffer(kind, **settings):
    return kind(
        trainer_mode="sync" if kind is replay_buffer.ReplayBuffer else "colocate_async",
        trainer_config={},
        max_off_policy_threshold=8,
        max_off_policy_strategy="drop",
        sampler_kwargs={},
        refill_fn=lambda count: None,
        gen_batch_size=1,
        **settings,
    )


@pytest.mark.parametrize("kind", [replay_buffer.ReplayBuffer, replay_buffer.ReplayBufferAsync])
def test_a_group_that_lost_some_is_used_and_one_that_lost_all_is_replaced(listed, kind):
    one = buffer(kind, sync_refill_failed_groups=True)
    one._sync_metadata_from_transfer_queue()
    reasons = one._terminal_eviction_reasons(1, "train")
    assert reasons[2] == {"gone"}
    assert one._sampleable_terminal_keys("train", reasons) == {"whole", "partly"}


def test_a_partly_failed_group_grows_stale_like_any_other(listed):
    one = buffer(replay_buffer.ReplayBufferAsync)
    one._sync_metadata_from_transfer_queue()
    assert one._terminal_eviction_reasons(9, "train")[0] == {"whole", "partly"}
