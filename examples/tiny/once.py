# SPDX-License-Identifier: Apache-2.0
"""A warm-started policy in a folder, made once for each state of its sources: what both warm starts share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data_prep.write.prompts import MULTI_ANSWER
from recipe.tw_grpo.toolbox.command_line import Parser
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.files import one_at_a_time

RECORD = "warm_start.json"  # in the policy's folder; "fingerprint" names what made it
Report = dict[str, Any]


def fingerprint(sources: Sequence[str], **settings: int) -> str:
    """Name of the policy that these settings and these files below examples/ give."""
    here = Path(__file__).parents[1]
    text = json.dumps(settings, sort_keys=True) + "".join((here / f"{name}.py").read_text() for name in sources)
    return hashlib.sha256((text + MULTI_ANSWER).encode()).hexdigest()[:16]


def made_once(out: Path, name: str, make: Callable[[], Report]) -> Report:
    """The report of the policy `name` in `out`; `make` builds and saves it unless it is there.

    Of several processes with the same `out` one makes it; the others wait.
    """

    def present() -> Report | None:
        report = json.loads((out / RECORD).read_text()) if (out / RECORD).exists() else {}
        return report if report.get("fingerprint") == name else None

    if report := present():
        return report
    with one_at_a_time(out):
        return present() or make()


def settings_of(program: str, about: str, defaults: dict[str, int], arguments: Sequence[str] | None) -> Any:
    """The options of a warm start: --out, --seed and one for each of `defaults` (worlds, vision_steps, text_steps).

    Raises:
        UserError: a number that cannot work.
    """
    parser = Parser(prog=program, description=about)
    parser.add_argument("--out", type=Path, required=True, help="folder of the policy; returns at once if it is there")
    parser.add_argument("--seed", type=int, default=0)
    for name, value in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value, help=f"default {value}")
    options = parser.parse_args(arguments)
    if options.seed < 0 or min(getattr(options, name) for name in defaults) < 32:
        raise UserError(f"--seed must be 0 or more; {', '.join(defaults).replace('_', '-')} 32 or more")
    return options
