# SPDX-License-Identifier: Apache-2.0
"""From the text of a response to the set of option letters it answers with: one parser for training and scoring.

Two rules: "strict" is the public code's (it reproduces published scores), "tolerant" reads the notations models really
use. Every step scans the text a bounded number of times, so a hostile response of a megabyte costs milliseconds.
What a predicted set is worth is not decided here but in `reward.py`.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator, Sequence

from recipe.tw_grpo.config import CHOICES
from recipe.tw_grpo.toolbox.letters import LETTERS

_LONGEST_ANSWER = 4096  # characters; whatever is longer is an essay, not an answer
_LONGEST_TAIL = 1 << 16  # characters an answer without tags is looked for in, from the end; 4,096 tokens are fewer
_MOST_TAGS = 64  # empty answers skipped, from the end, in search of one that is not
_LETTER_SET = frozenset(LETTERS)
WITHOUT_OPTIONS = frozenset("ABCDEFGH")  # taken for letters of options when nobody says how many options there are
_FILLERS = frozenset("final answer answers option options choice choices the is are both only correct".split())
_AND = frozenset(["and", "和", "与", "及"])
_DOUBT = frozenset("or nor not no neither either wrong incorrect maybe perhaps but except unless".split())
_PUNCTUATION = frozenset(",;:.()[]{}*\"'`&+-!<>_$\\、。·•")
# The public code's pattern; it has no bound, but more letters than that would only cost time.
_STRICT_UNTAGGED = re.compile(r"(?:answer|Answer|ANSWER)[:\s]+([A-Z](?:\s*,\s*[A-Z]){0,2000})")
_CLEAN = re.compile(r"[A-Z](?:\s*,\s*[A-Z])*")
_RANGE = re.compile(r"\b[A-Za-z][ \t]*(?:-|\.{2,})[ \t]*[A-Za-z]\b")  # "A-C" may mean A to C or A and C
_LEAD = re.compile(r"(?:(?:the|final|correct|answers?|options?|choices?|is|are)\b[\s:]*)+", re.IGNORECASE)
_OR_LETTER = re.compile(r"\bor\s+\(?[A-Z][).:]")
_STRAY_TAG = re.compile(r"</?\s*[A-Za-z]{2,10}\s*>|<\s*(?:/\s*)?(?:[A-Za-z]+\s*)?$")  # "C</option>", or cut: "C</answ"
_LOOSE_OPENING = re.compile(r"<\s*answer\s*>", re.IGNORECASE)
# No two neighbouring \s* here or above: they would try every way to share a run of blanks, quadratic in a hostile text.
_MARKER = re.compile(r"(?:answers?|答案)\s*(?:(?:is|are)\s*)?[:：]|(?:answers?)\s+(?:is|are)\b|答案是", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]+|[^A-Za-z\s]")
_LETTERED = re.compile(r"(?:^|(?<=[\s,;]))\(?([A-Z])(?:\)|[.:](?=\s))")


def parse_answer(text: str, options: Sequence[str] | None = None, rule: str = "tolerant") -> frozenset[str]:
    """Letters a response answers with.

    Args:
        text: the whole response, or only its answer.
        options: texts of the options in the order of their letters, with or without a leading "A. "; lets the tolerant
            rule read an answer that repeats an option's text. The strict rule ignores them.
        rule: "tolerant": the last non-empty `<answer>` (any case, closing tag optional), else the last boxed text, what
            follows the last "answer:", or the end of the response if it is nothing but an answer. There: letters in any
            case and notation ("A, C", "A and C", "(A) C.", "AC", "A. text"), or texts of options. "A or B" and "A-C"
            are no answers; a letter that is no option stays in the set, so that it can never be rewarded.
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
    known = _plain_options(tuple(options[: len(LETTERS)])) if options else ()  # a 27th option has no letter
    tagged = _last_tagged(text)
    if tagged is not None:
        return _read(tagged, known, tagged=True)
    for candidate in _untagged(text[-_LONGEST_TAIL:]):
        letters = _read(candidate, known)
        if letters:
            return letters
    return frozenset()


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
    for start in range(0, len(pieces), _LONGEST_ANSWER):
        found.update(map(str.strip, set(pieces[start : start + _LONGEST_ANSWER])))
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


def _last_tagged(text: str) -> str | None:
    """Content of the last `<answer>` with something in it; "" when all are empty, None when there is none."""
    lower = text.lower()
    if len(lower) != len(text):  # a few characters change length in lower case
        lower = text
    found = None
    end = len(text)
    for _ in range(_MOST_TAGS):
        start = lower.rfind("<answer>", 0, end)
        if start < 0:
            break
        closing = lower.find("</answer>", start, end)
        content = text[start + 8 : closing if closing >= 0 else end]
        if content.strip():
            return content
        found, end = "", start
    if found is None:
        loose = list(_LOOSE_OPENING.finditer(text, max(0, len(text) - _LONGEST_ANSWER)))
        found = text[loose[-1].end() :] if loose else None
    return found


def _untagged(text: str) -> Iterator[str]:
    """Where an answer without tags may stand, most explicit first."""
    rest = text[text.rfind("</think>") + 8 :] if "</think>" in text else text
    boxed = rest.rfind("\\boxed{")
    if boxed >= 0:
        yield rest[boxed:].partition("{")[2].partition("}")[0]
    for part in (rest, text) if rest != text else (text,):
        ends = [match.end() for match in _MARKER.finditer(part)]
        if ends:
            yield part[ends[-1] :].strip().split("\n", 1)[0]
    yield rest
    yield rest.strip().rsplit("\n", 1)[-1]


def _read(answer: str, options: tuple[str, ...], tagged: bool = False) -> frozenset[str]:
    """Letters of an answer alone; `options` in the form of `_plain`, `tagged` if it stood in an answer tag."""
    answer = answer[: _LONGEST_ANSWER + 1]
    if not answer.isascii():
        answer = unicodedata.normalize("NFKC", answer)  # full-width and circled letters; no-break spaces
        answer = "".join(c for c in answer[: 4 * _LONGEST_ANSWER] if unicodedata.category(c) != "Cf")  # zero-width
    if tagged and "<" in answer:
        answer = _STRAY_TAG.sub(" ", answer)
    answer = answer.strip()
    if not answer or len(answer) > _LONGEST_ANSWER:
        return frozenset()
    if _CLEAN.fullmatch(answer):  # what every prompt asks for
        letters = frozenset(answer) & _LETTER_SET
        if len(answer) > 1 or not options or LETTERS.find(answer) < len(options):
            return letters
        return _the_option(answer, options) or letters  # blood group O is no letter of four options, but a text
    if options:
        if len(answer) > 1 and (meant := _the_option(answer, options)):  # "AB" or "both A and B" may be an option
            return meant
        if any(len(option) == 1 for option in options) and (meant := _lettered_texts(answer, options, exact=True)):
            return meant  # "A. C" where C is the text of option A
    listed = _letter_list(answer, len(options))
    if listed is not None:
        return listed
    return _option_texts(answer, options) or _lettered_texts(answer, options)


def _the_option(answer: str, options: tuple[str, ...]) -> frozenset[str]:
    """The letter of the one option whose text is the whole answer; "(C)" is a letter first."""
    text = _plain(answer)
    if not text or options.count(text) != 1 or (len(text) == 1 and 0 <= LETTERS.find(text.upper()) < len(options)):
        return frozenset()
    return frozenset(LETTERS[options.index(text)])


def _letter_list(answer: str, n_options: int) -> frozenset[str] | None:
    """The letters, if the answer is nothing but letters and what joins them; None if it is something else."""
    if _RANGE.search(answer):
        return frozenset()  # nobody can tell
    letters: set[str] = set()
    for word in _WORD.findall(answer.replace("\\boxed", "").replace("\\text", "")):
        if len(word) == 1 and word.upper() in LETTERS:
            letters.add(word.upper())
        elif word.lower() == "or" or word in "/|":
            return frozenset()  # hedging: one of them is no answer
        elif word.lower() in _AND or word.lower() in _FILLERS or word in _PUNCTUATION:
            continue
        elif _is_run(word, n_options):
            letters.update(word)
        else:
            return None
    return frozenset(letters)


def _is_run(word: str, n_options: int) -> bool:
    """Whether a word is letters run together: "CD" may mean C and D, "NO" may not, "BAD" only among four options."""
    if not (word.isupper() and word.isascii() and len(set(word)) == len(word)):
        return False
    if n_options:
        return set(word) <= set(LETTERS[:n_options])
    return set(word) <= WITHOUT_OPTIONS and list(word) == sorted(word)


def _option_texts(answer: str, options: tuple[str, ...]) -> frozenset[str]:
    """The letters of the options whose texts, joined by commas, "and" or line breaks, make up the whole answer."""
    rest, letters = _plain(answer), set()
    by_length = sorted((option for option in set(options) if option), key=len, reverse=True)
    while rest:
        head = next((option for option in by_length if rest == option or rest.startswith(option + " ")), None)
        if head is None or options.count(head) > 1:  # two options with one text: nobody can tell which is meant
            return frozenset()
        letters.add(LETTERS[options.index(head)])
        rest = rest[len(head) :].strip().removeprefix("and ")
    return frozenset(letters)


def _lettered_texts(answer: str, options: tuple[str, ...], exact: bool = False) -> frozenset[str]:
    """Letters of an answer such as "A. the cube falls, C. the disc stops" or "C the cube falls".

    With `exact` every letter must be followed by the text of its own option, else nothing is read.
    """
    lead = _LEAD.match(answer)  # "Option A: the cube falls"
    answer = answer[lead.end() :] if lead else answer
    matches = list(_LETTERED.finditer(answer))
    if not matches or matches[0].start() > 0:
        letter, _, text = answer.partition(" ")
        index = LETTERS.find(letter) if len(letter) == 1 else -1
        return frozenset(letter) if 0 <= index < len(options) and _plain(text) == options[index] else frozenset()
    if _OR_LETTER.search(answer):
        return frozenset()
    letters = set()
    for match, following in zip(matches, [*matches[1:], None], strict=True):
        text = _plain(answer[match.end() : following.start() if following else None]).removesuffix(" and")
        meant = [LETTERS[i] for i, option in enumerate(options) if option and option == text]
        if (meant or exact) and match.group(1) not in meant:  # the letter of one option with the text of another
            return frozenset()
        if not meant and _DOUBT.intersection(text.split()):  # "A. or C", "B. is wrong"
            return frozenset()
        letters.add(match.group(1))
    return frozenset(letters)


@functools.lru_cache(maxsize=4096)  # the same options come back with every response of a group
def _plain_options(options: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_plain(_without_letter(option, index)) for index, option in enumerate(options))


def _without_letter(option: str, index: int) -> str:
    """An option without the letter some data sets put before it: "A. text", "(A) text", "A) text"."""
    letter = re.escape(LETTERS[index % len(LETTERS)])
    return re.sub(rf"^\s*(?:\({letter}\)|{letter}[.):])\s*", "", option)


def _plain(text: str) -> str:
    """Lower case words with single blanks between them: what two spellings of one text have in common."""
    return " ".join(re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).lower()))
