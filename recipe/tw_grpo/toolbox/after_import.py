# SPDX-License-Identifier: Apache-2.0
"""Run a function right after somebody else's module has been imported, without importing it.

verl loads its plugins in every process, so a plugin that imports verl's trainer to register something costs seconds in
each of them; `after_import` lets it wait until that module arrives by itself. This file knows neither verl nor vLLM and
imports the standard library only; it is the one thing the plugins of this repository share.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

Hook = Callable[[ModuleType], object]

__all__ = ["Hook", "after_import"]


def after_import(name: str) -> Callable[[Hook], Hook]:
    """Decorator: call the function with module `name` each time that module's code has just run.

    The hook runs at once when the module is already imported, otherwise at the end of its first import, before the
    importer sees it; `importlib.reload` runs it again, because the reload has undone what it did. Several hooks of one
    module run in the order of registration. A module executed as a script (`python -m name`) is `__main__`, not `name`.

    Args:
        name: full name of the module, for example "verl.trainer.ppo.core_algos". It need not exist.

    Returns:
        A decorator that registers its argument `hook(module)` and returns it unchanged.

    Raises:
        ImportError: the module is half imported in this very thread and nobody hooked it before it started, so its end
            cannot be seen.
        Exception: whatever the hook raises, after the traceback was printed to stderr (importers like verl swallow
            the exceptions of plugins). The import of the module fails with it.
    """

    def register(hook: Hook) -> Hook:
        _finder.add(name, hook)
        return hook

    return register


class _Finder(importlib.abc.MetaPathFinder):
    """Finds hooked modules through the finders behind it and wraps their loaders; every other name costs a look-up."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.hooks: dict[str, list[Hook]] = {}
        self.executing: set[str] = set()  # hooked modules whose code or hooks are running now

    def add(self, name: str, hook: Hook) -> None:
        with self.lock:
            if self not in sys.meta_path:
                sys.meta_path.insert(0, self)
            if name in sys.modules and name not in self.executing and _half_imported(sys.modules[name]):
                # Another thread's import ends while import_module waits for it; our own can never be waited for.
                in_other_thread = True
            else:
                in_other_thread = False
                self.hooks.setdefault(name, []).append(hook)
                if name not in sys.modules or name in self.executing:
                    return
        if in_other_thread:
            if _half_imported(importlib.import_module(name)):
                raise ImportError(f"after_import({name!r}) came too late: {name} is half imported in this thread")
            self.add(name, hook)
            return
        _run(hook, sys.modules[name])

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self.hooks:
            return None
        finders = list(sys.meta_path)
        for finder in finders[finders.index(self) + 1 :] if self in finders else finders:
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find else None
            if spec is not None:
                if not hasattr(spec.loader, "exec_module"):
                    raise ImportError(f"after_import({name!r}): a namespace package or an old loader runs no code")
                spec.loader = _Loader(spec.loader, self)
                return spec
        return None


class _Loader(importlib.abc.Loader):
    """The real loader of a hooked module for the duration of one execution; then the real one is put back."""

    def __init__(self, loader: Any, finder: _Finder) -> None:
        self.loader = loader
        self.finder = finder

    def __getattr__(self, attribute: str) -> Any:  # get_code for `python -m`, get_data, is_package ...
        if attribute in ("loader", "finder"):  # unpickling asks before __init__
            raise AttributeError(attribute)
        return getattr(self.loader, attribute)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        name, finder = module.__spec__.name, self.finder
        # Put back first: inspect, importlib.resources and reload see the module as it always was.
        module.__spec__.loader = module.__loader__ = self.loader
        with finder.lock:
            finder.executing.add(name)
        try:
            self.loader.exec_module(module)
            module = sys.modules.get(name, module)  # lazy modules replace themselves
            done = 0
            while True:  # a hook may register another hook of the same module
                with finder.lock:
                    pending = finder.hooks[name][done:]
                    if not pending:
                        finder.executing.discard(name)
                        return
                _run(pending[0], module)
                done += 1
        finally:
            with finder.lock:
                finder.executing.discard(name)


def _half_imported(module: ModuleType) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def _run(hook: Hook, module: ModuleType) -> None:
    try:
        hook(module)
    except Exception:
        where = f"{getattr(hook, '__module__', '?')}.{getattr(hook, '__qualname__', hook)}"
        print(f"after_import: {where} failed on {module.__name__}:", file=sys.stderr)
        traceback.print_exc()
        raise


_finder = _Finder()
