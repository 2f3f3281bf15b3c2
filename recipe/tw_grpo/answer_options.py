# SPDX-License-Identifier: Apache-2.0
"""The options of a question in the form in which answers are compared with them, and the words answers are made of.

Two texts are one if their words are, numbers with their signs and decimal points; options that have the same words and
differ in brackets, signs or case are compared character by character.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass

from recipe.tw_grpo.answer_markers import LONGEST_PART, has_marker
from recipe.tw_grpo.toolbox.letters import LETTERS

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
# A number with its sign and decimal point, a run of letters and digits, or one character of a script without blanks.
WORD = re.compile(rf"(?<![^\W_{_CJK}])[-+]?\.?\d+(?:\.\d+)*(?![^\W_{_CJK}])|[^\W_{_CJK}]+|[{_CJK}]")
SYMBOL_OR_WORD = re.compile(rf"[^\W\d_{_CJK}]+|\S")
FILLERS = frozenset(
    """final answer answers option options choice choices letter letters the is are both only correct right best my
    would should must be so therefore thus hence
    la el los las le les die der das richtige richtigen richtig korrekte korrekt antwort antworten lösung wahl ist sind
    respuesta respuestas correcta correctas correcto correctos es son opción opciones opcion letra
    réponse réponses reponse bonne bonnes correcte correctes choix lettre est sont""".split()
) | set("选项選項正确確答案是为為应应该選择擇的最终都정답은는입니다번이")
AND = frozenset("and und et 和 与 與 及 와 과 및".split())
OR = frozenset("or oder ou 或 혹 또".split())
DOUBT = OR | frozenset(
    """nor not no neither either wrong incorrect maybe perhaps but except unless unsure uncertain cannot
    nicht kein keine weder falsch vielleicht aber außer ni incorrecta incorrecto quizás pero excepto
    pas non ne faux fausse mais sauf incorrecte 不 非 错 錯 除 아 틀""".split()
)
JUDGED = frozenset("wrong incorrect maybe perhaps unsure uncertain falsch incorrecta incorrecto faux fausse".split())
OTHERS = frozenset("other others rest remaining all andere anderen otras otros autres".split())
THIS = frozenset("it this that which these those is are was were".split())
PUNCTUATION = frozenset(",;:.()[]{}*\"'`&+-!<>_$\\、。·•«»“”‘’「」„【】《》=—–")
DELIMITERS = frozenset(".):、]-–—")
AROUND = frozenset(
    "\"'*_`“”‘’«»「」„【】《》()[]{}$\\ \t\n\r"
)  # may stand between a letter, its delimiter and its text
BEHIND = frozenset("([{-–—:")  # between a text and the letter behind it
_DASHES = str.maketrans("−‒‐‑", "----")


def normalized(text: str) -> str:
    """Full-width and circled letters as plain ones, no-break spaces as blanks, no zero-width characters, one minus."""
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", text)
    return "".join(c for c in text[: 4 * LONGEST_PART] if unicodedata.category(c) != "Cf").translate(_DASHES)


def squeezed(text: str, case: bool) -> str:
    """A text without blanks; unless its case decides, in lower case and without quotes and emphasis as well."""
    if case:
        return "".join(text.split())
    return "".join(c for c in text if not c.isspace() and c not in "*_`\"'“”‘’").lower()


@dataclass(frozen=True)
class Options:
    """The options of one question in the forms in which answers are compared with them."""

    texts: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]  # in lower case
    exact: tuple[str | None, ...]  # what must stand there as it is where its words could mean something else
    case: bool  # whether `exact` has its case
    starts: dict[str, tuple[int, ...]]  # options by their first word
    markers: tuple[str, ...]  # texts in which there is a marker, "the answer is yes", the longest first
    edges: tuple[tuple[frozenset[str], frozenset[str]], ...]  # symbols before the first and behind the last word

    def __len__(self) -> int:
        return len(self.texts)

    def is_letter(self, letter: str) -> bool:
        """Whether a capital is the letter of one of these options."""
        return 0 <= LETTERS.find(letter) < len(self.texts)


@functools.lru_cache(maxsize=4096)  # the same options come back with every response of a group
def options_of(texts: tuple[str, ...]) -> Options:
    """The options of a question from their texts, with or without a leading "A. "; a 27th has no letter."""
    plain = [normalized(_without_letter(text, index)).strip() for index, text in enumerate(texts[: len(LETTERS)])]
    words = [tuple(word.lower() for word in WORD.findall(text)) for text in plain]
    spellings: dict[tuple[str, ...], set[str]] = {}
    for text, own_words in zip(plain, words, strict=True):
        spellings.setdefault(own_words, set()).add(text)
    alike = [
        len(spellings[own_words]) > 1 or _is_letters(text, own_words, len(plain))
        for text, own_words in zip(plain, words, strict=True)
    ]
    short = [squeezed(text, case=False).rstrip(".,;") for text in plain]
    case = any(like and short.count(text) > 1 for like, text in zip(alike, short, strict=True))
    if case:
        short = [squeezed(text, case=True).rstrip(".,;") for text in plain]
    exact = tuple(text if like else None for like, text in zip(alike, short, strict=True))
    starts: dict[str, tuple[int, ...]] = {}
    for index, own_words in enumerate(words):
        if own_words:
            starts[own_words[0]] = (*starts.get(own_words[0], ()), index)
    markers = tuple(sorted(filter(has_marker, plain), key=len, reverse=True))
    return Options(tuple(plain), tuple(words), exact, case, starts, markers, tuple(map(_edges, plain)))


def _is_letters(text: str, words: tuple[str, ...], number: int) -> bool:
    """Whether the words of a text are letters of the question, "(a)(b)(c)" or "C#", which without symbols they mean."""
    letters = bool(words) and all(len(word) == 1 and 0 <= LETTERS.find(word.upper()) < number for word in words)
    return letters and len("".join(text.split()).strip("()[].,:;\"'")) > 1


def _edges(text: str) -> tuple[frozenset[str], frozenset[str]]:
    matches = list(WORD.finditer(text))
    if not matches:
        return frozenset(), frozenset()
    return frozenset(text[: matches[0].start()]), frozenset(text[matches[-1].end() :])


def _without_letter(option: str, index: int) -> str:
    """An option without the letter some data sets put before it: "A. text", "(A) text", "A) text"."""
    letter = re.escape(LETTERS[index % len(LETTERS)])
    return re.sub(rf"^\s*(?:\({letter}\)|{letter}[.):])\s*", "", option)


NO_OPTIONS = options_of(())
