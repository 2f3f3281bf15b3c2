# SPDX-License-Identifier: Apache-2.0
"""The pictures of the report: a page for one run (reward, dead groups, length, token weights), one to compare runs.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart, and lines differ in style as well. Every
number comes from `run_report.py`; no window system and no global state of matplotlib is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, font_manager, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.ticker import MaxNLocator, PercentFormatter

from recipe.tw_grpo.report.reading import Run, WeightMap
from recipe.tw_grpo.report.run_report import window
from recipe.tw_grpo.report.tokens import load_tokenizer
from recipe.tw_grpo.toolbox.files import whole_file

BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
_INCHES, _DPI = 14, 100  # 1400 px wide
_STYLES = [(BLUE, "-"), (RED, "--"), (GREEN, "-."), (ORANGE, (0, (1, 1))), (PURPLE, (0, (5, 1))), (SKY, "-")]
_LEFT, _MAP_WIDTH = 0.85, 12.3  # inches
_WIDEST_TEXT = 80  # columns of the heat map; beyond that cells are too narrow for words
_LONGEST_TOKEN = 9  # characters shown of a token
_CHARACTER = 6.2  # px of a character in a cell


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Mean over a window of `width` (odd) centred on each of the [N] values, narrower at both ends; NaN is skipped."""
    reach = width // 2
    known = ~np.isnan(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    at = np.arange(len(values))
    low, high = np.maximum(at - reach, 0), np.minimum(at + reach + 1, len(values))
    with np.errstate(invalid="ignore"):
        return np.where(known, (sums[high] - sums[low]) / (counts[high] - counts[low]), np.nan)


def draw_run(run: Run, series: dict[str, np.ndarray], summary: dict[str, Any], verdict: str, path: Path) -> None:
    """Write the page of one run as PNG and SVG.

    Args:
        run: for the heat map and the tokenizer; left out without token weights.
        series: of `run_report.per_step`.
        summary: of `run_report.summarize`.
        verdict: the sentence under the title.
        path: where to write.
    """
    chosen = run.weight_map
    tokens = _token_texts(run, chosen) if chosen else None
    row_px, rotated = _row_height(tokens) if chosen else (0, False)
    map_height = len(chosen.weights) * row_px / _DPI if chosen else 0
    tall = 8.0 + (map_height + 0.95 if chosen else 0)
    figure = Figure(figsize=(_INCHES, tall), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)

    def panel(left: float, top: float, width: float, height: float) -> Axes:
        """Axes at a place in inches, `top` measured from the upper edge."""
        return figure.add_axes((left / _INCHES, 1 - (top + height) / tall, width / _INCHES, height / tall))

    estimator = summary["estimator"] or "estimator unknown"
    seed = "seed unknown" if summary["seed"] is None else f"seed {summary['seed']}"
    plural = "" if summary["steps"] == 1 else "s"
    title = f"{estimator}   ·   {seed}   ·   {summary['steps']} step{plural}"
    header = {"x": _LEFT / _INCHES, "va": "center", "parse_math": False}
    figure.text(y=1 - 0.38 / tall, s=title, fontsize=19, fontweight="bold", **header)
    figure.text(y=1 - 0.74 / tall, s=verdict, fontsize=12, color="#333333", **header)
    _reward(panel(_LEFT, 1.3, 7.7, 3.3), series, summary)
    _parts(panel(9.3, 1.3, 4.45, 3.3), series)
    _dead_groups(panel(_LEFT, 5.5, 7.7, 1.9), series, summary)
    _lengths(panel(9.3, 5.5, 4.45, 1.9), series)
    if chosen:
        axes, bar = panel(_LEFT, 8.3, _MAP_WIDTH, map_height), panel(13.35, 8.3, 0.15, map_height)
        _heat_map(axes, bar, chosen, tokens, rotated)
    _save(figure, path)


def draw_comparison(runs: Sequence[tuple[str, dict[str, np.ndarray], dict[str, Any]]], path: Path) -> None:
    """Write the reward curves of several runs, (label, series, summary) each, over each other as PNG and SVG."""
    figure = Figure(figsize=(_INCHES, 6.5), dpi=_DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    levels: dict[float, int] = {}
    every = np.concatenate([series["step"] for _, series, _ in runs])
    for i, (label, series, summary) in enumerate(runs):
        colour, style = _STYLES[i % len(_STYLES)]
        x, width = series["step"], window(len(series["step"]))
        axes.plot(x, series["reward"], color=colour, alpha=0.22, lw=1)
        axes.plot(
            x, running_mean(series["reward"], width), color=colour, ls=style, lw=2.6, label=_plain(label), **_dots(x)
        )
        if summary["best_constant_reward"] is not None:
            levels.setdefault(round(summary["best_constant_reward"], 2), i)
    for level, i in levels.items():
        colour = "#444444" if len(levels) == 1 else _STYLES[i % len(_STYLES)][0]
        label = f"best constant answer, never looking at the video: {level:.2f}"
        axes.axhline(level, color=colour, ls=(0, (6, 4)), lw=1.3, label=label)
    _dress(axes, np.sort(every), "Reward (light: single steps, bold: running mean)", "mean reward")
    axes.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none")
    _save(figure, path)


def _reward(axes: Axes, series: dict[str, np.ndarray], summary: dict[str, Any]) -> None:
    x, reward = series["step"], series["reward"]
    width = window(len(x))
    smooth, spread = running_mean(reward, width), running_mean(series["reward_std"], width)
    _band(axes, x, smooth - spread, smooth + spread, color=BLUE, alpha=0.13, label="±1 std within groups")
    axes.plot(x, reward, color=BLUE, alpha=0.35, lw=1, label="single steps" if width > 1 else None)
    name = f"mean of {width} steps" if width > 1 else "mean of a step"
    axes.plot(x, smooth, color=BLUE, lw=2.6, label=name, **_dots(x))
    level = summary["best_constant_reward"]
    if level is not None:
        answer = summary["best_constant_answer"]
        answer = f" ({answer})" if len(answer) < 32 else ""
        label = f"best constant answer{answer}: {level:.2f}"
        axes.axhline(level, color=RED, ls=(0, (6, 4)), lw=1.6, label=label)
    _dress(axes, x, "Reward of a response", "reward")
    axes.legend(loc="best", fontsize=10, frameon=True, framealpha=0.85, edgecolor="none")


def _parts(axes: Axes, series: dict[str, np.ndarray]) -> None:
    x, width = series["step"], window(len(series["step"]))
    shown = False
    for name, label, colour, style in (
        ("format", "format", ORANGE, (0, (2, 1.5))),
        ("soft_acc", "soft accuracy (Eq. 7)", BLUE, "-"),
        ("acc", "exact set", GREEN, (0, (7, 2))),
    ):
        if np.isfinite(series[name]).any():
            shown = True
            axes.plot(x, series[name], color=colour, alpha=0.2, lw=1)
            axes.plot(x, running_mean(series[name], width), color=colour, ls=style, lw=2.2, label=label, **_dots(x))
    _dress(axes, x, "What the reward is made of", "share of responses / mean")
    axes.set_ylim(-0.03, 1.05)
    if shown:
        axes.legend(loc="best", fontsize=10, frameon=True, framealpha=0.85, edgecolor="none")
    else:
        axes.text(0.5, 0.5, "no right letters in the dumps", transform=axes.transAxes, ha="center", color="#666666")


def _dead_groups(axes: Axes, series: dict[str, np.ndarray], summary: dict[str, Any]) -> None:
    x, rate = series["step"], series["dead_group_rate"]
    axes.bar(x, rate, width=0.9 if len(x) < 150 else 1.0, color=SKY, alpha=0.75, lw=0)
    axes.plot(x, running_mean(rate, window(len(x))), color="#333333", lw=1.8, **_dots(x))
    title = f"Dead groups: all rewards of a prompt equal, no gradient ({summary['dead_group_rate']:.0%} over the run)"
    _dress(axes, x, title, "share of groups")
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _lengths(axes: Axes, series: dict[str, np.ndarray]) -> None:
    x, mean = series["step"], series["response_length"]
    if np.isfinite(mean).any():
        low, high = series["response_length_min"], series["response_length_max"]
        _band(axes, x, low, high, color=PURPLE, alpha=0.2, label="shortest to longest")
        axes.plot(x, running_mean(mean, window(len(x))), color=PURPLE, lw=2.2, label="mean", **_dots(x))
        axes.set_ylim(bottom=0, top=1.25 * float(np.nanmax([np.nanmax(high), np.nanmax(mean)])) or None)
        axes.legend(loc="upper right", fontsize=10, frameon=False, ncols=2)
    else:
        axes.text(0.5, 0.5, "not in the dumps or the logs", transform=axes.transAxes, ha="center", color="#666666")
    _dress(axes, x, "Response length", "tokens")


def _heat_map(axes: Axes, bar: Axes, chosen: WeightMap, tokens: list[list[str]] | None, rotated: bool) -> None:
    columns = max(len(row) for row in chosen.weights)
    values = np.full((len(chosen.weights), columns), np.nan)
    for i, row in enumerate(chosen.weights):
        values[i, : len(row)] = row
    low, high = min(1.0, float(np.nanmin(values))), max(1.0, float(np.nanmax(values)))
    colours = colormaps["cividis"].with_extremes(bad="white")
    high = high if high > low else low + 1
    picture = axes.imshow(values, cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    for i, row in enumerate(tokens or []):
        for t, text in enumerate(row):
            dark = (values[i, t] - low) / (high - low) < 0.55
            axes.text(
                t,
                i,
                text,
                ha="center",
                va="center",
                fontsize=8,
                rotation=90 if rotated else 0,
                color="white" if dark else "black",
                parse_math=False,
            )
    if columns <= 4 * _WIDEST_TEXT:
        axes.set_xticks(np.arange(-0.5, columns), minor=True)
        axes.grid(which="minor", axis="x", color="white", lw=0.4)
    axes.hlines(np.arange(0.5, len(values) - 1), -0.5, columns - 0.5, color="white", lw=2)
    labels = [f"{score:.2f}" for score in chosen.scores]
    axes.set_yticks(range(len(values)), labels, fontsize=9.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], nbins=20))
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("reward", fontsize=11)
    axes.set_xlabel("token position t   (a row is a response, blank where it has ended)", fontsize=11)
    axes.set_title(
        f"Token weights w_t of one group of step {chosen.step}   (right answer: {chosen.truth[:40]})",
        loc="left",
        fontsize=13,
        fontweight="bold",
        parse_math=False,
    )
    scale = axes.figure.colorbar(picture, cax=bar)
    scale.outline.set_visible(False)
    bar.set_title("w_t", fontsize=10)


def _token_texts(run: Run, chosen: WeightMap) -> list[list[str]] | None:
    """Text of every token of the heat map, shortened; None without a tokenizer or when cells are too narrow."""
    if max(len(row) for row in chosen.weights) > _WIDEST_TEXT:
        return None
    tokenizer = load_tokenizer(run)
    if tokenizer is None:
        return None
    font = FT2Font(font_manager.findfont("DejaVu Sans"))
    return [[_shown(tokenizer.decode([i], skip_special_tokens=False), font) for i in row] for row in chosen.ids]


def _shown(text: str, font: FT2Font) -> str:
    """A token as it can be drawn: blanks and line ends visible where they are all there is, cut when long."""
    text = (text.strip(" ") or "␣" * len(text)).replace("\n", "↵").replace("\t", "→")
    text = "".join(c if c.isprintable() and font.get_char_index(ord(c)) else "□" for c in text)
    return text if len(text) <= _LONGEST_TOKEN else text[: _LONGEST_TOKEN - 1] + "…"


def _row_height(tokens: list[list[str]] | None) -> tuple[int, bool]:
    """Height in px of a row of the heat map, and whether its texts stand upright to fit their cells."""
    longest = max((len(text) for row in tokens or [] for text in row), default=0)
    if not longest:
        return 28, False
    cell = _MAP_WIDTH * _DPI / max(len(row) for row in tokens)
    if longest * _CHARACTER + 4 <= cell:
        return 28, False
    return max(28, round(longest * _CHARACTER + 8)), True


def _band(axes: Axes, x: np.ndarray, low: np.ndarray, high: np.ndarray, **style: Any) -> None:
    """The area between two curves; a single step gets a width."""
    if len(x) == 1:
        x, low, high = np.array([x[0] - 0.1, x[0] + 0.1]), np.repeat(low, 2), np.repeat(high, 2)
    axes.fill_between(x, low, high, lw=0, **style)


def _dots(x: np.ndarray) -> dict[str, Any]:
    """A line of a few steps needs its points to be seen at all."""
    return {"marker": "o", "markersize": 4} if len(x) <= 12 else {}


def _dress(axes: Axes, x: np.ndarray, title: str, y_label: str) -> None:
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold")
    axes.set_xlabel("step", fontsize=11)
    axes.set_ylabel(y_label, fontsize=11)
    axes.grid(color="#e6e6e6", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    axes.set_xlim(x[0] - 0.6, x[-1] + 0.6)


def _plain(text: str) -> str:
    """A legend reads mathematics between dollars and hides names that begin with an underscore."""
    return text.replace("$", r"\$").lstrip("_")


def _save(figure: Figure, path: Path) -> None:
    """As PNG, and as SVG beside it; the same numbers give the same bytes."""
    with whole_file(path) as part:
        figure.savefig(part, format="png", dpi=_DPI)
    with rc_context({"svg.hashsalt": "tw_grpo"}), whole_file(path.with_suffix(".svg")) as part:
        figure.savefig(part, format="svg", metadata={"Date": None})
