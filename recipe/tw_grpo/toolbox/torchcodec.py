# SPDX-License-Identifier: Apache-2.0
"""Whether torchcodec can decode here: its wheel may be installed and still want libraries that the machine lacks."""

from __future__ import annotations

import functools
import importlib
import importlib.util


@functools.lru_cache(maxsize=1)
def problem() -> str | None:
    """Why torchcodec cannot decode in this process; None when it can. Imports torch, once a process."""
    if importlib.util.find_spec("torchcodec") is None:
        return "torchcodec is not installed"
    try:
        importlib.import_module("torchcodec.decoders")
    except (ImportError, OSError, RuntimeError) as error:  # which of them depends on its version
        return f"torchcodec does not load ({str(error).partition(' Likely')[0].splitlines()[0]})"
    return None
