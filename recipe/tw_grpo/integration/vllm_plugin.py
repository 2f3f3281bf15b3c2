# SPDX-License-Identifier: Apache-2.0
"""vLLM's entry point (group `vllm.general_plugins`): the repairs in the vLLM processes of a verl server, nowhere else.

plugin.py sets the variable `VARIABLE` in the process of a server that verl starts, before its engine; the engine and
worker processes inherit it. vLLM that anything else starts does not have it, and is left as it is. Standard library
only until then.
"""

import os

VARIABLE = "TW_GRPO_VLLM_REPAIRS"


def general_plugin() -> None:
    """Called in every vLLM process before a model is built."""
    if os.environ.get(VARIABLE) == "1":
        from recipe.tw_grpo.integration import repairs

        repairs.install("vllm")
