# SPDX-License-Identifier: Apache-2.0
"""The one module that touches verl's registries; verl loads it in every process (entry point group `verl.plugins`).

It also installs the repairs of verl, and those of vLLM in the processes of verl's vLLM servers. It imports nothing of
verl: each registration waits until verl imports the module it belongs to, so processes that never
train pay nothing. A registration that fails prints its traceback and fails verl's import, because verl
would swallow it and train something else.
"""

from __future__ import annotations

import functools
import os
import sys
import traceback
from types import ModuleType

try:
    from recipe.tw_grpo.config import ESTIMATOR, REWARD_MANAGER
    from recipe.tw_grpo.integration import repairs, vllm_plugin
    from recipe.tw_grpo.toolbox.after_import import after_import

    repairs.install("verl")
except Exception:
    print("tw_grpo: the plugin could not be loaded, so adv_estimator=tw_grpo will be unknown to verl:", file=sys.stderr)
    traceback.print_exc()
    raise


@after_import("verl.utils.config")
def _check_configuration(module: ModuleType) -> None:
    """verl/trainer/main_ppo.py calls validate_config in the driver, before Ray."""
    original = module.validate_config

    @functools.wraps(original)
    def validate_config(config, *args, **kwargs):
        from recipe.tw_grpo.integration import validation
        from recipe.tw_grpo.integration.ending import end_in_one_line
        from recipe.tw_grpo.toolbox.errors import UserError, stop

        try:
            repairs.check()
            validation.check(config)
        except UserError as error:
            stop(error)
        end_in_one_line()
        print(*repairs.announcement(), sep="\n", file=sys.stderr, flush=True)
        return original(config, *args, **kwargs)

    module.validate_config = validate_config


@after_import("verl.trainer.constants_ppo")
def _carry_choices(module: ModuleType) -> None:
    """The choices of the driver's environment reach every process, also on a Ray cluster that is there already."""
    original = module.get_ppo_ray_runtime_env

    @functools.wraps(original)
    def get_ppo_ray_runtime_env(*args, **kwargs):
        environment = original(*args, **kwargs)
        chosen = {name: os.environ[name] for name in repairs.VARIABLES if name in os.environ}
        environment["env_vars"].update(chosen)
        return environment

    module.get_ppo_ray_runtime_env = get_ppo_ray_runtime_env


@after_import("verl.workers.rollout.vllm_rollout.vllm_async_server")
def _repair_vllm(module: ModuleType) -> None:
    """A vLLM server of verl mends its own process and marks its environment for the processes it starts."""
    original = module.vLLMHttpServer.launch_server

    @functools.wraps(original)
    async def launch_server(self, *args, **kwargs):
        os.environ[vllm_plugin.VARIABLE] = "1"
        repairs.install("vllm")
        return await original(self, *args, **kwargs)

    module.vLLMHttpServer.launch_server = launch_server


@after_import("verl.trainer.ppo.core_algos")
def _register_advantage_and_loss(module: ModuleType) -> None:
    from recipe.tw_grpo.advantage import estimate
    from recipe.tw_grpo.integration.inside_loss import weight_inside
    from recipe.tw_grpo.policy_loss import POLICY_LOSS

    module.register_adv_est(ESTIMATOR)(estimate)
    module.register_policy_loss(POLICY_LOSS)(weight_inside)


@after_import("verl.experimental.reward_loop.reward_manager")
def _register_reward_manager(module: ModuleType) -> None:
    from recipe.tw_grpo.integration.reward_manager import MultiAnswerRewardManager

    module.register(REWARD_MANAGER)(MultiAnswerRewardManager)


@after_import("qwen_vl_utils.vision_process")
def _read_videos(module: ModuleType) -> None:
    from recipe.tw_grpo.integration import video_reader

    video_reader.apply(module)


@after_import("verl.workers.config.actor")
def _carry_freezing(module: ModuleType) -> None:
    from recipe.tw_grpo.integration.freezing import carry_to_engine

    carry_to_engine(module.FSDPActorConfig)


@after_import("verl.workers.config.optimizer")
def _accept_linear_decay(module: ModuleType) -> None:
    from recipe.tw_grpo.integration.schedule import accept_linear

    accept_linear(module.FSDPOptimizerConfig)


@after_import("verl.workers.engine.fsdp.transformer_impl")
def _register_engine(module: ModuleType) -> None:
    """A (device, vendor) key goes before verl's own device-only key (verl/workers/engine/base.py, get_engine_cls)."""
    from verl.utils.device import get_device_name, get_vendor

    from recipe.tw_grpo.integration.engine import TWGRPOEngine

    module.EngineRegistry.register(
        model_type="language_model",
        backend=["fsdp", "fsdp2"],
        device=os.getenv("VERL_ENGINE_DEVICE") or get_device_name(),
        vendor=os.getenv("VERL_ENGINE_VENDOR") or get_vendor(),
    )(TWGRPOEngine)


@after_import("verl.trainer.ppo.v1")
def _register_trainers(module: ModuleType) -> None:
    """Each trainer mode gets a subclass that is its parent unless the estimator is tw_grpo."""
    from recipe.tw_grpo.integration.trainer import with_token_weights

    registry = sys.modules["verl.trainer.ppo.v1.trainer_base"].TRAINER_REGISTRY
    for mode, trainer in list(registry.items()):
        registry[mode] = with_token_weights(trainer)


@after_import("verl.experimental.agent_loop.agent_loop")
def _report_failures(module: ModuleType) -> None:
    if not repairs.guarded():
        return
    from recipe.tw_grpo.integration.failures import report_failures

    report_failures(module)


@after_import("verl.trainer.ppo.v1.replay_buffer")
def _keep_what_is_left(module: ModuleType) -> None:
    if not repairs.guarded():
        return
    from recipe.tw_grpo.integration.failures import keep_what_is_left

    keep_what_is_left(module)


@after_import("verl.trainer.ppo.v1.agent_loop_tq")
def _shorten_tracebacks(module: ModuleType) -> None:
    if not repairs.guarded():
        return
    from recipe.tw_grpo.integration.failures import shorten_tracebacks

    shorten_tracebacks(module)
