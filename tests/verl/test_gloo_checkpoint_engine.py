# SPDX-License-Identifier: Apache-2.0
"""Weights sent over gloo arrive as they were: processes with verl's registry, driven as verl's manager drives them.

The whole way through Ray and vLLM is run by tests/e2e/test_ways_to_train.py.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROCESS = """
import asyncio, importlib, json, os, sys
import torch, torch.distributed as dist
from verl.checkpoint_engine.base import CheckpointEngineRegistry
importlib.import_module("recipe.cpu_platform.gloo_checkpoint_engine")
actors, receivers = int(sys.argv[1]), int(sys.argv[2])
rank, world = int(os.environ["RANK"]), actors + receivers
# A default group, as verl's workers have; here it also carries what Ray carries there.
dist.init_process_group("cpu:gloo", init_method=os.environ["DIST_INIT_METHOD"], rank=rank, world_size=world)
is_actor = rank < actors


def weights(update):
    random = torch.Generator().manual_seed(update)
    shapes = {  # buckets of 4096 bytes
        "odd number of bf16": (torch.bfloat16, 7), "fp32 after it": (torch.float32, 5), "scalar": (torch.float32,),
        "exactly a bucket": (torch.float32, 1024), "one byte more": (torch.int8, 4097),
        "three buckets, fp32": (torch.float32, 50, 61), "three buckets, bf16": (torch.bfloat16, 50, 61),
        "transposed": (torch.float32, 30, 40), "last": (torch.bfloat16, 3, 3),
    }
    for name, (dtype, *shape) in shapes.items():
        weight = torch.randn(shape, generator=random).mul(10).to(dtype)
        yield name, torch.nn.Parameter(weight.T if name == "transposed" else weight, requires_grad=False)


async def received(engine):
    return [(name, weight) async for name, weight in engine.receive_weights(global_steps=1)]


engine = CheckpointEngineRegistry.new("gloo", bucket_size=4096, **({"is_master": rank == 0} if is_actor else {}))
for update in range(2):
    metadata = [None] * world
    dist.all_gather_object(metadata, engine.prepare())
    for_actors, for_rollout = type(engine).build_topology(actors, receivers, metadata)
    mine, number = (for_actors, rank) if is_actor else (for_rollout, rank - actors)
    assert all(len(values) == (actors if is_actor else receivers) for values in mine.values())
    engine.init_process_group(**{name: values[number] for name, values in mine.items()})
    expected = list(weights(update))
    if is_actor:
        walked = []
        assert asyncio.run(engine.send_weights((walked.append(pair) or pair for pair in expected), update)) == {}
        assert walked == expected, "every actor rank has to take part in gathering every weight"
    else:
        found = asyncio.run(received(engine))
        assert [name for name, _ in found] == [name for name, _ in expected]
        for (name, weight), (_, sent) in zip(found, expected):
            assert weight.dtype == sent.dtype and weight.shape == sent.shape and torch.equal(weight, sent), name
    engine.finalize()
    dist.barrier()
print("RESULT", json.dumps([rank, update]))
"""


@pytest.mark.parametrize("actors, receivers", [(1, 1), (2, 2)])
def test_weights_arrive_equal_in_two_updates(tmp_path, actors, receivers):
    shared = os.environ | {"OMP_NUM_THREADS": "1", "DIST_INIT_METHOD": f"file://{tmp_path}/store"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(actors), str(receivers)],
            env=shared | {"RANK": str(rank)},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(actors + receivers)
    ]
    try:
        for rank, process in enumerate(processes):
            out, err = process.communicate(timeout=240)
            assert f"RESULT {json.dumps([rank, 1])}" in out, out + err[-3000:]
    finally:
        for process in processes:
            process.kill()
