# SPDX-License-Identifier: Apache-2.0
"""The memory plan: what lies on a GPU, in host memory and on disk at each phase of a step, by arithmetic alone.

`plan` takes the sizes of a model (model_sizes.py) and verl's composed settings. Parts that follow from the sizes are
exact; the others (activations, what CUDA and a sleeping vLLM keep) are upper estimates for sequences of full length and
are marked so. Nothing here was measured on a GPU; tests compare the arithmetic with tiny models on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from recipe.tw_grpo.config import ESTIMATOR
from recipe.tw_grpo.doctor.memory_items import GIB, Item, Phase, Plan, Settings
from recipe.tw_grpo.doctor.model_sizes import Sizes
from recipe.tw_grpo.kernels.plan import GPU, Budget
from recipe.tw_grpo.toolbox.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

CARDS = {40: 39.4, 80: 79.1}  # GB on the box: GiB that torch reports as total_memory (A100 40 GB; A100 and H100 80 GB)
CONTEXT = 1.0 * GIB  # of the trainer's process: CUDA's context and NCCL's buffers
ASLEEP = 1.5 * GIB  # of a sleeping vLLM: context, CUDA graphs (0.8 in NVIDIA-NeMo/RL issue 223, without verl's graphs)
PROCESSES = (10 * GIB, 8 * GIB)  # host: Ray, driver and data loader; for each GPU two processes with torch and batches
BYTES = {"fp32": 4, "float32": 4, "bf16": 2, "bfloat16": 2, "fp16": 2, "float16": 2}
STATES = {"AdamW": 2, "Adam": 2, "Adagrad": 1, "SGD": 0}  # of torch.optim: values kept for each trained parameter


def tile_buffers(budget: Budget) -> int:
    """Bytes the divergence works in: kept logits, six tiles, a raised tile of the head, all float32 (a test counts)."""
    return 4 * (budget.kept + 6 * budget.tile + budget.raised)


def plan(config: DictConfig | Settings, sizes: Sizes, gib: float) -> Plan:
    """The plan for verl's composed settings on GPUs of `gib` GiB each. FSDP shards as FSDP2 does; one vLLM a GPU group.

    The log-prob pass of a reference policy is planned as the actor's: it holds less. Rollout on GPUs of its own
    (trainer_mode=separate_async) is planned as if they were the same.

    Raises:
        UserError: the actor is trained by another engine than FSDP.
    """
    if not str(config.actor_rollout_ref.actor.strategy).startswith("fsdp"):
        strategy = config.actor_rollout_ref.actor.strategy
        raise UserError(f"actor_rollout_ref.actor.strategy={strategy} cannot be planned: the plan is FSDP's")
    run = _Run(Settings.of(config), sizes, gib * GIB)
    return Plan(
        capacity=run.capacity,
        phases=tuple(Phase(name, tuple(item for item in items if item.bytes)) for name, items in run.phases()),
        cache=run.vllm_budget - run.vllm_weights - run.vllm_workspace,
        request=run.request,
        weights=run.vllm_weights,
        host=tuple(item for item in run.host() if item.bytes),
        start=run.loading(),
        checkpoint=tuple(item for item in run.checkpoint() if item.bytes),
        kept=run.kept(),
    )


class _Run:
    """The numbers of one run that several phases need, in bytes or counts, per GPU unless the name says otherwise."""

    def __init__(self, config: Settings, sizes: Sizes, capacity: float) -> None:
        actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
        self.config, self.sizes, self.capacity, self.actor, self.rollout = config, sizes, capacity, actor, rollout
        self.fsdp = actor.fsdp_config
        self.node = config.trainer.n_gpus_per_node
        self.ranks = self.node * config.trainer.nnodes
        size = self.fsdp.get("fsdp_size", -1)
        self.shards = size if 0 < size < self.ranks else self.ranks
        self.ulysses = max(1, actor.get("ulysses_sequence_parallel_size", 1))
        self.master = BYTES.get(str(self.fsdp.get("model_dtype", "fp32")), 4)
        mixed = self.fsdp.get("mixed_precision") or {}
        self.compute = BYTES.get(str(mixed.get("param_dtype", "bf16")), 2)
        self.reduce = BYTES.get(str(mixed.get("reduce_dtype", "fp32")), 4)
        self.on_host = bool(self.fsdp.get("offload_policy", False))  # FSDP2's own: the optimizer steps on the host
        self.parameters = sizes.local(self.shards) * self.master
        self.trained = sizes.local(self.shards, trained=True)
        # of other optimizers (8-bit ones, say) the state is guessed as Adam's
        self.known = actor.optim.optimizer in STATES and actor.optim.optimizer_impl == "torch.optim"
        self.count = STATES.get(actor.optim.optimizer, 2)
        self.adapters = sizes.trained < sizes.elements and config.actor_rollout_ref.model.get("lora_rank", 0) > 0
        self._set_vllm()

    # vLLM

    def _set_vllm(self) -> None:
        sizes, rollout = self.sizes, self.rollout
        width = rollout.tensor_model_parallel_size * rollout.get("pipeline_model_parallel_size", 1)
        value = BYTES.get(str(rollout.dtype), 2)
        self.vllm_budget = rollout.gpu_memory_utilization * self.capacity
        self.vllm_weights = sizes.elements * value / width
        lengths = self.config.data.max_prompt_length + self.config.data.max_response_length
        length = rollout.get("max_model_len") or max(sizes.positions, lengths)
        self.request = length * sizes.layers * sizes.key_value * value / width
        batched = rollout.get("max_num_batched_tokens") or length
        inner = 3 * sizes.intermediate / width + 6 * sizes.hidden
        self.vllm_workspace = batched * inner * value + (rollout.max_num_seqs * sizes.vocabulary * 8) + GIB
        self.sleeps = bool(rollout.free_cache_engine) and bool(rollout.get("enable_sleep_mode", True))
        beside = ASLEEP * (2 if width > 1 else 1)
        self.vllm_beside = Item("vLLM asleep", beside, False) if self.sleeps else Item("vLLM awake", self.vllm_budget)

    # the optimizer

    @property
    def states(self) -> float:
        return self.count * self.trained * self.master

    def temporaries(self) -> Item:
        """What one step of torch.optim's Adam allocates (torch/optim/adamw.py): foreach, torch's choice on a GPU, takes
        the root of every second moment at once, the loop of the largest parameter's only, a fused step nothing."""
        options = dict(self.actor.optim.get("override_optimizer_config") or {})
        if self.on_host or options.get("fused"):
            return Item("", 0)
        if options.get("foreach") is False:
            largest = max(self.sizes.shards(self.shards, trained=True), default=0)
            return Item("optimizer's temporaries (for-loop)", 2 * largest * self.master, self.known)
        return Item("optimizer's temporaries (foreach)", self.trained * self.master, self.known)

    def gradients(self) -> Item:
        if self.fsdp.get("use_no_sync_for_gradient_accumulation"):
            return Item("gradients, whole on every GPU", self.sizes.trained * self.reduce)
        return Item("gradients", 0 if self.on_host else self.trained * self.master)

    # passes over sequences

    def tokens(self, update: bool) -> int:
        """Of the longest micro-batch, on this GPU."""
        longest = self.config.data.max_prompt_length + self.config.data.max_response_length
        owner, prefix = (self.actor, "ppo_") if update else (self.rollout, "log_prob_")
        if owner.use_dynamic_bsz if update else owner.log_prob_use_dynamic_bsz:
            return int(owner.get(f"{prefix}max_token_len_per_gpu"))
        return -(-(owner.get(f"{prefix}micro_batch_size_per_gpu") or 1) * longest // self.ulysses)

    def logits(self, update: bool) -> Item:
        """Rows of the vocabulary that live at once. Bytes an entry as verl's engine makes them: packed with flash-attn
        the logits only, their gradient in place; padded a copy of them and a float32 log-softmax. The log-prob pass
        also takes the entropy, in float32 (its compiled form keeps one copy, estimated)."""
        if self.config.actor_rollout_ref.model.get("use_fused_kernels"):
            return Item("logits in chunks (fused kernels)", 3 * 512 * self.sizes.vocabulary * 4, False)
        padded = not self.config.actor_rollout_ref.model.use_remove_padding
        entropy = not update or self.actor.get("entropy_coeff", 0) != 0 or self.actor.get("calculate_entropy", False)
        each = self.compute * (1 + padded + (self.rollout.temperature != 1))
        if entropy and not self.fsdp.get("entropy_from_logits_with_chunking"):
            each += 4 if self.fsdp.get("use_torch_compile", True) and not padded else 8
        elif padded and update:
            each += 4
        return Item("logits", self.tokens(update) * self.sizes.vocabulary * each, False)

    def layer_activations(self, tokens: int) -> float:
        """What the backward pass of one decoder layer keeps; a test compares it with a measured layer."""
        sizes = self.sizes
        compute = 4 * sizes.intermediate + 4 * sizes.query + 2 * sizes.key_value + 4 * sizes.hidden
        return tokens * (compute * self.compute + 4 * sizes.hidden * 4)

    def unit_sizes(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """(elements, trained) of the head's or embedding's unit, of the largest other unit, and of the root's."""
        matrix = self.sizes.vocabulary * self.sizes.hidden
        units = [size for name, size in self.sizes.units.items() if name]
        heads = [size for size in units if size[0] == matrix]
        others = [size for size in units if size[0] != matrix]
        return max(heads, default=(0, 0)), max(others, default=(0, 0)), self.sizes.units.get("", (0, 0))

    def backward(self) -> Iterator[Item]:
        """The working space of one micro-batch's backward pass, at the fullest of its three moments."""
        tokens, (head, head_trained), (layer, layer_trained), (root, root_trained) = (
            self.tokens(True),
            *self.unit_sizes(),
        )
        kept = tokens * self.sizes.hidden * self.compute * self.sizes.layers
        layer_work = self.layer_activations(tokens)
        if not self.config.actor_rollout_ref.model.enable_gradient_checkpointing:
            kept = layer_work * self.sizes.layers
        gathered = root * self.compute + root_trained * self.compute
        following = 2 * layer * self.compute  # gathered ahead: NCCL's buffer and the parameters
        reduced = self.reduce * (1 + 1 / self.shards)  # input and output of a reduce-scatter
        logits = self.logits(True)
        moments = (
            logits.bytes + head * self.compute + head_trained * self.compute + following,
            max(head_trained, root_trained) * (self.compute + reduced) + following,
            layer_work + (layer + layer_trained) * self.compute + following + layer_trained * reduced,
        )
        yield Item("activations kept for the backward pass", kept, False)
        if max(moments) == moments[0]:
            yield Item(logits.name, logits.bytes, False)
        elif max(moments) == moments[2]:
            yield Item("activations of one layer", layer_work, False)
        rest = max(moments) - (logits.bytes if max(moments) == moments[0] else 0)
        rest -= layer_work if max(moments) == moments[2] else 0
        yield Item("gathered parameters and gradients in flight", rest + gathered, False)

    def forward(self) -> Iterator[Item]:
        """The working space of the log-prob pass, inside a layer or behind the head, whichever is fuller; with tw_grpo
        also what the divergence needs."""
        (head, _), (layer, _), (root, _) = self.unit_sizes()
        tokens, sizes, logits = self.tokens(False), self.sizes, self.logits(False)
        weighted = self.config.algorithm.adv_estimator == ESTIMATOR
        group = self.rollout.n * self.config.data.max_response_length * weighted
        # the last group's states once more together, in float32, divided by the temperature, and their differences
        divergence = group * sizes.hidden * (self.compute + 3 * 4)
        divergence += min(tile_buffers(GPU), 4 * group * sizes.vocabulary * 4)
        inside = tokens * self.compute * (3 * sizes.intermediate + 4 * sizes.query + 4 * sizes.hidden)
        if inside + 3 * layer * self.compute > logits.bytes + head * self.compute + divergence:
            yield Item("activations of one layer", inside, False)
            yield Item("gathered parameters", (3 * layer + root) * self.compute, False)
        else:
            yield Item(logits.name, logits.bytes, False)
            yield Item("gathered parameters", (head + root) * self.compute, False)
            yield Item("divergence of one group", divergence, False)
        yield Item("last hidden states", tokens * sizes.hidden * self.compute, False)
        if not weighted:
            return
        yield Item("LM head's copy for the divergence", sizes.vocabulary * sizes.hidden * self.compute)
        prompts = 1
        if self.rollout.log_prob_use_dynamic_bsz:  # micro-batches are then made across prompts
            prompts = -(-self.config.data.train_batch_size * self.ulysses // self.ranks)
        yield Item("hidden states of the responses", prompts * group * sizes.hidden * self.compute, False)

    # the phases

    def phases(self) -> Iterator[tuple[str, list[Item]]]:
        context = Item("CUDA and NCCL", CONTEXT, False)
        stays = 0 if self.on_host or self.fsdp.param_offload else 1  # on the GPU while it is not used
        waits = 0 if self.on_host or self.fsdp.optimizer_offload else 1
        parameters = Item("parameters", 0 if self.on_host else self.parameters)
        states = Item("optimizer", 0 if self.on_host else self.states, self.known)
        idle = [Item(parameters.name, parameters.bytes * stays), Item(states.name, states.bytes * waits, self.known)]
        waiting = Item(states.name, states.bytes * waits, self.known)
        largest = self.sizes.largest * self.master
        bucket = self.rollout.checkpoint_engine.update_weights_bucket_megabytes * 2**20
        yield "rollout", [*idle, Item("vLLM", self.vllm_budget), context]
        yield "log-prob pass", [parameters, waiting, *self.forward(), self.vllm_beside, context]
        update = [parameters, states, self.gradients()]
        yield "backward pass", [*update, *self.backward(), self.vllm_beside, context]
        yield "optimizer step", [*update, self.temporaries(), self.vllm_beside, context]
        weights = self.vllm_weights if self.sleeps else self.vllm_budget
        yield (
            "weight sync",
            [
                *idle,
                Item("vLLM's weights" if self.sleeps else "vLLM", weights),
                Item("transfer: the largest weight, gathered, and the bucket", 2 * largest + bucket, False),
                Item(self.vllm_beside.name, self.vllm_beside.bytes if self.sleeps else 0, False),
                context,
            ],
        )
        whole = Item("the largest weight, gathered", 2 * largest, False)
        yield "checkpoint", [parameters, waiting, whole, self.vllm_beside, context]

    # beside the GPUs

    def host(self) -> Iterator[Item]:
        """Of the first node. Offloaded tensors lie in pinned memory, which PyTorch gives out in powers of two
        (ATen/core/CachingHostAllocator.h), so they take up to twice their size."""
        if self.fsdp.param_offload or self.on_host:
            yield Item("parameters", self.parameters * self.node)
            yield Item("rounding of pinned memory", self.node * self._rounding(trained=False), False)
        if self.fsdp.optimizer_offload or self.on_host:
            yield Item("optimizer", self.states * self.node, self.known)
            yield Item("rounding of pinned memory", self.node * self.count * self._rounding(trained=True), False)
        if self.on_host:
            yield Item("gradients", self.trained * self.master * self.node)
        reference = self.actor.use_kl_loss or self.config.algorithm.use_kl_in_reward
        if reference and not self.adapters:
            yield Item("reference policy", self.parameters * self.node)
        if self.adapters:
            yield Item("vLLM's weights while it sleeps", self.vllm_weights * self.node)
        if "hf_model" in self.contents():
            yield Item("the whole model while it is saved", self.sizes.elements * self.master)
        first, each = PROCESSES
        yield Item("processes", first + each * self.node, False)

    def _rounding(self, trained: bool) -> float:
        shards = self.sizes.shards(self.shards, trained)
        return sum(n * (_power_of_two(size * self.master) - size * self.master) for size, n in shards.items())

    def loading(self) -> float:
        """Every rank of a model with a tied head loads it whole, else rank 0 alone (transformer_impl.py:273)."""
        first, each = PROCESSES
        return self.sizes.elements * self.master * (self.node if self.sizes.tied else 1) + first + each * self.node

    def contents(self) -> list[str]:
        return list(self.actor.checkpoint.save_contents) if self.config.trainer.save_freq > 0 else []

    def checkpoint(self) -> Iterator[Item]:
        """Files of one checkpoint, of all ranks (verl/utils/checkpoint/fsdp_checkpoint_manager.py); all in the dtype of
        the master parameters, the Hugging Face copy as well."""
        contents, shards = self.contents(), self.ranks / self.shards  # with HSDP every replica writes
        if "model" in contents:
            yield Item("parameters", self.sizes.elements * self.master * shards)
        if "optimizer" in contents:
            yield Item("optimizer", self.count * self.sizes.trained * self.master * shards, self.known)
        if "hf_model" in contents:
            yield Item("Hugging Face model", self.sizes.elements * self.master)

    def kept(self) -> int:
        """Checkpoints that stay at most: our keep_newest and the best one, verl's own limit, or all of the run."""
        trainer = self.config.trainer
        if trainer.save_freq <= 0:
            return 0
        every = -(-(trainer.total_training_steps or trainer.save_freq) // trainer.save_freq)
        newest = (trainer.get("tw_grpo") or {}).get("keep_newest", 0)
        limits = [newest + 1] if newest else []
        if trainer.get("max_actor_ckpt_to_keep"):
            limits.append(int(trainer.max_actor_ckpt_to_keep))
        return min([every, *limits])


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length() if count > 0 else 0
