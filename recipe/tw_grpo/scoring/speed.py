# SPDX-License-Identifier: Apache-2.0
"""How fast answers are read and rewarded: real responses a second, and the slowest of the texts made to be slow.

A model in training writes whatever pays; a response that costs the reward worker seconds would be one way to fail.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recipe.tw_grpo.answers import parse_answer
from recipe.tw_grpo.reward import format_reward, score_response
from recipe.tw_grpo.scoring.reading import Sample, read_log

MEGABYTE = 1 << 20
OPTIONS = ["The red disc collides with the square", "The green triangle leaves", "A, then B", "Nothing happens"]
# A beginning, and what is repeated behind it.
HOSTILE = {
    "letters": ("", "A"),
    "letters and commas": ("", "A,"),
    "blanks": ("", " "),
    "lines": ("", "\n"),
    "opening tags": ("", "<answer>"),
    "opening tags in mixed case": ("", "<Answer>"),
    "opening tags with blanks": ("", "< answer >"),
    "opening tags that never end": ("", "<answer"),
    "nested tags": ("", "<answer><answer></answer>"),
    "closing tags": ("", "</answer>"),
    "empty pairs": ("", "<answer></answer>"),
    "pairs with blanks": ("", "<answer>  </answer>"),
    "full pairs": ("", "<answer>A</answer>"),
    "angle brackets": ("", "<"),
    "brackets and blanks": ("", "< "),
    "thoughts": ("", "<think></think>"),
    "thoughts without end": ("<think>", "a"),
    "markers": ("", "answer: "),
    "markers without letters": ("", "answer is "),
    "marker, then blanks": ("answer", " "),
    "marker and verb, then blanks": ("answer is", " "),
    "marker, then lines": ("answers", "\n"),
    "marker, then colons": ("Answer", ":"),
    "marker, then commas": ("answer: A", " ,"),
    "marker, then letters": ("answer: A", ", B"),
    "words before letters": ("<answer>", "the answer is "),
    "lettered": ("", "A. "),
    "ranges": ("<answer>A", "."),
    "boxed": ("", "\\boxed{"),
    "brackets": ("", "("),
    "options": ("", "nothing happens "),
    "unclosed answer of options": ("<answer>", "nothing happens and "),
    "stray tags": ("<answer>", "</b>"),
    "a bracket, blanks, a mark": ("<answer>", "<" + " " * 4000 + "!"),
    "letters, blanks, a mark": ("<answer>", "A" + " " * 4000 + "!"),
    "combining marks": ("", "a\u0301\u0323"),
    "ligatures that grow": ("", "\ufdfa"),
    "dotted capitals": ("", "İ"),
    "dotted capitals and tags": ("", "İ<answer>"),
    "look-alikes": ("", "А, "),
    "or": ("", "A or "),
    "markers in Chinese": ("", "答案是A，"),
    "markers in Korean": ("", "정답은 "),
    "markers of lists": ("", "options: A. "),
    "markers about others": ("", "if the answer is A "),
    "headings": ("", "# Answer\n"),
    "boxes within boxes": ("", "\\boxed{\\boxed{A}"),
    "lines of letters": ("", "A. \n"),
    "letters that run into words": ("", "A b "),
    "letters that run into a word": ("", "A " * 1990 + "word "),
    "letters and a text": ("", "A. Nothing "),
    "a text and half of it": ("", "Nothing happens. Nothing "),
    "lines of texts": ("", "- D. Nothing happens\n"),
    "numbers": ("", "1.1"),
    "a long number and a letter": ("", "1" * 4000 + "a"),
    "JSON lists": ("", "["),
    "quotes": ("", '"A. '),
    "elisions": ("", "l'"),
}


def hostile(name: str, size: int = MEGABYTE, tagged: bool = False) -> str:
    """A text of HOSTILE of `size` characters, as a whole response or within answer tags."""
    head, body = HOSTILE[name]
    text = (head + body * (size // len(body) + 1))[:size]
    return f"<answer>{text}</answer>" if tagged else text


def different_pieces(size: int = MEGABYTE) -> str:
    """An answer of pieces which all differ: sets grow with it."""
    return f"<answer>{','.join(map(str, range(size // 6)))}"[:size] + "</answer>"


def seconds(work: Callable[[], Any], times: int = 3) -> float:
    """Least CPU time of a few calls."""
    found = []
    for _ in range(times):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def slowest(size: int = MEGABYTE) -> list[tuple[float, str]]:
    """CPU seconds and name of every hostile text, rule and reward, the slowest first."""
    texts = {
        f"{name}{', in tags' if tagged else ''}": hostile(name, size, tagged) for name in HOSTILE for tagged in (0, 1)
    }
    texts["different pieces"] = different_pieces(size)
    found = []
    for name, text in texts.items():
        for rule in ("tolerant", "strict"):
            work = lambda text=text, rule=rule: parse_answer(text, OPTIONS, rule=rule)  # noqa: E731
            found.append((seconds(work), f"{name} ({rule})"))
        found.append((seconds(lambda text=text: format_reward(text)), f"{name} (format)"))
    return sorted(found, reverse=True)


def rewards_a_second(samples: Sequence[Sample], least_seconds: float = 1.0) -> float:
    """Scores of `reward.score_response` a second of one core, over real responses again and again."""
    done, start = 0, time.process_time()
    while (used := time.process_time() - start) < least_seconds or not done:
        for sample in samples:
            score_response(sample.response, sample.truth or "A", sample.options)
        done += len(samples)
    return done / used


def speed_rows(paths: Sequence[Path]) -> tuple[str, list[list[str]], dict[str, Any]]:
    """Title, table and JSON of the speed on the responses of logs and on hostile texts of a megabyte."""
    rates = {str(path): rewards_a_second(read_log(path).samples) for path in paths}
    worst = slowest()[:5]
    rows = [["", "one core"], *([Path(p).name, f"{rate:,.0f} rewards a second"] for p, rate in rates.items())]
    rows += [[f"1 MB of {name}", f"{1000 * used:.1f} ms"] for used, name in worst]
    data = {"rewards_a_second": rates, "slowest_megabyte_seconds": {name: used for used, name in worst}}
    return "rewards a second, and the slowest hostile texts (CPU time)", rows, data
