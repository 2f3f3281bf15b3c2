# SPDX-License-Identifier: Apache-2.0
"""`tw-grpo plan OVERRIDES…` prints the memory plan of a run (memory.py); `check` prints it and refuses what cannot fit.

Refused is only what the exact parts of the plan rule out; the line names the setting with which it fits by the whole
plan. `--table` prints the table of docs/gpu.md from the launch script's own settings.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe.tw_grpo.doctor import dry_run, memory, model_sizes
from recipe.tw_grpo.doctor.memory import CARDS
from recipe.tw_grpo.doctor.memory_items import GIB, Item, Plan, Settings
from recipe.tw_grpo.toolbox.command_line import Parser
from recipe.tw_grpo.toolbox.errors import UserError, one_line
from recipe.tw_grpo.toolbox.tables import markdown

if TYPE_CHECKING:
    from omegaconf import DictConfig

VARIABLE = "TW_GRPO_GPU_GIB"  # GiB of a GPU of the machine that will train, where another one plans
GPUS = (1, 2, 8)  # of the table
ENOUGH = 0.10  # share of a GPU that a shipped setting leaves
TIGHT = 0.05  # below this share a run is told
GB = 1e9
ACTOR, ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
FSDP = f"{ACTOR}.fsdp_config"


def gpu_gib(variables: Mapping[str, str]) -> tuple[float, str]:
    """GiB of this machine's smallest GPU and whose they are; without a GPU those of VARIABLE, else of an 80 GB card.

    Raises:
        UserError: VARIABLE is no positive number.
    """
    import torch

    if VARIABLE in variables:
        try:
            gib = float(variables[VARIABLE])
        except ValueError:
            gib = 0.0
        if not gib > 0:
            raise UserError(f"{VARIABLE}={variables[VARIABLE]} is no number of GiB above 0: set it, or unset it")
        return gib, VARIABLE
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return min(torch.cuda.get_device_properties(i).total_memory for i in range(count)) / GIB, "this machine"
    return CARDS[80], f"an 80 GB card; {VARIABLE} says another size"


def software(settings: Settings) -> Iterator[tuple[str, Any]]:
    """(setting, value) that need less memory of a GPU than what is set, on the same machine."""
    actor, rollout = settings.actor_rollout_ref.actor, settings.actor_rollout_ref.rollout
    if (actor.optim.get("override_optimizer_config") or {}).get("fused") is not True:
        yield f"{ACTOR}.optim.override_optimizer_config.fused", True
    if actor.fsdp_config.get("use_no_sync_for_gradient_accumulation"):
        yield f"{FSDP}.use_no_sync_for_gradient_accumulation", False
    for name in ("optimizer_offload", "param_offload"):
        if not actor.fsdp_config[name]:
            yield f"{FSDP}.{name}", True
    if not rollout.free_cache_engine:
        yield f"{ROLLOUT}.free_cache_engine", True
    length = settings.data.max_prompt_length + settings.data.max_response_length
    if (rollout.get("max_model_len") or length + 1) > length:
        yield f"{ROLLOUT}.max_model_len", length
    for share in (0.5, 0.6, 0.7, 0.8, 0.9, 0.4, 0.3):
        if share != rollout.gpu_memory_utilization:
            yield f"{ROLLOUT}.gpu_memory_utilization", share
    for width in (2, 4, 8):
        if settings.trainer.n_gpus_per_node % width == 0 and width > rollout.tensor_model_parallel_size:
            yield f"{ROLLOUT}.tensor_model_parallel_size", width


def hardware(settings: Settings) -> Iterator[list[tuple[str, Any]]]:
    """The machines to try: this one, more GPUs of it, more nodes of eight."""
    yield []
    gpus, nodes = "trainer.n_gpus_per_node", "trainer.nnodes"
    now = settings.trainer
    yield from ([(gpus, count)] for count in (2, 4, 8) if count > now.n_gpus_per_node)
    full = [] if now.n_gpus_per_node >= 8 else [(gpus, 8)]
    yield from ([*full, (nodes, count)] for count in (2, 4, 8, 16) if count > now.nnodes)


def remedy(config: DictConfig, sizes: model_sizes.Sizes, gib: float) -> list[tuple[str, Any]]:
    """Settings with which the run fits and leaves TIGHT, on the smallest machine; empty when none is found."""

    def lack(settings: Settings) -> float:
        return memory.plan(settings, sizes, gib).lack(TIGHT)

    for machine in hardware(start := Settings.of(config)):
        base = start
        for setting, value in machine:
            base = base.changed(setting, value)
        chosen: dict[str, Any] = {}
        while True:
            current = base
            for setting, value in chosen.items():
                current = current.changed(setting, value)
            if not lack(current):
                break
            options = [choice for choice in software(current) if choice[0] not in chosen]
            lacks = [lack(current.changed(*choice)) for choice in options]
            amount = min(lacks, default=math.inf)
            if amount >= lack(current):
                chosen = None
                break
            setting, value = options[lacks.index(amount)]
            chosen[setting] = value
        if chosen is not None:
            return [*machine, *chosen.items()]
    return []


def _assignments(settings: Iterable[tuple[str, Any]]) -> str:
    return ", ".join(f"{setting}={value}" for setting, value in settings)


def problems(planned: Plan, config: DictConfig, sizes: model_sizes.Sizes, gib: float, whose: str) -> Iterator[str]:
    """One line when the run cannot fit into GPUs of `gib` GiB."""
    from omegaconf import OmegaConf

    if planned.possible:
        return
    settings = remedy(config, sizes, gib)
    first = settings[0][0] if settings else "trainer.n_gpus_per_node"
    cure = f"set {_assignments(settings)}" if settings else "no setting is enough: take a smaller model or larger GPUs"
    if planned.starved:
        first = first if first.startswith(ROLLOUT) else f"{ROLLOUT}.gpu_memory_utilization"
        budget = config.actor_rollout_ref.rollout.gpu_memory_utilization * gib
        needs = (
            f"vLLM may take {budget:.1f} GiB, and its weights and one request of full length need "
            f"{(planned.weights + planned.request) / GIB:.1f} GiB a GPU"
        )
    else:
        phase = max(planned.phases, key=lambda phase: phase.least)
        needs = f"the {phase.name} needs at least {phase.least / GIB:.1f} GiB a GPU, there are {gib:.1f} ({whose})"
    yield f"{first}={OmegaConf.select(config, first)}: {needs}: {cure}"


def notes(planned: Plan, config: DictConfig, sizes: model_sizes.Sizes, gib: float, whose: str) -> Iterator[str]:
    """The plan, and whether it is tight."""
    yield from lines(planned, config, sizes, whose)
    if planned.possible and not (planned.fits and planned.headroom >= TIGHT):
        settings = remedy(config, sizes, gib) if not planned.fits else []
        cure = f"; it fits with {_assignments(settings)}" if settings else ""
        yield (
            f"memory is tight: the {planned.fullest.name} may need {planned.fullest.bytes / GIB:.1f} of {gib:.1f} "
            f"GiB a GPU, and {max(0, planned.cache) / GIB:.1f} are left for vLLM's KV cache{cure}"
        )


def machine_problems(config: DictConfig, planned: Plan) -> Iterator[str]:
    """One line each for host memory and disk that cannot hold the run."""
    import psutil

    needed, there = sum(item.bytes for item in planned.host if item.exact), psutil.virtual_memory().total
    if needed > there:
        yield (
            f"{FSDP}.optimizer_offload={config.actor_rollout_ref.actor.fsdp_config.optimizer_offload}: what is "
            f"offloaded and saved needs {needed / GB:.0f} GB of host memory, there are {there / GB:.0f}: set it to "
            "False on more GPUs, or take a larger machine"
        )
    folder = Path(config.trainer.default_local_dir).absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if planned.checkpoint_bytes > free:
        yield (
            f"trainer.default_local_dir={config.trainer.default_local_dir}: a checkpoint has "
            f"{planned.checkpoint_bytes / GB:.0f} GB, {free / GB:.0f} are free: name a larger disk, or leave hf_model "
            f"or optimizer out of {ACTOR}.checkpoint.save_contents"
        )


def _items(items: Iterable[Item], unit: float) -> str:
    return ", ".join(f"{'' if item.exact else '~'}{item.name} {item.bytes / unit:.1f}" for item in items)


def lines(planned: Plan, config: DictConfig, sizes: model_sizes.Sizes, whose: str) -> Iterator[str]:
    """The plan as text."""
    count = config.trainer.n_gpus_per_node * config.trainer.nnodes
    yield (
        f"memory plan of {config.actor_rollout_ref.model.path} ({sizes.elements / GB:.2f} B parameters, "
        f"{sizes.trained / GB:.2f} B trained) on {count} GPUs of {planned.capacity / GIB:.1f} GiB ({whose}); by "
        "calculation, ~ is an estimate for sequences of full length"
    )
    for phase in planned.phases:
        yield f"{phase.name:<14} {phase.bytes / GIB:6.1f} GiB a GPU: {_items(phase.items, GIB)}"
    yield f"fullest: {planned.fullest.name}, {1 - planned.headroom:.0%} of a GPU"
    cache = max(0.0, planned.cache)
    requests = int(cache / planned.request)
    yield f"vLLM: ~{cache / GIB:.1f} GiB a GPU for the KV cache, room for {requests} requests of full length at once"
    yield f"host memory    {planned.host_bytes / GB:6.0f} GB on the first node: {_items(planned.host, GB)}"
    if planned.checkpoint:
        yield (
            f"checkpoint     {planned.checkpoint_bytes / GB:6.0f} GB: {_items(planned.checkpoint, GB)}; "
            f"{planned.kept} stay and one is being written: {planned.disk_bytes / GB:.0f} GB"
        )


def script_settings(gpus: int) -> list[str]:
    """The overrides of the launch script for that many GPUs, with flash-attn whatever is installed here."""
    script = Path(__file__).parents[1] / "runs" / "shell" / "run_qwen25vl_7b_twgrpo.sh"
    known = ("PATH", "HOME", "PYTHONPATH")
    environment = {name: os.environ[name] for name in known if name in os.environ}
    # On the CPU platform the script leaves the attention as verl has it; the plan is for what it says on a GPU.
    environment |= {"DRY_RUN": "args", "GPUS_PER_NODE": str(gpus), "PYTHON": sys.executable, "VERL_PLATFORM": "cpu"}
    done = subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def verdict(config: DictConfig, sizes: model_sizes.Sizes, gib: float) -> str:
    """A cell: the share that the fullest phase leaves, or the settings with which it fits."""
    planned = memory.plan(config, sizes, gib)
    if planned.fits:
        return f"{'fits' if planned.headroom >= ENOUGH else 'tight'}, {planned.headroom:.0%} left"
    settings = [(setting.rpartition(".")[2], value) for setting, value in remedy(config, sizes, gib)]
    return f"with {_assignments(settings)}" if settings else "no"


def table() -> list[list[str]]:
    """Rows for every published model and number of GPUs, by the launch script's settings."""
    rows = [["model", "GPUs", "training, GiB a GPU", "40 GB card", "80 GB card", "host, GB", "checkpoint, GB"]]
    composed = {gpus: dry_run.compose(script_settings(gpus)) for gpus in GPUS}
    for name in model_sizes.published():
        for gpus, config in composed.items():
            config.actor_rollout_ref.model.path = name
            sizes = model_sizes.sizes(config)
            planned = memory.plan(config, sizes, CARDS[80])
            training = max(phase.bytes for phase in planned.phases[1:]) / GIB
            cards = [verdict(config, sizes, CARDS[card]) for card in (40, 80)]
            amounts = [f"{planned.host_bytes / GB:.0f}", f"{planned.checkpoint_bytes / GB:.0f}"]
            short = name.removeprefix("Qwen/").removesuffix("-Instruct")
            rows.append([short, str(gpus), f"{training:.0f}", *cards, *amounts])
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; the plan on stdout, 2 when it cannot fit."""
    parser = Parser(prog="tw-grpo plan", description=__doc__.split("\n\n")[0])
    parser.add_argument("--table", action="store_true", help="the table of docs/gpu.md instead, as Markdown")
    parser.add_argument("--gpu-gib", type=float, metavar="GIB", help="memory of a GPU, if not this machine's")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as for verl.trainer.main_ppo")
    args = parser.parse_args(arguments)
    if args.table:
        print(markdown(table()), end="")
        return 0
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        config = dry_run.compose(args.overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(one_line(error)) from error
    variables = os.environ if args.gpu_gib is None else {VARIABLE: str(args.gpu_gib)}
    gib, whose = gpu_gib(variables)
    sizes = model_sizes.sizes(config)
    planned = memory.plan(config, sizes, gib)
    print("\n".join(notes(planned, config, sizes, gib, whose)))
    refused = list(problems(planned, config, sizes, gib, whose))
    for line in refused:
        print(f"tw_grpo: error: {line}", file=sys.stderr)
    return 2 if refused else 0
