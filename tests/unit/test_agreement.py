# SPDX-License-Identifier: Apache-2.0
"""Sampler against actor: what rounding explains, when the two cannot be compared, what is said."""

import math

import pytest
import torch

pytest.importorskip("omegaconf")
from omegaconf import OmegaConf  # noqa: E402

from recipe.tw_grpo.integration.agreement import BOUNDS, bound, disagreement, incomparable  # noqa: E402


def config(*overrides: str, actor: str | None = None, sampler: str = "bfloat16"):
    base = {
        "algorithm": {"rollout_correction": {"bypass_mode": False}},
        "actor_rollout_ref": {
            "actor": {"fsdp_config": {"mixed_precision": {"param_dtype": actor} if actor else None}},
            "rollout": {"dtype": sampler, "calculate_log_probs": True, "top_k": -1, "top_p": 1, "quantization": None},
        },
    }
    return OmegaConf.merge(OmegaConf.create(base), OmegaConf.from_dotlist(list(overrides)))


@pytest.mark.parametrize(
    "actor, sampler, dtype",
    [
        (None, "bfloat16", "bfloat16"),
        ("fp32", "float32", "float32"),
        ("bf16", "float32", "bfloat16"),
        (None, "float32", "bfloat16"),
    ],
)
def test_the_bound_is_that_of_the_coarser_side(actor, sampler, dtype):
    assert bound(config(actor=actor, sampler=sampler)) == (BOUNDS[dtype], dtype)


def test_more_than_rounding_is_said_with_the_way_out():
    settings = config(actor="fp32", sampler="float32")
    assert disagreement(settings, 1, 9e-5) is None
    line = disagreement(settings, 1, 0.094)
    assert "step 1" in line and "0.094" in line and "time positions" in line and "on_disagreement=warn" in line
    assert disagreement(settings, 1, math.nan)


@pytest.mark.parametrize(
    "override",
    ["rollout.calculate_log_probs=False", "rollout.top_k=50", "rollout.top_p=0.9", "rollout.quantization=fp8"],
)
def test_settings_under_which_the_two_differ_by_design(override):
    assert incomparable(config()) is None
    assert incomparable(config(f"actor_rollout_ref.{override}")) == f"actor_rollout_ref.{override}"


@pytest.mark.parametrize(
    "mode, temperature, reason",
    [
        ("raw_logprobs", 1.0, None),  # of the whole vocabulary, as the actor's: top_k and top_p do not matter
        ("raw_logprobs", 0.5, "actor_rollout_ref.rollout.logprobs_mode=raw_logprobs at temperature 0.5"),
        ("raw_logits", 1.0, "actor_rollout_ref.rollout.logprobs_mode=raw_logits at temperature 1"),
    ],
)
def test_raw_log_probabilities_are_compared_at_temperature_one(mode, temperature, reason):
    rollout = {"logprobs_mode": mode, "temperature": temperature, "top_k": 50, "top_p": 0.9}
    assert incomparable(config(*(f"actor_rollout_ref.rollout.{k}={v}" for k, v in rollout.items()))) == reason


def test_the_bound_of_bfloat16_holds_for_rounded_logits():
    """Sampler and actor that share their states and round logits, and states, to bfloat16 on their own."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(400, 256, generator=generator)
    head = torch.randn(2000, 256, generator=generator) / 4  # logits of standard deviation 4, the largest near 16
    exact = (states @ head.T).log_softmax(-1)
    tokens = torch.multinomial(exact.exp(), 1, generator=generator)
    noise = 1 + 2**-9 * torch.randn(states.shape, generator=generator)
    rounded = [((s.bfloat16().float() @ head.T).bfloat16().float()).log_softmax(-1) for s in (states, states * noise)]
    a, b = (side.gather(-1, tokens).exp() for side in rounded)
    assert 0 < (a - b).abs().mean() < BOUNDS["bfloat16"]
