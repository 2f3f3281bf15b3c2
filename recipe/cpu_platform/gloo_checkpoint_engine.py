# SPDX-License-Identifier: Apache-2.0
"""verl's weight transfer between separate machines or processes (`checkpoint_engine.backend=gloo`) over gloo.

`trainer.v1.trainer_mode=separate_async` refuses the in-process way ("naive"), and verl's other ways want GPUs or RDMA.
Rank 0 of the actor broadcasts buckets of weights to every rollout worker; chunking and merging of tensors are verl's
(verl/checkpoint_engine/base.py). verl imports this module where `checkpoint_engine.custom_backend_module` names it.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from typing import Any

import ray
import torch
from torch.distributed import ProcessGroupGloo, TCPStore
from verl.checkpoint_engine.base import (
    CheckpointEngine,
    CheckpointEngineRegistry,
    TensorMeta,
    merge_weight_chunks,
    split_weight_chunks,
)
from verl.workers.rollout.utils import ensure_async_iterator

_ALIGNMENT = 16  # bytes; a slice of a bucket is viewed in its tensor's dtype, none of which is wider


@CheckpointEngineRegistry.register("gloo")
class GlooCheckpointEngine(CheckpointEngine):
    """One end of the transfer, in an actor's or a rollout worker's process; each update has a group of its own.

    Args:
        bucket_size: bytes of one message; a larger tensor goes in several.
        is_master: True in actor rank 0, which sends.
        timeout: seconds to wait for the other processes before an update fails.
    """

    def __init__(self, bucket_size: int, is_master: bool = False, timeout: float = 600.0) -> None:
        self._bucket_size = bucket_size
        self._is_master = is_master
        self._timeout = timedelta(seconds=timeout)
        self._store: TCPStore | None = None
        self._group: ProcessGroupGloo | None = None

    def prepare(self) -> dict[str, Any]:
        """The address at which the processes meet, from the sender; nothing from the others."""
        if not self._is_master:
            return {}
        host = ray.util.get_node_ip_address().strip("[]")
        self._store = TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=self._timeout)
        return {"host": host, "port": self._store.port}

    @classmethod
    def build_topology(
        cls, actor_wg_world_size: int, rollout_world_size: int, metadata: list[dict]
    ) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """Actor rank 0 is rank 0 of the group, the rollout workers follow; other actor ranks (-1) stay outside."""

        def arguments(ranks: list[int]) -> dict[str, list[Any]]:
            shared = {"world_size": 1 + rollout_world_size, "host": metadata[0]["host"], "port": metadata[0]["port"]}
            return {"rank": ranks} | {name: [value] * len(ranks) for name, value in shared.items()}

        return arguments([0] + [-1] * (actor_wg_world_size - 1)), arguments(list(range(1, 1 + rollout_world_size)))

    def init_process_group(self, rank: int, world_size: int, host: str, port: int) -> None:
        """Meet the others. Returns when all of them are here; rank -1 meets nobody."""
        if rank < 0:
            return
        if self._store is None:
            self._store = TCPStore(host, port, is_master=False, timeout=self._timeout)
        # Built directly: the process already has a default group, that of the actor's or the rollout's own ranks.
        self._group = ProcessGroupGloo(self._store, rank, world_size, self._timeout)

    def finalize(self) -> None:
        """Leave the group; the next update builds a new one, as replicas may come and go."""
        self._group = None
        self._store = None

    async def send_weights(
        self, weights: Iterable[tuple[str, torch.Tensor]], global_steps: int | None = None
    ) -> dict[str, float]:
        """Broadcast (name, tensor) pairs from actor rank 0; other actor ranks only walk through them.

        Returns:
            No metrics.
        """
        if self._group is None:  # getting a weight gathers its shards from all actor ranks
            async for _ in ensure_async_iterator(weights):
                pass
            return {}
        bucket = torch.empty(self._bucket_size, dtype=torch.uint8)
        contents: list[TensorMeta] = []
        used = 0
        async for meta, chunk in split_weight_chunks(_on_cpu(weights), self._bucket_size):
            start = -(-used // _ALIGNMENT) * _ALIGNMENT
            if start + meta.chunk_size > self._bucket_size:
                await asyncio.to_thread(self._send, contents, bucket[:used], False)
                contents, start = [], 0
            meta.offset = start
            used = start + meta.chunk_size
            bucket[start:used] = chunk
            contents.append(meta)
        await asyncio.to_thread(self._send, contents, bucket[:used], True)
        return {}

    async def receive_weights(self, global_steps: int | None = None) -> AsyncIterator[tuple[str, torch.Tensor]]:
        """Yield what actor rank 0 sends, in its order, on the CPU, in the dtypes it has there."""
        async for name, weight in merge_weight_chunks(self._receive_chunks(), self._bucket_size):
            yield name, weight

    async def _receive_chunks(self) -> AsyncIterator[tuple[TensorMeta, torch.Tensor]]:
        last = False
        while not last:
            contents, bucket, last = await asyncio.to_thread(self._receive)
            for meta in contents:
                yield meta, bucket[meta.offset : meta.offset + meta.chunk_size]

    def _send(self, contents: list[TensorMeta], bucket: torch.Tensor, last: bool) -> None:
        described = torch.frombuffer(bytearray(pickle.dumps(contents)), dtype=torch.uint8)
        self._broadcast(torch.tensor([described.numel(), bucket.numel(), last]))
        self._broadcast(described)
        self._broadcast(bucket)

    def _receive(self) -> tuple[list[TensorMeta], torch.Tensor, bool]:
        """A bucket in memory of its own: tensors that view it stay what they are while the next one arrives."""
        described, size, last = self._broadcast(torch.empty(3, dtype=torch.int64)).tolist()
        contents = self._broadcast(torch.empty(described, dtype=torch.uint8))
        return (
            pickle.loads(contents.numpy().tobytes()),
            self._broadcast(torch.empty(size, dtype=torch.uint8)),
            bool(last),
        )

    def _broadcast(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.numel():
            self._group.broadcast(tensor, 0).wait()
        return tensor


async def _on_cpu(weights: Iterable[tuple[str, torch.Tensor]]) -> AsyncIterator[tuple[str, torch.Tensor]]:
    async for name, weight in ensure_async_iterator(weights):
        yield name, weight.detach().cpu().contiguous()
