# SPDX-License-Identifier: Apache-2.0
"""Arrows point down only: who may import whom, read from the import statements of every module, lazy ones included.

toolbox <- the paper <- integration, runs <- scoring, report, evaluation <- examples; toolbox <- data_prep; toolbox, the
paper, data_prep <- doctor; toolbox <- cpu_platform. What is not allowed below is refused.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = ("recipe", "data_prep", "examples")
PACKAGE = "recipe.tw_grpo"
PARTS = ("toolbox", "integration", "runs", "scoring", "report", "evaluation", "doctor")
PAPER, ENTRY = "the paper", "entry"
# Modules beside the paper that only start something below: the old `python -m` forms, the console command, the plugin.
STARTERS = {f"{PACKAGE}.{name}" for name in ("__main__", "recompute", "preflight", "dry_run", "plugin")}

# layer: what it may import besides itself
ALLOWED = {
    "toolbox": set(),
    PAPER: {"toolbox"},
    "integration": {"toolbox", PAPER},
    "runs": {"toolbox", PAPER},
    "scoring": {"toolbox", PAPER, "runs"},
    "report": {"toolbox", PAPER, "runs"},
    "evaluation": {"toolbox", PAPER, "runs", "scoring"},
    "doctor": {"toolbox", PAPER, "data_prep", "integration"},
    ENTRY: {"toolbox", PAPER, "integration", "runs", "scoring", "report", "evaluation", "doctor"},
    "data_prep": {"toolbox"},
    "cpu_platform": {"toolbox"},
    "examples": {"toolbox", PAPER, "integration", "runs", "scoring", "report", "evaluation", "data_prep"},
}
# Single modules that may be read from elsewhere: the version, the names of a dump's columns, the repairs of a run.
READABLE = {
    PACKAGE: {"data_prep"},  # __version__
    f"{PACKAGE}.integration.names": {"runs", "report"},
    f"{PACKAGE}.integration.repairs": {"runs"},
    f"{PACKAGE}.integration.repairs.time_positions": {"runs"},
}
# Single edges that are not the layers' and why they stand.
EXCEPTIONS = {
    # transformers' video code needs the CPU platform's patch before it can be imported on a machine without a GPU
    ("examples.tiny.policy", "recipe.cpu_platform.patches"),
    # the checks of a rehearsal decode its videos and load its policies as the run did
    ("examples.rehearsal.checks", "recipe.cpu_platform.choice"),
    ("examples.rehearsal.checks", "recipe.cpu_platform.patches"),
}
# Heavy modules: who may import them (a layer, or single modules), lazily or not.
VERL = {"integration", "doctor", "cpu_platform", "examples", f"{PACKAGE}.plugin", f"{PACKAGE}.runs.recompute"}


def module_of(path: Path) -> str:
    """Dotted name of a file below ROOT."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for folder in OURS for path in sorted((ROOT / folder).rglob("*.py"))}


def imports_of(path: Path) -> set[str]:
    """Full names of all modules a file imports anywhere; of ours down to the module, of others as written."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            # "from package import module" means the module; "from module import name" the module it stands in
            found |= {name if name in MODULES else node.module for name in names}
    return found


IMPORTS = {name: imports_of(path) for name, path in MODULES.items()}


def layer(module: str) -> str:
    top, _, rest = module.partition(".")
    if top != "recipe":
        return top
    if module.startswith("recipe.cpu_platform"):
        return "cpu_platform"
    if module in STARTERS:
        return ENTRY
    part = rest.split(".")[1] if rest.count(".") else ""
    return part if part in PARTS else PAPER


def test_every_module_is_in_a_layer_and_the_paper_is_one_folder():
    assert {layer(name) for name in MODULES} == ALLOWED.keys()
    folders = {path.name for path in (ROOT / "recipe/tw_grpo").iterdir() if (path / "__init__.py").exists()}
    assert folders == {*PARTS, "kernels"}  # the last is the paper's: how Eq. 4 is computed


def test_arrows_point_down():
    wrong, used = set(), set()
    for module, imported in IMPORTS.items():
        for name in imported:
            if name.partition(".")[0] not in OURS or layer(name) == layer(module):
                continue
            if layer(name) not in ALLOWED[layer(module)] and layer(module) not in READABLE.get(name, ()):
                (used if (module, name) in EXCEPTIONS else wrong).add((module, name))
    assert not wrong
    assert EXCEPTIONS <= used, "an exception that nobody needs has to go"


def test_the_paper_and_the_tools_know_neither_verl_nor_ray():
    """Lazily neither. Who computes with verl says so in VERL."""
    wrong = {
        (module, name)
        for module, imported in IMPORTS.items()
        for name in imported
        if name.partition(".")[0] in ("verl", "vllm", "ray", "transfer_queue") and not {layer(module), module} & VERL
    }
    assert not wrong


def test_the_toolbox_knows_nothing_heavy_and_nothing_of_ours():
    for module in (name for name in MODULES if layer(name) == "toolbox"):
        for name in IMPORTS[module]:
            assert name.partition(".")[0] not in ("torch", "verl", "vllm", "ray", "transformers"), (module, name)
            assert name.partition(".")[0] not in OURS or layer(name) == "toolbox", (module, name)


def test_nothing_of_ours_but_two_packages_stands_in_the_shared_namespace():
    """verl's own checkouts have a `recipe/` too: a module of ours in it could hide one of theirs."""
    mine = {p.name for p in (ROOT / "recipe").iterdir() if p.name != "__pycache__"}
    assert mine == {"tw_grpo", "cpu_platform"}


def test_no_file_is_too_long_to_read():
    long = {str(path.relative_to(ROOT)): n for folder in (*OURS, "tests", "benchmarks")
            for path in (ROOT / folder).rglob("*.py")
            if (n := len(path.read_text(encoding="utf-8").splitlines())) > 400}  # fmt: skip
    assert not long
