# SPDX-License-Identifier: Apache-2.0
"""Names what is wrong with the form of a response: every malformed one has exactly one kind, the first that applies.

Well-formed is what the prompt asks for: thoughts in their tags, then one pair of answer tags with letters of options,
separated by commas, each once. A malformed answer may still be read by the tolerant rule; a well-formed one be wrong.
"""

from __future__ import annotations

import re

from recipe.tw_grpo.answers import WITHOUT_OPTIONS
from recipe.tw_grpo.toolbox.letters import LETTERS

KINDS = (
    "empty output",
    "no answer tag",
    "answer not closed",
    "several answer tags",
    "empty answer",
    "letter of no option",
    "letters twice",
    "no think tags",
    "stray comma",
    "letters run together",
    "blanks for commas",
    "lower case",
    "hedging",
    "other notation",
    "not understood",
)
_LIST = re.compile(r"[A-Z](?:\s*,\s*[A-Z])*")
_COMMAS = re.compile(r"[A-Z,][A-Z,\s]*")
_LOWER = re.compile(r"[a-z](?:\s*,\s*[a-z])*")
_HEDGE = re.compile(r"\bor\b|[/|]", re.IGNORECASE)
_LONGEST = 200  # characters; the notations are shorter


def malformed(response: str, options: int | None, predicted: frozenset[str]) -> str | None:
    """The kind of a malformed response, None for a well-formed one.

    Args:
        response: the whole text.
        options: how many options the question has, None if unknown (then A to H may be some).
        predicted: what the tolerant rule reads.
    """
    if not response.strip():
        return "empty output"
    lower = response.lower()
    start = lower.find("<answer>")
    if start < 0:
        return "no answer tag"
    end = lower.find("</answer>", start)
    if end < 0:
        return "answer not closed"
    if lower.count("<answer>") > 1:
        return "several answer tags"
    if len(lower) != len(response):  # a character whose lower case is longer: positions would not fit
        start, end = response.find("<answer>"), response.find("</answer>")
    answer = response[start + len("<answer>") : end].strip()
    if not answer:
        return "empty answer"
    if _LIST.fullmatch(answer):
        letters = answer.replace(",", " ").split()
        if not set(letters) <= (set(LETTERS[:options]) if options else WITHOUT_OPTIONS):
            return "letter of no option"
        if len(set(letters)) < len(letters):
            return "letters twice"
        return None if "<think>" in response and "</think>" in response else "no think tags"
    return _notation(answer[:_LONGEST], predicted)


def _notation(answer: str, predicted: frozenset[str]) -> str:
    words = answer.split()
    if not predicted:
        return "hedging" if _HEDGE.search(answer) else "not understood"
    if "," in answer and _COMMAS.fullmatch(answer):
        return "stray comma"
    if len(words) == 1 and answer.isalpha() and answer.isupper() and set(answer) == predicted:
        return "letters run together"
    if all(len(word) == 1 and word.isupper() for word in words):
        return "blanks for commas"
    return "lower case" if _LOWER.fullmatch(answer) else "other notation"
