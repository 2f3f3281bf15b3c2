# SPDX-License-Identifier: Apache-2.0
"""Two logs of the same questions, paired: the difference, its interval, and whether chance alone would give it.

Differences on a benchmark of a few hundred questions are often within noise; pairing takes the difficulty of the
questions out of it. The p-value is McNemar's exact test on the questions only one of the two got right.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipe.tw_grpo.reward import MULTI, SINGLE
from recipe.tw_grpo.scoring.reading import Log, categories
from recipe.tw_grpo.scoring.score import Scored, score
from recipe.tw_grpo.toolbox.bootstrap import DRAWS, Clusters
from recipe.tw_grpo.toolbox.errors import UserError

Pair = tuple[Scored, Scored]


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided exact McNemar p-value: with no difference, either log is equally likely to be the one that is right."""
    from scipy.stats import binomtest  # a second to import, and only needed here

    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0


def compare(a: Log, b: Log, rule: str, *, by: str | None = None, draws: int = DRAWS, seed: int = 0) -> dict[str, Any]:
    """B against A on the samples both have.

    Returns:
        a, b (paths), rule, only_in_a, only_in_b; parts: all, single, multi and every category, each with n, videos,
        acc_a, acc_b, difference (b - a), difference_interval, the same of soft accuracy, both, only_a, only_b, neither
        (right), p; changed: the samples whose soft score differs, the largest gain of B first.

    Raises:
        UserError: no sample in common, or one with other right letters in B than in A.
    """
    of_b = {sample.key: sample for sample in b.samples}
    common = [(sample, of_b[sample.key]) for sample in a.samples if sample.key in of_b]
    if not common:
        raise UserError(
            f"{a.path} and {b.path} have no question in common: are they logs of the same benchmark and form?"
        )
    pairs = [(score(x, rule), score(y, rule)) for x, y in common]
    for x, y in pairs:
        if x.truth != y.truth:
            raise UserError(
                f"{a.path}: line {x.sample.line} and {b.path}: line {y.sample.line} are one question with other right "
                f"letters, {_letters(x.truth)} and {_letters(y.truth)}: the two logs used different files of questions"
            )
    field, names = categories([x.sample for x, _ in pairs], by)
    known = [(pair, name) for pair, name in zip(pairs, names, strict=True) if pair[0].soft is not None]
    if not known:
        raise UserError(f"{a.path} and {b.path}: no common question has right letters")
    parts: dict[str, list[Pair]] = {"all": [pair for pair, _ in known]}
    for kind in (SINGLE, MULTI):
        parts[kind] = [pair for pair, _ in known if pair[0].kind == kind]
    for value in sorted({name for _, name in known if name is not None}):
        parts[f"{field}: {value}"] = [pair for pair, name in known if name == value]
    changed = [pair for pair, _ in known if pair[0].soft != pair[1].soft]
    changed.sort(key=lambda pair: (pair[0].soft - pair[1].soft, pair[0].sample.line))
    return {
        "a": str(a.path),
        "b": str(b.path),
        "rule": rule,
        "only_in_a": len(a.samples) - len(common),
        "only_in_b": len(b.samples) - len(common),
        "without_truth": len(pairs) - len(known),
        "parts": _numbers(parts, draws, seed),
        "changed": [_row(x, y) for x, y in changed],
    }


def _numbers(parts: dict[str, list[Pair]], draws: int, seed: int) -> dict[str, dict[str, Any]]:
    videos = Clusters(len(parts), 2)
    for p, pairs in enumerate(parts.values()):
        for x, y in pairs:
            videos.add(x.sample.video, p, (y.right - x.right, y.soft - x.soft))
    result = {}
    for (name, pairs), (several, limits) in zip(parts.items(), videos.intervals(draws=draws, seed=seed), strict=True):
        n, table = len(pairs), Counter((x.right, y.right) for x, y in pairs)
        only_a, only_b = table[True, False], table[False, True]
        right_a, right_b = table[True, True] + only_a, table[True, True] + only_b
        soft_a, soft_b = sum(x.soft for x, _ in pairs), sum(y.soft for _, y in pairs)
        result[name] = {
            "n": n,
            "videos": several,
            "acc_a": right_a / n if n else None,
            "acc_b": right_b / n if n else None,
            "difference": (right_b - right_a) / n if n else None,
            "difference_interval": limits[0],
            "soft_acc_a": soft_a / n if n else None,
            "soft_acc_b": soft_b / n if n else None,
            "soft_difference": (soft_b - soft_a) / n if n else None,
            "soft_difference_interval": limits[1],
            "both": table[True, True],
            "only_a": only_a,
            "only_b": only_b,
            "neither": table[False, False],
            "p": mcnemar(only_a, only_b) if n else None,
        }
    return result


def _row(x: Scored, y: Scored) -> dict[str, Any]:
    return {
        "question": " ".join(x.sample.question.split()),
        "video": x.sample.video,
        "truth": _letters(x.truth),
        "a": _letters(x.predicted),
        "b": _letters(y.predicted),
        "soft_a": x.soft,
        "soft_b": y.soft,
        "response_a": x.sample.response,
        "response_b": y.sample.response,
        "line_a": x.sample.line,
        "line_b": y.sample.line,
    }


def _letters(letters: frozenset[str]) -> str:
    return ",".join(sorted(letters))


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; }
th, td { text-align: right; } th:first-child, td:first-child { text-align: left; } thead th { border-color: #666; }
details { border: 1px solid #ddd; border-left: .4rem solid #0072B2; border-radius: .3rem; margin: .4rem 0; }
details.lost { border-left-color: #D55E00; } summary { padding: .4rem .7rem; cursor: pointer; }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; padding: 0 .7rem .7rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f6f6f6; padding: .6rem; margin: 0; font-size: 13px; }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd; } pre { background: #252525; } }
"""


def page(result: dict[str, Any], rows: Sequence[Sequence[str]]) -> str:
    """One HTML page that needs nothing else: the table `rows`, then every changed sample with both responses."""
    text = html.escape
    names = [text(Path(result[which]).name) for which in "ab"]
    head = "".join(f"<th>{text(cell)}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>\n" for row in rows[1:])
    changed = []
    for row in result["changed"]:
        better = row["soft_b"] > row["soft_a"]
        line = f"{row['question'][:200]} — right: {row['truth']}; A: {row['a'] or 'none'}, B: {row['b'] or 'none'}"
        panes = "".join(
            f"<div><b>{which.upper()}</b>, line {row[f'line_{which}']}, soft score {row[f'soft_{which}']:.2f}"
            f"<pre>{text(row[f'response_{which}'])}</pre></div>"
            for which in "ab"
        )
        changed.append(
            f'<details class="{"won" if better else "lost"}"><summary>{text(line)}</summary>'
            f'<div class="two">{panes}</div></details>'
        )
    won = sum(row["soft_b"] > row["soft_a"] for row in result["changed"])
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{names[1]} against {names[0]}</title><style>{_STYLE}</style>
<h1>B against A</h1>
<p>A: {text(result["a"])}<br>B: {text(result["b"])}<br>Rule: {text(result["rule"])}. Only samples both logs have
({result["only_in_a"]} are in A only, {result["only_in_b"]} in B only). Intervals: 95 %, bootstrap clustered by video;
p: McNemar's exact test.</p>
<table><thead><tr>{head}</tr></thead><tbody>
{body}</tbody></table>
<h2>{len(result["changed"])} samples changed: B better on {won}, A on {len(result["changed"]) - won}</h2>
{chr(10).join(changed)}
</html>
"""
