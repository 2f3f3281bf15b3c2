# SPDX-License-Identifier: Apache-2.0
"""What the engine tests share: tiny models on disk, verl's real FSDP2 engine, batches, and D_t by definition."""

from __future__ import annotations

from pathlib import Path

import torch
import verl  # noqa: F401  first: its plugins make torchvision importable for transformers on a CPU machine

from recipe.tw_grpo.divergence import group_divergence_reference
from recipe.tw_grpo.runs.rounding import divergence_limit, layer_rounding

VOCABULARY = 331
VIDEO_TOKENS = torch.tensor([VOCABULARY - 3, VOCABULARY - 2, VOCABULARY - 2])  # eight patches make two tokens
FP32 = {"param_dtype": "fp32", "reduce_dtype": "fp32", "buffer_dtype": "fp32"}
# Six responses of two prompts, interleaved; one of a single token, one much longer than its siblings.
UIDS = ["p", "q", "p", "q", "p", "q"]
PROMPTS = {"p": 5, "q": 9, "r": 4, "s": 7}
LENGTHS = [4, 11, 7, 3, 1, 6]
# The same for as many data-parallel ranks, each with the responses of one prompt.
ON_RANKS = {
    1: (UIDS, LENGTHS),
    2: (UIDS, LENGTHS),
    4: (["p", "q", "r", "s"] * 3, [4, 11, 7, 3, 1, 6, 8, 2, 5, 9, 3, 10]),
}


def write_model(path: Path, kind: str = "qwen2", tied: bool = False, spread: float = 0.1) -> Path:
    """A random model, float32 on disk. Its weights are large by default, so that the responses disagree visibly."""
    import transformers

    torch.manual_seed(7)
    shape = dict(
        vocab_size=VOCABULARY,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        max_position_embeddings=256,
        initializer_range=spread,
        bos_token_id=0,
        eos_token_id=1,
    )
    tokens = dict(
        tie_word_embeddings=tied,
        image_token_id=VOCABULARY - 1,
        video_token_id=VOCABULARY - 2,
        vision_start_token_id=VOCABULARY - 3,
    )
    rope = {"rope_type": "default", "type": "default", "mrope_section": [2, 2, 2], "rope_theta": 10000.0}
    vision = dict(depth=1, hidden_size=32, intermediate_size=32, num_heads=2, out_hidden_size=48)
    text = dict(**shape, rope_parameters=rope, tie_word_embeddings=tied)
    if kind == "qwen2":
        model = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**shape, tie_word_embeddings=tied))
    elif kind == "qwen3":
        model = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**shape, tie_word_embeddings=tied))
    elif kind == "qwen2_5_vl":
        vision |= dict(fullatt_block_indexes=[0], window_size=112)
        config = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **tokens)
        model = transformers.Qwen2_5_VLForConditionalGeneration(config)
    elif kind == "qwen3_vl":
        vision |= dict(deepstack_visual_indexes=[0], num_position_embeddings=64, patch_size=14, spatial_merge_size=2)
        text["rope_parameters"] = rope | {"mrope_interleaved": True}
        config = transformers.Qwen3VLConfig(
            text_config=text, vision_config=vision, vision_end_token_id=VOCABULARY - 4, **tokens
        )
        model = transformers.Qwen3VLForConditionalGeneration(config)
    else:
        raise ValueError(f"no model {kind!r} here")
    model.save_pretrained(path)
    return path


def build_engine(
    path: Path,
    mixed_precision: dict | None = None,
    model_options: dict | None = None,
    engine_options: dict | None = None,
    attention: str = "sdpa",
    **actor_options,
):
    """verl's engine for this model as verl's own workers find it: actor configuration, then EngineRegistry."""
    from verl.trainer.config import CheckpointConfig
    from verl.workers.config import FSDPEngineConfig, HFModelConfig
    from verl.workers.engine import EngineRegistry

    defaults = {"use_remove_padding": False, "enable_gradient_checkpointing": False}
    model = HFModelConfig(
        path=str(path),
        load_tokenizer=False,
        override_config={"attn_implementation": attention},
        **(defaults | (model_options or {})),
    )
    settings = FSDPEngineConfig(
        strategy="fsdp2",
        use_torch_compile=False,
        use_remove_padding=model.use_remove_padding,
        use_fused_kernels=model.use_fused_kernels,
        mixed_precision=mixed_precision or FP32,
        **(engine_options or {}),
    )
    actor = actor_config(fsdp_config=settings, **actor_options)
    engine = EngineRegistry.new(
        model_type="language_model",
        backend="fsdp2",
        model_config=model,
        engine_config=actor.engine,
        optimizer_config=actor.optim,
        checkpoint_config=CheckpointConfig(),
    )
    engine.initialize()
    return engine


def actor_config(**options):
    """verl's actor configuration for these batches."""
    from verl.workers.config import FSDPActorConfig, FSDPOptimizerConfig

    return FSDPActorConfig(
        strategy="fsdp2",
        clip_ratio=0.2,
        clip_ratio_low=0.2,
        clip_ratio_high=0.28,
        ppo_micro_batch_size_per_gpu=2,
        rollout_n=3,
        ppo_mini_batch_size=2,
        **({"optim": FSDPOptimizerConfig(lr=1e-3, total_training_steps=10)} | options),
    )


def train(engine, batch, advantage: float) -> dict:
    """Metrics of one step of verl's PPO loss, the same advantage for every token."""
    import functools

    from verl.workers.utils.losses import ppo_loss

    batch["old_log_probs"] = nested(torch.full((n,), -5.0) for n in LENGTHS)
    batch["advantages"] = nested(torch.full((n,), advantage) for n in LENGTHS)
    with engine.train_mode():
        return engine.train_batch(batch, functools.partial(ppo_loss, config=actor_config()))["metrics"]


def policy_gradient_fields(rows, lengths=LENGTHS) -> dict[str, list[torch.Tensor]]:
    """Old log-probabilities, advantages and weights of some rows of the standard batch, [length] each: ratios on both
    sides of the clip range for a policy whose log-probabilities are about -6."""
    g = torch.Generator().manual_seed(11)
    every = {
        "old_log_probs": [-6 + 0.6 * torch.randn(n, generator=g) for n in lengths],
        "advantages": [torch.randn(1, generator=g).expand(n).clone() for n in lengths],
        "weights": [1 + 0.7 * torch.rand(n, generator=g) for n in lengths],
    }
    return {name: [values[row] for row in rows] for name, values in every.items()}


def step(engine, rows, placement: str, *, normalization: str = "prompt", uids=UIDS, lengths=LENGTHS, **batch_options):
    """Gradients and changes of all parameters in one real update with SGD-like visibility: no clipping of the gradient.

    `batch_options` are those of `make_batch`. Rows of the uid "pad" have no loss, as verl's placeholders.

    Returns:
        {name: gradient}, {name: parameter after the step}, both full tensors.
    """
    import functools

    from verl.utils import tensordict_utils as tu
    from verl.workers.config import PolicyLossConfig
    from verl.workers.utils.losses import ppo_loss

    from recipe.tw_grpo.integration import names

    fields = policy_gradient_fields(rows, lengths)
    batch = make_batch(uids, lengths, rows, request=None, **batch_options)
    tu.assign_non_tensor(batch, **{names.NORMALIZATION_REQUEST: normalization})
    real = [uid != "pad" for uid in uids_of(batch)]
    for name in ("loss_mask", "response_mask"):
        batch[name] = nested(row * kept for row, kept in zip(batch[name].unbind(), real, strict=True))
    batch["old_log_probs"] = nested(fields["old_log_probs"])
    if placement == "outside":
        batch["advantages"] = nested(a * w for a, w in zip(fields["advantages"], fields["weights"], strict=True))
        loss = PolicyLossConfig(loss_mode="vanilla")
    else:
        batch["advantages"] = nested(fields["advantages"])
        batch["rollout_is_weights"] = nested(fields["weights"])
        loss = PolicyLossConfig(loss_mode="tw_grpo")
    config = actor_config(clip_ratio_c=1e6, policy_loss=loss)
    engine.optimizer_config.clip_grad = 1e9
    with engine.train_mode():
        engine.train_batch(batch, functools.partial(ppo_loss, config=config))
        gradient = {name: _whole(p.grad) for name, p in engine.module.named_parameters() if p.requires_grad}
    return gradient, {name: _whole(weight) for name, weight in engine.module.named_parameters()}


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach().clone()


def sequences(uids=UIDS, lengths=LENGTHS) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(prompt, response) token ids; the prompt depends on the uid only, "pad" rows are verl's placeholders."""
    g = torch.Generator().manual_seed(3)
    prompts = {uid: torch.randint(0, 300, (n,), generator=g) for uid, n in PROMPTS.items()}
    prompts["pad"] = torch.ones(12, dtype=torch.int64)
    return [
        (prompts[uid], torch.ones(n, dtype=torch.int64) if uid == "pad" else torch.randint(0, 300, (n,), generator=g))
        for uid, n in zip(uids, lengths, strict=True)
    ]


def video() -> dict[str, torch.Tensor]:
    """The video that stands before every prompt of a vision-language batch, as VIDEO_TOKENS."""
    pixels = torch.randn(8, 3 * 2 * 14 * 14, generator=torch.Generator().manual_seed(5))
    return {"pixel_values_videos": pixels, "video_grid_thw": torch.tensor([[1, 2, 4]])}


def nested(rows):
    return torch.nested.as_nested_tensor(list(rows), layout=torch.jagged)


def make_batch(
    uids=UIDS,
    lengths=LENGTHS,
    rows=None,
    *,
    temperature=1.0,
    micro=1,
    max_tokens=None,
    request="kl",
    vl=False,
    packed=False,
    fused=False,
):
    """A batch as verl's trainer sends it to compute_log_prob; `rows` picks some of the sequences, in that order."""
    from tensordict import TensorDict
    from verl.utils import tensordict_utils as tu

    from recipe.tw_grpo.integration import names

    all_pairs = sequences(uids, lengths)
    rows = list(range(len(uids))) if rows is None else rows
    pairs = [all_pairs[row] for row in rows]
    if vl:
        pairs = [(torch.cat([VIDEO_TOKENS, prompt]), response) for prompt, response in pairs]
    ids = [torch.cat(pair) for pair in pairs]
    positions = [torch.arange(len(row)) for row in ids]
    fields = {
        "input_ids": nested(ids),
        "position_ids": nested([p.expand(4, -1).contiguous() for p in positions] if vl else positions),
        "prompts": nested(prompt for prompt, _ in pairs),
        "responses": nested(response for _, response in pairs),
        "loss_mask": nested(torch.cat([torch.zeros_like(p), torch.ones_like(r)]) for p, r in pairs),
        "response_mask": nested(torch.ones_like(response) for _, response in pairs),
        "attention_mask": nested(torch.ones_like(row) for row in ids),
    }
    batch = TensorDict(fields, batch_size=[len(rows)])
    tu.assign_non_tensor_stack(batch, "uid", [uids[row] for row in rows])
    tu.assign_non_tensor(
        batch,
        use_remove_padding=packed,
        temperature=temperature,
        calculate_entropy=False,
        use_dynamic_bsz=max_tokens is not None,
        micro_batch_size_per_gpu=micro,
        pad_token_id=0,
        use_fused_kernels=fused,
        global_batch_size=len(rows),
    )
    if vl:
        tu.assign_non_tensor_stack(batch, "multi_modal_inputs", [video()] * len(rows))
    if max_tokens is not None:
        tu.assign_non_tensor(batch, max_token_len_per_gpu=max_tokens)
    if request:
        request = names.DivergenceRequest(request) if isinstance(request, str) else request
        tu.assign_non_tensor(batch, **{names.DIVERGENCE_REQUEST: request})
    return batch


def infer(engine, batch):
    """model_output of the engine in evaluation mode."""
    with engine.eval_mode():
        return engine.infer_batch(batch)["model_output"]


def uids_of(batch) -> list[str]:
    """Prompt id of each row."""
    from verl.utils import tensordict_utils as tu

    return list(tu.get(batch, "uid"))


def infer_and_define(engine, batch):
    """model_output, and D_t of each row by Eq. 4 in float64 from the last hidden states of this very pass.

    Packed or padded, a forward pass is taken apart by its input ids, which are different for all rows.
    """
    from verl.utils import tensordict_utils as tu

    from recipe.tw_grpo.integration.engine import base_of, full_head

    rows = [row.tolist() for row in batch["input_ids"].unbind()]
    ids_in_flight, states = [], {}

    def remember(module, args, kwargs):
        ids_in_flight[:] = kwargs["input_ids"].tolist()

    def keep(module, args, output):
        for ids, hidden in zip(ids_in_flight, output[0].detach().double(), strict=True):
            start = 0
            while start < len(ids) and (row := next((r for r in rows if ids[start : start + len(r)] == r), None)):
                states[tuple(row)] = hidden[start : start + len(row)].clone()
                start += len(row)

    hooks = [
        engine.module.register_forward_pre_hook(remember, with_kwargs=True),
        base_of(engine.module).register_forward_hook(keep),
    ]
    try:
        output = infer(engine, batch)
    finally:
        for hook in hooks:
            hook.remove()
    head = full_head(engine.module, engine._autocast_dtype).double()
    temperature = torch.as_tensor(tu.get(batch, "temperature")).expand(len(batch))
    lengths = [len(row) for row in batch["responses"].unbind()]
    logits = [
        states[tuple(row)][-n - 1 : -1] @ head.T / t
        for row, n, t in zip(rows, lengths, temperature.double(), strict=True)
    ]
    return output, by_group(logits, uids_of(batch))


def plain_logits(path: Path, dtype: torch.dtype, uids=UIDS, lengths=LENGTHS) -> list[torch.Tensor]:
    """[length, V] float64 of each row from the Hugging Face model alone, one sequence at a time, without verl."""
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation="sdpa")
    logits = []
    with torch.no_grad():
        for prompt, response in sequences(uids, lengths):
            ids = torch.cat([prompt, response])
            logits.append(model.eval()(input_ids=ids[None]).logits[0, len(prompt) - 1 : -1].double())
    return logits


def definition(path: Path, uids=UIDS, lengths=LENGTHS) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """D_t of each row with layers in float64, and the error that layers in float32 explain (runs/rounding.py)."""
    exact, rounded = (plain_logits(path, dtype, uids, lengths) for dtype in (torch.float64, torch.float32))
    delta, defined = max(map(layer_rounding, rounded, exact)), by_group(exact, uids)
    return defined, [divergence_limit(d, delta, uids.count(uid)) for d, uid in zip(defined, uids, strict=True)]


def by_group(logits: list[torch.Tensor], uids: list[str]) -> list[torch.Tensor]:
    """[length, V] of each row -> D_t of each row, [length], each uid a group."""
    result: list[torch.Tensor] = [torch.empty(0)] * len(uids)
    for uid in set(uids):
        rows = [row for row, name in enumerate(uids) if name == uid]
        padded = torch.nn.utils.rnn.pad_sequence([logits[row] for row in rows], batch_first=True)
        divergence = group_divergence_reference(padded, torch.tensor([len(logits[row]) for row in rows]))
        for row in rows:
            result[row] = divergence[: len(logits[row])]
    return result
