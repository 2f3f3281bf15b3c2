# SPDX-License-Identifier: Apache-2.0
"""Whole prompts on a rank against verl's balancing by response: how much longer the busiest rank works.

Pure arithmetic on the lengths of real responses: 501 prompts of 8 responses (the published run), prompts of a batch
drawn at random. verl's own functions cost and partition; ours are those the trainer calls.
"""

from __future__ import annotations

import json
import random
import statistics
from pathlib import Path
from typing import Any

from recipe.tw_grpo.integration.balancing import pack_groups, rows_per_rank
from recipe.tw_grpo.toolbox.errors import UserError

TITLE = "Whole prompts on a rank, against single responses"
NOTE = (
    "The cost of keeping a prompt's responses together. With four prompts a rank and more it is below 1 %; with one "
    "prompt a rank it grows with the number of ranks, and more prompts a rank are the way out."
)
RANKS = (2, 4, 8, 16, 32, 64, 128, 256)
PROMPTS_A_RANK = (1, 4)
_PROMPT_TOKENS = 1000  # of a video of 16 frames and its question, which every response carries
_CHARACTERS_A_TOKEN = 4.0  # no tokenizer is needed to compare two partitions of the same lengths


def read_lengths(log: Path) -> list[list[int]]:
    """Tokens of each response, by step.

    Raises:
        UserError: a line without step or output.
    """
    groups: dict[int, list[int]] = {}
    for number, line in enumerate(log.read_text().splitlines(), 1):
        try:
            record = json.loads(line)
            groups.setdefault(record["step"], []).append(1 + round(len(record["output"]) / _CHARACTERS_A_TOKEN))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{log}:{number}: a line of a rollout log has a step and an output") from error
    return [group for group in groups.values() if len(group) == 8]


def run(log: Path, batches: int = 20) -> list[dict[str, Any]]:
    """One record for each number of ranks and prompts a rank: mean over batches of the busiest rank's work over the
    mean rank's, for both ways, and by how much the whole batch takes longer when prompts stay together."""
    import torch
    from verl.utils.seqlen_balancing import calculate_workload, get_seqlen_balanced_partitions

    groups = read_lengths(log)
    records = []
    for ranks in RANKS:
        for prompts in PROMPTS_A_RANK:
            draw = random.Random(f"{ranks} {prompts}")
            of_verl, of_ours = [], []
            for _ in range(max(1, min(batches, 64 * batches // (ranks * ranks)))):  # verl's partition is quadratic
                batch = [draw.choice(groups) for _ in range(ranks * prompts)]
                tokens = torch.tensor([[_PROMPT_TOKENS + n for n in group] for group in batch])
                cost = calculate_workload(tokens)
                mean = cost.sum().item() / ranks
                flat = cost.flatten().tolist()
                parts = get_seqlen_balanced_partitions(flat, ranks, equal_size=True)
                of_verl.append(max(sum(flat[i] for i in part) for part in parts) / mean)
                work = cost.sum(dim=1).tolist()
                packed = pack_groups([8] * len(work), work, ranks, rows_per_rank([8] * len(work), work, ranks, ranks))
                of_ours.append(max(sum(work[i] for i in part) for part in packed) / mean)
            lost = statistics.mean(b / a - 1 for a, b in zip(of_verl, of_ours, strict=True))
            records.append(
                {
                    "ranks": ranks,
                    "prompts_a_rank": prompts,
                    "by_response": statistics.mean(of_verl),
                    "by_prompt": statistics.mean(of_ours),
                    "lost": lost,
                }
            )
    return records


def rows(records: list[dict[str, Any]]) -> list[list[str]]:
    """The table of `run`'s records."""
    table = [["ranks", "prompts a rank", "busiest / mean, by response", "busiest / mean, by prompt", "time lost"]]
    for r in records:
        numbers = [f"{r['by_response']:.3f}", f"{r['by_prompt']:.3f}", f"{100 * r['lost']:.1f} %"]
        table.append([str(r["ranks"]), str(r["prompts_a_rank"]), *numbers])
    return table
