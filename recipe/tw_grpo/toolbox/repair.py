# SPDX-License-Identifier: Apache-2.0
"""The form of a repair: a defect of somebody else's module, mended from outside right after that module is imported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Repair:
    """One repair of one module of somebody else.

    Attributes:
        name: for people, tests and switches.
        module: full name of the module it changes, as soon as that has been imported.
        because: file:line of the version that makes it necessary.
        apply: changes the module.
        defect: True while the module, as it is now, still shows what the repair is for; may import torch and take
            seconds. The same function proves that the repair is needed and that it works.
    """

    name: str
    module: str
    because: str
    apply: Callable[[ModuleType], None]
    defect: Callable[[ModuleType], bool]
