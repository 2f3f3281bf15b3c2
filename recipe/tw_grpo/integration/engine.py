# SPDX-License-Identifier: Apache-2.0
"""verl's FSDP engine, which on request also returns D_t (Eq. 4) of every response from the log-probability pass.

The forward passes are verl's own, in verl's own micro-batches; a hook on the base model keeps the last hidden states of
the response tokens, and a group's divergence is computed as soon as its last response has passed. Without the request
(an entry of the batch that only `trainer.py` sets, see `names.py`) every method is verl's. The options of `freezing.py`
and `schedule.py` work without it.
"""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.tensor import DTensor
from verl.utils import tensordict_utils as tu
from verl.utils.device import get_device_id
from verl.workers.config.optimizer import build_optimizer
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

from recipe.tw_grpo.divergence import group_divergence
from recipe.tw_grpo.groups import rows_by_group
from recipe.tw_grpo.integration import freezing, names, schedule
from recipe.tw_grpo.prompt_mean import prompt_factors, tokens_by_prompt

_CHECKED_TOKENS = 64


class TWGRPOEngine(FSDPEngineWithLMHead):
    """FSDP engine whose `infer_batch` adds the model output `token_divergence` when the batch asks for it."""

    _pass: _DivergencePass | None = None
    _head_checked = False

    def initialize(self) -> None:
        super().initialize()
        base_of(self.module).register_forward_hook(self._keep_hidden_states)

    def _build_module(self) -> torch.nn.Module:
        module = super()._build_module()
        if freezing.asked_for(self.engine_config):
            freezing.freeze_vision_tower(module)
        return module

    def _build_lora_module(self, module: torch.nn.Module) -> torch.nn.Module:
        module = super()._build_lora_module(module)
        if freezing.asked_for(self.engine_config):  # adapters may sit in the tower as well
            freezing.freeze_vision_tower(module)
        return module

    def _build_optimizer(self, module: torch.nn.Module) -> torch.optim.Optimizer:
        """As verl's; frozen parameters of a vision tower stay out of it, so they have no state and no checkpoint."""
        if not freezing.asked_for(self.engine_config):
            return super()._build_optimizer(module)
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        return build_optimizer(trained, self.optimizer_config)

    def _build_lr_scheduler(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """As verl's; it has no linear decay (schedule.py)."""
        if self.optimizer_config.lr_scheduler_type == schedule.LINEAR:
            return schedule.linear_schedule(optimizer, self.optimizer_config)
        return super()._build_lr_scheduler(optimizer)

    def infer_batch(self, data: TensorDict, loss_function: Any = None) -> Any:
        """As verl's; on request model_output also has `token_divergence`, nested [B, (length)] float32: for each token
        of each response the D_t of its group, NaN in the groups that were left out.

        Raises:
            RuntimeError: the hidden states and the LM head do not reproduce verl's log-probabilities.
        """
        request = tu.get_non_tensor_data(data, names.DIVERGENCE_REQUEST, None)
        if request is None:
            return super().infer_batch(data, loss_function=loss_function)
        data[names.ROW] = torch.arange(data.shape[0])
        self._pass = _DivergencePass(
            uids=list(tu.get(data, "uid")), head=full_head(self.module, self._autocast_dtype), request=request
        )
        try:
            output = super().infer_batch(data, loss_function=loss_function)
            output["model_output"][names.TOKEN_DIVERGENCE] = self._pass.result()
        finally:
            self._pass = None
            del data[names.ROW]
        return output

    def train_batch(self, data: TensorDict, loss_function: Any) -> Any:
        """As verl's, on one mini-batch; on request its loss is the mean over prompts (Eq. 6, see prompt_mean.py)."""
        if tu.get_non_tensor_data(data, names.NORMALIZATION_REQUEST, None) != "prompt":
            return super().train_batch(data, loss_function=loss_function)
        advantages = data["advantages"]
        data["advantages"] = self._mean_over_prompts(data)
        try:
            return super().train_batch(data, loss_function=loss_function)
        finally:
            data["advantages"] = advantages

    def _mean_over_prompts(self, data: TensorDict) -> torch.Tensor:
        """The advantages, nested [B, (length)], times the factor of their prompt."""
        uids = list(tu.get(data, "uid"))
        tokens = [float(row.sum()) for row in data["response_mask"].unbind()]
        totals = torch.tensor([float(data["loss_mask"].sum()), float(len(tokens_by_prompt(uids, tokens)))])
        totals = totals.to(get_device_id())
        torch.distributed.all_reduce(totals, group=self.get_data_parallel_group())
        all_tokens, all_prompts = totals.tolist()
        factors = prompt_factors(uids, tokens, all_tokens=all_tokens, all_prompts=all_prompts)
        advantages = data["advantages"]
        per_token = factors.to(advantages.device).repeat_interleave(advantages.offsets().diff())
        return torch.nested.nested_tensor_from_jagged(advantages.values() * per_token, advantages.offsets())

    def _keep_hidden_states(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        if self._pass is not None:
            self._pass.hidden = output[0]

    def prepare_model_outputs(
        self, output: Any, output_args: Any, micro_batch: TensorDict, logits_processor_func: Any
    ) -> Any:
        model_output = super().prepare_model_outputs(output, output_args, micro_batch, logits_processor_func)
        if self._pass is not None:
            packed = self._packed_hidden_states(self._pass.hidden, micro_batch, output_args)
            self._pass.hidden = None
            if not self._head_checked:
                self._check_head(packed, micro_batch, model_output["log_probs"].values())
            self._pass.add(packed, micro_batch)
        return model_output

    def _packed_hidden_states(self, hidden: torch.Tensor, micro_batch: TensorDict, output_args: Any) -> torch.Tensor:
        """[total tokens of the micro-batch, d], however the forward pass was laid out."""
        if tu.get_non_tensor_data(micro_batch, "use_remove_padding", True):
            return self._gather_and_unpad_packed(hidden.squeeze(0), output_args["pad_size"])
        lengths = micro_batch["input_ids"].offsets().diff()
        return torch.cat([row[:length] for row, length in zip(hidden, lengths.tolist(), strict=True)])

    def _check_head(self, packed: torch.Tensor, micro_batch: TensorDict, log_probs: torch.Tensor) -> None:
        """Refuse models whose logits are not hidden_states @ lm_head.T, on tokens of the first micro-batch."""
        rows = torch.cat([span for _, span in _response_spans(micro_batch)])[:_CHECKED_TOKENS].to(packed.device)
        following = torch.roll(micro_batch["input_ids"].values(), -1, dims=0)[rows]
        logits = packed[rows].float() @ self._pass.head.to(packed.device, torch.float32).T
        logits /= _temperature(micro_batch, 0)
        ours = logits.log_softmax(dim=-1).gather(-1, following[:, None]).squeeze(-1)
        gap = (ours - log_probs[rows].float()).abs().median().item()
        allowed = 1e-3 if self._autocast_dtype == torch.float32 else 0.1
        if not gap <= allowed:
            raise RuntimeError(
                f"tw_grpo cannot weight the tokens of {type(unwrap(self.module)).__name__}: its last hidden states and "
                f"LM head give log-probabilities that differ from verl's by {gap:.3g} (median of {len(rows)} tokens, "
                f"allowed {allowed:g}). Heads with soft-capping, logit scaling, a bias or a split vocabulary are not "
                "supported; use adv_estimator=grpo for this model"
            )
        self._head_checked = True


class _DivergencePass:
    """Hidden states of one log-probability pass, kept per group until the group is complete."""

    def __init__(self, uids: list[Any], head: torch.Tensor, request: names.DivergenceRequest) -> None:
        self.head = head
        self.request = request
        self.uids = uids
        self.groups = rows_by_group(uids)
        self.hidden: torch.Tensor | None = None  # of the micro-batch in flight, from the hook to prepare_model_outputs
        self.waiting: dict[int, torch.Tensor] = {}
        self.temperature: dict[int, float] = {}
        self.finished: dict[int, torch.Tensor] = {}

    def add(self, packed: torch.Tensor, micro_batch: TensorDict) -> None:
        """Take the response states out of [total tokens, d] and finish the groups that are complete now."""
        rows = micro_batch[names.ROW].tolist()
        for position, span in _response_spans(micro_batch):
            if self.uids[rows[position]] in self.request.left_out:
                self.finished[rows[position]] = packed.new_full((len(span),), torch.nan, dtype=torch.float32)
                continue
            states = packed[span.to(packed.device)]
            self.waiting[rows[position]] = states.cpu() if self.request.offload else states
            self.temperature[rows[position]] = _temperature(micro_batch, position)
        for uid in {self.uids[row] for row in rows}:
            members = self.groups[uid]
            if all(row in self.waiting for row in members):
                self._finish(members)

    def _finish(self, members: list[int]) -> None:
        states = [self.waiting.pop(row) for row in members]
        temperatures = {self.temperature[row] for row in members}
        if len(temperatures) > 1:
            raise RuntimeError(f"tw_grpo: the responses of one prompt were sampled at temperatures {temperatures}")
        lengths = torch.tensor([state.shape[0] for state in states])
        divergence = group_divergence(
            torch.cat(states).to(self.head.device),
            self.head,
            lengths,
            temperature=temperatures.pop(),
            divergence=self.request.divergence,
        ).float()
        for row, length in zip(members, lengths.tolist(), strict=True):
            self.finished[row] = divergence[:length]

    def result(self) -> torch.Tensor:
        """Nested [B, (len)] float32 in the order of the batch."""
        rows = [self.finished[row] for row in range(len(self.uids))]
        return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def _response_spans(micro_batch: TensorDict) -> list[tuple[int, torch.Tensor]]:
    """Per response of the micro-batch: the packed positions whose states predict its tokens (one before each token)."""
    ends = micro_batch["input_ids"].offsets()[1:].tolist()
    lengths = micro_batch["responses"].offsets().diff().tolist()
    return [
        (i, torch.arange(end - length - 1, end - 1)) for i, (end, length) in enumerate(zip(ends, lengths, strict=True))
    ]


def _temperature(micro_batch: TensorDict, position: int) -> float:
    temperature = tu.get(micro_batch, "temperature")
    return float(temperature[position] if isinstance(temperature, torch.Tensor) and temperature.dim() else temperature)


def unwrap(module: torch.nn.Module) -> torch.nn.Module:
    """The Hugging Face model inside FSDP1 and PEFT wrappers (FSDP2 does not wrap)."""
    if isinstance(module, FullyShardedDataParallel):
        module = module.module
    return module.get_base_model() if hasattr(module, "get_base_model") else module


def base_of(module: torch.nn.Module) -> torch.nn.Module:
    """The part of a Hugging Face model that ends in the last hidden states, below the LM head."""
    return unwrap(module).base_model


def full_head(module: torch.nn.Module, dtype: torch.dtype) -> torch.Tensor:
    """The whole LM-head weight [V, d] on this rank's device, in the dtype the policy computes with.

    A collective of all ranks of the model (FSDP1 and FSDP2): every rank has to call it.
    """
    model = unwrap(module)
    if isinstance(module, FullyShardedDataParallel):
        with FullyShardedDataParallel.summon_full_params(module, recurse=False, writeback=False):
            return model.get_output_embeddings().weight.detach().to(device=get_device_id(), dtype=dtype, copy=True)
    weight = model.get_output_embeddings().weight.detach().to(device=get_device_id(), dtype=dtype)
    return weight.full_tensor() if isinstance(weight, DTensor) else weight
