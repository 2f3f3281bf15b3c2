# SPDX-License-Identifier: Apache-2.0
"""From the text of a response to the set of option letters it answers with: one parser for training and scoring.

Two rules: "strict" is the public code's (it reproduces published scores), "tolerant" reads the notations models really
use. Which part of the response is the answer is decided here, what that part says in `answer_forms.py`. Every step
scans the text a bounded number of times, so a hostile response of a megabyte costs milliseconds. What a predicted set
is worth is not decided here but in `reward.py`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from recipe.tw_grpo.answer_forms import (
    WITHOUT_OPTIONS,
    is_blank,
    letter_list,
    read_answer,
    read_line,
    read_lines,
    read_whole,
)
from recipe.tw_grpo.answer_items import NOTHING
from recipe.tw_grpo.answer_markers import LONGEST_PART, marked_parts
from recipe.tw_grpo.answer_options import NO_OPTIONS, Options, normalized, options_of
from recipe.tw_grpo.config import CHOICES
from recipe.tw_grpo.toolbox.letters import LETTERS

__all__ = ["WITHOUT_OPTIONS", "parse_answer", "parse_truth", "strict_pieces"]

_LONGEST_TAIL = 1 << 15  # characters an answer without tags is looked for in, from the end; 4,096 tokens are fewer
_MOST_TAGS = 64  # empty answers skipped, from the end, in search of one that is not
_MOST_LINES = 32  # lines at the end of a response that together may be its answer
# The public code's pattern; it has no bound, but more letters than that would only cost time.
_STRICT_UNTAGGED = re.compile(r"(?:answer|Answer|ANSWER)[:\s]+([A-Z](?:\s*,\s*[A-Z]){0,2000})")
_LOOSE_OPENING = re.compile(r"<\s*answer\s*>", re.IGNORECASE)
_TAG = re.compile(r"</?(?:answer|think)>|<\|[a-z_]{1,20}\|>", re.IGNORECASE)
# A line that begins with the letter of an option: "A. …", "- (B) …", "**C:** …".
_LETTERED_LINE = re.compile(r"^[ \t*_>#\-•\"'`(\[]{0,8}([A-Z])(?:[)\]]|[.:、])", re.MULTILINE)


def parse_answer(text: str, options: Sequence[str] | None = None, rule: str = "tolerant") -> frozenset[str]:
    """Letters a response answers with.

    Args:
        text: the whole response, or only its answer.
        options: texts of the options in the order of their letters, with or without a leading "A. "; lets the tolerant
            rule read an answer that repeats an option's text. The strict rule ignores them.
        rule: "tolerant": the last non-empty `<answer>` (any case, closing tag optional) that is not within thoughts
            with something behind them; else the last marker ("the answer is") or box that gives letters; else the
            response if it is nothing but an answer, or its last or first lines if these are. There: letters in any
            case and notation ("A, C", "A and C", "(A) C.", "AC", "A. text"), or texts of options. "A or B", "A-C" and
            a letter with another option's text are no answers; a letter that is no option stays in the set, so that it
            can never be rewarded.
            "strict": the first `<answer>…</answer>`, else the letters after "answer:"; blanks deleted, split at commas,
            nothing else understood; its pieces can be anything, also "" or "b".

    Returns:
        The predicted letters, empty when there is no answer.

    Raises:
        ValueError: unknown rule.
    """
    if rule == "strict":
        return strict_pieces(_strict_answer(text))
    if rule != "tolerant":
        raise ValueError(f"rule={rule!r} is none of {', '.join(CHOICES['rule'])}")
    known = options_of(tuple(options)) if options else NO_OPTIONS
    tagged, within_thoughts = _last_tagged(text)
    thoughts, mark, behind = text.rpartition("</think>")
    if tagged is not None and not (within_thoughts and _TAG.sub("", behind).strip()):
        return _read_tagged(tagged, known)
    rest = _untagged(behind[-_LONGEST_TAIL:], known)
    if rest is None and mark:
        rest = _marked(thoughts[-_LONGEST_TAIL:], known)  # thoughts that end in an answer: better than nothing
    return rest or frozenset()


def parse_truth(text: str, options: Sequence[str] | None = None, rule: str = "tolerant") -> frozenset[str]:
    """The right letters of a record, "A,C", "<answer>A, C</answer>" or texts of its options, as `rule` reads them.

    The strict rule takes what stands between the first tags, else the whole text, and splits it at commas: no text at
    all is the one piece "", which the public code rewards an empty answer for.
    """
    if rule == "strict":
        tagged = _first_pair(text)
        return strict_pieces(text if tagged is None else tagged)
    return _tolerant_truth(text, tuple(options or ()))


@functools.lru_cache(maxsize=4096)  # the same record comes back with every response of a group
def _tolerant_truth(text: str, options: tuple[str, ...]) -> frozenset[str]:
    return parse_answer(text, options)


def strict_pieces(answer: str) -> frozenset[str]:
    """What the public code compares: blanks deleted, split at commas, white space around the pieces removed.

    Not read further than 26 different pieces: no truth has as many, so nothing can make that answer right again.
    """
    pieces = answer.strip().replace(" ", "").split(",")
    found: set[str] = set()
    for start in range(0, len(pieces), LONGEST_PART):
        found.update(map(str.strip, set(pieces[start : start + LONGEST_PART])))
        if len(found) > len(LETTERS):
            break
    return frozenset(found)


def _first_pair(text: str) -> str | None:
    start = text.find("<answer>")
    end = text.find("</answer>", start + 8) if start >= 0 else -1
    return text[start + 8 : end] if end >= 0 else None


def _strict_answer(text: str) -> str:
    answer = _first_pair(text)
    if answer is None:
        match = _STRICT_UNTAGGED.search(text)
        answer = match.group(1) if match else ""
    return answer


def _last_tagged(text: str) -> tuple[str | None, bool]:
    """Content of the last `<answer>` with something in it, "" when all are empty, None when there is none.

    An answer outside of the thoughts comes before one within them; the second value says that it is one within.
    """
    lower = text.lower()
    if len(lower) != len(text):  # a few characters change length in lower case
        lower = text
    content, thought = None, None
    end, is_thought = len(text), False
    for _ in range(_MOST_TAGS):
        start = lower.rfind("<answer>", 0, end)
        if start < 0:
            break
        closing_thought, thinking = lower.find("</think>", start, end), lower.find("<think>", start, end)
        if closing_thought >= 0 or thinking >= 0:  # the next of these behind the answer says where it stands
            is_thought = closing_thought >= 0 and not 0 <= thinking < closing_thought
        closing = lower.find("</answer>", start, end)
        written = text[start + 8 : closing if closing >= 0 else end]
        if not written.strip():
            content = ""
        elif not is_thought:
            return written, False
        elif thought is None:
            thought = written
        end = start
    if thought is not None:
        return thought, True
    if content is None:
        loose = list(_LOOSE_OPENING.finditer(text, max(0, len(text) - LONGEST_PART)))
        content = text[loose[-1].end() :] if loose else None
    return content, False


def _read_tagged(content: str, options: Options) -> frozenset[str]:
    content = content.strip()
    if len(content) > LONGEST_PART:
        return frozenset()
    letters = read_answer(content, options, tagged=True)
    if letters is None:
        letters = _marked(content, options)
    return letters or frozenset()


def _marked(text: str, options: Options) -> frozenset[str] | None:
    """Letters behind the last marker, or in the last box, that gives any."""
    for part, lists in marked_parts(text, options.markers):
        letters = read_answer(part[:LONGEST_PART], options)
        if letters and not (lists and len(letters) == (len(options) or max(3, len(letters)))):
            return letters
    return None


def _untagged(text: str, options: Options) -> frozenset[str] | None:
    """Letters of a response without tags: behind a marker, or where lines are nothing but an answer."""
    if letters := _marked(text, options):
        return letters
    text = text.strip()
    if len(text) <= LONGEST_PART:
        letters, plain = read_whole(text, options)
        if letters is not None or not plain:
            return letters
    letters = _last_lines(text, options)
    return _first_lines(text, options) if letters is None else letters


def _last_lines(text: str, options: Options) -> frozenset[str] | None:
    """Letters of the last lines, if these are an answer: "B" behind the reasons, "A. …" and "C. …" a line each.

    Lines with texts behind others with other letters may be the rest of a discussion of all options. They are an answer
    only if they repeat one of those.
    """
    letters: frozenset[str] | None = None
    end, bare = len(text), True
    for _ in range(_MOST_LINES):
        start = text.rfind("\n", 0, end) + 1
        line = normalized(text[start:end][: LONGEST_PART + 1])
        found = read_line(line, options)
        if found is None and not (letters is None and is_blank(line)):
            break
        if found is not None:
            if not found:
                if letter_list(line, len(options)) is None:
                    break  # what is wrong with another option
                return letters or NOTHING
            letters = (letters or NOTHING) | found
            bare = bare and letter_list(line, len(options)) is not None
        end = start - 1
        if end < 0:
            break
    if letters and not bare:
        before = _lettered_lines(text[: max(0, end)])
        if before and not letters <= set(before):
            return None
    return letters


def _first_lines(text: str, options: Options) -> frozenset[str] | None:
    """Letters of the first lines, if these are an answer with its reasons behind it.

    A discussion of all options goes on with the next letter. So does an interrupted list: nobody can tell.
    """
    letters, end = read_lines(normalized(text[:LONGEST_PART]), options)
    if letters:
        behind = _lettered_lines(text[end:])
        if behind and letters == set(LETTERS[: len(letters)]) and behind[0] == LETTERS[len(letters)]:
            return None
    return letters


def _lettered_lines(text: str) -> list[str]:
    """Letters that lines of a text begin with."""
    return [match.group(1) for match in _LETTERED_LINE.finditer(text)]
