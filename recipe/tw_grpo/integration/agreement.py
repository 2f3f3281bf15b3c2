# SPDX-License-Identifier: Apache-2.0
"""Does the policy that answers (vLLM) give the probabilities of the policy that is trained (the actor)?

verl reports `training/rollout_probs_diff_mean`, the mean of |p_sampler - p_actor| over the sampled tokens. `bound` is
what rounding explains of it; more means two policies, and a run of days would train the wrong one.
"""

from __future__ import annotations

from typing import Any

METRIC = "training/rollout_probs_diff_mean"

# float32: two kernels that sum in another order differ by about 1e-7 relative a layer; the tiny policy, the rehearsal
# and every row of docs/exactness.md measure below 1e-5. The bound is ten times that.
# bfloat16: logits of size 16 to 32 are rounded to multiples of 1/8, so log p of each side is off by about
# 0.125 / sqrt(12) = 0.036, and the last hidden states by as much again: 0.07 between two sides.
# p |delta log p| with the mean of p (1 - p) at its largest, 1/4, is 0.018.
BOUNDS = {"float32": 1e-4, "bfloat16": 0.02}
_FULL = ("fp32", "float32", "float")


def bound(config: Any) -> tuple[float, str]:
    """What rounding explains of METRIC for this verl configuration, and the dtype it is for."""
    actor = config.actor_rollout_ref.actor
    precision = (actor.get("fsdp_config") or {}).get("mixed_precision") or {}
    of_actor = str(precision.get("param_dtype", "bf16")).removeprefix("torch.")
    of_sampler = str(config.actor_rollout_ref.rollout.dtype).removeprefix("torch.")
    dtype = "float32" if of_actor in _FULL and of_sampler in _FULL else "bfloat16"
    return BOUNDS[dtype], dtype


def incomparable(config: Any) -> str | None:
    """The setting under which the two probabilities differ by design, None where there is none."""
    rollout = config.actor_rollout_ref.rollout
    if not rollout.calculate_log_probs:
        return "actor_rollout_ref.rollout.calculate_log_probs=False"
    if config.algorithm.get("rollout_correction") and config.algorithm.rollout_correction.get("bypass_mode", False):
        return "algorithm.rollout_correction.bypass_mode=True"
    if rollout.get("quantization"):
        return f"actor_rollout_ref.rollout.quantization={rollout.quantization}"
    mode = rollout.get("logprobs_mode", "processed_logprobs")
    if mode != "processed_logprobs":
        # Raw ones are those before temperature and top_k; the actor's are of the whole vocabulary, at the temperature.
        if mode == "raw_logprobs" and rollout.temperature == 1:
            return None
        return f"actor_rollout_ref.rollout.logprobs_mode={mode} at temperature {rollout.temperature:g}"
    if rollout.top_k not in (-1, 0, None):  # processed ones are of the tokens that were left
        return f"actor_rollout_ref.rollout.top_k={rollout.top_k}"
    if rollout.top_p < 1:
        return f"actor_rollout_ref.rollout.top_p={rollout.top_p}"
    return None


def disagreement(config: Any, step: int, found: float) -> str | None:
    """One line when `found`, the value of METRIC, is more than rounding explains (a NaN is), else None."""
    allowed, dtype = bound(config)
    if found <= allowed:
        return None
    return (
        f"step {step}: {METRIC}={found:.3g}, but rounding in {dtype} explains {allowed:g}: the policy that answers is "
        "not the policy that is trained. Likely: a repair that was turned off (TW_GRPO_REPAIRS; time positions of "
        "videos), a model vLLM computes differently, weights that did not reach vLLM, a vocabulary larger than the "
        "tokenizer's. "
        "+trainer.tw_grpo.on_disagreement=warn goes on"
    )
