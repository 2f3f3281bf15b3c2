# SPDX-License-Identifier: Apache-2.0
"""What `tw-grpo check` refuses does fail later: each refused setting is given to the piece of verl that reads it.

verl accepts all of them when it composes; here the check is left out and verl's own function or object is called with
the composed configuration.
"""

import functools
import types

import pytest

pytest.importorskip("verl")

import engine_kit as kit  # noqa: E402
import torch  # noqa: E402
from verl.utils import tensordict_utils as tu  # noqa: E402

from recipe.tw_grpo.doctor import dry_run, plan, settings  # noqa: E402

pytestmark = pytest.mark.slow
A, R = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"


def trackers(config, folder):
    from verl.utils.tracking import Tracking

    Tracking("project", "experiment", default_backend=list(config.trainer.logger), config={})


def reward_manager(config, folder):
    import verl.experimental.reward_loop.reward_manager  # noqa: F401
    from verl.experimental.reward_loop.reward_manager.registry import get_reward_manager_cls

    get_reward_manager_cls(config.reward.reward_manager.name)


def rollout_class(config, folder):
    from verl.workers.rollout.base import get_rollout_class

    get_rollout_class(config.actor_rollout_ref.rollout.name, config.actor_rollout_ref.rollout.mode)


def resume(config, folder):
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    PPOTrainer._load_checkpoint(types.SimpleNamespace(config=config))


def data_set(config, folder):
    from verl.trainer.ppo.utils import create_rl_dataset

    create_rl_dataset(config.data.val_files, config.data, tokenizer=None, processor=None)


def truncation(config, folder):
    from verl.utils.torch_functional import postprocess_data

    ids = torch.ones(1, 9, dtype=torch.int64)
    postprocess_data(ids, torch.ones_like(ids), 4, 0, truncation=config.data.truncation)


def replica(config, folder):
    from verl.workers.rollout.replica import RolloutReplica

    place = types.SimpleNamespace()
    gpus = config.trainer.n_gpus_per_node
    RolloutReplica.__init__(place, 0, config.actor_rollout_ref.rollout, None, gpus_per_node=gpus)


def micro_batches(config, folder, *, update: bool):
    """The eight rows of a rank, each as long as it may be at most."""
    from verl.workers.engine.utils import prepare_micro_batches

    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    rows = config.data.train_batch_size * rollout.n // config.trainer.n_gpus_per_node
    longest = config.data.max_prompt_length + config.data.max_response_length
    batch = tu.get_tensordict({"input_ids": kit.nested(torch.zeros(longest, dtype=torch.int64) for _ in range(rows))})
    size = actor.ppo_micro_batch_size_per_gpu if update else rollout.log_prob_micro_batch_size_per_gpu
    budget = actor.ppo_max_token_len_per_gpu if update else rollout.log_prob_max_token_len_per_gpu
    tu.assign_non_tensor(
        batch,
        use_dynamic_bsz=actor.use_dynamic_bsz,
        micro_batch_size_per_gpu=size,
        max_token_len_per_gpu=budget,
    )
    prepare_micro_batches(batch)


def vllm_cache(config, folder):
    from vllm.config import CacheConfig

    CacheConfig(gpu_memory_utilization=config.actor_rollout_ref.rollout.gpu_memory_utilization)


def save_and_resume(config, folder):
    engine = kit.build_engine(kit.write_model(folder / "model", "qwen2"))
    engine.checkpoint_manager.checkpoint_save_contents = list(config.actor_rollout_ref.actor.checkpoint.save_contents)
    engine.save_checkpoint(str(folder / "global_step_1"))
    engine.load_checkpoint(str(folder / "global_step_1"))


DYNAMIC = [f"{A}.use_dynamic_bsz=True", f"{R}.log_prob_use_dynamic_bsz=True"]
# overrides, the setting the check names, verl's piece, its error, words of it
CASES = [
    (['trainer.logger=["console","wandbb"]'], "trainer.logger", trackers, AssertionError, "wandbb is not supported"),
    (["reward.reward_manager.name=multi_answr"], "reward.reward_manager.name", reward_manager, ValueError, "Unknown"),
    ([f"{R}.name=hf"], f"{R}.name", rollout_class, AssertionError, "not found"),
    (["trainer.resume_mode=auot"], "trainer.resume_mode", resume, UnboundLocalError, "global_step_folder"),
    (["trainer.resume_mode=resume_path"], "trainer.resume_from_path", resume, AssertionError, "must be str"),
    (["data.val_files=null"], "data.val_files", data_set, (AttributeError, TypeError, AssertionError), ""),
    (["data.truncation=errror"], "data.truncation", truncation, AssertionError, ""),
    ([f"{R}.tensor_model_parallel_size=3"], f"{R}.tensor_model_parallel_size", replica, AssertionError, "divisible"),
    (
        [f"{A}.ppo_micro_batch_size_per_gpu=3"],
        f"{A}.ppo_micro_batch_size_per_gpu",
        functools.partial(micro_batches, update=True),
        AssertionError,
        "divisible",
    ),
    (
        [f"{R}.log_prob_micro_batch_size_per_gpu=3"],
        f"{R}.log_prob_micro_batch_size_per_gpu",
        functools.partial(micro_batches, update=False),
        AssertionError,
        "divisible",
    ),
    (
        [*DYNAMIC, f"{A}.ppo_max_token_len_per_gpu=4096"],
        f"{A}.ppo_max_token_len_per_gpu",
        functools.partial(micro_batches, update=True),
        AssertionError,
        "max_token_len",
    ),
    (
        [f"{R}.gpu_memory_utilization=1.5"],
        f"{R}.gpu_memory_utilization",
        vllm_cache,
        ValueError,
        "gpu_memory_utilization",
    ),
    ([f"{A}.checkpoint.save_contents=[modle]"], f"{A}.checkpoint.save_contents", save_and_resume, OSError, "model_"),
]


@pytest.fixture(scope="module")
def launch():
    """The overrides of the launch script on two GPUs."""
    return plan.script_settings(2)


@pytest.mark.parametrize("overrides, named, piece, error, words", CASES, ids=[case[1] for case in CASES])
def test_a_refused_setting_fails_in_verl(overrides, named, piece, error, words, launch, one_rank, tmp_path):
    config = dry_run.compose([*launch, *overrides])  # what verl composes without a word
    assert any(named in line for line in settings.problems(config))
    with pytest.raises(error, match=words):
        piece(config, tmp_path)


WORKING = [trackers, reward_manager, rollout_class, truncation, replica, vllm_cache, save_and_resume]
WORKING += [functools.partial(micro_batches, update=update) for update in (True, False)]


def test_the_same_pieces_take_the_scripts_own_settings(launch, one_rank, tmp_path):
    """So it is the setting that fails above, not the way the piece is called."""
    config = dry_run.compose([*launch, "data.truncation=left", 'trainer.logger=["console"]'])
    assert settings.problems(config) == []
    for number, piece in enumerate(WORKING):
        (tmp_path / str(number)).mkdir()
        piece(config, tmp_path / str(number))


def test_there_are_ten():
    assert len({case[1] for case in CASES}) >= 10
