# SPDX-License-Identifier: Apache-2.0
"""verl's reward manager `multi_answer`: scores one response as it ends and reports what the score is made of.

The rules are in `answers.py` and `reward.py`. Nothing here may raise for a bad record: verl would count the whole group
as failed, and a training run must not lose a prompt to one broken line of its data.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from verl import DataProto
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

from recipe.tw_grpo.answers import parse_answer
from recipe.tw_grpo.config import RewardConfig
from recipe.tw_grpo.reward import fixed_reward, format_reward, soft_reward

logger = logging.getLogger(__name__)


def score_response(
    response: str, truth: str, options: Sequence[str] | None = None, config: RewardConfig | None = None
) -> dict[str, float | str]:
    """Score of one response and its parts, the same for training, validation and reports.

    Args:
        response: text of the response, special tokens left out.
        truth: right letters as the parquet has them, "A,C".
        options: texts of the options, when the record has them.
        config: weights of the parts; the paper's by default.

    Returns:
        score (what is trained on), acc (1 for the exact set), soft_acc (Eq. 7), format (0 or 1), pred ("A,C").

    Raises:
        ValueError: the truth names no letter.
    """
    config = config or RewardConfig()
    right = parse_answer(truth, rule="tolerant")
    if not right:
        raise ValueError(f"ground_truth {truth!r} names no option letter")
    predicted = parse_answer(response, options, rule=config.rule)
    parts = {
        "acc": fixed_reward(predicted, right),
        "soft_acc": soft_reward(predicted, right),
        "format": format_reward(response),
    }
    accuracy = parts["soft_acc" if config.accuracy == "soft" else "acc"]
    score = config.accuracy_weight * accuracy + config.format_weight * parts["format"]
    return {"score": score, **parts, "pred": ",".join(sorted(predicted))}


class MultiAnswerRewardManager(RewardManagerBase):
    """Scores with `score_response`; settings under `reward.reward_kwargs`, see `config.RewardConfig`."""

    def __init__(self, config: Any, tokenizer: Any, compute_score: Any = None, **_: Any) -> None:
        super().__init__(config, tokenizer, compute_score)
        self.settings = RewardConfig.from_mapping(config.reward.get("reward_kwargs"))

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """Reward of one response: {"reward_score": float, "reward_extra_info": the dict of `score_response`}."""
        item = data[-1]  # of a response in several outputs the last one holds the answer
        ids = item.batch["responses"]
        ids = ids[: int(item.batch["attention_mask"][-ids.shape[-1] :].sum())]
        response = await self.loop.run_in_executor(None, lambda: self.tokenizer.decode(ids, skip_special_tokens=True))
        record = item.non_tensor_batch
        extra = record.get("extra_info")
        options = extra.get("options") if isinstance(extra, Mapping) else None
        try:
            truth = record["reward_model"]["ground_truth"]
            parts = score_response(response, truth, None if options is None else list(options), self.settings)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            logger.error(
                "multi_answer: record %s of %s cannot be scored and gets 0: %s",
                extra.get("index", "?") if isinstance(extra, Mapping) else "?",
                record.get("data_source", "?"),
                error,
            )
            parts = {"score": 0.0, "acc": 0.0, "soft_acc": 0.0, "format": 0.0, "pred": ""}
        return {"reward_score": parts["score"], "reward_extra_info": parts}
