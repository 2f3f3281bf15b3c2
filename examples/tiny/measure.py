# SPDX-License-Identifier: Apache-2.0
"""What a tiny policy can do on worlds of its own; above all, that its answers are at chance before training."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from examples.tiny.lessons import Lesson, View, make_lesson, random_answer
from examples.tiny.world import make_scene
from recipe.tw_grpo.answers import parse_answer
from recipe.tw_grpo.reward import format_reward, soft_reward
from recipe.tw_grpo.toolbox.letters import LETTERS

if TYPE_CHECKING:
    from examples.tiny.warm_start import Teacher

_HELD_OUT = 2 * 10**6  # first seed of the worlds
_MAX_RESPONSE = 64  # tokens


@torch.no_grad()
def respond(teacher: Teacher, lessons: Sequence[Lesson], views: Sequence[View], seed: int) -> list[tuple[str, int]]:
    """Responses and their numbers of tokens, sampled at temperature 1 by transformers' own generate."""
    tokenizer = teacher.tokenizer
    tokenizer.padding_side = "left"
    prompts = [tokenizer.decode(teacher.prompt_ids(lesson.prompt)) for lesson in lessons]
    inputs = tokenizer(prompts, add_special_tokens=False, padding=True, return_tensors="pt")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = teacher.model.generate(
            **inputs,
            pixel_values_videos=teacher.pixels(views).flatten(0, 1),
            video_grid_thw=teacher.grid.repeat(len(views), 1),
            second_per_grid_ts=torch.ones(len(views)),
            mm_token_type_ids=(inputs["input_ids"] == teacher.video).int() * 2,
            max_new_tokens=_MAX_RESPONSE,
            do_sample=True,
            temperature=1.0,
            top_k=0,
        )
    tokens = made[:, inputs["input_ids"].shape[1] :]
    lengths = (tokens != tokenizer.pad_token_id).sum(dim=1).tolist()
    return list(zip(tokenizer.batch_decode(tokens, skip_special_tokens=True), lengths, strict=True))


def measure(teacher: Teacher, worlds: int = 200, seed: int = 0) -> dict[str, float]:
    """Figures on held-out level-1 worlds.

    Returns:
        worlds; format_rate; named_right (share of "A red disc top blue square top same" items that are all right);
        soft_reward of its answers and of uniformly random subsets of the same questions; letter_correlation between
        answering with a letter and the letter being right (0 is chance); response_tokens (mean, min, max).
    """
    rng = random.Random(f"measure {seed}")
    views = [View.of(make_scene(_HELD_OUT + number, 1)) for number in range(worlds)]
    lessons = [make_lesson(view, rng) for view in views]
    kept = [(lesson, view) for lesson, view in zip(lessons, views, strict=True) if lesson]
    lessons, views = [lesson for lesson, _ in kept], [view for _, view in kept]
    responses = respond(teacher, lessons, views, seed)
    named, answered, right, soft, chance, lengths, formats = [], [], [], [], [], [], []
    for lesson, (response, length) in zip(lessons, responses, strict=True):
        predicted = parse_answer(response)
        named += [item in response for item in lesson.items]
        letters = LETTERS[: len(lesson.items)]
        answered += [letter in predicted for letter in letters]
        right += [letter in lesson.truth for letter in letters]
        soft.append(soft_reward(predicted, lesson.truth))
        chance.append(np.mean([soft_reward(random_answer(len(letters), rng), lesson.truth) for _ in range(50)]))
        lengths.append(length)
        formats.append(format_reward(response))
    return {
        "worlds": len(lessons),
        "format_rate": float(np.mean(formats)),
        "named_right": float(np.mean(named)),
        "soft_reward": float(np.mean(soft)),
        "soft_reward_of_random_subsets": float(np.mean(chance)),
        "letter_correlation": float(np.corrcoef(answered, right)[0, 1]),
        "response_tokens_mean": float(np.mean(lengths)),
        "response_tokens_min": int(min(lengths)),
        "response_tokens_max": int(max(lengths)),
    }
