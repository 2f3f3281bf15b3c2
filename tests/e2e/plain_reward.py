# SPDX-License-Identifier: Apache-2.0
"""A reward function for verl's own reward manager, for runs in which our plugin is not there."""

from recipe.tw_grpo.reward import score_response


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **kwargs):
    """verl's interface: the score and its parts."""
    return score_response(solution_str, ground_truth)
