# SPDX-License-Identifier: Apache-2.0
"""What lmms-eval calls for the task `clevrer_counterfactual`: prompt, video, and scores by this project's own rules.

Answers are read by `recipe.tw_grpo.answers` and rewarded by `recipe.tw_grpo.reward`, as in training and in
`python -m recipe.tw_grpo.scoring`, so that the three give one number. lmms-eval itself is not imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recipe.tw_grpo.reward import score_response

VIDEO_TAG = "<video>"  # marks the video's place in the parquet's prompt; lmms-eval puts the video first by itself


def doc_to_visual(doc: dict[str, Any]) -> list[str]:
    """Path of the question's video."""
    return [doc["videos"][0]["video"].removeprefix("file://")]


def doc_to_text(doc: dict[str, Any], lmms_eval_specific_kwargs: dict[str, Any] | None = None) -> str:
    """The prompt of the paper: question, lettered options, instruction."""
    return doc["prompt"][0]["content"].replace(VIDEO_TAG, "")


def doc_to_target(doc: dict[str, Any]) -> str:
    """The right letters, "A,C"."""
    return doc["reward_model"]["ground_truth"]


def process_results(doc: dict[str, Any], results: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Scores of one question; of several responses the mean.

    Returns:
        {metric: {"score", "video", "kind", "question", "options", "pred"}}; the metrics of questions with one or with
        several right options only for those. The scorer finds video and options there again.
    """
    extra = doc["extra_info"]
    scored = [score_response(response, doc_to_target(doc), extra["options"]) for response in results]
    kind = "single" if scored[0]["n_right"] == 1 else "multi"
    about = {
        "video": extra["video"],
        "kind": kind,
        "question": extra["question"],
        "options": list(extra["options"]),
        "pred": [row["pred"] for row in scored],
    }
    acc, soft = (sum(row[name] for row in scored) / len(scored) for name in ("acc", "soft_acc"))
    metrics = {"acc": acc, "soft_acc": soft, f"acc_{kind}": acc}
    if kind == "multi":
        metrics["soft_acc_multi"] = soft
    return {name: {"score": value, **about} for name, value in metrics.items()}


def mean_score(items: Sequence[dict[str, Any]]) -> float:
    """Mean of the scores of `process_results`."""
    return sum(item["score"] for item in items) / len(items)
