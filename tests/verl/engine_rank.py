# SPDX-License-Identifier: Apache-2.0
"""One of several gloo ranks with verl's real FSDP2 engine: `engine_rank.py MODEL OUTPUT`, with RANK, WORLD_SIZE, STORE,
ULYSSES and VIDEO set, leaves its D_t, gradient and updated parameters in OUTPUT.RANK.
"""

import os
import sys
from pathlib import Path

import engine_kit as kit
import torch

from recipe.cpu_platform import torch_flash


def main(model: str, output: str) -> None:
    """Data-parallel rank 0 takes the responses of prompt p, rank 1 those of q, and so on, in micro-batches of one.

    With ULYSSES=n, n neighbouring processes share each sequence, packed; they are one data-parallel rank. VIDEO=1 is
    for a vision-language model.
    """
    rank, world, ulysses = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "ULYSSES"))
    torch.distributed.init_process_group(
        "cpu:gloo", rank=rank, world_size=world, init_method=f"file://{os.environ['STORE']}"
    )
    uids, lengths = kit.ON_RANKS[world // ulysses]
    rows = [row for row, uid in enumerate(uids) if world == ulysses or uid == "pqrs"[rank // ulysses]]
    options = {"packed": ulysses > 1, "vl": os.environ["VIDEO"] == "1"}
    if options["packed"]:
        engine = kit.build_engine(
            Path(model),
            attention=torch_flash.NAME,
            model_options={"use_remove_padding": True},
            engine_options={"ulysses_sequence_parallel_size": ulysses},
        )
    else:
        engine = kit.build_engine(Path(model))
    found = kit.infer(engine, kit.make_batch(uids, lengths, rows, **options))
    gradient, moved = kit.step(engine, rows, "outside", micro=1, uids=uids, lengths=lengths, **options)
    heads = [parameter for name, parameter in engine.module.named_parameters() if "lm_head" in name]
    torch.save(
        {
            "rows": rows,
            "divergence": [row.clone() for row in found["token_divergence"].unbind()],
            "log_probs": [row.clone() for row in found["log_probs"].unbind()],
            "head rows on this rank": [tuple(parameter.to_local().shape) for parameter in heads],
            "gradient": gradient,
            "moved": moved,
        },
        f"{output}.{rank}",
    )
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
