# SPDX-License-Identifier: Apache-2.0
"""Repairs in verl's real FSDP2 engine: placeholder rows alone in a micro-batch, a fused head of its own."""

import engine_kit as kit
import pytest
import torch
from verl.utils import tensordict_utils as tu

pytestmark = pytest.mark.usefixtures("one_rank")


@pytest.fixture(scope="module")
def vl_engine(tmp_path_factory):
    return kit.build_engine(kit.write_model(tmp_path_factory.mktemp("vl") / "model", "qwen2_5_vl"))


def with_placeholders(uids, lengths, real, request="kl"):
    """A video batch whose rows that are not `real` are verl's placeholders: text alone, no loss, one row a pass."""
    batch = kit.make_batch(uids, lengths, vl=True, micro=1, request=request)
    names = {"input_ids": 1, "prompts": 1, "responses": 1, "attention_mask": 1, "loss_mask": 1, "response_mask": 1}
    rows = {name: list(batch[name].unbind()) for name in names}
    videos = []
    for row, kept in enumerate(real):
        videos.append(kit.video() if kept else {})
        if not kept:
            prompt, response = torch.ones(15, dtype=torch.int64), torch.ones(1, dtype=torch.int64)
            rows["prompts"][row], rows["responses"][row] = prompt, response
            rows["input_ids"][row] = torch.cat([prompt, response])
            rows["attention_mask"][row] = torch.ones(16, dtype=torch.int64)
            rows["loss_mask"][row] = torch.zeros(16, dtype=torch.int64)
            rows["response_mask"][row] = torch.zeros(1, dtype=torch.int64)
    for name, values in rows.items():
        batch[name] = kit.nested(values)
    batch["position_ids"] = kit.nested(torch.arange(len(ids)).expand(4, -1).contiguous() for ids in rows["input_ids"])
    tu.assign_non_tensor_stack(batch, "multi_modal_inputs", videos)
    return batch


@pytest.mark.parametrize("request_", ["kl", None], ids=["tw_grpo", "grpo"])
@pytest.mark.parametrize(
    "uids, real",
    [
        (["p", "q", "p", "q", "p", "pad"], [1, 1, 1, 1, 1, 0]),
        (["pad", "q", "pad", "q", "pad", "q"], [0, 1, 0, 1, 0, 1]),
        (["pad"] * 6, [0] * 6),
    ],
    ids=["one response", "a whole prompt", "nothing else on the rank"],
)
def test_placeholders_alone_in_a_micro_batch(vl_engine, uids, real, request_):
    lengths = [length if kept else 1 for length, kept in zip(kit.LENGTHS, real, strict=True)]
    batch = with_placeholders(uids, lengths, real, request_)
    output = kit.infer(vl_engine, batch)
    assert [len(row) for row in output["log_probs"].unbind()] == [len(ids) for ids in batch["input_ids"].unbind()]
    assert all(torch.isfinite(row).all() for row in output["log_probs"].unbind())
    assert ("token_divergence" in output.keys()) == (request_ is not None)
    if request_:
        assert [len(row) for row in output["token_divergence"].unbind()] == lengths
    kept = [row for row, is_real in enumerate(real) if is_real]
    if kept:  # the real rows are what they are without the placeholders
        alone = kit.infer(vl_engine, kit.make_batch(kit.UIDS, kit.LENGTHS, kept, vl=True, micro=1, request=request_))
        for row, expected in zip(kept, alone["log_probs"].unbind(), strict=True):
            if uids[row] == kit.UIDS[row] and uids.count("pad") == 1:
                assert torch.allclose(output["log_probs"].unbind()[row], expected, atol=1e-6)


@pytest.fixture
def unpatched_classes():
    """verl's fused kernels replace `forward` of the model's class, for every model of this process."""
    import transformers

    classes = [transformers.Qwen2ForCausalLM, transformers.Qwen2_5_VLForConditionalGeneration]
    forwards = [each.forward for each in classes]
    yield
    for each, forward in zip(classes, forwards, strict=True):
        each.forward = forward


@pytest.mark.parametrize("kind", ["qwen2", "qwen2_5_vl"])
def test_fused_kernels_with_a_head_of_its_own(tmp_path, unpatched_classes, kind):
    """Log-probabilities as without fused kernels, D_t exact, and the head learns."""
    path = kit.write_model(tmp_path / "model", kind, tied=False)
    layout = {"vl": True, "micro": 2} if kind != "qwen2" else {"packed": True, "micro": 2}
    packed = {"use_remove_padding": kind == "qwen2"}
    fused = packed | {"use_fused_kernels": True, "fused_kernel_options": {"impl_backend": "torch"}}
    expected = kit.infer(kit.build_engine(path, model_options=packed), kit.make_batch(**layout))
    engine = kit.build_engine(path, model_options=fused)
    output, defined = kit.infer_and_define(engine, kit.make_batch(**layout, fused=True))
    for ours, theirs in zip(output["log_probs"].unbind(), expected["log_probs"].unbind(), strict=True):
        assert torch.allclose(ours[:-1], theirs[:-1], atol=1e-4)  # the last predicts nothing
    for ours, exact in zip(output["token_divergence"].unbind(), defined, strict=True):
        assert torch.allclose(ours.double(), exact, rtol=1e-5, atol=1e-6)
    before = kit._whole(engine.module.lm_head.weight)
    kit.train(engine, kit.make_batch(**layout, fused=True, request=None), 1.0)
    assert not torch.equal(kit._whole(engine.module.lm_head.weight), before)
