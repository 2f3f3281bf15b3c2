# SPDX-License-Identifier: Apache-2.0
"""d loss / d theta through verl's engine is that of Eq. 6, written down a second time without verl, in float64."""

import engine_kit as kit
import exactness
import pytest
import torch
import transformers

pytestmark = pytest.mark.usefixtures("one_rank")

# Cases of the matrix that differ in how the backward pass goes; those that cut the batch have all rows.
CASES = [
    case
    for case in exactness.CASES
    if case.name
    in (
        "padded, micro-batches of 6",
        "micro-batches of 1",
        "use_dynamic_bsz, 33 tokens",
        "temperature 0.7",
        "tied embeddings",
        "use_remove_padding, micro-batches of 2",
        "use_remove_padding, use_dynamic_bsz",
        "use_fused_kernels (torch), packed, tied",
        "use_fused_kernels, temperature 0.7, tied",
        "gradient checkpointing",
        "Qwen3",
        "Qwen2.5-VL with video",
        "Qwen2.5-VL, frozen vision tower",
        "Qwen3-VL, use_remove_padding",
        "Qwen3-VL, tied",
    )
]
assert len(CASES) == 15


def by_definition(path, placement, normalization, vl=False, temperature=1.0):
    """Gradient of minus Eq. 6, one sequence at a time."""
    kind = transformers.AutoModelForImageTextToText if vl else transformers.AutoModelForCausalLM
    policy = kind.from_pretrained(path, dtype=torch.float64, attn_implementation="sdpa")
    fields = kit.policy_gradient_fields(range(6))
    of_prompt, tokens, clipped = {}, {}, 0
    for row, (prompt, response) in enumerate(kit.sequences()):
        ids = torch.cat([*([kit.VIDEO_TOKENS] if vl else []), prompt, response])
        inputs = {"input_ids": ids[None]}
        if vl:
            video = kit.video()
            inputs |= video | {"pixel_values_videos": video["pixel_values_videos"].double()}
            # Text positions and three axes: verl has replaced the forward of some classes, which wants all four.
            inputs["position_ids"] = torch.arange(len(ids)).expand(4, 1, -1)
        logits = policy(**inputs).logits[0, len(ids) - len(response) - 1 : -1] / temperature
        new = logits.log_softmax(-1).gather(-1, response[:, None])[:, 0]
        ratio = (new - fields["old_log_probs"][row].double()).exp()
        advantage, weight = fields["advantages"][row].double(), fields["weights"][row].double()
        if placement == "outside":
            first, second = weight * ratio * advantage, weight * ratio.clamp(0.8, 1.28) * advantage
        else:
            first, second = weight * ratio * advantage, ratio.clamp(0.8, 1.28) * advantage
        clipped += int((second < first).sum())
        uid = kit.UIDS[row]
        of_prompt[uid] = of_prompt.get(uid, 0) + torch.minimum(first, second).sum()
        tokens[uid] = tokens.get(uid, 0) + len(response)
    if normalization == "prompt":
        objective = sum(of_prompt[uid] / tokens[uid] for uid in tokens) / len(tokens)
    else:
        objective = sum(of_prompt.values()) / sum(tokens.values())
    (-objective).backward()
    assert 5 < clipped < sum(kit.LENGTHS) - 5, "both arguments of min() must take part"
    return {name: weight.grad for name, weight in policy.named_parameters()}


def assert_equal(found, expected):
    size = torch.cat([gradient.flatten() for gradient in expected.values()]).norm()
    error = torch.cat([(found[name].double() - expected[name]).flatten() for name in expected]).norm()
    assert error / size < 1e-5
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name].double(), gradient, rtol=1e-4, atol=float(1e-6 * size))


@pytest.mark.parametrize("placement", ["outside", "inside"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_gradient_of_the_engine(case, placement, tmp_path):
    with exactness.restored_forward():
        path, engine = case.build(tmp_path)
        found, _ = kit.step(engine, range(6), placement, **{"micro": 6, **case.batch})
    options = {name: case.batch[name] for name in ("vl", "temperature") if name in case.batch}
    expected = by_definition(path, placement, "prompt", **options)
    frozen = {name for name in expected if "visual" in name} if case.actor_options.get("freeze_vision_tower") else set()
    assert bool(frozen) == ("frozen" in case.name)
    assert found.keys() == expected.keys() - frozen
    assert_equal(found, {name: expected[name] for name in found})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return kit.write_model(tmp_path_factory.mktemp("models") / "qwen2")


@pytest.mark.parametrize("placement", ["outside", "inside"])
@pytest.mark.parametrize("micro", [1, 3])
def test_the_gradient_of_verls_token_mean(model, placement, micro):
    expected = by_definition(model, placement, "batch")
    found, _ = kit.step(kit.build_engine(model), range(6), placement, micro=micro, normalization="batch")
    assert found.keys() == expected.keys()
    assert_equal(found, expected)


@pytest.mark.parametrize("placement", ["outside", "inside"])
@pytest.mark.parametrize("uids", [["p", "q", "p", "q", "p", "pad"], ["p", "q", "p", "pad", "p", "pad"]])
def test_the_gradient_of_a_group_that_lost_responses_is_that_of_the_rest(model, placement, uids):
    """The rest alone, although placeholder rows fill the batch."""
    lengths = [1 if uid == "pad" else length for uid, length in zip(uids, kit.LENGTHS, strict=True)]
    rest = [row for row, uid in enumerate(uids) if uid != "pad"]
    options = {"uids": uids, "lengths": lengths, "micro": 1}
    filled, _ = kit.step(kit.build_engine(model), range(6), placement, **options)
    alone, _ = kit.step(kit.build_engine(model), rest, placement, **options)
    for name, gradient in alone.items():
        torch.testing.assert_close(filled[name], gradient, rtol=1e-5, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")
    assert max(gradient.abs().max() for gradient in alone.values()) > 1e-4


def test_the_placements_and_normalisations_differ(model):
    """So that the tests above can fail."""
    found = [by_definition(model, p, n) for p in ("outside", "inside") for n in ("prompt", "batch")]
    vectors = [torch.cat([gradient.flatten() for gradient in one.values()]) for one in found]
    for i, one in enumerate(vectors):
        assert all((one - other).norm() / one.norm() > 1e-3 for other in vectors[i + 1 :])
