# SPDX-License-Identifier: Apache-2.0
"""Every setting of TW-GRPO, its default and what it may be: the one place for them.

In verl they stand under `algorithm.tw_grpo` (for example `+algorithm.tw_grpo.alpha=0.7`); unknown names and values that
cannot work are refused before Ray starts. What verl itself already configures (clip ratios, learning rate, rollout.n,
temperature) is not repeated here.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from recipe.tw_grpo.toolbox.errors import UserError

ESTIMATOR = "tw_grpo"  # the value of algorithm.adv_estimator that turns the method on
REWARD_MANAGER = "multi_answer"  # the value of reward.reward_manager.name
PREFIX = "algorithm.tw_grpo"
REWARD_PREFIX = "reward.reward_kwargs"
GUARD_PREFIX = "trainer.tw_grpo"

CHOICES = {
    "divergence": ("kl", "logspace_k3"),
    "weight_form": ("offset", "literal"),
    "weight_placement": ("outside", "inside"),
    "positions": ("none", "padding", "content", "all"),
    "loss_normalization": ("prompt", "batch"),
    "accuracy": ("soft", "fixed"),
    "rule": ("tolerant", "strict"),
    "on_disagreement": ("stop", "warn"),
}

_Config = TypeVar("_Config")

# Names people know from elsewhere, and what to write here instead.
_NOT_OURS = {
    "max_weight": "the public code's max_weight is 1 + alpha here: for its 1.7 set alpha=0.7",
    "beta": "set actor_rollout_ref.actor.use_kl_loss and kl_loss_coef, which are verl's own",
    "num_generations": "set actor_rollout_ref.rollout.n, which is verl's own",
}


@dataclasses.dataclass(frozen=True)
class TWGRPOConfig:
    """Settings of the method; equation numbers are the paper's (arXiv 2505.24718).

    Attributes:
        alpha: strength of the weights, w_t = 1 + alpha * minmax(D)_t (Eq. 5); >= 0, and 0 means no weighting.
        positions: where weights apply. "all"; "content" (t < shortest response); "padding" (from the end of the
            shortest to the end of the longest response); "none". Positions left out have w_t = 1 (Table A2).
        divergence: "kl" is Eq. 4 exactly; "logspace_k3" is the formula of the public code, for comparison.
        weight_form: "offset" is 1 + alpha * minmax(D); "literal" is the printed Eq. 5, (1 + alpha) * minmax(D).
        weight_placement: "outside" is w min(r A, clip(r) A), with any of verl's policy losses; "inside" is the printed
            min(w r A, clip(r) A) of Eq. 6, and also needs actor.policy_loss.loss_mode=tw_grpo.
        loss_normalization: "prompt" divides by the tokens of a prompt's responses, then means over prompts (Eq. 6);
            "batch" leaves verl's own `actor.loss_agg_mode` as it is.
        epsilon: added to the standard deviation of Eq. 1; > 0.
        skip_dead_groups: leave out D_t where all rewards of a prompt are equal: its advantages are 0, so no weight
            changes the update. Weights there are 1, and dumps and metrics have no D_t of them.
        offload_states: keep hidden states in host memory until all responses of their prompt have passed.

    Raises:
        UserError: a value that cannot work, named with its full verl name.
    """

    alpha: float = 0.7
    positions: str = "all"
    divergence: str = "kl"
    weight_form: str = "offset"
    weight_placement: str = "outside"
    loss_normalization: str = "prompt"
    epsilon: float = 1e-6
    skip_dead_groups: bool = False
    offload_states: bool = False

    def __post_init__(self) -> None:
        _finite_numbers(self, PREFIX, "alpha", "epsilon")
        _one_of(self, PREFIX, "divergence", "weight_form", "weight_placement", "positions", "loss_normalization")
        _yes_or_no(self, PREFIX, "skip_dead_groups", "offload_states")
        if self.alpha < 0:
            raise UserError(f"{PREFIX}.alpha={self.alpha} must be 0 or larger (0 turns the weights off)")
        if self.epsilon <= 0:
            raise UserError(f"{PREFIX}.epsilon={self.epsilon} must be larger than 0")

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any] | None) -> TWGRPOConfig:
        """Build the configuration from what stands under `algorithm.tw_grpo` (nothing there means the defaults).

        Raises:
            UserError: an unknown name (with the nearest known one) or a value that cannot work.
        """
        return _from_mapping(cls, PREFIX, settings)


@dataclasses.dataclass(frozen=True)
class RewardConfig:
    """Settings of the reward manager `multi_answer`, in verl under `reward.reward_kwargs`.

    Attributes:
        accuracy: "soft" is Eq. 7, "fixed" is 1 for the exact set of letters and 0 otherwise.
        accuracy_weight: factor of the accuracy in the score.
        format_weight: factor of the format reward in the score (the paper's run: 1).
        rule: how answers are read, "tolerant" or "strict" (see `answers.parse_answer`).

    Raises:
        UserError: a value that cannot work, named with its full verl name.
    """

    accuracy: str = "soft"
    accuracy_weight: float = 1.0
    format_weight: float = 1.0
    rule: str = "tolerant"

    def __post_init__(self) -> None:
        _finite_numbers(self, REWARD_PREFIX, "accuracy_weight", "format_weight")
        _one_of(self, REWARD_PREFIX, "accuracy", "rule")

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any] | None) -> RewardConfig:
        """Build the configuration from what stands under `reward.reward_kwargs`; raises UserError as TWGRPOConfig."""
        return _from_mapping(cls, REWARD_PREFIX, settings)


@dataclasses.dataclass(frozen=True)
class GuardConfig:
    """What a run is watched for, with any estimator; in verl under `trainer.tw_grpo`.

    Attributes:
        on_disagreement: when sampler and actor differ by more than rounding explains: "stop" at that step, or "warn".
        max_failed_share: largest share of the last fifty prompts that may fail as a whole, in [0, 1]; 1 means any.
        keep_newest: checkpoints that stay besides the best one, counted over all starts of a run; 0 leaves it to verl.
        best_metric: the validation metric by which a checkpoint is the best.

    Raises:
        UserError: a value that cannot work, named with its full verl name.
    """

    on_disagreement: str = "stop"
    max_failed_share: float = 0.5
    keep_newest: int = 0
    best_metric: str = "multi_soft_acc"

    def __post_init__(self) -> None:
        _finite_numbers(self, GUARD_PREFIX, "max_failed_share")
        _one_of(self, GUARD_PREFIX, "on_disagreement")
        if not 0 <= self.max_failed_share <= 1:
            raise UserError(f"{GUARD_PREFIX}.max_failed_share={self.max_failed_share} must be from 0 to 1")
        if isinstance(self.keep_newest, bool) or not isinstance(self.keep_newest, int) or self.keep_newest < 0:
            raise UserError(f"{GUARD_PREFIX}.keep_newest={self.keep_newest!r} is not a whole number, 0 or more")

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any] | None) -> GuardConfig:
        """Build the configuration from what stands under `trainer.tw_grpo`; raises UserError as TWGRPOConfig."""
        return _from_mapping(cls, GUARD_PREFIX, settings)


def _finite_numbers(config: Any, prefix: str, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(f"{prefix}.{name}={value!r} is not a finite number")
        object.__setattr__(config, name, float(value))


def _yes_or_no(config: Any, prefix: str, *names: str) -> None:
    for name in names:
        if not isinstance(getattr(config, name), bool):
            raise UserError(f"{prefix}.{name}={getattr(config, name)!r} must be True or False")


def _one_of(config: Any, prefix: str, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value not in CHOICES[name]:
            raise UserError(f"{prefix}.{name}={value!r} is none of {', '.join(CHOICES[name])}")


def _from_mapping(cls: type[_Config], prefix: str, settings: Mapping[str, Any] | None) -> _Config:
    if settings is None:
        return cls()
    if not isinstance(settings, Mapping):
        raise UserError(f"{prefix}={settings!r} must hold settings, one a line: {prefix}.NAME=VALUE")
    known = [field.name for field in dataclasses.fields(cls)]
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = _NOT_OURS.get(name) or (f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}")
            raise UserError(f"{prefix}.{name} is not a setting: {hint}")
    return cls(**settings)
