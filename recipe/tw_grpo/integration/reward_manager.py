# SPDX-License-Identifier: Apache-2.0
"""verl's reward manager `multi_answer`: scores one response as it ends and reports what the score is made of.

The rules are in `answers.py` and `reward.py`. Nothing here may raise for a bad record: verl would count the whole group
as failed, and a training run must not lose a prompt to one broken line of its data.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from verl import DataProto
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

from recipe.tw_grpo.config import RewardConfig
from recipe.tw_grpo.reward import by_kind, score_response

logger = logging.getLogger(__name__)


class MultiAnswerRewardManager(RewardManagerBase):
    """Scores with `reward.score_response`; settings under `reward.reward_kwargs`, see `config.RewardConfig`."""

    def __init__(self, config: Any, tokenizer: Any, compute_score: Any = None, **_: Any) -> None:
        super().__init__(config, tokenizer, compute_score)
        self.settings = RewardConfig.from_mapping(config.reward.get("reward_kwargs"))

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """Reward of one response: {"reward_score": float, "reward_extra_info": `score_response`, "video" and "index"}.

        The video's name and the record's index ("" if the record has none) go into verl's dumps with the rest: so
        intervals can be clustered by video, dumps be paired, and a validation be checked against its questions. Both
        are text, because verl makes metrics of numbers.
        """
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
            parts = {"score": 0.0, "acc": 0.0, "soft_acc": 0.0, "format": 0.0, "pred": "", "n_right": 0}
            parts |= by_kind(parts)
        names = {key: extra.get(key) if isinstance(extra, Mapping) else None for key in ("video", "index")}
        parts |= {key: "" if name is None else str(name) for key, name in names.items()}
        return {"reward_score": parts["score"], "reward_extra_info": parts}
