# SPDX-License-Identifier: Apache-2.0
"""Recompute the D_t and w_t of a rollout dump from the saved model, by the dense float64 definition (Eq. 4 and 5).

`python -m recipe.tw_grpo.recompute MODEL DUMP.jsonl DATA.parquet` runs the Hugging Face model over each response of the
dump, in float64 for the definition and in float32 to see what its layers lose; nothing of verl, of the engine or of the
streaming computation takes part. MODEL has to be the policy that answered: the initial model for step 1, the checkpoint
of step k for step k + 1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from recipe.tw_grpo.config import CHOICES, TWGRPOConfig
from recipe.tw_grpo.divergence import group_divergence_reference
from recipe.tw_grpo.groups import grouped
from recipe.tw_grpo.integration import names, repairs
from recipe.tw_grpo.integration.repairs import time_positions
from recipe.tw_grpo.runs.dump import TOKENS, Line, read_dump
from recipe.tw_grpo.runs.rounding import divergence_limit, layer_rounding, weight_limit
from recipe.tw_grpo.token_weights import token_weights
from recipe.tw_grpo.toolbox.command_line import Parser
from recipe.tw_grpo.toolbox.errors import UserError

_FLOOR = 1e-3  # nats; errors of a smaller D_t are shown, and --tolerance is taken, relative to this


def read_groups(dump: Path) -> list[list[Line]]:
    """The responses of a rollout dump, one list a prompt; prompts whose D_t was left out are not among them.

    Raises:
        UserError: the file is not whole, no dump with token weights, or holds no response.
    """
    lines = []
    for where, line in read_dump(dump, ("uid", "index", *TOKENS)):
        length = len(line.record["response_ids"])
        if not line.record[names.TOKEN_DIVERGENCE] and length:  # algorithm.tw_grpo.skip_dead_groups
            continue
        for name in (names.TOKEN_DIVERGENCE, names.TOKEN_WEIGHTS):
            values = line.record[name]
            if len(values) != length or not all(isinstance(value, int | float) for value in values):
                raise UserError(f"{where}: {name!r} does not have one number for each of the {length} tokens")
        lines.append(line)
    if not lines:
        raise UserError(f"{dump}: no response with D_t in it; give {{step}}.jsonl of trainer.rollout_data_dir")
    return list(grouped(lines, lambda line: line.uid).values())


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


def definition(logits: torch.Tensor, lengths: torch.Tensor, divergence: str) -> torch.Tensor:
    """[T] float64, D_t of padded logits [G, T, V]: Eq. 4, or the public code's formula, both dense."""
    if divergence == "kl":
        return group_divergence_reference(logits, lengths)
    log_p = logits.double().log_softmax(dim=-1)
    ended = torch.arange(logits.shape[1]) >= lengths[:, None]
    log_p[ended] = -torch.tensor(float(logits.shape[-1]), dtype=torch.float64).log()
    d = (log_p.mean(dim=0) - log_p).clamp(-11, 11)
    return (d.exp() - d - 1).sum(dim=-1).mean(dim=0)


def compare(
    group: Sequence[Line],
    exact: Sequence[torch.Tensor],
    rounded: Sequence[torch.Tensor],
    settings: TWGRPOConfig,
    tolerance: float | None = None,
) -> dict[str, Any]:
    """One group of a dump against the definition.

    Args:
        group: its G responses.
        exact, rounded: G tensors [length, V], their logits with layers in float64 and in float32.
        settings: those of the run.
        tolerance: relative error of D_t that is accepted; None for what rounding in float32 explains.

    Returns:
        index, G, T, D_max; D_relative_error (to max(D_t, 1e-3 nats)) and D_of_limit (the largest error of a D_t over
        the limit of that D_t); w_absolute_error and w_limit; agrees: whether both are within their limits.
    """
    lengths = torch.tensor([len(logits) for logits in exact])
    defined = definition(torch.nn.utils.rnn.pad_sequence(exact, batch_first=True), lengths, settings.divergence)
    if tolerance is None:
        spread = len(group) if settings.divergence == "kl" else exact[0].shape[-1]
        limit = divergence_limit(defined, max(map(layer_rounding, rounded, exact)), spread)
    else:
        limit = tolerance * defined.clamp_min(_FLOOR)
    weights = token_weights(
        defined, lengths, alpha=settings.alpha, positions=settings.positions, weight_form=settings.weight_form
    )
    found = {name: [torch.tensor(line.record[name], dtype=torch.float64) for line in group] for name in TOKENS[2:]}
    d_error = [(d - defined[: len(d)]).abs() for d in found[names.TOKEN_DIVERGENCE]]
    w_error = torch.cat([(w - weights[: len(w)]).abs() for w in found[names.TOKEN_WEIGHTS]]).max().item()
    relative = torch.cat([e / defined[: len(e)].clamp_min(_FLOOR) for e in d_error]).max().item()
    of_limit = torch.cat([e / limit[: len(e)] for e in d_error]).max().item()
    allowed = weight_limit(defined, limit, lengths, settings)
    return {
        "index": group[0].index,
        "G": len(group),
        "T": int(lengths.max()),
        "D_max": defined.max().item(),
        "D_relative_error": relative,
        "D_of_limit": of_limit,
        "w_absolute_error": w_error,
        "w_limit": allowed,
        "agrees": of_limit <= 1 and w_error <= allowed,  # NaN agrees with nothing
    }


def recompute(
    model_dir: str,
    dump: Path,
    data: Path,
    *,
    temperature: float = 1.0,
    settings: TWGRPOConfig | None = None,
    tolerance: float | None = None,
) -> list[dict[str, Any]]:
    """Compare every group of a dump with the dense definition.

    Args:
        model_dir: Hugging Face folder of the policy that answered.
        dump: {step}.jsonl of `trainer.rollout_data_dir`.
        data: the parquet the prompts came from.
        temperature: sampling temperature of the run.
        settings: the method's settings in the run; the defaults without them.
        tolerance: see `compare`.

    Returns:
        What `compare` says of each group.

    Raises:
        UserError: the dump cannot be read, or the dump and the data do not belong together.
    """
    groups = read_groups(dump)
    import datasets
    import verl  # noqa: F401  (loads verl's plugins: on a CPU machine transformers' video code needs ours)
    from transformers import AutoModelForImageTextToText, AutoProcessor

    # A checkpoint remembers the attention it was trained with, whose kernels this machine may not have.
    models = [
        AutoModelForImageTextToText.from_pretrained(model_dir, dtype=dtype, attn_implementation="sdpa").eval()
        for dtype in (torch.float64, torch.float32)
    ]
    processor = AutoProcessor.from_pretrained(model_dir)
    rows = datasets.load_dataset("parquet", data_files=str(data), split="train")
    # Files that were put together may number their rows alike.
    by_index = grouped(rows, lambda row: str(row["extra_info"]["index"]))
    results = []
    for group in groups:
        first = group[0]
        candidates = (_inputs(processor, row) for row in by_index.get(first.index, []))
        inputs = next((i for i in candidates if i["input_ids"][0].tolist() == first.record["prompt_ids"]), None)
        if inputs is None:
            raise UserError(f"{dump}: the prompt with index {first.index} is not in {data}")
        exact, rounded = (
            [response_logits(model, inputs, line.record).double() / temperature for line in group] for model in models
        )
        results.append(compare(group, exact, rounded, settings or TWGRPOConfig(), tolerance))
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns 1 when a D_t or w_t of the dump is not the definition's."""
    parser = Parser(prog="python -m recipe.tw_grpo.recompute", description=__doc__.split("\n\n")[0])
    add, run = parser.add_argument, TWGRPOConfig()
    add("model", help="Hugging Face folder of the policy that answered")
    add("dump", type=Path, help="{step}.jsonl of trainer.rollout_data_dir")
    add("data", type=Path, help="parquet the prompts came from")
    add("--temperature", type=float, default=1.0, help="actor_rollout_ref.rollout.temperature")
    add("--alpha", type=float, default=run.alpha, help="algorithm.tw_grpo.alpha")
    for name in ("positions", "divergence", "weight_form"):
        add(f"--{name.replace('_', '-')}", choices=CHOICES[name], default=getattr(run, name), help="likewise")
    add(
        "--tolerance",
        type=float,
        help="accepted relative error of D_t, for a run in bfloat16; without it, what layers in float32 lose",
    )
    options = parser.parse_args(arguments)
    settings = TWGRPOConfig(options.alpha, options.positions, options.divergence, options.weight_form)
    results = recompute(
        options.model,
        options.dump,
        options.data,
        temperature=options.temperature,
        settings=settings,
        tolerance=options.tolerance,
    )
    for result in results:
        print(json.dumps(result))
    wrong = sum(not result["agrees"] for result in results)
    worst = {name: max(result[name] for result in results) for name in ("D_relative_error", "w_absolute_error")}
    print(
        f"{len(results)} groups, {wrong} not within their limits; largest relative error of D_t "
        f"{worst['D_relative_error']:.2e}, largest error of w_t {worst['w_absolute_error']:.2e}"
    )
    return int(wrong > 0)
