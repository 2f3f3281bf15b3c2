# SPDX-License-Identifier: Apache-2.0
"""The normaliser of Eq. 6: the loss of a prompt is the mean over the tokens of its responses, and every prompt counts
the same.

verl's `loss_agg_mode=token-mean` divides a mini-batch by all its tokens. Multiplying the advantages of a prompt by the
factors of this file turns that into the mean over prompts; every loss of verl that is proportional to the size of the
advantages follows. It is done by the engine for each mini-batch, when its prompts and tokens are known.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch

from recipe.tw_grpo.groups import rows_by_group


def tokens_by_prompt(prompts: Sequence[Hashable], tokens: Sequence[float]) -> dict[Hashable, float]:
    """Trained tokens of each prompt, from those of each row; prompts without any are left out (verl's placeholders)."""
    groups = rows_by_group(prompts, [count > 0 for count in tokens])
    return {prompt: float(sum(tokens[row] for row in rows)) for prompt, rows in groups.items()}


def prompt_factors(
    prompts: Sequence[Hashable], tokens: Sequence[float], *, all_tokens: float, all_prompts: float
) -> torch.Tensor:
    """Factor of each row's advantages that makes `sum / all_tokens` the mean over prompts.

    Args:
        prompts: B prompt ids of this rank's rows; all rows of a prompt in the mini-batch are on one rank.
        tokens: B numbers of trained tokens.
        all_tokens: trained tokens of the mini-batch on all ranks, what verl divides by.
        all_prompts: prompts with trained tokens on all ranks.

    Returns:
        [B] float32; 1 for rows without trained tokens.
    """
    of_prompt = tokens_by_prompt(prompts, tokens)
    mean = all_tokens / max(1.0, all_prompts)
    factors = [mean / of_prompt[prompt] if count else 1.0 for prompt, count in zip(prompts, tokens, strict=True)]
    return torch.tensor(factors, dtype=torch.float32)
