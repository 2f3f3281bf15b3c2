# SPDX-License-Identifier: Apache-2.0
"""What answers earn that never look at the video: constant letters, everything at once, hedging, nothing.

Each goes through the real parser and the real rewards, on the questions of a log or a parquet file. None may earn more
than its chance value: what its letters are worth when the right ones lie at random among the options.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from recipe.tw_grpo.answers import parse_answer, parse_truth
from recipe.tw_grpo.reward import fixed_reward, soft_reward
from recipe.tw_grpo.scoring.reading import read_log
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.letters import LETTERS

REWARDS: dict[str, Callable[..., float]] = {"soft": soft_reward, "fixed": fixed_reward}
HEDGES = (
    "A or B",
    "A, B or C",
    "A/B",
    "either A or B",
    "A and/or B",
    "A-D",
    "one of A, B, C, D",
    "A. or B.",
    "not A",
    "all of the above",
    "I do not know",
    "</answer><answer>",
)
Question = tuple[int, frozenset[str]]  # number of options, right letters


def questions_of(path: Path) -> list[Question]:
    """Number of options and right letters of every question of a log (one of several responses) or a parquet file.

    Raises:
        UserError: nothing with options and right letters in it.
    """
    if path.suffix == ".parquet":
        found = _from_parquet(path)
    else:
        asked = {sample.key.partition("#")[0]: sample for sample in read_log(path).samples}
        found = [(len(s.options or ()), parse_truth(s.truth or "", s.options)) for s in asked.values()]
    known = [(n, truth) for n, truth in found if truth and truth <= set(LETTERS[:n])]
    if not known:
        raise UserError(f"{path}: no question in it names its options and its right letters")
    return known


def _from_parquet(path: Path) -> list[Question]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path, columns=["reward_model", "extra_info"]).to_pylist()
        listed = [row["extra_info"]["options"] or () for row in rows]
        return [(len(o), parse_truth(r["reward_model"]["ground_truth"], o)) for o, r in zip(listed, rows, strict=True)]
    except (KeyError, TypeError, pa.ArrowInvalid) as error:
        raise UserError(f"{path}: not a parquet file of data_prep ({error})") from None


def chance(letters: frozenset[str], n: int, right: int, reward: Callable[..., float]) -> float:
    """Mean reward of `letters` over all sets of `right` of the first `n` letters, each as likely as the other."""
    truths = [frozenset(truth) for truth in itertools.combinations(LETTERS[:n], right)]
    return sum(reward(letters, truth) for truth in truths) / len(truths)


def earned(answer: str, n: int, truths: Iterable[frozenset[str]], reward: Callable[..., float]) -> list[float]:
    """Rewards of the response that gives `answer` to a question of `n` options, for each of `truths`."""
    options = [f"event {letter.lower()}{letter.lower()}" for letter in LETTERS[:n]]
    predicted = parse_answer(f"<think>…</think><answer>{answer}</answer>", options)
    return [reward(predicted, truth) for truth in truths]


def hacking_rows(paths: Sequence[Path]) -> tuple[str, list[list[str]], dict[str, Any]]:
    """Title, table and JSON. Every answer: soft and fixed reward, mean over where the right letters could lie, its
    chance value, and the reward on the questions as they are lettered.
    """
    counts = Counter(question for path in paths for question in questions_of(path))
    total = sum(counts.values())
    most = max(n for n, _ in counts)
    letters = LETTERS[:most]
    # An answer is a text for each number of options; its chance is that of the letters it would be with luck.
    strategies: list[tuple[str, Callable[[int], list[tuple[str, frozenset[str]]]]]] = [
        (f'always "{letter}"', lambda n, letter=letter: [(letter, frozenset(letter))]) for letter in letters
    ]
    strategies.append((f'always "{",".join(letters)}"', lambda n: [(",".join(letters), frozenset(letters))]))
    strategies.append(("every option of the question", lambda n: [(",".join(LETTERS[:n]), frozenset(LETTERS[:n]))]))
    strategies.append(("a random subset", lambda n: [(",".join(s), frozenset(s)) for s in _subsets(LETTERS[:n])]))
    strategies.append(("empty", lambda n: [("", frozenset())]))
    # For hedging the bar is one letter of those it names: more than guessing it must not earn.
    strategies += [(f'"{text}"', lambda n, text=text: [(text, frozenset("A"))]) for text in HEDGES]
    rows = [["answer", *(f"{name}{column}" for name in REWARDS for column in ("", " chance", " here"))]]
    data = []
    for name, answers in strategies:
        record: dict[str, Any] = {"answer": name}
        for kind, reward in REWARDS.items():
            mean, bar, here = 0.0, 0.0, 0.0
            for (n, truth), count in counts.items():
                texts = answers(n)
                share = count / total / len(texts)
                truths = [frozenset(t) for t in itertools.combinations(LETTERS[:n], len(truth))]
                for text, meant in texts:
                    mean += share * sum(earned(text, n, truths, reward)) / len(truths)
                    bar += share * chance(meant, n, len(truth), reward)
                    here += share * earned(text, n, [truth], reward)[0]
            record |= {kind: mean, f"{kind}_chance": bar, f"{kind}_here": here}
        record["at_most_chance"] = all(record[kind] <= record[f"{kind}_chance"] + 1e-9 for kind in REWARDS)
        data.append(record)
        cells = [f"{record[f'{kind}{column}']:.4f}" for kind in REWARDS for column in ("", "_chance", "_here")]
        rows.append([name, *cells])
    sizes = Counter((n, len(truth)) for (n, truth), count in counts.items() for _ in range(count))
    worst = "none earns more than chance" if all(r["at_most_chance"] for r in data) else "SOME EARN MORE THAN CHANCE"
    title = f"{total} questions; {worst} (first column of each reward); 'here': with the letters as they are"
    return (
        title,
        rows,
        {
            "questions": total,
            "options_and_right": {f"{n} options, {right} right": sizes[n, right] for n, right in sorted(sizes)},
            "answers": data,
        },
    )


def _subsets(letters: str) -> list[tuple[str, ...]]:
    return [s for size in range(1, len(letters) + 1) for s in itertools.combinations(letters, size)]
