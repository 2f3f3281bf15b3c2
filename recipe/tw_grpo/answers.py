# SPDX-License-Identifier: Apache-2.0
"""From the text of a response to the set of option letters it answers with: one parser for training and scoring.

Two rules: "strict" is the public code's (it reproduces published scores), "tolerant" reads the notations models really
use. Every step scans the text a bounded number of times, so a hostile response of a megabyte costs milliseconds.
What a predicted set is worth is not decided here but in `reward.py`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from recipe.tw_grpo.config import CHOICES

_LONGEST_ANSWER = 4096  # characters; whatever is longer is an essay, not an answer
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_RUN_WITHOUT_OPTIONS = frozenset("ABCDEFGH")  # "CD" may mean C and D, "NO" may not
_FILLERS = frozenset("answer answers option options choice choices the is are both correct".split())
_PUNCTUATION = frozenset(",;:.()[]{}*\"'`&+-!<>_$\\、。·•")
_STRICT_UNTAGGED = re.compile(r"(?:answer|Answer|ANSWER)[:\s]+([A-Z](?:\s*,\s*[A-Z])*)")
# No two neighbouring \s*: they would try every way to share a run of blanks, quadratic in a hostile text.
_MARKER = re.compile(r"(?:answers?|答案)\s*(?:(?:is|are)\s*)?[:：]|(?:answers?)\s+(?:is|are)\b", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]+|[^A-Za-z\s]")
_LETTERED = re.compile(r"(?:^|(?<=[\s,;]))\(?([A-Z])(?:\)|[.:](?=\s))")


def parse_answer(text: str, options: Sequence[str] | None = None, rule: str = "tolerant") -> frozenset[str]:
    """Letters a response answers with.

    Args:
        text: the whole response, or only its answer.
        options: texts of the options in the order of their letters, with or without a leading "A. "; lets the tolerant
            rule read an answer that repeats an option's text. The strict rule ignores them.
        rule: "tolerant": the last non-empty `<answer>` (any case, closing tag optional), else what follows the last
            "answer:", else the end of the response if it is nothing but an answer. There: letters in any case and
            notation ("A, C", "A and C", "(A) C.", "AC", "A. text"), or texts of options. "A or B" is no answer, and a
            letter that is no option stays in the set, so that it can never be rewarded.
            "strict": the first `<answer>…</answer>`, else the letters after "answer:"; blanks deleted, split at commas,
            nothing else understood; its pieces can be anything, also "" or "b".

    Returns:
        The predicted letters, empty when there is no answer.

    Raises:
        ValueError: unknown rule.
    """
    if rule == "strict":
        return _parse_strict(text)
    if rule != "tolerant":
        raise ValueError(f"rule={rule!r} is none of {', '.join(CHOICES['rule'])}")
    lettered = (options or [])[: len(_LETTERS)]  # a 27th option has no letter to answer with
    known = [_plain(_without_letter(option, index)) for index, option in enumerate(lettered)]
    tagged = _last_tagged(text)
    if tagged is not None:
        return _read(tagged, known)
    for candidate in _untagged(text):
        letters = _read(candidate, known)
        if letters:
            return letters
    return frozenset()


def _parse_strict(text: str) -> frozenset[str]:
    start = text.find("<answer>")
    end = text.find("</answer>", start + 8) if start >= 0 else -1
    if end >= 0:
        answer = text[start + 8 : end]
    else:
        match = _STRICT_UNTAGGED.search(text)
        answer = match.group(1) if match else ""
    return frozenset(piece.strip() for piece in answer.strip().replace(" ", "").split(","))


def _last_tagged(text: str) -> str | None:
    """Content of the last `<answer>` with something in it; "" when all are empty, None when there is none."""
    lower = text.lower() if len(text.lower()) == len(text) else text  # a few characters change length in lower case
    found = None
    end = len(text)
    while (start := lower.rfind("<answer>", 0, end)) >= 0:
        closing = lower.find("</answer>", start, end)
        content = text[start + 8 : closing if closing >= 0 else end]
        if content.strip():
            return content
        found, end = "", start
    return found


def _untagged(text: str) -> Iterator[str]:
    """Where an answer without tags may stand, most explicit first."""
    rest = text[text.rfind("</think>") + 8 :] if "</think>" in text else text
    for part in (rest, text) if rest != text else (text,):
        ends = [match.end() for match in _MARKER.finditer(part)]
        if ends:
            yield part[ends[-1] :].strip().split("\n", 1)[0]
    yield rest
    yield rest.strip().rsplit("\n", 1)[-1]


def _read(answer: str, options: list[str]) -> frozenset[str]:
    answer = unicodedata.normalize("NFKC", answer[: _LONGEST_ANSWER + 1]).strip()
    if not answer or len(answer) > _LONGEST_ANSWER:
        return frozenset()
    listed = _letter_list(answer, len(options))
    if listed is not None:
        return listed
    return _option_texts(answer, options) or _lettered_texts(answer, options)


def _letter_list(answer: str, n_options: int) -> frozenset[str] | None:
    """The letters, if the answer is nothing but letters and what joins them; None if it is something else."""
    allowed = frozenset(_LETTERS[:n_options]) if n_options else _RUN_WITHOUT_OPTIONS
    letters: set[str] = set()
    for word in _WORD.findall(answer.replace("\\boxed", "").replace("\\text", "")):
        if len(word) == 1 and word.upper() in _LETTERS:
            letters.add(word.upper())
        elif word.lower() == "or" or word in "/|":
            return frozenset()  # hedging: one of them is no answer
        elif word.lower() == "and" or word.lower() in _FILLERS or word in _PUNCTUATION:
            continue
        elif word.isalpha() and word.isupper() and len(set(word)) == len(word) and set(word) <= allowed:
            letters.update(word)
        else:
            return None
    return frozenset(letters)


def _option_texts(answer: str, options: list[str]) -> frozenset[str]:
    """The letters of the options whose texts, joined by commas, "and" or line breaks, make up the whole answer."""
    rest, letters = _plain(answer), set()
    by_length = sorted((option for option in set(options) if option), key=len, reverse=True)
    while rest:
        head = next((option for option in by_length if rest == option or rest.startswith(option + " ")), None)
        if head is None or options.count(head) > 1:  # two options with one text: nobody can tell which is meant
            return frozenset()
        letters.add(_LETTERS[options.index(head)])
        rest = rest[len(head) :].strip().removeprefix("and ")
    return frozenset(letters)


def _lettered_texts(answer: str, options: list[str]) -> frozenset[str]:
    """Letters of an answer such as "A. the cube falls, C. the disc stops" or "C the cube falls"."""
    matches = list(_LETTERED.finditer(answer))
    if not matches or matches[0].start() > 0:
        letter, _, text = answer.partition(" ")
        index = _LETTERS.find(letter) if len(letter) == 1 else -1
        return frozenset(letter) if 0 <= index < len(options) and _plain(text) == options[index] else frozenset()
    if re.search(r"\bor\s+\(?[A-Z][).:]", answer):
        return frozenset()
    letters = set()
    for match, following in zip(matches, [*matches[1:], None], strict=True):
        text = _plain(answer[match.end() : following.start() if following else None]).removesuffix(" and")
        meant = [_LETTERS[i] for i, option in enumerate(options) if option and option == text]
        if meant and match.group(1) not in meant:  # the letter of one option with the text of another
            return frozenset()
        letters.add(match.group(1))
    return frozenset(letters)


def _without_letter(option: str, index: int) -> str:
    """An option without the letter some data sets put before it: "A. text", "(A) text", "A) text"."""
    letter = re.escape(_LETTERS[index % len(_LETTERS)])
    return re.sub(rf"^\s*(?:\({letter}\)|{letter}[.):])\s*", "", option)


def _plain(text: str) -> str:
    """Lower case words with single blanks between them: what two spellings of one text have in common."""
    return " ".join(re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).lower()))
