# SPDX-License-Identifier: Apache-2.0
r"""Where a response without tags says that its answer comes: "the answer is", "答案：", "정답은", `\boxed{`.

Nouns for answer, option and choice in English, Chinese, Korean, German, Spanish and French. What stands behind a marker
is read elsewhere (`answer_forms.py`); a marker in a sentence about other, wrong or possible answers is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

LONGEST_PART = 4096  # characters; whatever is longer is an essay, not an answer
_MOST_MARKERS = 16  # looked behind, from the end; a response that answers more often has not answered
_BOX = "\\boxed{"
_GAP = r"[\s*_`\"')\]]{0,6}"  # bounded: an unbounded run of blanks would be tried in every way to share it
_ANSWER = r"answers?|antwort(?:en)?|lösung(?:en)?|respuestas?|r[eé]ponses?"
_CHOICE = r"options?|optionen|choices?|wahl|opci[oó]n(?:es)?|elecci[oó]n(?:es)?|choix"
_RIGHT = r"correct[eao]?s?|finale?s?|justes?|exacte?s?"  # behind the noun: "la respuesta correcta es"
_VERB = r"is|are|(?:should|would|must|will)\s(?:just\s)?be|ist|sind|lautet|lauten|es|son|sería|est|sont|serait"
_LETTER_NEXT = r"(?=[(（\[“\"*'`\\$]{0,4}(?:[A-Z]|[a-z](?![a-z])|[Ａ-Ｚａ-ｚ]))"
_MARKER = re.compile(
    rf"(?<![^\W_])(?:{_ANSWER}|(?P<choice>{_CHOICE}))(?:{_GAP}(?P<right>{_RIGHT})(?![^\W_]))?"
    rf"{_GAP}(?:(?:{_VERB})(?![^\W_])(?:{_GAP}[:：])?|[:：=]|[-–—](?=\s))"
    rf"|^[ \t#*_>]{{0,8}}(?:(?:the|my|final|correct|best|right)[ \t]){{0,3}}(?:{_ANSWER})[ \t*_]{{0,6}}$"
    rf"|(?:答案|(?P<choice_zh>选项|選項|选择|選擇|选|選))(?:应该|應該|应|應|就|只能)?(?:是|为|為|选|選)?\s{{0,6}}[:：]?"
    rf"\s{{0,6}}{_LETTER_NEXT}"
    r"|答案(?:应该|應該|应|應|就)?(?:(?:是|为|為)[:：]?|\s{0,6}[:：])|(?P<choice_zh2>选项|選項|选择|選擇)\s{0,6}[:：]"
    rf"|(?:(?<!오)(?:정답|답안|답변|답)|(?P<choice_ko>선택지?|보기|옵션))(?:은|는|이|가)?"
    rf"{_GAP}(?:[:：]|(?<=[은는이가 ]){_LETTER_NEXT})",
    re.IGNORECASE | re.MULTILINE,
)
_CHOICE_GROUPS = ("choice", "choice_zh", "choice_zh2", "choice_ko")
_CLAUSE_END = re.compile(r"[.,!?;:\n。，！？；：、()（）]")
_WORD = re.compile(r"[^\W_]+")
_SAYS_RIGHT = frozenset(
    (
        "correct right best final my richtige richtigen korrekte beste correcta correctas mejor bonne bonnes meilleure"
    ).split()
)
# Words in front of the noun that make it another one: "the other options are", "if the answer is".
_ABOUT_OTHERS = frozenset(
    """other others another wrong incorrect possible potential remaining false alternative eliminated excluded given
    available following previous worst example sample if whether unless suppose or either maybe perhaps could might not
    no never which what whose isn isnt
    andere anderen falsche falschen mögliche möglichen wenn ob oder nicht keine vielleicht
    otra otras otro otros incorrecta incorrectas falsa falsas posibles si quizás
    autre autres mauvaise mauvaises fausse fausses possibles ou pas""".split()
)
_ABOUT_OTHERS_CJK = re.compile(
    r"其他|其它|其余|错误|錯誤|排除|不|非(?!常)|未|别|勿|如果|若|或|(?<!最)可能|다른|틀린|잘못|만약|또는|가능(?!성)"
)


def has_marker(text: str) -> bool:
    """Whether a text, of an option for example, has a marker in itself."""
    return _MARKER.search(text) is not None


def marked_parts(text: str, quotable: Sequence[str] = ()) -> Iterator[tuple[str, bool]]:
    r"""What stands behind each marker and in each `\boxed{…}`, the last one first, up to where the next one begins.

    Args:
        text: the response, or the part of it that matters.
        quotable: texts of options that have markers in themselves; where they stand these are none.

    Yields:
        The part, and whether a part that names every option says nothing: "Options: A. …, B. …" repeats the question.
    """
    matches = list(_MARKER.finditer(text))
    if quotable and matches:
        matches = _outside(matches, re.compile("|".join(map(re.escape, quotable)), re.IGNORECASE).finditer(text))
    boxes = _boxes(text)
    following, parts = len(text), 0
    while (matches or boxes) and parts < _MOST_MARKERS:
        if boxes and (not matches or boxes[-1] > matches[-1].start()):
            start = boxes.pop()
            yield _boxed(text, start + len(_BOX)), False
        else:
            match = matches.pop()
            start = match.start()
            if _about_others(text, start):
                continue
            yield text[match.end() : min(following, match.end() + LONGEST_PART)], _lists(match, text)
        following, parts = start, parts + 1


def _outside(matches: list[re.Match[str]], quotes: Iterable[re.Match[str]]) -> list[re.Match[str]]:
    """The markers that do not lie within a quote; both in their order."""
    spans = [quote.span() for quote in quotes]
    kept, index = [], 0
    for match in matches:
        while index < len(spans) and spans[index][1] <= match.start():
            index += 1
        if index == len(spans) or not spans[index][0] <= match.start() < spans[index][1]:
            kept.append(match)
    return kept


def _lists(match: re.Match[str], text: str) -> bool:
    """Whether a marker may head the options of the question: a noun for them, and nothing that calls them right."""
    if match.group("right") or not any(match.group(name) for name in _CHOICE_GROUPS):
        return False
    before = text[max(0, match.start() - 48) : match.start()]
    return not (_SAYS_RIGHT.intersection(_last_words(before)) or before.endswith(("正确", "正確", "올바른")))


def _about_others(text: str, start: int) -> bool:
    before = text[max(0, start - 48) : start]
    return bool(
        _ABOUT_OTHERS.intersection(_last_words(before)) or _ABOUT_OTHERS_CJK.search(_CLAUSE_END.split(before)[-1][-8:])
    )


def _last_words(before: str) -> list[str]:
    """The last five words of the clause that a text ends with."""
    return _WORD.findall(_CLAUSE_END.split(before)[-1].lower())[-5:]


def _boxes(text: str) -> list[int]:
    """Where the last boxes begin, in their order."""
    starts: list[int] = []
    end = len(text)
    while len(starts) < _MOST_MARKERS and (start := text.rfind(_BOX, 0, end)) >= 0:
        starts.insert(0, start)
        end = start
    return starts


def _boxed(text: str, start: int) -> str:
    """The content of a box up to its own closing brace; a box that is cut off ends where the text does."""
    depth = 1
    for index in range(start, min(len(text), start + LONGEST_PART)):
        if text[index] == "{":
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if not depth:
                return text[start:index]
    return text[start : start + LONGEST_PART]
