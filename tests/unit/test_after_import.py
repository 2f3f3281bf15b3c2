# SPDX-License-Identifier: Apache-2.0
"""after_import: when hooks run, and that a hooked module stays an ordinary module (reload, pickle, source, threads)."""

import importlib
import importlib.util
import inspect
import pickle
import subprocess
import sys
import threading
from itertools import count
from pathlib import Path

import pytest

from recipe.tw_grpo.toolbox.after_import import after_import

ROOT = Path(__file__).resolve().parents[2]
_number = count()


@pytest.fixture
def new_module(tmp_path, monkeypatch):
    """A function that writes a module of a fresh name and returns the name; the modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    names = []

    def write(source: str = "value = 1\n", name: str | None = None) -> str:
        name = name or f"lazy_hooks_case_{next(_number)}"
        names.append(name)
        (tmp_path / f"{name}.py").write_text(source)
        importlib.invalidate_caches()
        return name

    yield write
    for name in names:
        sys.modules.pop(name, None)


def test_hook_runs_after_the_modules_code_and_before_the_importer_sees_it(new_module):
    name = new_module("value = 1\n")

    @after_import(name)
    def hook(module):
        module.value += 41

    assert name not in sys.modules, "registering must import nothing"
    assert importlib.import_module(name).value == 42


def test_hook_of_an_imported_module_runs_at_once(new_module):
    module = importlib.import_module(new_module())
    after_import(module.__name__)(lambda m: setattr(m, "value", 7))
    assert module.value == 7


def test_decorator_returns_the_hook(new_module):
    def hook(module):
        pass

    assert after_import(new_module())(hook) is hook


def test_a_module_that_never_comes_is_no_error():
    after_import("lazy_hooks_no_such_module")(lambda m: None)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("lazy_hooks_no_such_module")
    assert importlib.util.find_spec("lazy_hooks_no_such_module") is None


def test_hooks_run_in_order_of_registration_and_may_register_more(new_module):
    name = new_module()
    calls = []

    @after_import(name)
    def first(module):
        calls.append("first")
        after_import(name)(lambda m: calls.append("third"))

    after_import(name)(lambda m: calls.append("second"))
    importlib.import_module(name)
    assert calls == ["first", "second", "third"]


def test_submodule_of_a_package(new_module, tmp_path):
    package = f"lazy_hooks_package_{next(_number)}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("from . import inner\nseen = inner.value\n")
    (tmp_path / package / "inner.py").write_text("value = 1\n")
    new_module()  # sys.path
    after_import(f"{package}.inner")(lambda m: setattr(m, "value", 2))
    assert importlib.import_module(package).seen == 2


def test_the_module_keeps_its_loader_source_and_spec(new_module):
    source = "def function():\n    return 1\n"
    name = new_module(source)
    after_import(name)(lambda m: None)
    module = importlib.import_module(name)
    assert type(module.__loader__).__name__ == type(module.__spec__.loader).__name__ == "SourceFileLoader"
    assert inspect.getsource(module) == source
    assert inspect.getsource(module.function) == source


def test_objects_of_a_hooked_module_pickle(new_module):
    name = new_module("class Thing:\n    pass\n\ndef function():\n    pass\n")
    after_import(name)(lambda m: None)
    module = importlib.import_module(name)
    assert pickle.loads(pickle.dumps(module.function)) is module.function
    assert type(pickle.loads(pickle.dumps(module.Thing()))) is module.Thing
    assert pickle.loads(pickle.dumps(module.__spec__)).name == name


def test_an_unused_spec_pickles(new_module):
    name = new_module()
    after_import(name)(lambda m: None)
    spec = importlib.util.find_spec(name)
    assert spec.loader.get_code(name) is not None, "python -m asks the loader for the code"
    assert spec.loader.is_package(name) is False


def test_reload_runs_the_hooks_again(new_module):
    name = new_module("value = 1\n")
    after_import(name)(lambda m: setattr(m, "value", m.value + 1))
    module = importlib.import_module(name)
    assert module.value == 2
    module.value = 100
    assert importlib.reload(module) is module
    assert module.value == 2


def test_reload_also_runs_a_hook_that_came_after_the_import(new_module):
    module = importlib.import_module(new_module("value = 1\n"))
    after_import(module.__name__)(lambda m: setattr(m, "value", m.value + 1))
    assert importlib.reload(module).value == 2


def test_a_module_that_replaces_itself(new_module):
    name = new_module(
        "import sys, types\nlazy = types.ModuleType(__name__)\nlazy.__spec__ = __spec__\nsys.modules[__name__] = lazy\n"
    )
    after_import(name)(lambda m: setattr(m, "touched", True))
    assert importlib.import_module(name).touched


@pytest.mark.parametrize("already_imported", [False, True])
def test_a_failing_hook_is_loud(new_module, capsys, already_imported):
    name = new_module()

    def broken(module):
        raise ValueError("no such estimator")

    if already_imported:
        importlib.import_module(name)
    with pytest.raises(ValueError, match="no such estimator"):
        after_import(name)(broken)
        importlib.import_module(name)
    printed = capsys.readouterr().err
    assert "broken failed on " + name in printed
    assert "Traceback" in printed and "no such estimator" in printed
    assert (name in sys.modules) == already_imported, "a module whose hook failed must not stay half patched"


def test_a_failing_module_fails_as_it_would_alone(new_module):
    name = new_module("raise RuntimeError('mine')\n")
    calls = []
    after_import(name)(calls.append)
    with pytest.raises(RuntimeError, match="mine"):
        importlib.import_module(name)
    assert calls == [] and name not in sys.modules


def test_too_late_in_a_half_imported_module_is_an_error(new_module):
    name = new_module(
        "from recipe.tw_grpo.toolbox.after_import import after_import\nafter_import(__name__)(lambda m: None)\n"
    )
    with pytest.raises(ImportError, match="half imported"):
        importlib.import_module(name)


def test_a_namespace_package_cannot_be_hooked(new_module, tmp_path):
    new_module()
    (tmp_path / "lazy_hooks_namespace").mkdir()
    importlib.invalidate_caches()
    after_import("lazy_hooks_namespace")(lambda m: None)
    with pytest.raises(ImportError, match="namespace package"):
        importlib.import_module("lazy_hooks_namespace")


def test_registering_while_another_thread_imports(new_module):
    """No hook was there when the import began, so the registering thread has to wait for its end."""
    name = new_module("import lazy_hooks_events as e\ne.started.set()\nassert e.go.wait(20)\nvalue = 1\n")
    events = type(sys)("lazy_hooks_events")
    events.started, events.go = threading.Event(), threading.Event()
    sys.modules["lazy_hooks_events"] = events
    calls = []
    try:
        importer = threading.Thread(target=importlib.import_module, args=(name,))
        importer.start()
        assert events.started.wait(20)
        late = threading.Thread(target=lambda: after_import(name)(lambda m: calls.append(m.value)))
        late.start()
        events.go.set()
        importer.join(20)
        late.join(20)
        assert calls == [1]
    finally:
        del sys.modules["lazy_hooks_events"]


def test_many_threads_importing_and_registering(new_module):
    name = new_module("value = 1\n")
    calls = []
    after_import(name)(lambda m: calls.append("early"))
    barrier = threading.Barrier(8)

    def work(i):
        barrier.wait(20)
        if i % 2:
            importlib.import_module(name)
        else:
            after_import(name)(lambda m: calls.append(i))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(map(str, calls)) == ["0", "2", "4", "6", "early"]


def test_importing_it_loads_nothing_but_the_standard_library():
    program = (
        "import sys; before = set(sys.modules); import recipe.tw_grpo.toolbox.after_import; "
        "print(*sorted({m.partition('.')[0] for m in set(sys.modules) - before} - sys.stdlib_module_names))"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert out.stdout.split() == ["recipe"]


def test_run_as_a_script_is_not_the_module(new_module, tmp_path):
    name = new_module("print('ran as', __name__)\n")
    program = (
        f"import runpy, sys; sys.path[:0] = [{str(ROOT)!r}, {str(tmp_path)!r}]\n"
        "from recipe.tw_grpo.toolbox.after_import import after_import\n"
        f"after_import({name!r})(lambda m: print('hook'))\n"
        f"runpy.run_module({name!r}, run_name='__main__')\n"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert out.stdout == "ran as __main__\n"
