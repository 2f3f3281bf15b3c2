# SPDX-License-Identifier: Apache-2.0
"""vLLM's entry points: the CPU patches in vLLM's own processes (server, engine, workers), when `VERL_PLATFORM=cpu`.

vLLM starts processes that load its plugins and may never import verl, or import it half way; so this module imports
neither verl nor torch nor vLLM, and needs nothing that plugin.py did.
"""

from recipe.cpu_platform import choice, distribution, patches


def platform_plugin() -> None:
    """Group `vllm.platform_plugins`: called as soon as vLLM asks for its platform, before it imports torchvision.

    Returns None, which tells vLLM (vllm/platforms/__init__.py:219) that no platform is offered here: the CPU one is
    vLLM's own.
    """
    if choice.chosen():
        choice.refuse_other_versions()
        choice.prepare_environment()
        distribution.install()
        patches.install("torchvision")


def general_plugin() -> None:
    """Group `vllm.general_plugins`: called in every vLLM process before a model is built."""
    if choice.chosen():
        patches.install("torchvision", "vllm")
