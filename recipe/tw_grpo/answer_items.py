# SPDX-License-Identifier: Apache-2.0
"""One answer read from left to right as items: a letter with its own text, a text, a letter.

Nothing is read twice, so the time is linear. What stands behind the last item is looked at only for words that take
the answer back.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field

from recipe.tw_grpo.answer_options import (
    AND,
    AROUND,
    BEHIND,
    DELIMITERS,
    DOUBT,
    FILLERS,
    JUDGED,
    OR,
    OTHERS,
    PUNCTUATION,
    THIS,
    WORD,
    Options,
    squeezed,
)
from recipe.tw_grpo.toolbox.letters import LETTERS

NOTHING: frozenset[str] = frozenset()
_RANGE_GAP = re.compile(r"[ \t]*(?:[-–—]|\.{2,})[ \t]*")
_LONGEST_SUBJECT = 6  # words in front of "is" in a sentence that is an answer
_COPULAS = frozenset("is are was were".split())
_SENTENCE_END = re.compile(r"[.!?;\n。！？；]")
_OR_LETTER = re.compile(r"\b(?:or|oder|ou|o)\s+\(?[A-Z]\b|[或]\s*[A-Z]")


@dataclass
class _Item:
    letter: str
    kind: str  # "own": letter and its text; "text": text alone; "lettered": letter and delimiter; "bare": letter alone
    following: int  # index of the word behind it
    end: int  # where its last word, or the delimiter of its letter, ends


@dataclass
class _Run:
    """Items that follow one another from a word on, and where they stop."""

    items: list[_Item] = field(default_factory=list)
    stop: int = 0  # index of the first word that belongs to no item
    whole: bool = False  # nothing is left
    nothing: bool = False  # hedging or a contradiction

    @property
    def letters(self) -> frozenset[str]:
        return frozenset(item.letter for item in self.items)

    @property
    def texts(self) -> bool:
        return any(item.kind in ("own", "text") for item in self.items)


class Part:
    """One answer cut into words, and the reading of it from left to right."""

    def __init__(self, text: str, options: Options) -> None:
        self.text, self.options = text, options
        self.words = [(match.group(), match.start(), match.end()) for match in WORD.finditer(text)]
        self.lower = [word.lower() for word, _, _ in self.words]

    def gap(self, index: int, start: int) -> str:
        """What stands between a position and the word at `index`, or the end."""
        return self.text[start : self.words[index][1]] if index < len(self.words) else self.text[start:]

    @functools.cached_property
    def _exact(self) -> tuple[str, list[int]]:
        """The text without blanks (and without quotes, in lower case, unless case decides), and where words begin."""
        pieces, starts, position, length = [], [], 0, 0
        for _, start, end in self.words:
            for piece, is_word in ((self.text[position:start], False), (self.text[start:end], True)):
                if is_word:
                    starts.append(length)
                pieces.append(squeezed(piece, self.options.case))
                length += len(pieces[-1])
            position = end
        return "".join([*pieces, squeezed(self.text[position:], self.options.case)]), starts

    def longest(self, index: int) -> tuple[int, list[int]]:
        """How many words the longest option text takes that begins at a word, and the options with that text."""
        options, best, meant = self.options, (0, 0), []
        for option in options.starts.get(self.lower[index], ()) if index < len(self.words) else ():
            words = options.words[option]
            if tuple(self.lower[index : index + len(words)]) != words:
                continue
            size = (len(words), self._exact_length(option, index))
            if size[1] < 0:
                continue
            if size > best:
                best, meant = size, []
            if size == best:
                meant.append(option)
        return best[0], meant

    def _exact_length(self, option: int, index: int) -> int:
        """Characters of an option that is told from another by its symbols; 0 if words suffice, -1 if it differs."""
        exact = self.options.exact[option]
        if exact is None:
            return 0
        text, starts = self._exact
        lead = WORD.search(exact).start()
        start = starts[index] - lead
        if start < 0 or not text.startswith(exact, start):
            return -1
        signed = not lead and start > 0 and text[start - 1 : start] in ("-", "+", "±", "¬")
        if signed and not self.text[self.words[index][1] - 1].isspace():
            return -1
        return len(exact)

    def _spelled(self, option: int) -> bool:
        """Whether an option of a one-letter word is more than that letter, "C#", and so was compared as it is."""
        exact = self.options.exact[option]
        return exact is not None and len(exact.strip("()[].,:;")) > 1

    def run(self, index: int) -> _Run:
        """Items from a word on, until something is none."""
        run = _Run()
        position = self.words[index][1] if index else 0
        options = self.options
        tail: frozenset[str] = frozenset()  # symbols that belong to the text before the gap
        while index < len(self.words):
            gap = self.gap(index, position)
            word, start, end = self.words[index]
            item, meant = self._item(index, gap, run)
            heads = frozenset().union(*(options.edges[option][0] for option in meant))
            if "/" in gap or "|" in gap:
                symbols = set(gap) - tail - heads
                run.nothing = bool(run.items) and not symbols.isdisjoint("/|")
            if run.nothing:
                return run
            if not all(c in PUNCTUATION or c.isspace() or c in tail or c in heads for c in gap):
                break
            if item is None and len(meant) > 1:
                run.nothing = True  # two options with one text: nobody can tell which is meant
                return run
            if item is None:
                lower = self.lower[index]
                if lower in OR and run.items:
                    run.nothing = True
                    return run
                if lower not in AND and lower not in FILLERS:
                    break
                position, index, tail = end, index + 1, frozenset()
                continue
            if item.kind == "bare" and run.items and run.items[-1].kind == "bare" and _RANGE_GAP.fullmatch(gap):
                run.nothing = True
                return run
            run.items.append(item)
            tail = options.edges[meant[0]][1] if meant else frozenset()
            position, index = self.words[item.following - 1][2], item.following
        rest = self.gap(index, position)
        run.stop = index
        run.whole = index == len(self.words) and all(c in PUNCTUATION or c.isspace() or c in tail for c in rest)
        if not run.whole:
            self._take_back(run)
        self._judge_mixture(run)
        return run

    def _take_back(self, run: _Run) -> None:
        """A letter that runs into a sentence is a word of it: "A man walks", "I think"."""
        last = run.items[-1] if run.items else None
        if last and last.kind == "bare" and last.following < len(self.words):
            if self.gap(last.following, last.end).isspace() and "\n" not in self.gap(last.following, last.end):
                run.items.pop()
                run.stop = last.following - 1

    def _judge_mixture(self, run: _Run) -> None:
        """Texts without letters beside letters of other options: nobody can tell which of them is the answer."""
        texts = {
            item.letter for item in run.items if item.kind == "text" and len(self.words[item.following - 1][0]) > 1
        }
        letters = {item.letter for item in run.items if item.kind in ("bare", "lettered")}
        if texts and letters - texts - {item.letter for item in run.items if item.kind == "own"}:
            run.nothing = True

    def _item(self, index: int, gap: str, run: _Run) -> tuple[_Item | None, list[int]]:
        """The item at a word, None if it is none, and the options whose text stands there."""
        options = self.options
        word, start, end = self.words[index]
        letter = word.upper() if len(word) == 1 and word.upper() in LETTERS else ""
        size, meant = self.longest(index)
        if not letter:
            if len(meant) == 1:
                return self._text(index, size, meant)
            behind = self._letter_behind(index + size, meant) if meant else None
            if behind:
                return behind
            return None, meant
        last = run.items[-1] if run.items else None
        if last and last.kind == "text" and last.letter == letter and not BEHIND.isdisjoint(gap):
            last.kind = "own"
            return _Item(letter, "own", index + 1, self._closed(end)), []
        between = self.gap(index + 1, end)
        delimited = _is_delimiter(between)
        own = options.is_letter(letter)
        behind_size, behind = self.longest(index + 1)
        is_own = own and LETTERS.find(letter) in behind
        own_item = _Item(letter, "own", index + 1 + behind_size, self.words[index + behind_size][2]) if is_own else None
        if own_item and delimited:
            return own_item, [LETTERS.find(letter)]
        if len(meant) == 1 and (size > 1 or not own or self._spelled(meant[0])):
            return self._text(index, size, meant)
        next_letter = behind_size == 1 and options.is_letter(self.words[index + 1][0].upper())
        if own_item and word.isupper() and between.isspace() and not next_letter:
            return own_item, [LETTERS.find(letter)]
        if delimited and behind and not (next_letter and not self._spelled(behind[0])):
            run.nothing = True  # the letter of one option with the text of another
            return None, []
        closed = bool(between) and between[0] in ").]:、"
        if word.isupper() or closed:
            kind = "lettered" if delimited or closed else "bare"
            return _Item(letter, kind, index + 1, self._closed(end) if closed else end), []
        return None, []

    def _text(self, index: int, size: int, meant: list[int]) -> tuple[_Item, list[int]]:
        item = _Item(LETTERS[meant[0]], "text", index + size, self.words[index + size - 1][2])
        return item, meant

    def _letter_behind(self, index: int, meant: list[int]) -> tuple[_Item, list[int]] | None:
        """Of several options with one text the one whose letter stands behind it in brackets."""
        if index >= len(self.words):
            return None
        word, start, end = self.words[index]
        option = LETTERS.find(word.upper()) if len(word) == 1 else -1
        if option in meant and self.text[start - 1] in "([{":
            return _Item(LETTERS[option], "own", index + 1, self._closed(end)), []
        return None

    def _closed(self, end: int) -> int:
        """Behind the delimiters that follow a letter."""
        while end < len(self.text) and self.text[end] in "\"'*_`”’).:、]}":
            end += 1
        return end

    def predicate(self) -> frozenset[str] | None:
        """The letter of the option a short sentence says of something: "The girls are waving."; None if it is none."""
        for index in range(1, min(len(self.words), _LONGEST_SUBJECT + 2)):
            if self.lower[index - 1] not in _COPULAS:
                continue
            size, meant = self.longest(index)
            rest = self.text[self.words[index + size - 1][2] :]
            if len(meant) == 1 and index + size == len(self.words) and not rest.strip(".! *_\"'`"):
                doubtful = not DOUBT.isdisjoint(self.lower[:index]) or "t" in self.lower[:index]  # "isn't"
                return None if doubtful else frozenset(LETTERS[meant[0]])
        return None

    def line(self) -> frozenset[str] | None:
        """Letters of a line of items with something behind them: "B. to eat, because …", "A. it falls, C. it stops"."""
        index = 0
        letters: set[str] = set()
        while index < len(self.words):
            run = self.run(index)
            if run.nothing:
                return NOTHING
            if not run.items:
                return NOTHING if letters else None
            letters |= run.letters
            if run.whole:
                break
            following = self._next_lettered(run.stop)
            verdict = self._judge(run.items[-1], following)
            if not verdict:
                return NOTHING if verdict is not None else None
            index = following
        return frozenset(letters) or None

    def _next_lettered(self, index: int) -> int:
        """Index of the next capital with a delimiter, " C. …" or ", (C) …"; the number of words if there is none.

        The last letter of a sentence ("the others are A and C.") begins nothing.
        """
        for i in range(index, len(self.words)):
            word, start, end = self.words[i]
            if len(word) == 1 and word in LETTERS and self.text[start - 1] in " \t\n,;(*\"'":
                delimiter, behind = self.text[end : end + 1], self.text[end + 1 : end + 2]
                if delimiter in (")", "、") or (delimiter in (".", ":") and behind.isspace()):
                    joined = self.lower[i - 1] in AND and len(self.words[i - 2][0]) == 1 if i > 1 else False
                    if delimiter != "." or (i + 1 < len(self.words) and not joined):
                        return i
        return len(self.words)

    def _judge(self, last: _Item, following: int) -> bool | None:
        """Whether what stands between an item and the next one leaves it an answer: False if it takes it back, None if
        the item was the beginning of something else.
        """
        rest = self.gap(following, last.end)
        words = [word.lower() for word in WORD.findall(rest)]
        if last.kind == "bare":
            return None
        if last.kind == "text" and not _SENTENCE_END.search(self.gap(last.following, last.end)):
            return None
        if last.kind == "lettered":
            behind = self.text[last.end : last.end + 1]
            if self.text[last.end - 1] == "." and behind and not behind.isspace():
                return None  # "U.S. troops"
        if words and following < len(self.words) and words[-1] in DOUBT:
            return False  # "… or B."
        sentences = _SENTENCE_END.split(rest)
        if last.kind == "own" and rest.lstrip(" *_\"'`)")[:1] == "?":
            return False
        for number, sentence in enumerate(sentences):
            attached = number == 0 and last.kind == "own"
            if _takes_back(sentence, attached):
                return False
        return True


def _takes_back(sentence: str, attached: bool) -> bool:
    """Whether a sentence behind a letter says that it may not be the answer: "is wrong", "Or C.", "That is not so".

    `attached`: it is the rest of the sentence with the letter, so that any word of doubt is about it.
    """
    words = [word.lower() for word in WORD.findall(sentence)]
    if DOUBT.isdisjoint(words):
        return False
    head = next((c for c in sentence if c.isalpha()), "")
    if attached or head.islower() or not DOUBT.isdisjoint(words[:2]) or words[0] in THIS:
        return True
    return bool((not JUDGED.isdisjoint(words) and OTHERS.isdisjoint(words)) or _OR_LETTER.search(sentence))


def _is_delimiter(gap: str) -> bool:
    """Whether a gap is a delimiter between a letter and its text, with quotes, brackets and emphasis around it."""
    head = gap.partition("\n")[0]
    return not DELIMITERS.isdisjoint(head) and all(c in DELIMITERS or c in AROUND or c.isspace() for c in gap)
