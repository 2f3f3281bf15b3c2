# SPDX-License-Identifier: Apache-2.0
"""verl's reward manager `multi_answer`: scores one response as it ends and reports what the score is made of.

The rules are in `answers.py` and `reward.py`. A record without a right answer raises, because all of its
responses would earn 0. The prompt then counts as failed, see failures.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from verl import DataProto
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

from recipe.tw_grpo.answers import parse_truth
from recipe.tw_grpo.config import RewardConfig
from recipe.tw_grpo.reward import score_response
from recipe.tw_grpo.toolbox.errors import UserError


class BrokenRecord(UserError):
    """A record of the training data that no response can be scored by."""


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
        extra = record["extra_info"] if isinstance(record.get("extra_info"), Mapping) else {}
        truth, options = _question(record.get("reward_model"), extra.get("options"), self.settings.rule)
        parts = score_response(response, truth, options, self.settings)
        parts |= {key: "" if extra.get(key) is None else str(extra[key]) for key in ("video", "index")}
        return {"reward_score": parts["score"], "reward_extra_info": parts}


def _question(model: Any, listed: Any, rule: str) -> tuple[str, list[str] | None]:
    """Ground truth and options of a record, from its `reward_model` and its `extra_info.options`."""
    truth = model.get("ground_truth") if isinstance(model, Mapping) else None
    if not isinstance(truth, str):
        raise BrokenRecord(f"reward_model.ground_truth={truth!r:.60} is no text")
    if listed is not None and (isinstance(listed, str) or not isinstance(listed, Iterable)):
        raise BrokenRecord(f"extra_info.options={listed!r:.60} is no list")
    options = None if listed is None else list(listed)
    if options and not all(isinstance(option, str) for option in options):
        raise BrokenRecord(f"extra_info.options={options!r:.60} are not all texts")
    if not any(parse_truth(truth, options, rule)):
        raise BrokenRecord(f"ground_truth {truth!r:.60} names no option letter")
    return truth, options
