# SPDX-License-Identifier: Apache-2.0
"""The tables and the figure of docs/weights.md, from the dictionary of `measures.results` and nothing else.

The page keeps its sentences; `fill` replaces what stands between the marks of each table.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from examples.weights.measures import ALPHA, FORMULAS, SIZE, STATES, TEMPERATURE
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.files import whole_file
from recipe.tw_grpo.toolbox.tables import markdown

BLUE, RED = "#0072B2", "#D55E00"
NAMES = {"kl": "Eq. 4", "logspace_k3": "public code", "step": "step function"}
PLACES = {"shared": "up to the branching token", "parted": "parted, none ended", "padded": "at least one ended"}


def number(value: float | None, digits: int = 2) -> str:
    """Rounded; a dash for None."""
    return "-" if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """A share as whole percent."""
    return "-" if value is None else f"{100 * value:.0f} %"


def span(values: Sequence[float] | None, form: Any = number) -> str:
    """ "middle (low to high)" of three numbers."""
    return "-" if values is None else f"{form(values[1])} ({form(values[0])} to {form(values[2])})"


def tables(results: Mapping[str, Any]) -> dict[str, str]:
    """Every table of the page by its name, as Markdown."""
    cells = results["cells"]
    by_cell = [(f"{t}, {size}", cell) for t, sizes in cells.items() for size, cell in sizes.items()]
    central = [(t, sizes[str(SIZE)]) for t, sizes in cells.items()]
    kinds = [
        (f"{kind} prompts only, {TEMPERATURE}, {SIZE}", cell)
        for kind, cell in results["kinds"].items()
    ]  # fmt: skip
    facts = [
        ["temperature, G", "groups", "never part", "branching position", "D_t / (G ln G), parted",
         "positions with w > 1.5", "tokens with w > 1.5", "w of the branching token: mean, largest"]
    ]  # fmt: skip
    for name, cell in by_cell + kinds:
        facts.append(
            [
                name,
                str(cell["groups"]),
                str(cell["never_parted"]),
                span(cell["branch"], lambda value: number(value, 0)),
                span(cell["level"]["parted"], percent),
                percent(cell["high"]),
                percent(cell["high_tokens"]),
                ", ".join(number(value, 3) for value in cell["branching_weight"] or [None, None]),
            ]
        )
    states = [["temperature", "where", "positions", "w, Eq. 4", "w, public code"]]
    for t, cell in central:
        for state in STATES:
            spread = [span(cell[formula]["spread"][state]) for formula in FORMULAS]
            states.append([t, PLACES[state], percent(cell["positions"][state]), *spread])
    ended = [["temperature", "ended", "positions", "D_t / (G ln G), median", "mean w, Eq. 4", "mean w, public code"]]
    for t, curves in results["curves"].items():
        for n, row in curves["ended"].items():
            ended.append([t, n, str(row["n"]), percent(row["level"]), *(number(mean) for mean in row["means"])])
    explained = [["weights", "temperature, G", "parted", "parted, ended", "parted, number ended", "within a group"]]
    for formula in FORMULAS:
        for name, cell in by_cell:
            if formula in cell:
                of = cell[formula]["explained"]
                pooled = [number(one["pooled"]) for one in of.values()]
                explained.append([NAMES[formula], name, *pooled, span(of["parted, ended"]["by group"])])
    names = [name for name in next(iter(results["correlations"].values())) if name not in ("top", "rest")]
    ranks = [["rank correlation of w with", "positions", *(f"temperature {t}" for t in results["correlations"])]]
    for name in names:
        for where, label in (("all", "all"), ("parted", PLACES["parted"])):
            ranks.append([name, label, *(span(of[name][where]) for of in results["correlations"].values())])
    entropy = [["temperature", "mean w, top 20 %", "mean w, others", "w > 1.5, top 20 %", "w > 1.5, others"]]
    for t, of in results["correlations"].items():
        pair = of["top"], of["rest"]
        entropy.append([t, *(number(one["mean"]) for one in pair), *(percent(one["high"]) for one in pair)])
    gradients = [["reward", "weights", "groups", "cosine with the plain gradient", "norm, weighted / plain"]]
    for reward, of_reward in results["gradients"].items():
        for weights in (name for name in of_reward if name != "groups"):
            of = of_reward[weights]
            cosine = span(of["cosine"], lambda value: number(value, 3))
            gradients.append([reward, NAMES[weights], str(of_reward["groups"]), cosine, span(of["ratio"])])
    named = {"facts": facts, "states": states, "ended": ended, "explained": explained, "ranks": ranks,
             "entropy": entropy, "gradients": gradients}  # fmt: skip
    return {name: markdown(rows) for name, rows in named.items()} | {"size": _size(results)}


def _size(results: Mapping[str, Any]) -> str:
    """What the numbers stand on, one line."""
    prompts = " and ".join(f"{n} {kind}" for kind, n in results["prompts"].items())
    temperatures = list(results["cells"])
    tokens = ", ".join(f"{results['cells'][t][str(SIZE)]['tokens']:.0f}" for t in temperatures)
    return (
        f"{prompts} prompts; temperatures {', '.join(temperatures)}; at most {results['max_tokens']} tokens each, "
        f"on average {tokens} by temperature; alpha = {results['alpha']}.\n"
    )


def fill(page: str, results: Mapping[str, Any]) -> str:
    """The page with every table as it is now.

    Raises:
        UserError: a table has no place in the page.
    """
    for name, table in tables(results).items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not place.search(page):
            raise UserError(f"the page has no place for the table {name!r}: <!-- {name} --> and <!-- end -->")
        page = place.sub(lambda found, table=table: f"{found[1]}\n{table}\n{found[2]}", page)
    return page


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Write the figure as SVG, with `digest` in it; the same numbers give the same bytes."""
    lines = {
        "position": "position t",
        "distance": "distance to the branching token",
        "ended": "responses that have ended",
    }
    with rc_context({"svg.hashsalt": "weights", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(2.9 * len(results["curves"]), 2.1 * len(lines)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(lines), len(results["curves"]), squeeze=False)
        for column, (t, curves) in zip(axes.T, results["curves"].items(), strict=True):
            column[0].set_title(f"temperature {t}")
            for axis, (name, label) in zip(column, lines.items(), strict=True):
                _line(axis, curves[name], label)
        axes[0, 0].legend(fontsize=6, loc="lower right")
        with whole_file(path) as part:
            figure.savefig(part, format="svg", metadata={"Date": None, "Description": digest(results)})


def digest(results: Mapping[str, Any]) -> str:
    """By which a test knows whether a figure shows these results."""
    return hashlib.sha256(json.dumps(results["curves"]).encode()).hexdigest()


def _line(axis: Axes, rows: Mapping[str, Any], label: str) -> None:
    """Median and 10 to 90 % of Eq. 4's weight, means of both formulas."""
    x = [int(key) for key in rows]
    low, middle, high = zip(*(row["w"] for row in rows.values()), strict=True)
    axis.fill_between(x, low, high, color=BLUE, alpha=0.2, linewidth=0, label="Eq. 4, 10 to 90 %")
    axis.plot(x, middle, color=BLUE, label="Eq. 4, median")
    for i, (formula, style) in enumerate(zip(FORMULAS, ("--", "-."), strict=True)):
        means = [row["means"][i] for row in rows.values()]
        axis.plot(x, means, style, color=(BLUE, RED)[i], linewidth=1, label=f"{NAMES[formula]}, mean")
    axis.set(xlabel=label, ylabel="w", ylim=(0.97, 1.03 + ALPHA))
