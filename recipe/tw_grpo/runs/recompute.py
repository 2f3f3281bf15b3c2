# SPDX-License-Identifier: Apache-2.0
"""Recompute the D_t and w_t of a rollout dump from the saved model, by the dense float64 definition (Eq. 4 and 5).

`python -m recipe.tw_grpo.recompute MODEL DUMP.jsonl DATA.parquet` runs the Hugging Face model once over each response
of the dump and compares; nothing of verl, of the engine or of the streaming computation takes part. MODEL has to be the
policy that answered: the initial model for step 1, the checkpoint of step k for step k + 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from recipe.tw_grpo.divergence import group_divergence_reference
from recipe.tw_grpo.integration import repairs
from recipe.tw_grpo.integration.repairs import time_positions
from recipe.tw_grpo.token_weights import token_weights
from recipe.tw_grpo.toolbox.command_line import Parser
from recipe.tw_grpo.toolbox.errors import UserError

_FLOOR = 1e-3  # nats; errors of a smaller D_t are taken relative to this, because the layers round in float32
_NEEDED = ("uid", "index", "prompt_ids", "response_ids", "token_divergence", "token_weights")


def read_groups(dump: Path) -> Iterator[list[dict[str, Any]]]:
    """The lines of a rollout dump, one list a prompt.

    Raises:
        UserError: the file is no dump with token weights.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for number, line in enumerate(dump.read_text().splitlines(), 1):
        record = json.loads(line)
        missing = [name for name in _NEEDED if name not in record]
        if missing:
            raise UserError(f"{dump}:{number} has no {missing[0]}: was it dumped with adv_estimator=tw_grpo?")
        groups.setdefault(record["uid"].rsplit("_", 2)[0], []).append(record)
    yield from groups.values()


@torch.no_grad()
def response_logits(model: torch.nn.Module, inputs: dict[str, Any], record: dict[str, Any]) -> torch.Tensor:
    """Logits [length, V] that predict the response tokens of one record, from one unpadded forward pass."""
    ids = torch.tensor([record["prompt_ids"] + record["response_ids"]], device=model.device)
    length = len(record["response_ids"])
    mask = torch.ones_like(ids)
    grid = inputs["video_grid_thw"]
    types = torch.zeros_like(ids).masked_fill_(ids == model.config.video_token_id, 2)
    where = {"video_grid_thw": grid, "attention_mask": mask}
    # The positions of the policy that verl trains: with the repair, or without it under the same TW_GRPO_REPAIRS.
    if model.config.model_type in time_positions.FAMILIES and repairs.applies(time_positions.REPAIR):
        where["second_per_grid_ts"] = inputs.get("second_per_grid_ts")
        positions, _ = time_positions.position_ids(model.config, ids, **where)
    else:
        positions, _ = model.model.get_rope_index(ids, mm_token_type_ids=types, **where)
    logits = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        pixel_values_videos=inputs["pixel_values_videos"],
        video_grid_thw=grid,
        mm_token_type_ids=types,
        use_cache=False,
    ).logits
    return logits[0, -length - 1 : -1]


def recompute(model_dir: str, dump: Path, data: Path, *, temperature: float, settings: dict[str, Any]) -> list[dict]:
    """Compare every group of a dump with the dense definition.

    Args:
        model_dir: Hugging Face folder of the policy that answered.
        dump: {step}.jsonl of `trainer.rollout_data_dir`.
        data: the parquet the prompts came from.
        temperature: sampling temperature of the run.
        settings: alpha, positions and weight_form of the run.

    Returns:
        Per group: prompt index, G, T, largest D_t, largest error of D_t relative to max(D_t, 1e-3 nats), largest
        absolute error of w_t.

    Raises:
        UserError: the dump and the data do not belong together.
    """
    import datasets
    import verl  # noqa: F401  (loads verl's plugins: on a CPU machine transformers' video code needs ours)
    from transformers import AutoModelForImageTextToText, AutoProcessor

    # A checkpoint remembers the attention it was trained with, whose kernels this machine may not have.
    model = AutoModelForImageTextToText.from_pretrained(model_dir, dtype=torch.float32, attn_implementation="sdpa")
    model.eval()
    processor = AutoProcessor.from_pretrained(model_dir)
    rows = datasets.load_dataset("parquet", data_files=str(data), split="train")
    by_index: dict[int, list[dict[str, Any]]] = {}  # files that were put together may number their rows alike
    for row in rows:
        by_index.setdefault(row["extra_info"]["index"], []).append(row)
    results = []
    for group in read_groups(dump):
        candidates = (_inputs(processor, row) for row in by_index.get(group[0]["index"], []))
        inputs = next((i for i in candidates if i["input_ids"][0].tolist() == group[0]["prompt_ids"]), None)
        if inputs is None:
            raise UserError(f"{dump}: the prompt with index {group[0]['index']} is not in {data}")
        lengths = torch.tensor([len(record["response_ids"]) for record in group])
        logits = [response_logits(model, inputs, record).double() / temperature for record in group]
        exact = group_divergence_reference(torch.nn.utils.rnn.pad_sequence(logits, batch_first=True), lengths)
        weights = token_weights(exact, lengths, **settings)
        longest = max(group, key=lambda record: len(record["response_ids"]))
        dumped = torch.tensor(longest["token_divergence"], dtype=torch.float64)
        relative = (dumped - exact).abs() / exact.clamp_min(_FLOOR)
        results.append(
            {
                "index": group[0]["index"],
                "G": len(group),
                "T": int(lengths.max()),
                "D_max": exact.max().item(),
                "D_relative_error": relative.max().item(),
                "w_absolute_error": (torch.tensor(longest["token_weights"]) - weights).abs().max().item(),
            }
        )
    return results


def _inputs(processor: Any, row: dict[str, Any]) -> dict[str, Any]:
    """Model inputs of one prompt from its parquet row: the frames by qwen-vl-utils, the rest by the processor."""
    from qwen_vl_utils import process_vision_info

    videos = iter(row["videos"])
    messages = []
    for message in row["prompt"]:
        content: list[dict[str, Any]] = []
        for number, text in enumerate(message["content"].split("<video>")):
            content += [{"type": "video", **next(videos)}] if number else []
            content += [{"type": "text", "text": text}] if text else []
        messages.append({"role": message["role"], "content": content})
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    _, videos = process_vision_info(messages, return_video_metadata=True)
    inputs = processor(
        text=[text],
        videos=[video for video, _ in videos],
        video_metadata=[metadata for _, metadata in videos],
        do_sample_frames=False,
        return_tensors="pt",
    )
    if "second_per_grid_ts" in inputs:
        frames = processor.video_processor.temporal_patch_size
        inputs["second_per_grid_ts"] = time_positions.seconds_of_videos(videos, frames)
    return inputs


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns 1 when an error is above --tolerance."""
    parser = Parser(prog="python -m recipe.tw_grpo.recompute", description=__doc__.split("\n\n")[0])
    parser.add_argument("model", help="Hugging Face folder of the policy that answered")
    parser.add_argument("dump", type=Path, help="{step}.jsonl of trainer.rollout_data_dir")
    parser.add_argument("data", type=Path, help="parquet the prompts came from")
    parser.add_argument("--temperature", type=float, default=1.0, help="actor_rollout_ref.rollout.temperature")
    parser.add_argument("--alpha", type=float, default=0.7, help="algorithm.tw_grpo.alpha")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest relative error of D_t that is accepted")
    options = parser.parse_args(arguments)
    results = recompute(
        options.model,
        options.dump,
        options.data,
        temperature=options.temperature,
        settings={"alpha": options.alpha},
    )
    for result in results:
        print(json.dumps(result))
    worst = max(result["D_relative_error"] for result in results)
    print(f"{len(results)} groups, largest relative error of D_t {worst:.2e}")
    return int(worst > options.tolerance)
