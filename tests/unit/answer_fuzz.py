# SPDX-License-Identifier: Apache-2.0
"""Random answers with the set they mean: options of every kind, letters and texts in random notations and wrappings.

A written answer may be read as what it means or not at all, never as anything else; a hedged one never as anything.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass, field

from recipe.tw_grpo.answers import parse_answer

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
NOUNS = "cube sphere disc man woman dog door cup boat tree answer option choice letter".split()
VERBS = "opens,closes,falls,stops,rotates,leaves,does not move,is not seen,is seen,stays or falls,and then not".split(
    ","
)
OTHERS = ["-3.72%", "3.72%", "372%", "1.5", "15", "-15", "2", "3", "(a)(b)(c)", "(b)(a)(c)", "E = L (w M)^2", "E = L"]
OTHERS += [
    "l",
    "v",
    "O",
    "AB",
    "C#",
    "C++",
    "x",
    "-x",
    "mW",
    "MW",
    "All of the above",
    "None of the above",
    "Yes",
    "No",
]
OTHERS += [
    "Both A and B",
    "A, then B",
    "红色的球",
    "문을 연다",
    "die Tür öffnet sich",
    "la puerta",
    "$\\frac{1}{2}$",
    "a man",
]
LEADS = ["", "The man looks at the disc, and then it falls.\n", "Let us see what happens.\n\n", "好的。\n"]
MARKERS = [
    "Answer: ",
    "**Answer:** ",
    "The answer is ",
    "The best option is ",
    "The correct choice is ",
    "Final answer:\n",
]
MARKERS += ["答案：", "正确答案是", "정답: ", "Antwort: ", "Die richtige Antwort ist ", "Respuesta: ", "Réponse : "]
REASONS = ["", "\n\nThe disc is blue in the second half.", "\n**Reason:** the answer is supported by the video."]
NOISE = [
    "A",
    "b.",
    "or",
    "/",
    "<answer>",
    "</answer>",
    "<think>",
    "</think>",
    "\\boxed{",
    "}",
    "answer is",
    "答案",
    "选",
    "、",
]
NOISE += [
    "정답은",
    "not",
    "(",
    ")",
    "**",
    "\n",
    "\n- ",
    "-",
    "..",
    '["',
    '"]',
    "\u200b",
    "İ",
    "ﷺ",
    "\ud800",
    "\x00",
    "1.",
    "𝐁",
    "É",
]


@dataclass
class Count:
    """What became of the answers."""

    answers: int = 0
    read: int = 0
    unread: int = 0
    noise: int = 0
    hedged: int = 0
    slowest: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.answers:,} answers: {self.read:,} read as written, {self.unread:,} not read, {self.hedged:,} hedged"
            f", {self.noise:,} of noise, {len(self.wrong)} wrong; the slowest took {1000 * self.slowest:.1f} ms"
        )


def fuzz(count: int, seed: int = 0) -> Count:
    """Reads `count` random answers; the CPU time of the slowest is the least of three readings of it."""
    chance = random.Random(seed)
    result = Count()
    while result.answers < count:
        options = random_options(chance)
        kind = chance.random()
        if kind < 0.2:
            text, meant = random_noise(chance, options), None
        else:
            hedged = kind < 0.3
            text, meant = random_answer(chance, options, hedged)
        start = time.process_time()
        letters = parse_answer(text, options)
        took = time.process_time() - start
        if took > result.slowest:
            again = []
            for _ in range(2):
                start = time.process_time()
                parse_answer(text, options)
                again.append(time.process_time() - start)
            result.slowest = max(result.slowest, min(took, *again))
        result.answers += 1
        if meant is None:
            result.noise += 1
            right = letters <= frozenset(LETTERS)
        elif not meant:
            result.hedged += 1
            right = not letters
        else:
            right = letters in (meant, frozenset())
            result.read += letters == meant
            result.unread += not letters
        if not right:
            result.wrong.append(f"{text!r} with {options}: {sorted(letters)}, not {sorted(meant or ())}")
    return result


def random_options(chance: random.Random) -> list[str]:
    """Two to six options with different texts; in one question of three some differ by a sign or bracket only."""
    number = chance.randint(2, 6)
    if chance.random() < 0.3:
        return chance.sample(OTHERS, number)
    texts: dict[str, None] = {}
    while len(texts) < number:
        texts[f"{chance.choice(['the', 'a', 'A'])} {chance.choice(NOUNS)} {chance.choice(VERBS)}"] = None
    return list(texts)


def random_answer(chance: random.Random, options: list[str], hedged: bool) -> tuple[str, frozenset[str]]:
    """A text and the letters it means; none if it hedges or puts a letter before another option's text."""
    letters = sorted(chance.sample(LETTERS[: len(options)], chance.randint(1, min(3, len(options)))))
    forms = [lambda letter, text: letter, lambda letter, text: f"({letter}) {text}", _delimited(chance)]
    forms += [lambda letter, text: f"**{letter}. {text}**", lambda letter, text: f'"{letter}. {text}"']
    form = chance.choice(forms)
    items = [form(letter, options[LETTERS.index(letter)]) for letter in letters]
    meant = frozenset(letters)
    if hedged:
        meant = frozenset()
        if len(letters) > 1:
            written = chance.choice([" or ", "/", " | ", ", or "]).join(items)
        else:
            other = chance.choice([i for i in range(len(options)) if LETTERS[i] not in letters])
            if len(options[other]) == 1:  # "A. x" of options of one letter may be a list
                return f"<answer>{letters[0]}?</answer>", meant
            written = f"{letters[0]}. {options[other]}"
        return chance.choice(["<answer>{}</answer>", "<think>x</think><answer>{}</answer>"]).format(written), meant
    joint = chance.choice([", ", "\n", "; ", " and "]) if form is not forms[0] else chance.choice([", ", ",", " and "])
    written = joint.join(items)
    if joint == "\n" and chance.random() < 0.5:
        written = "\n".join(f"- {item}" for item in items)
    if chance.random() < 0.1:
        written = json.dumps(items, ensure_ascii=chance.random() < 0.5)
    wrapping = chance.random()
    if wrapping < 0.5:
        return f"<think>The disc falls.</think>\n<answer>{written}</answer>", meant
    if wrapping < 0.6:
        return f"{chance.choice(LEADS)}\\boxed{{{written}}}", meant
    if wrapping < 0.8:
        return chance.choice(LEADS) + chance.choice(MARKERS) + written + chance.choice(REASONS), meant
    if wrapping < 0.9:
        return chance.choice(LEADS) + written, meant
    return written + chance.choice(REASONS), meant


def _delimited(chance: random.Random):
    delimiter = chance.choice([". ", ") ", ": ", "、", "．", ".", " - "])
    lower = chance.random() < 0.3
    return lambda letter, text: f"{letter.lower() if lower else letter}{delimiter}{text}"


def random_noise(chance: random.Random, options: list[str]) -> str:
    """Pieces of answers, markers and markup in any order."""
    return chance.choice(["", " "]).join(chance.choices(NOISE + options, k=chance.randint(0, 40)))
