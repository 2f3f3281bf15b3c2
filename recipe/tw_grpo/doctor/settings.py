# SPDX-License-Identifier: Apache-2.0
"""Settings that verl accepts and cannot run, or ignores: found in the composed configuration, before Ray starts.

Each check is one generator of lines `setting=value: why: the way out`; `problems` collects all of them, so that three
mistakes cost one try. What the method itself needs is refused by integration/validation.py, whose line comes first.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

Check = Callable[["DictConfig"], Iterator[str]]
ROLLOUT = "actor_rollout_ref.rollout"
ACTOR = "actor_rollout_ref.actor"
CONTENTS = ("model", "optimizer", "extra", "hf_model")  # verl/utils/checkpoint/checkpoint_manager.py:72
RESUME_MODES = ("auto", "disable", "resume_path")  # verl/trainer/ppo/v1/trainer_base.py:854
TRUNCATIONS = ("error", "left", "right", "middle")  # verl/utils/torch_functional.py:535


def _one_of(setting: str, value: Any, allowed: Iterable[str]) -> Iterator[str]:
    names = sorted(allowed)
    if value not in names:
        close = difflib.get_close_matches(str(value), names, 1)
        meant = f", did you mean {close[0]}" if close else ""
        yield f"{setting}={value} is unknown to verl{meant}: set it to one of {', '.join(names)}"


def _listed(value: Any) -> list[Any]:
    return [value] if value is None or isinstance(value, str) else list(value)


def _data_files(config: DictConfig) -> Iterator[str]:
    for name in ("train_files", "val_files"):
        if config.data.get(name) is None or not list(config.data[name]):
            yield f"data.{name}=null: verl opens it even where it is not used: name a parquet of data_prep"


def _machine_counts(config: DictConfig) -> Iterator[str]:
    for name in ("nnodes", "n_gpus_per_node"):
        if config.trainer[name] < 1:
            yield f"trainer.{name}={config.trainer[name]} leaves nothing to train on: set it to 1 or more"


def _steps(config: DictConfig) -> Iterator[str]:
    steps = config.trainer.total_training_steps
    if steps is not None and steps < 1:
        yield f"trainer.total_training_steps={steps} trains nothing: set it to 1 or more, or to null for total_epochs"


def _tensor_parallel(config: DictConfig) -> Iterator[str]:
    """A replica of the rollout spans whole nodes, or a divisor of one (verl/workers/rollout/replica.py:107)."""
    rollout = config.actor_rollout_ref.rollout
    width = rollout.tensor_model_parallel_size * rollout.get("data_parallel_size", 1)
    width *= rollout.get("pipeline_model_parallel_size", 1)
    a_node, devices = config.trainer.n_gpus_per_node, config.trainer.n_gpus_per_node * config.trainer.nnodes
    if devices < 1:
        return
    if width < 1 or devices % width or (a_node % width and width % a_node):
        yield (
            f"{ROLLOUT}.tensor_model_parallel_size={rollout.tensor_model_parallel_size}: one vLLM then takes {width} "
            f"GPUs, which do not divide the {devices} of trainer.n_gpus_per_node * trainer.nnodes: make it a divisor"
        )


def _micro_batches(config: DictConfig) -> Iterator[str]:
    """verl/workers/engine/utils.py:125 asserts it in the worker, after the first rollout."""
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    devices = config.trainer.n_gpus_per_node * config.trainer.nnodes
    ranks = devices // max(1, actor.get("ulysses_sequence_parallel_size", 1))
    if ranks < 1 or rollout.n < 1:
        return
    mini = actor.ppo_mini_batch_size * rollout.n
    if mini % ranks:
        yield (
            f"{ACTOR}.ppo_mini_batch_size={actor.ppo_mini_batch_size}: its {mini} responses cannot be shared by "
            f"{ranks} data-parallel ranks: make it a multiple of {ranks // math.gcd(ranks, rollout.n)}"
        )
        return
    whole = math.lcm(ranks, mini)  # verl fills a batch up to a multiple of this (trainer_base.py:1587)
    batch = -(-config.data.train_batch_size * rollout.n // whole) * whole
    for setting, size, rows, dynamic in (
        (f"{ACTOR}.ppo_micro_batch_size_per_gpu", actor.ppo_micro_batch_size_per_gpu, mini, actor.use_dynamic_bsz),
        (
            f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu",
            rollout.log_prob_micro_batch_size_per_gpu,
            batch,
            rollout.log_prob_use_dynamic_bsz,
        ),
    ):
        rows //= ranks
        if not dynamic and size is not None and (size < 1 or rows % size):
            yield f"{setting}={size} does not divide the {rows} rows of a rank: make it a divisor of {rows}"


def _token_budgets(config: DictConfig) -> Iterator[str]:
    """verl/utils/seqlen_balancing.py:384 asserts it for the longest sequence."""
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    longest = config.data.max_prompt_length + config.data.max_response_length
    width = max(1, actor.get("ulysses_sequence_parallel_size", 1))
    for setting, dynamic, budget in (
        (f"{ACTOR}.ppo_max_token_len_per_gpu", actor.use_dynamic_bsz, actor.ppo_max_token_len_per_gpu),
        (
            f"{ROLLOUT}.log_prob_max_token_len_per_gpu",
            rollout.log_prob_use_dynamic_bsz,
            rollout.log_prob_max_token_len_per_gpu,
        ),
    ):
        if dynamic and budget * width < longest:
            yield (
                f"{setting}={budget} is less than one sequence may have ({longest} = data.max_prompt_length + "
                f"data.max_response_length): set it to {-(-longest // width)} or more"
            )


def _model_length(config: DictConfig) -> Iterator[str]:
    length = config.actor_rollout_ref.rollout.max_model_len
    prompt, response = config.data.max_prompt_length, config.data.max_response_length
    if length is not None and length <= prompt:
        yield (
            f"{ROLLOUT}.max_model_len={length} leaves no token to answer a prompt of data.max_prompt_length={prompt}: "
            f"set it to {prompt + response} (prompt + response)"
        )


def _sampling(config: DictConfig) -> Iterator[str]:
    rollout = config.actor_rollout_ref.rollout
    if rollout.temperature <= 0:
        yield (
            f"{ROLLOUT}.temperature={rollout.temperature}: verl divides logits by it, and equal responses teach "
            "nothing: set it above 0 (paper: 1.0)"
        )
    if not 0 < rollout.gpu_memory_utilization <= 1:
        yield f"{ROLLOUT}.gpu_memory_utilization={rollout.gpu_memory_utilization} is no share: set it from 0 to 1"


def _names(config: DictConfig) -> Iterator[str]:
    """Names that verl looks up in the worker only, compared with its own registries."""
    from verl.utils.tracking import Tracking
    from verl.workers.rollout.base import _ROLLOUT_REGISTRY

    yield from _one_of("data.truncation", config.data.truncation, TRUNCATIONS)
    rollout = config.actor_rollout_ref.rollout
    yield from _one_of(f"{ROLLOUT}.name", rollout.name, {name for name, _ in _ROLLOUT_REGISTRY})
    for logger in _listed(config.trainer.logger):
        yield from _one_of("trainer.logger", logger, Tracking.supported_backend)
    for name in ("save_contents", "load_contents"):
        for content in _listed(config.actor_rollout_ref.actor.checkpoint[name]):
            yield from _one_of(f"{ACTOR}.checkpoint.{name}", content, CONTENTS)


def _reward_manager(config: DictConfig) -> Iterator[str]:
    manager = config.reward.reward_manager
    if manager.get("source", "register") != "register":
        return
    import verl.experimental.reward_loop.reward_manager  # noqa: F401  fills the registry, ours among it
    from verl.experimental.reward_loop.reward_manager.registry import REWARD_MANAGER

    yield from _one_of("reward.reward_manager.name", manager.name, REWARD_MANAGER)


def _agent_loop(config: DictConfig) -> Iterator[str]:
    agent = config.actor_rollout_ref.rollout.agent
    if agent.get("agent_loop_config_path"):
        if not Path(agent.agent_loop_config_path).exists():
            setting = f"{ROLLOUT}.agent.agent_loop_config_path"
            yield f"{setting}={agent.agent_loop_config_path} is not there: name a YAML file"
        return  # it may register any name
    from verl.experimental.agent_loop.agent_loop import _agent_loop_registry

    yield from _one_of(f"{ROLLOUT}.agent.default_agent_loop", agent.default_agent_loop, _agent_loop_registry)


def _resume(config: DictConfig) -> Iterator[str]:
    trainer = config.trainer
    yield from _one_of("trainer.resume_mode", trainer.resume_mode, RESUME_MODES)
    if trainer.resume_mode != "resume_path":
        return
    path = trainer.resume_from_path
    if not isinstance(path, str) or "global_step_" not in path:
        yield f"trainer.resume_from_path={path}: resume_mode=resume_path needs a folder …/global_step_N: name it"
    elif not Path(path).is_dir():
        yield f"trainer.resume_from_path={path} is no folder: name a checkpoint …/global_step_N"


def _ignored(config: DictConfig) -> Iterator[str]:
    """Settings that look as if they did something and do not."""
    from recipe.tw_grpo.config import ESTIMATOR

    if config.algorithm.adv_estimator == ESTIMATOR and config.algorithm.norm_adv_by_std_in_grpo is not True:
        yield (
            "algorithm.norm_adv_by_std_in_grpo=False is not read by tw_grpo, whose advantage is Eq. 1 with the "
            "standard deviation: leave it out, or set algorithm.adv_estimator=grpo"
        )
    if config.trainer.val_only and not config.trainer.val_before_train:
        yield (
            "trainer.val_only=True: verl reads it only in the validation before training, so this would train: also "
            "set trainer.val_before_train=True"
        )


def _attention(config: DictConfig) -> Iterator[str]:
    model = config.actor_rollout_ref.model
    chosen = (model.get("override_config") or {}).get("attn_implementation", "flash_attention_2")
    if model.use_remove_padding and chosen in ("sdpa", "eager"):
        yield (
            f"actor_rollout_ref.model.use_remove_padding=True needs flash-attn, and attn_implementation={chosen} is "
            "chosen: set it to False"
        )


CHECKS: tuple[Check, ...] = (
    _machine_counts,
    _data_files,
    _steps,
    _tensor_parallel,
    _micro_batches,
    _token_budgets,
    _model_length,
    _sampling,
    _names,
    _reward_manager,
    _agent_loop,
    _resume,
    _ignored,
    _attention,
)


def problems(config: DictConfig) -> list[str]:
    """Every line of every check; empty when nothing is wrong."""
    return [line for check in CHECKS for line in check(config)]
