# SPDX-License-Identifier: Apache-2.0
"""`tw-grpo check OVERRIDES…`: everything that can be known before Ray starts, all mistakes in one go, one line each.

Exit code 2 when there is one. Composing alone is `dry_run`; a dry run also looks at files and model and only notes what
the machine lacks; a start refuses for the machine too. No model is loaded and no GPU is touched.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from recipe.tw_grpo.doctor import (
    dry_run,
    environment,
    files,
    machine,
    memory,
    model_sizes,
    plan,
    preflight,
    settings,
)
from recipe.tw_grpo.toolbox.command_line import Parser
from recipe.tw_grpo.toolbox.errors import UserError, one_line
from recipe.tw_grpo.toolbox.files import write_whole

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass
class Findings:
    """What was found: lines that stop a start, lines that only say something, and the composed configuration."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    config: DictConfig | None = None


def setting_problems(config: DictConfig) -> list[str]:
    """Lines of the plugin's own check, of verl's, and of settings.py, for one composed configuration."""
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    from recipe.tw_grpo.integration import validation

    lines = []
    try:
        validation.check(config)
    except UserError as error:
        lines.append(one_line(error))
    lines += settings.problems(config)
    verls = getattr(validate_config, "__wrapped__", validate_config)  # the plugin's check stands in front of it
    try:
        verls(config=config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config))
    except Exception as error:  # of any kind: it was not written for settings that the lines above name
        if isinstance(error, ValueError | AssertionError) or not lines:
            lines.append(f"verl: {one_line(error) or type(error).__name__}")
    return list(dict.fromkeys(lines))


def check(overrides: Sequence[str], variables: Mapping[str, str], start: bool) -> Findings:
    """All findings for the overrides of a verl command, in this environment.

    Args:
        overrides: Hydra overrides of verl's ppo_trainer configuration.
        variables: the process environment.
        start: what the machine lacks is a problem; else it is a note.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    found = Findings()
    on_cpu = variables.get("VERL_PLATFORM", "").strip().lower() == "cpu"  # asked before composing chooses it
    try:
        preflight.check(variables)
    except UserError as error:
        found.problems.append(one_line(error))
    found.problems += environment.misspelt(variables)
    found.notes += environment.untested()
    try:
        found.config = dry_run.compose(overrides)
    except (HydraException, OmegaConfBaseException) as error:
        found.problems.append(one_line(error))
        return found
    wrong = [*setting_problems(found.config), *files.model_problems(found.config)]
    found.problems += [*wrong, *files.data_problems(found.config, found.notes)]
    found.notes += files.model_notes(found.config)
    (found.problems if start else found.notes).extend(machine.problems(found.config))
    if not on_cpu and not wrong:  # a plan of wrong settings would say nothing
        memory_plan(found, variables, start)
    return found


def memory_plan(found: Findings, variables: Mapping[str, str], start: bool) -> None:
    """Add the plan to the notes, and to the problems what cannot fit; host memory and disk are the machine's."""
    try:
        gib, whose = plan.gpu_gib(variables)
        sizes = model_sizes.sizes(found.config)
        planned = memory.plan(found.config, sizes, gib)
    except UserError as error:
        found.notes.append(f"no memory plan: {one_line(error)}")
        return
    found.notes += plan.notes(planned, found.config, sizes, gib, whose)
    found.problems += plan.problems(planned, found.config, sizes, gib, whose)
    (found.problems if start else found.notes).extend(plan.machine_problems(found.config, planned))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; prints the configuration unless --start, findings on stderr."""
    parser = Parser(prog="tw-grpo check", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--start", action="store_true", help="a run follows: the machine has to fit, print nothing else"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write the composed configuration there")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as for verl.trainer.main_ppo")
    args = parser.parse_args(arguments)
    found = check(args.overrides, os.environ, args.start)
    for line in found.notes:
        print(f"tw_grpo: note: {line}", file=sys.stderr)
    for line in found.problems:
        print(f"tw_grpo: error: {line}", file=sys.stderr)
    if found.problems:
        return 2
    from omegaconf import OmegaConf

    composed = OmegaConf.to_yaml(found.config, resolve=True)
    if args.write is not None:
        write_whole(args.write, composed)
    if not args.start:
        print(composed)
    return 0
