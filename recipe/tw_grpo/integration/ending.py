# SPDX-License-Identifier: Apache-2.0
"""A UserError raised in one of verl's Ray processes ends the driver as one raised in the driver does: one line, code 2.

Without this it arrives as Ray's traceback of several processes, in which the line that says what to do is lost.
"""

from __future__ import annotations

import functools

from recipe.tw_grpo.integration.failures import cause_of
from recipe.tw_grpo.toolbox.errors import UserError, stop


def end_in_one_line() -> None:
    """For the driver, before it waits for verl's TaskRunner; calling it again changes nothing."""
    import ray

    original = ray.get
    if getattr(original, "_tw_grpo", False):
        return

    @functools.wraps(original)
    def get(*args, **kwargs):
        try:
            return original(*args, **kwargs)
        except ray.exceptions.RayTaskError as error:
            if isinstance(cause := cause_of(error), UserError):
                stop(cause)
            raise

    get._tw_grpo = True
    ray.get = get
