# SPDX-License-Identifier: Apache-2.0
"""The memory plan against what tiny models really take: tensors, files, and what the CPU's allocator gives out.

A peak is read from torch's profiler, which sees every allocation and every release of a pass through verl's engine.
"""

import functools
from pathlib import Path

import pytest

pytest.importorskip("verl")

import engine_kit as kit  # noqa: E402
import torch  # noqa: E402
from verl.workers.config import FSDPOptimizerConfig  # noqa: E402

from recipe.tw_grpo.divergence import group_divergence  # noqa: E402
from recipe.tw_grpo.doctor import check, dry_run, memory, model_sizes, plan  # noqa: E402
from recipe.tw_grpo.doctor.memory_items import GIB, Settings  # noqa: E402
from recipe.tw_grpo.kernels.plan import CPU
from recipe.tw_grpo.toolbox.errors import UserError  # noqa: E402
from recipe.tw_grpo.toolbox.tables import markdown  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
FUSED = "actor_rollout_ref.actor.optim.override_optimizer_config.fused"
BF16 = {"param_dtype": "bf16", "reduce_dtype": "fp32", "buffer_dtype": "fp32"}
OPTIMIZERS = {"fused": {"fused": True}, "foreach": {"foreach": True}, "for-loop": {"foreach": False}}


def peak(function) -> int:
    """Bytes that `function` had at most beyond what was there before."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        function()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


@pytest.fixture(scope="module")
def launch():
    """Settings of the launch script on that many GPUs."""
    return functools.cache(lambda gpus: dry_run.compose(plan.script_settings(gpus)))


def of_model(config, path: Path, **changes) -> Settings:
    settings = Settings.of(config).changed("actor_rollout_ref.model.path", str(path))
    for setting, value in changes.items():
        settings = settings.changed(setting.replace("__", "."), value)
    return settings


def item(planned, phase: str, start: str) -> float:
    (phase,) = (each for each in planned.phases if each.name == phase)
    return sum(part.bytes for part in phase.items if part.name.startswith(start))


def test_published_shapes_have_the_published_number_of_parameters(launch):
    for name, shapes in model_sizes.published().items():
        sizes = model_sizes.sizes(of_model(launch(2), name))
        assert sizes.elements == shapes["parameters"], name
        assert sizes.tied == shapes["tie_word_embeddings"]
        assert 0 < sizes.elements - sizes.trained < 0.75e9  # the frozen tower


def test_a_shard_is_the_largest_part_that_torch_cuts():
    for rows, ranks in ((7, 2), (5, 4), (8, 4), (3, 8)):
        assert model_sizes.shard((rows, 3), ranks) == torch.empty(rows, 3).chunk(ranks)[0].numel()


@pytest.mark.parametrize("kind, tied", [("qwen2_5_vl", False), ("qwen2_5_vl", True), ("qwen3_vl", False)])
def test_state_and_files_are_as_planned(kind, tied, one_rank, launch, tmp_path):
    """Parameters, gradients, optimizer and temporaries of a step to the byte; files up to their heads."""
    path = kit.write_model(tmp_path / "model", kind, tied=tied)
    sizes = model_sizes.sizes(of_model(launch(1), path))
    for name, options in OPTIMIZERS.items():
        settings = of_model(launch(1), path).changed("actor_rollout_ref.actor.optim.override_optimizer_config", None)
        for option, value in options.items():
            settings = settings.changed(f"actor_rollout_ref.actor.optim.override_optimizer_config.{option}", value)
        planned = memory.plan(settings, sizes, 1.0)
        optim = FSDPOptimizerConfig(lr=1e-3, total_training_steps=10, override_optimizer_config=options)
        engine = kit.build_engine(path, optim=optim, freeze_vision_tower=True)
        trained = [parameter for parameter in engine.module.parameters() if parameter.requires_grad]
        for _ in range(2):  # the first step makes the optimizer's state
            for parameter in trained:
                parameter.grad = torch.ones_like(parameter)
            temporaries = peak(engine.optimizer_step)
        states = [value for state in engine.optimizer.state.values() for value in state.values() if value.dim()]
        assert item(planned, "optimizer step", "parameters") == _bytes(engine.module.parameters())
        assert item(planned, "optimizer step", "gradients") == _bytes(parameter.grad for parameter in trained)
        assert item(planned, "optimizer step", "optimizer") - item(planned, "optimizer step", "optimizer's") == _bytes(
            states
        )
        small = 64 * len(trained) + 2048  # the step counters and the norms
        assert 0 <= temporaries - item(planned, "optimizer step", "optimizer's") <= small, name
    engine.checkpoint_manager.checkpoint_save_contents = ["model", "optimizer", "extra", "hf_model"]
    engine.save_checkpoint(str(tmp_path / "saved"))
    files = {
        "parameters": tmp_path / "saved/model_world_size_1_rank_0.pt",
        "optimizer": tmp_path / "saved/optim_world_size_1_rank_0.pt",
        "Hugging Face model": tmp_path / "saved/huggingface/model.safetensors",
    }
    assert {part.name for part in planned.checkpoint} == files.keys()
    for part in planned.checkpoint:
        written, head = files[part.name].stat().st_size, 900 * len(sizes.weights)
        assert 0 <= written - part.bytes <= head, (part.name, written, part.bytes)


def _bytes(tensors) -> int:
    return sum(tensor.to_local().numel() * tensor.element_size() for tensor in tensors)


def test_a_fused_step_is_the_step_of_the_loop(one_rank, tmp_path):
    """On FSDP2's DTensors; the launch scripts step so."""
    path = kit.write_model(tmp_path / "model", "qwen2_5_vl")
    after = []
    for options in (OPTIMIZERS["fused"], OPTIMIZERS["for-loop"]):
        optim = FSDPOptimizerConfig(lr=1e-3, total_training_steps=10, override_optimizer_config=options)
        engine = kit.build_engine(path, optim=optim, freeze_vision_tower=True)
        _, moved = kit.step(engine, list(range(len(kit.UIDS))), "outside", vl=True)
        after.append(moved)
    before = {name: kit._whole(weight) for name, weight in kit.build_engine(path).module.named_parameters()}
    for name, weight in after[0].items():
        torch.testing.assert_close(weight, after[1][name], rtol=1e-6, atol=1e-7)
    changed = {name for name, weight in after[0].items() if not torch.equal(weight, before[name])}
    assert changed == {name for name in before if "visual" not in name}


# what fills the memory: hidden, intermediate, layers, vocabulary
SHAPES = {"logits": (32, 64, 1, 16384), "layers": (64, 1024, 6, 128)}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_working_space_of_the_passes_is_an_upper_estimate(shape, one_rank, launch, tmp_path, monkeypatch):
    """Padded, as on this CPU. CUDA's autocast takes the log-softmax in float32, the CPU's does not: hence the room."""
    import transformers
    from verl.utils import tensordict_utils as tu
    from verl.workers.utils.losses import ppo_loss

    hidden, intermediate, layers, vocabulary = SHAPES[shape]
    config = transformers.Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
    )
    transformers.Qwen2ForCausalLM(config).save_pretrained(tmp_path / "model")
    monkeypatch.setattr(kit, "PROMPTS", {"p": 96})
    monkeypatch.setattr(kit, "sequences", _short_ids)
    uids, lengths = ["p"] * 3, [64] * 3
    optim = FSDPOptimizerConfig(lr=1e-3, total_training_steps=10, override_optimizer_config={"fused": True})
    engine = kit.build_engine(
        tmp_path / "model", BF16, model_options={"enable_gradient_checkpointing": True}, optim=optim
    )

    def update() -> None:
        batch = kit.make_batch(uids, lengths, request=None)
        batch["old_log_probs"] = kit.nested(torch.full((n,), -5.0) for n in lengths)
        batch["advantages"] = kit.nested(torch.ones(n) for n in lengths)
        with engine.train_mode():
            engine.train_batch(batch, functools.partial(ppo_loss, config=kit.actor_config()))

    def log_probs(request) -> None:
        batch = kit.make_batch(uids, lengths, request=request)
        tu.assign_non_tensor(batch, calculate_entropy=True)
        kit.infer(engine, batch)

    update()
    settings = of_model(
        launch(1),
        tmp_path / "model",
        data__max_prompt_length=96,
        data__max_response_length=64,
        actor_rollout_ref__rollout__n=3,
        actor_rollout_ref__model__use_remove_padding=False,
        actor_rollout_ref__actor__freeze_vision_tower=False,
        actor_rollout_ref__actor__fsdp_config__use_torch_compile=False,
    )
    sizes = model_sizes.sizes(settings)
    planned = memory.plan(settings, sizes, 1.0)
    outside = ("CUDA", "vLLM", "parameters", "optimizer")
    (backward,) = (phase for phase in planned.phases if phase.name == "backward pass")
    expected = sum(part.bytes for part in backward.items if not part.name.startswith(outside))
    measured = peak(update)
    assert measured <= expected <= 1.6 * measured, (shape, measured, expected)
    (forward,) = (phase for phase in planned.phases if phase.name == "log-prob pass")
    expected = sum(part.bytes for part in forward.items if not part.name.startswith(outside))
    measured = peak(lambda: log_probs("kl"))
    # A GPU works in larger tiles than this CPU; the test below counts them.
    without = expected - sum(part.bytes for part in forward.items if part.name == "divergence of one group")
    assert measured <= expected and without <= 1.6 * measured, (shape, measured, expected, without)


def _short_ids(uids, lengths):
    generator = torch.Generator().manual_seed(3)
    return [
        tuple(torch.randint(0, 100, (n,), generator=generator) for n in (kit.PROMPTS[uid], length))
        for uid, length in zip(uids, lengths, strict=True)
    ]


def test_the_tiles_of_the_divergence_are_counted():
    lengths = torch.tensor([600, 500, 600])
    states, head = torch.randn(int(lengths.sum()), 8), torch.randn(20000, 8)
    measured = peak(lambda: group_divergence(states, head, lengths))
    assert 0.5 * memory.tile_buffers(CPU) <= measured <= memory.tile_buffers(CPU)


def test_the_launch_script_leaves_a_tenth_of_two_80_gb_cards(launch):
    """58.0 GiB of state a GPU; with torch's own choice of optimizer 72.2, and a tenth is not left."""
    config = launch(2)
    sizes = model_sizes.sizes(config)
    planned = memory.plan(config, sizes, memory.CARDS[80])
    assert planned.headroom >= plan.ENOUGH and planned.fits
    assert item(planned, "optimizer step", "optimizer's") == 0
    state = sum(item(planned, "optimizer step", name) for name in ("parameters", "gradients", "optimizer"))
    assert round(state / GIB, 1) == 58.0
    assert planned.kept == 3  # keep_newest=2 and the best one
    foreach = memory.plan(Settings.of(config).changed(FUSED, None), sizes, memory.CARDS[80])
    (step,) = (phase for phase in foreach.phases if phase.name == "optimizer step")
    assert round(step.least / GIB, 1) == 72.2
    assert foreach.headroom < plan.ENOUGH
    whole = Settings.of(config).changed(
        "actor_rollout_ref.actor.fsdp_config.use_no_sync_for_gradient_accumulation", True
    )
    assert not memory.plan(whole, sizes, memory.CARDS[80]).fits


# the changes to the launch script's settings on two GPUs, GiB of a GPU, the setting that the refusal starts with
REFUSED = [
    ({"trainer.n_gpus_per_node": 1}, 79.1, "trainer.n_gpus_per_node=1"),
    ({}, 39.4, "trainer.n_gpus_per_node=2"),
    ({"actor_rollout_ref.rollout.gpu_memory_utilization": 0.15}, 79.1, "gpu_memory_utilization=0.15"),
    ({"actor_rollout_ref.rollout.free_cache_engine": False}, 79.1, "actor_rollout_ref.rollout.free_cache_engine=False"),
    (
        {
            "actor_rollout_ref.actor.fsdp_config.param_offload": False,
            "actor_rollout_ref.actor.fsdp_config.optimizer_offload": False,
        },
        79.1,
        "actor_rollout_ref.actor.fsdp_config.optimizer_offload=False",
    ),
]


@pytest.mark.parametrize("changes, gib, named", REFUSED, ids=lambda value: str(value)[-60:])
def test_what_cannot_fit_is_refused_with_what_helps(changes, gib, named, launch):
    from omegaconf import OmegaConf

    config = OmegaConf.create(OmegaConf.to_container(launch(2), resolve=True))
    for setting, value in changes.items():
        OmegaConf.update(config, setting, value)
    sizes = model_sizes.sizes(config)
    (line,) = plan.problems(memory.plan(config, sizes, gib), config, sizes, gib, "a test")
    assert named in line.partition(":")[0] and "\n" not in line and "set " in line
    cured = Settings.of(config)
    for setting, value in plan.remedy(config, sizes, gib):
        assert f"{setting}={value}" in line
        cured = cured.changed(setting, value)
    planned = memory.plan(cured, sizes, gib)
    assert planned.fits
    assert not list(plan.problems(planned, cured, sizes, gib, "a test"))


def test_check_prints_the_plan_and_refuses(launch, tmp_path):
    config = launch(1)
    found = check.Findings(config=config)
    check.memory_plan(found, {}, start=False)
    assert any("n_gpus_per_node=2" in line for line in found.problems)
    assert any(line.startswith("backward pass") for line in found.notes)
    larger = check.Findings(config=config)
    check.memory_plan(larger, {plan.VARIABLE: "141"}, start=False)
    assert larger.problems == []
    unknown = check.Findings(config=of_model(config, tmp_path))
    check.memory_plan(unknown, {}, start=False)
    assert unknown.problems == [] and "no memory plan" in unknown.notes[0]
    megatron = check.Findings(config=Settings.of(config).changed("actor_rollout_ref.actor.strategy", "megatron"))
    check.memory_plan(megatron, {}, start=False)
    assert megatron.problems == [] and "actor.strategy=megatron" in megatron.notes[0]
    with pytest.raises(UserError, match=plan.VARIABLE):
        plan.gpu_gib({plan.VARIABLE: "much"})


def test_an_optimizer_that_is_not_known_refuses_nothing(launch):
    """What bitsandbytes keeps is smaller than Adam's state; only parameters and gradients are sure."""
    config = Settings.of(launch(2)).changed("actor_rollout_ref.actor.optim.optimizer_impl", "bitsandbytes.optim")
    planned = memory.plan(config, model_sizes.sizes(config), 39.4)
    assert planned.possible and not planned.fits


def test_adapters_are_trained_alone(one_rank, launch, tmp_path):
    pytest.importorskip("peft")
    path = kit.write_model(tmp_path / "model", "qwen2")
    changes = {"actor_rollout_ref__model__lora_rank": 4, "actor_rollout_ref__actor__freeze_vision_tower": False}
    settings = of_model(launch(1), path, **changes)
    sizes = model_sizes.sizes(settings)
    whole = model_sizes.sizes(settings.changed("actor_rollout_ref.model.lora_rank", 0))
    engine = kit.build_engine(path, model_options={"lora_rank": 4, "target_modules": "all-linear"})
    trained = sum(parameter.numel() for parameter in engine.module.parameters() if parameter.requires_grad)
    assert sizes.trained == trained == sizes.elements - whole.elements


def test_the_page_is_what_the_command_prints():
    printed = markdown(plan.table()).splitlines()
    page = (ROOT / "docs/gpu.md").read_text(encoding="utf-8").splitlines()
    start = page.index(printed[0])
    assert page[start : start + len(printed) + 1] == [*printed, ""]
