# SPDX-License-Identifier: Apache-2.0
"""verl's reward manager `multi_answer` on real DataProto rows: the score, its parts, and broken records."""

import asyncio

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from verl import DataProto
from verl.experimental.reward_loop.reward_manager import get_reward_manager_cls
from verl.trainer.ppo.metric_utils import process_validation_metrics

from recipe.tw_grpo.integration import reward_manager
from recipe.tw_grpo.toolbox.errors import UserError

PROMPT, ROOM = 6, 80  # columns of prompt and response


@pytest.fixture(scope="module")
def tokenizer():
    """Every byte a token, so that any text survives."""
    vocabulary = {token: i for i, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    plain = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    plain.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<|im_end|>", pad_token="<|pad|>")


def manager(tokenizer, *overrides):
    with initialize_config_module(config_module="verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", overrides=["reward.reward_manager.name=multi_answer", *overrides])
    return get_reward_manager_cls("multi_answer")(config, tokenizer, None)


ABSENT = object()


def score(tokenizer, response, *overrides, truth="A,C", extra=ABSENT, rows=1):
    """The reward of `response`; with rows > 1 the last row holds it and the others hold something else."""
    texts = ["<answer>B</answer>"] * (rows - 1) + [response]
    ids = [tokenizer.encode(text) + [tokenizer.eos_token_id] for text in texts]
    tensors = {
        "prompts": torch.zeros(rows, PROMPT, dtype=torch.int64),
        "responses": torch.tensor([row + [tokenizer.pad_token_id] * (ROOM - len(row)) for row in ids]),
        "attention_mask": torch.tensor([[1] * (PROMPT + len(row)) + [0] * (ROOM - len(row)) for row in ids]),
    }
    fields = {"data_source": "toy", "reward_model": {"style": "rule", "ground_truth": truth}}
    if truth is ABSENT:
        fields["reward_model"] = {"style": "rule"}
    if extra is not ABSENT:
        fields["extra_info"] = extra
    columns = {name: np.array([value] * rows, dtype=object) for name, value in fields.items()}
    data = DataProto.from_dict(tensors=tensors, non_tensors=columns)

    async def run():
        return await manager(tokenizer, *overrides).run_single(data)

    return asyncio.run(run())


GOOD = "<think>x</think><answer>A</answer>"


def test_score_and_parts(tokenizer):
    parts = {"score": 1.5, "acc": 0.0, "soft_acc": 0.5, "format": 1.0, "pred": "A", "n_right": 2}
    parts |= {"single_acc": None, "single_soft_acc": None, "multi_acc": 0.0, "multi_soft_acc": 0.5}
    assert score(tokenizer, GOOD) == {"reward_score": 1.5, "reward_extra_info": parts | {"video": "", "index": ""}}
    named = score(tokenizer, GOOD, extra={"video": "video_1.mp4", "index": np.int64(0)})  # text: no metric of verl's
    assert named["reward_extra_info"] == parts | {"video": "video_1.mp4", "index": "0"}


def test_validation_means_by_kind_of_question(tokenizer):
    """verl's own aggregation: each kind's mean is over its questions only."""
    truths = ["A,C", "A,B,C,D", "A", "B"]
    reports = [score(tokenizer, GOOD, truth=truth)["reward_extra_info"] for truth in truths]
    columns = {name: [report[name] for report in reports] for name in reports[0]}
    found = process_validation_metrics(["s"] * 4, [f"uid {i}" for i in range(4)], columns)["s"]
    means = {"acc": 1 / 4, "single_acc": 1 / 2, "multi_acc": 0.0, "soft_acc": 1.75 / 4}
    means |= {"single_soft_acc": 1 / 2, "multi_soft_acc": 0.75 / 2}
    assert {name: found[name]["mean@1"] for name in means} == pytest.approx(means)


@pytest.mark.parametrize(
    "overrides, expected",
    [
        (["+reward.reward_kwargs.accuracy=fixed"], 1.0),
        (["+reward.reward_kwargs.format_weight=0"], 0.5),
        (["+reward.reward_kwargs.accuracy_weight=3", "+reward.reward_kwargs.format_weight=0.5"], 2.0),
    ],
)
def test_settings(tokenizer, overrides, expected):
    assert score(tokenizer, GOOD, *overrides)["reward_score"] == expected


def test_unknown_settings_are_refused(tokenizer):
    with pytest.raises(UserError, match="reward.reward_kwargs.wheight"):
        score(tokenizer, GOOD, "+reward.reward_kwargs.wheight=1")


def test_only_tokens_of_the_response_count(tokenizer):
    """A response that fills all its room, and one cut right before its closing tag; padding is not read."""
    full = "<think>" + "x" * (ROOM - len(GOOD) - 1 + 1) + GOOD.removeprefix("<think>x")
    assert len(tokenizer.encode(full)) + 1 == ROOM
    assert score(tokenizer, full)["reward_score"] == 1.5
    assert score(tokenizer, GOOD.removesuffix("</answer>"))["reward_extra_info"]["format"] == 0


def test_of_several_outputs_the_last_is_scored(tokenizer):
    assert score(tokenizer, GOOD, rows=3)["reward_extra_info"]["pred"] == "A"


@pytest.mark.parametrize(
    "options",
    [["red", "blue", "green"], np.array(["red", "blue", "green"], dtype=object), ("A. red", "B. blue", "C. green")],
    ids=["list", "array as parquet gives it", "lettered"],
)
def test_options_of_the_record_are_used(tokenizer, options):
    parts = score(tokenizer, "<answer>red, green</answer>", extra={"options": options})["reward_extra_info"]
    assert (parts["pred"], parts["acc"]) == ("A,C", 1.0)


@pytest.mark.parametrize("extra", [ABSENT, None, {}, {"options": None}, {"options": []}, "text"])
def test_records_without_options(tokenizer, extra):
    assert score(tokenizer, GOOD, extra=extra)["reward_score"] == 1.5


@pytest.mark.parametrize(
    "truth, extra",
    [
        ("", {"index": 17}),
        (None, {"index": 17}),
        (float("nan"), {"index": 17}),
        (["A", "C"], {"index": 17}),
        (7, {"index": 17}),
        ("none", {"index": 17}),
        (ABSENT, {"index": 17}),
        ("A", {"index": 17, "options": [None, 3]}),
        ("A", {"index": 17, "options": 5}),
        ("A", {"index": 17, "options": "red"}),
    ],
)
def test_a_broken_record_is_refused_not_scored(tokenizer, truth, extra):
    with pytest.raises(reward_manager.BrokenRecord):
        score(tokenizer, GOOD, truth=truth, extra=extra)


def test_a_broken_record_says_what_is_broken(tokenizer):
    with pytest.raises(reward_manager.BrokenRecord, match="ground_truth '' names no option letter"):
        score(tokenizer, GOOD, truth="")


@pytest.mark.parametrize("mistake", [TypeError, AttributeError, ValueError, KeyError])
def test_a_mistake_of_our_own_stops_the_run(tokenizer, monkeypatch, mistake):
    """A run whose scorer fails on every response must not train on zeros."""

    def failing(*_):
        raise mistake("ours")

    monkeypatch.setattr(reward_manager, "score_response", failing)
    with pytest.raises(mistake, match="ours"):
        score(tokenizer, GOOD)
