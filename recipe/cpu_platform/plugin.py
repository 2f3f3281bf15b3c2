# SPDX-License-Identifier: Apache-2.0
"""verl's entry point (group `verl.plugins`): importing this module makes verl work on CPU when `VERL_PLATFORM=cpu`.

verl/__init__.py imports it in every process, so it registers hooks instead of importing what it patches. Without
`VERL_PLATFORM=cpu` it does nothing. It neither imports nor is imported by any other plugin of verl.
"""

import traceback

from recipe.cpu_platform import choice


def _install() -> None:
    choice.refuse_other_versions()
    choice.prepare_environment()

    from verl.plugin.platform import PlatformRegistry

    from recipe.cpu_platform import distribution, patches
    from recipe.cpu_platform.platform import PlatformCPU

    PlatformRegistry.register(platform="cpu")(PlatformCPU)
    distribution.install()
    patches.install("verl", "vllm", "torchvision")


if choice.chosen():
    try:
        _install()
    except Exception as error:  # verl/__init__.py would log it at DEBUG level and go on with half a platform
        traceback.print_exc()
        raise SystemExit(2) from error
