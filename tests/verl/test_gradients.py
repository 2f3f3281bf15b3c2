# SPDX-License-Identifier: Apache-2.0
"""d loss / d theta through verl's engine is that of Eq. 6, written down a second time without verl, in float64."""

import engine_kit as kit
import pytest
import torch
import transformers

pytestmark = pytest.mark.usefixtures("one_rank")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return kit.write_model(tmp_path_factory.mktemp("models") / "qwen2")


def by_definition(path, placement, normalization):
    """Gradient of minus Eq. 6, one sequence at a time; also which of the two arguments of min() was taken."""
    policy = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float64, attn_implementation="sdpa")
    fields = kit.policy_gradient_fields(range(6))
    of_prompt, tokens, clipped = {}, {}, 0
    for row, (prompt, response) in enumerate(kit.sequences()):
        ids = torch.cat([prompt, response])
        logits = policy(input_ids=ids[None]).logits[0, len(prompt) - 1 : -1]
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


@pytest.mark.parametrize("placement", ["outside", "inside"])
@pytest.mark.parametrize("normalization", ["prompt", "batch"])
@pytest.mark.parametrize("micro", [1, 3])
def test_the_gradient_of_the_engine(model, placement, normalization, micro):
    expected = by_definition(model, placement, normalization)
    found, _ = kit.step(kit.build_engine(model), range(6), placement, micro=micro, normalization=normalization)
    assert found.keys() == expected.keys()
    size = torch.cat([gradient.flatten() for gradient in expected.values()]).norm()
    error = torch.cat([(found[name].double() - expected[name]).flatten() for name in expected]).norm()
    assert error / size < 1e-5
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name].double(), gradient, rtol=1e-4, atol=float(1e-6 * size))


def test_the_placements_and_normalisations_differ(model):
    """So that the test above can fail."""
    found = [by_definition(model, p, n) for p in ("outside", "inside") for n in ("prompt", "batch")]
    vectors = [torch.cat([gradient.flatten() for gradient in one.values()]) for one in found]
    for i, one in enumerate(vectors):
        assert all((one - other).norm() / one.norm() > 1e-3 for other in vectors[i + 1 :])
