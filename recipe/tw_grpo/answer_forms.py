# SPDX-License-Identifier: Apache-2.0
"""From the text of an answer alone to letters: lists of letters, texts of options, letters with their own texts.

With the options known a letter with exactly its own text comes before any reading as a list of letters. None means
"not understood", an empty set "an answer that is worth nothing": hedging, a range, the letter of one option with the
text of another.
"""

from __future__ import annotations

import json
import re

from recipe.tw_grpo.answer_items import NOTHING, Part
from recipe.tw_grpo.answer_markers import LONGEST_PART
from recipe.tw_grpo.answer_options import AND, FILLERS, OR, PUNCTUATION, SYMBOL_OR_WORD, Options, normalized
from recipe.tw_grpo.toolbox.letters import LETTERS

WITHOUT_OPTIONS = frozenset("ABCDEFGH")  # taken for letters of options when nobody says how many options there are
_CLEAN = re.compile(r"[A-Z](?:\s*,\s*[A-Z])*")
_RANGE = re.compile(r"\b[A-Za-z][ \t]*(?:[-–—]|\.{2,})[ \t]*[A-Za-z]\b")  # "A-C" may mean A to C or A and C
_LATIN_AND = re.compile(r"(?<=[A-Z).\]\"'*,])\s+(?:y|e|et|und)\s+(?=[(\"'*\[]{0,3}[A-Z]\b)")  # "A y C": no letter Y
_ELISION = re.compile(r"\b[lL]['’](?=[^\W\d_]{2}|[A-Z]\b)")  # "l'option B", "l'A"
_LATEX = re.compile(r"\\(?:boxed|text|textbf|textrm|mathrm|mathbf|bf|rm)\b")
_FENCE = re.compile(r"```(?:json|text|plaintext|markdown)?")
_STRAY_TAG = re.compile(r"</?\s*[A-Za-z]{2,10}\s*>|<\s*(?:/\s*)?(?:[A-Za-z]+\s*)?$")  # "C</option>", or cut: "C</answ"
_NUMBERED = re.compile(  # "1. B. to eat", "2. C"
    r"^[ \t]*\d{1,2}[.)][ \t]+(?=[*_(\[\"']{0,4}[A-Za-z](?:[.):、*_\"']|[ \t]*$))", re.MULTILINE
)
_KOREAN_END = re.compile(r"(?<=[A-Za-z)\]*\"'])\s?번?\s?(?:입니다|이다|이에요|예요|임)(?![\uac00-\ud7af])")


def read_answer(answer: str, options: Options, tagged: bool = False) -> frozenset[str] | None:
    """Letters of a text that is nothing but an answer, or begins with lines that are, with reasons behind them.

    Args:
        answer: at most `LONGEST_PART` characters.
        options: of the question, `NO_OPTIONS` if unknown.
        tagged: whether it stood in answer tags, of which a damaged rest may be left.

    Returns:
        The letters; empty if it is an answer that is worth nothing; None if it is not understood.
    """
    letters, answer = read_whole(answer, options, tagged)
    if letters is not None or not answer:
        return letters
    return read_lines(answer, options)[0]


def read_whole(answer: str, options: Options, tagged: bool = False) -> tuple[frozenset[str] | None, str]:
    """Letters of a text that is nothing but an answer, None if it is not; and the text in plain characters."""
    answer = normalized(answer)
    if tagged and "<" in answer:
        answer = _STRAY_TAG.sub(" ", answer)
    answer = answer.strip()
    if not answer:
        return None, ""
    if _CLEAN.fullmatch(answer):  # what every prompt asks for
        return _clean(answer, options), answer
    if "```" in answer:
        answer = _FENCE.sub("", answer).strip()
    if answer and answer[0] in '["{':
        answer = _from_json(answer)
    answer = _KOREAN_END.sub(" ", _ELISION.sub("", _LATIN_AND.sub(" and ", _LATEX.sub("", answer))))
    answer = _NUMBERED.sub("- ", answer)
    if (symbols := _symbols_only(answer, options)) is not None:
        return symbols, answer
    part = Part(answer, options)
    letters = _items_only(part)
    return (part.predicate() if letters is None and "\n" not in answer else letters), answer


def _items_only(part: Part) -> frozenset[str] | None:
    run = part.run(0)
    if run.nothing:
        return NOTHING
    return run.letters if run.whole and run.texts else letter_list(part.text, len(part.options))


def read_lines(text: str, options: Options) -> tuple[frozenset[str] | None, int]:
    """Letters of the lines a text begins with, as long as each of them is an answer, and where the last of them ends.

    Args:
        text: in plain characters, as `read_whole` returns it.
    """
    letters: frozenset[str] | None = None
    position, end = 0, 0
    for line in text.split("\n"):
        position += len(line) + 1
        found = read_line(line, options)
        if found is None:
            if is_blank(line):
                continue
            break
        if not found:
            return letters or NOTHING, end
        letters, end = (letters or NOTHING) | found, position
    return letters, end


def is_blank(line: str) -> bool:
    """Whether a line says nothing: blanks, a rule, "Final answer"."""
    return all(_joins(word) for word in SYMBOL_OR_WORD.findall(line[:LONGEST_PART]))


def read_line(line: str, options: Options) -> frozenset[str] | None:
    """Letters of one line that is an answer, with or without a reason behind it; None if it is none."""
    line = line.strip()
    if not line or len(line) > LONGEST_PART:
        return None
    if _CLEAN.fullmatch(line):
        return _clean(line, options)
    part = Part(_from_json(line) if line[0] in '["' else line, options)
    letters = _items_only(part)
    return part.line() if letters is None else letters


def _clean(answer: str, options: Options) -> frozenset[str]:
    """Letters with commas; one that is no letter of this question may be the text of an option: blood group O."""
    letters = frozenset(answer) & frozenset(LETTERS)
    if not options or all(map(options.is_letter, letters)):
        return letters
    return frozenset().union(*(letter if options.is_letter(letter) else _single(letter, options) for letter in letters))


def _single(character: str, options: Options) -> frozenset[str]:
    """The letter of the one option whose text is this character; else the character itself, so that it is not lost."""
    for same in (character, character.lower()):
        meant = [i for i, text in enumerate(options.texts) if (text if same == character else text.lower()) == same]
        if len(meant) == 1:
            return frozenset(LETTERS[meant[0]])
    return frozenset(character)


def _from_json(answer: str) -> str:
    """The texts of a JSON list or string, a line each; anything else as it is."""
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        return answer
    texts = [value] if isinstance(value, str) else value
    return "\n".join(texts) if isinstance(texts, list) and all(isinstance(text, str) for text in texts) else answer


def _symbols_only(answer: str, options: Options) -> frozenset[str] | None:
    """The letter of an option without a single word, "+" or "→", alone or behind its letter; None if it is none."""
    if all(options.words):
        return None
    bare = [option for option, words in zip(options.texts, options.words, strict=True) if option and not words]
    match = re.fullmatch(r"[(\[\"'*`]{0,3}([A-Za-z])[)\].:、\"'*`]+\s*(\S.{0,200})", answer)
    texts = [match.group(2), match.group(2).strip("\"'*`")] if match else [answer, answer.strip("\"'*`")]
    for text in texts:
        if text in bare:
            meant = [LETTERS[i] for i, option in enumerate(options.texts) if option == text]
            if match:
                return frozenset(match.group(1).upper()) if match.group(1).upper() in meant else NOTHING
            return frozenset(meant) if len(meant) == 1 else NOTHING
    return None


def letter_list(answer: str, n_options: int) -> frozenset[str] | None:
    """The letters, if the answer is nothing but letters and what joins them; None if it is something else."""
    letters: set[str] = set()
    hedges = False
    for word in SYMBOL_OR_WORD.findall(answer):
        if len(word) == 1 and word.upper() in LETTERS:
            letters.add(word.upper())
        elif word.lower() in OR or word in "/|":
            hedges = True  # one of them is no answer
        elif _joins(word):
            continue
        elif _is_run(word, n_options):
            letters.update(word)
        else:
            return None
    if hedges or _RANGE.search(answer):
        return NOTHING  # nobody can tell
    return frozenset(letters) or None


def _joins(word: str) -> bool:
    return word.lower() in AND or word.lower() in FILLERS or word in PUNCTUATION


def _is_run(word: str, n_options: int) -> bool:
    """Whether a word is letters run together: "CD" may mean C and D, "NO" may not, "BAD" only among four options."""
    if not (word.isupper() and word.isascii() and len(set(word)) == len(word)):
        return False
    if n_options:
        return set(word) <= set(LETTERS[:n_options])
    return set(word) <= WITHOUT_OPTIONS and list(word) == sorted(word)
