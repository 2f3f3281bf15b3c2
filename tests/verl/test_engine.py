# SPDX-License-Identifier: Apache-2.0
"""verl's real FSDP2 engine with our capture: D_t equals the dense definition from the model's own logits, always."""

import os
import subprocess
import sys
from pathlib import Path

import engine_kit as kit
import pytest
import torch

from recipe.tw_grpo.integration import names
from recipe.tw_grpo.runs.rounding import OTHER_ORDER, divergence_limit

ROOT = Path(__file__).resolve().parents[2]


pytestmark = pytest.mark.usefixtures("one_rank")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return kit.write_model(tmp_path_factory.mktemp("models") / "qwen2")


@pytest.fixture(scope="module")
def engine(model):
    return kit.build_engine(model)


def close(found, expected, rtol=1e-5, atol=1e-8):
    rows = list(found.unbind())
    assert [len(row) for row in rows] == [len(row) for row in expected]
    for row, definition in zip(rows, expected, strict=True):
        assert row.dtype == torch.float32
        torch.testing.assert_close(row.double(), definition, rtol=rtol, atol=atol)


def close_to_plain(found, plain, rows=None):
    """Within what layers in float32 lose of the D_t of kit.definition; `rows` are those of the batch."""
    for place, row in enumerate(rows or range(len(plain[0]))):
        error = (list(found.unbind())[place].double() - plain[0][row]).abs()
        assert (error <= plain[1][row]).all(), (row, error / plain[1][row])


def exact(engine, batch):
    """Runs the batch, compares with the definition from the pass's own logits, returns token_divergence."""
    output, expected = kit.infer_and_define(engine, batch)
    close(output["token_divergence"], expected)
    return output["token_divergence"]


def test_the_registry_gives_our_engine(engine):
    assert type(engine).__name__ == "TWGRPOEngine"


@pytest.mark.parametrize("micro", [1, 2, 3, 6])
def test_divergence_for_every_micro_batch_size(engine, model, micro):
    """1e-5 from the logits of this pass; against a float64 model without verl, what float32 layers lose is added."""
    found = exact(engine, kit.make_batch(micro=micro))
    assert max(row.max() for row in found.unbind()) > 1e-2, "the responses of the test must disagree"
    close_to_plain(found, kit.definition(model))


def test_a_policy_set_aside_and_restored_has_its_own_divergence(engine):
    """What verl's trainer separate_async does between the updates of a step; the gathered head follows."""
    from verl.utils.fsdp_utils import fsdp2_sharded_load_from_cpu, fsdp2_sharded_save_to_cpu

    def divergence():
        return exact(engine, kit.make_batch()).values()

    old, of_old = fsdp2_sharded_save_to_cpu(engine.module), divergence()
    try:
        with torch.no_grad():
            engine.module.get_output_embeddings().weight.mul_(1.3)  # an update that D_t depends on by the head alone
        new, of_new = fsdp2_sharded_save_to_cpu(engine.module), divergence()
        fsdp2_sharded_load_from_cpu(engine.module, *old)
        assert torch.equal(divergence(), of_old) and not torch.allclose(of_old, of_new, rtol=1e-2)
        fsdp2_sharded_load_from_cpu(engine.module, *new)
        assert torch.equal(divergence(), of_new)
    finally:
        fsdp2_sharded_load_from_cpu(engine.module, *old)


@pytest.mark.parametrize("max_tokens", [20, 33, 1000])
def test_divergence_with_dynamic_micro_batches(engine, model, max_tokens):
    """verl reorders the rows then; one micro-batch, several, and one row each."""
    close_to_plain(exact(engine, kit.make_batch(max_tokens=max_tokens)), kit.definition(model))


@pytest.mark.parametrize("temperature", [0.7, 1.3])
def test_divergence_at_the_sampling_temperature(engine, temperature):
    found, plain = exact(engine, kit.make_batch(temperature=temperature)), exact(engine, kit.make_batch())
    assert (found[0].max() > plain[0].max()) == (temperature < 1), "colder means further apart"


def test_divergence_at_a_temperature_given_per_row(engine):
    batch = kit.make_batch(micro=2)
    batch["temperature"] = torch.tensor([0.7 if uid == "p" else 1.0 for uid in kit.UIDS])
    exact(engine, batch)


def test_order_of_the_rows_does_not_matter(engine, model):
    order = [5, 2, 0, 4, 1, 3]
    close_to_plain(exact(engine, kit.make_batch(rows=order, micro=2)), kit.definition(model), order)


def test_a_group_of_placeholder_rows(engine, model):
    """verl fills batches with identical rows of one response token; they agree and disturb nobody."""
    uids, lengths = ["pad", *kit.UIDS, "pad"], [1, *kit.LENGTHS, 1]
    found = exact(engine, kit.make_batch(uids, lengths, micro=4))
    close_to_plain(kit.nested(found.unbind()[1:-1]), kit.definition(model))
    assert found[0].item() == found[-1].item() < 1e-10


def test_a_response_without_siblings_has_no_divergence(engine):
    found = kit.infer(engine, kit.make_batch(rows=[0, 2, 4, 1]))["token_divergence"]
    assert (found[3] == 0).all() and found[0].max() > 1e-2


def test_a_shared_beginning_has_no_divergence(engine):
    """Equal prompts and equal first tokens: the states differ at most by the rounding of another padding."""
    batch = kit.make_batch(rows=[0, 2], micro=2)
    responses = [row.clone() for row in batch["responses"].unbind()]
    prompt = batch["prompts"][0]
    responses[1][:3] = responses[0][:3]
    batch["responses"] = kit.nested(responses)
    batch["input_ids"] = kit.nested(torch.cat([prompt, row]) for row in responses)
    found = kit.infer(engine, batch)["token_divergence"][0]
    assert (found[:4] < 1e-9).all(), "token 3 is predicted from three equal tokens"


@pytest.mark.parametrize("micro", [1, 6])
def test_a_prompt_is_left_out_and_states_wait_in_host_memory(engine, micro):
    whole = kit.infer(engine, kit.make_batch(micro=micro))["token_divergence"]
    request = names.DivergenceRequest("kl", left_out=frozenset({"p"}), offload=True)
    part = kit.infer(engine, kit.make_batch(micro=micro, request=request))["token_divergence"]
    for uid, with_it, without in zip(kit.UIDS, whole.unbind(), part.unbind(), strict=True):
        assert torch.isnan(without).all() if uid == "p" else torch.equal(with_it, without)


def test_logspace_k3_on_request(engine):
    from recipe.tw_grpo.divergence import group_divergence

    kept = []
    hook = engine.module.lm_head.register_forward_hook(lambda module, args, output: kept.append(args[0].detach()))
    found = kit.infer(engine, kit.make_batch(micro=6, request="logspace_k3"))["token_divergence"]
    hook.remove()
    rows = [row for row, uid in enumerate(kit.UIDS) if uid == "p"]
    states = [kept[0][row, 4 : 4 + kit.LENGTHS[row]] for row in rows]  # the prompt p has five tokens
    head = engine.module.lm_head.weight.full_tensor().detach()
    lengths = torch.tensor([kit.LENGTHS[row] for row in rows])
    expected = group_divergence(torch.cat(states), head, lengths, divergence="logspace_k3")
    torch.testing.assert_close(found[2], expected, rtol=1e-5, atol=1e-7)


def test_without_the_request_everything_is_verls(engine):
    """Bit-identical log-probabilities, no new output, and the request changes none of verl's own outputs either."""
    from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

    plain = kit.infer(engine, kit.make_batch(micro=2, request=None))
    with engine.eval_mode():
        stock = FSDPEngineWithLMHead.infer_batch(engine, kit.make_batch(micro=2, request=None))["model_output"]
    asked = kit.infer(engine, kit.make_batch(micro=2))
    assert set(plain) == set(stock) == set(asked) - {"token_divergence"} == {"log_probs"}
    assert torch.equal(plain["log_probs"].values(), stock["log_probs"].values())
    assert torch.equal(plain["log_probs"].values(), asked["log_probs"].values())


def test_the_batch_comes_back_as_it_was(engine):
    batch = kit.make_batch()
    before = set(batch.keys())
    kit.infer(engine, batch)
    assert names.ROW not in batch.keys() and before <= set(batch.keys())


def test_a_failing_pass_leaves_nothing_behind(engine):
    batch = kit.make_batch()
    batch["temperature"] = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.5, 1.0])
    with pytest.raises(RuntimeError, match="sampled at temperatures"):
        kit.infer(engine, batch)
    exact(engine, kit.make_batch())


def test_training_goes_on_as_verls(engine):
    """The hook stays registered in training: no output of ours, and gradients flow."""
    metrics = kit.train(engine, kit.make_batch(request=None, micro=2), advantage=0.0)
    assert engine._pass is None and metrics["grad_norm"] == 0, "advantages of 0 must not move the model"


@pytest.mark.parametrize("frozen", [True, False])
def test_freeze_vision_tower_of_verls_actor_configuration(tmp_path, frozen):
    """No gradient and no optimizer state for the tower, everything else is trained, and vLLM still gets all weights."""
    engine = kit.build_engine(kit.write_model(tmp_path / "vl", kind="qwen2_5_vl"), freeze_vision_tower=frozen)
    before = {name: weight.clone() for name, weight in engine.get_per_tensor_param()[0]}
    for _ in range(2):
        assert kit.train(engine, kit.make_batch(request=None, micro=2, vl=True), advantage=1.0)["grad_norm"] > 0
    after = dict(engine.get_per_tensor_param()[0])
    assert before.keys() == after.keys() == dict(engine.module.named_parameters()).keys()
    tower = {name for name in before if ".visual." in name}
    moved = {name for name in before if not before[name].equal(after[name])}
    assert tower and moved == (before.keys() - tower if frozen else before.keys())
    with_state = {name for name, weight in engine.module.named_parameters() if weight in engine.optimizer.state}
    assert with_state == moved
    exact(engine, kit.make_batch(micro=2, vl=True))


def test_a_model_without_a_vision_tower_cannot_freeze_one(model):
    with pytest.raises(ValueError, match="freeze_vision_tower=True, but Qwen2ForCausalLM has no vision tower"):
        kit.build_engine(model, freeze_vision_tower=True)


def test_the_learning_rate_falls_linearly_to_zero_and_goes_on_after_a_stop(model):
    from verl.workers.config import FSDPOptimizerConfig

    def build():
        optim = FSDPOptimizerConfig(lr=1e-3, lr_scheduler_type="linear", total_training_steps=4, weight_decay=0)
        return kit.build_engine(model, optim=optim)

    engine, rates = build(), []
    for _ in range(4):
        rates.append(engine.optimizer.param_groups[0]["lr"])
        kit.train(engine, kit.make_batch(request=None, micro=2), advantage=1.0)
        state = engine.lr_scheduler.state_dict()
        rates.append(engine.lr_scheduler_step())
    assert rates == pytest.approx([1e-3, 7.5e-4, 7.5e-4, 5e-4, 5e-4, 2.5e-4, 2.5e-4, 0.0])
    resumed = build()
    resumed.lr_scheduler.load_state_dict(state)
    assert resumed.lr_scheduler_step() == 0.0
    with pytest.raises(AssertionError):
        FSDPOptimizerConfig(lr=1e-3, lr_scheduler_type="lineal")


def test_tied_embeddings(tmp_path):
    path = kit.write_model(tmp_path / "tied", tied=True)
    engine = kit.build_engine(path)
    assert engine.module.lm_head.weight is engine.module.model.embed_tokens.weight
    close_to_plain(exact(engine, kit.make_batch(micro=3)), kit.definition(path))


def test_qwen2_5_vl(tmp_path):
    """The model the paper trains: three-dimensional positions, and a video before every prompt."""
    engine = kit.build_engine(kit.write_model(tmp_path / "vl", kind="qwen2_5_vl"))
    found = exact(engine, kit.make_batch(micro=2, vl=True))
    assert max(row.max() for row in found.unbind()) > 1e-2


def test_bfloat16(model):
    """verl's default precision: within 1e-2 of the definition from the states the engine itself computed."""
    engine = kit.build_engine(model, mixed_precision={"param_dtype": "bf16", "reduce_dtype": "fp32"})
    kept = []
    engine.module.lm_head.register_forward_hook(lambda module, args, output: kept.append(args[0].detach().double()))
    found = kit.infer(engine, kit.make_batch(micro=6))["token_divergence"]
    head = engine.module.lm_head.weight.full_tensor().detach().bfloat16().double()
    for uid in ("p", "q"):
        rows = [row for row, name in enumerate(kit.UIDS) if name == uid]
        lengths = [kit.LENGTHS[row] for row in rows]
        prompt = kit.PROMPTS[uid]
        logits = [kept[0][row, prompt - 1 : prompt - 1 + n] @ head.T for row, n in zip(rows, lengths, strict=True)]
        padded = torch.nn.utils.rnn.pad_sequence(logits, batch_first=True)
        expected = kit.group_divergence_reference(padded, torch.tensor(lengths))
        for row, n in zip(rows, lengths, strict=True):
            torch.testing.assert_close(found[row].double(), expected[:n], rtol=1e-2, atol=1e-9)


def capped(logits):
    return 2 * torch.tanh(logits / 2)


def biased(logits):
    return logits + torch.linspace(-3, 3, logits.shape[-1])


def scaled(logits):
    return logits * 0.5


@pytest.mark.parametrize("change", [capped, biased, scaled])
def test_a_model_with_another_head_is_refused(model, change):
    engine = kit.build_engine(model)
    engine.module.lm_head.register_forward_hook(lambda module, args, output: change(output))
    assert kit.infer(engine, kit.make_batch(request=None))["log_probs"].numel() > 0, "plain GRPO works with it"
    with pytest.raises(RuntimeError, match=r"Qwen2ForCausalLM.*adv_estimator=grpo"):
        kit.infer(engine, kit.make_batch())


@pytest.mark.parametrize(
    "world, ulysses, kind",
    [(2, 1, "qwen2"), (4, 1, "qwen2"), (2, 2, "qwen2"), (4, 2, "qwen2"), (2, 2, "qwen3_vl")],
    ids=["2 ranks", "4 ranks", "Ulysses of 2", "2 ranks, Ulysses of 2", "Ulysses of 2, Qwen3-VL"],
)
def test_ranks_give_what_one_gives(tmp_path, world, ulysses, kind):
    """Each rank holds one prompt, the head is split between them; weights, gradients and the update are the same."""
    model, video = kit.write_model(tmp_path / kind, kind), kind.endswith("vl")
    uids, lengths = kit.ON_RANKS[world // ulysses]
    programs = [
        subprocess.Popen(
            [sys.executable, str(Path(kit.__file__).with_name("engine_rank.py")), str(model), str(tmp_path / "out")],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "OMP_NUM_THREADS": "1",
                "RANK": str(rank),
                "WORLD_SIZE": str(world),
                "ULYSSES": str(ulysses),
                "VIDEO": str(int(video)),
                "STORE": str(tmp_path / "store"),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(world)
    ]
    try:
        outputs = [program.communicate(timeout=300)[0] for program in programs]
    finally:
        for program in programs:
            program.kill()
    assert [program.returncode for program in programs] == [0] * world, "\n".join(output[-3000:] for output in outputs)
    engine = kit.build_engine(model)
    batch = kit.make_batch(uids, lengths, vl=video)
    exact(engine, batch)
    one = {name: list(rows.unbind()) for name, rows in kit.infer(engine, batch).items()}
    expected = None if video else kit.definition(model, uids, lengths)
    for rank in range(world):
        result = torch.load(f"{tmp_path}/out.{rank}")
        assert sum(rows for rows, _ in result["head rows on this rank"]) < kit.VOCABULARY, "the head must be split"
        # Other sizes of matrices round otherwise; the log-probabilities of the sampled tokens show how much.
        pairs = [(a, one["log_probs"][row]) for row, a in zip(result["rows"], result["log_probs"], strict=True)]
        delta = OTHER_ORDER * max(float((a - b).abs().max()) for a, b in pairs)
        assert delta < 1e-4
        for row, found in zip(result["rows"], result["divergence"], strict=True):
            error = (found - one["token_divergence"][row]).abs()
            assert (error <= divergence_limit(one["token_divergence"][row], delta, uids.count(uids[row]))).all()
            if expected is not None:
                close_to_plain(kit.nested([found]), expected, [row])
    gradient, moved = kit.step(engine, range(len(uids)), "outside", micro=1, uids=uids, lengths=lengths, vl=video)
    size = float(torch.cat([part.flatten() for part in gradient.values()]).norm())
    for rank in range(world):
        result = torch.load(f"{tmp_path}/out.{rank}")
        for name, weight in moved.items():
            torch.testing.assert_close(result["gradient"][name], gradient[name], rtol=1e-4, atol=1e-6 * size)
            # Adam divides by the size of the gradient: rounding of the smallest is up to 0.5 % of its step of 1e-3.
            torch.testing.assert_close(result["moved"][name], weight, rtol=1e-4, atol=5e-6)


def test_head_of_an_fsdp1_model(model):
    """verl's constructor of FSDP1 wants a GPU (sync_module_states); wrapped directly, as verl wraps, it works here."""
    import functools

    import transformers
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy
    from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

    from recipe.tw_grpo.integration.engine import base_of, full_head

    plain = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    head = plain.lm_head.weight.detach().clone()
    policy = functools.partial(transformer_auto_wrap_policy, transformer_layer_cls={Qwen2DecoderLayer})
    wrapped = FullyShardedDataParallel(plain, auto_wrap_policy=policy, device_id=torch.device("cpu"))
    assert torch.equal(full_head(wrapped, torch.float32), head)
    assert full_head(wrapped, torch.bfloat16).dtype == torch.bfloat16
    kept = []
    base_of(wrapped).register_forward_hook(lambda module, args, output: kept.append(output[0].detach()))
    ids = torch.arange(10)[None]
    logits = wrapped(input_ids=ids).logits
    torch.testing.assert_close(kept[0] @ head.T, logits.detach(), rtol=1e-5, atol=1e-5)
