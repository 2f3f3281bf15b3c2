# SPDX-License-Identifier: Apache-2.0
"""What the right answers of a log are written as: letters, texts of options, or their index; decided once per log.

One record cannot tell: "c" is a letter or a text, "1" a text or an index. The meaning that fits most records counts;
where several fit, the one by which the log's own scores come out. If those do not tell either, the log is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from recipe.tw_grpo.answers import parse_answer, parse_truth
from recipe.tw_grpo.reward import soft_reward
from recipe.tw_grpo.scoring.sample import SOFT, Sample
from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.letters import LETTERS

_AROUND = re.compile(r"^\s*(?:<answer>)?[\s(\[]*|[\s)\].]*(?:</answer>)?\s*$")
_TAGS = re.compile(r"</?answer>")
_IS_LETTERS = re.compile(r"[A-Z](?:\s*[,;&]?\s*[A-Z])*(?:\s*[.):：、].*)?", re.DOTALL)
_TOLERANCE = 0.98  # of the best fit: a few odd records decide nothing
_EPSILON = 1e-9


def right_or_soft(name: str, soft: float) -> float:
    """What the score `name` of a log should be for a response that is worth `soft`: only some count parts."""
    return soft if name in SOFT or "soft" in name else float(soft == 1.0)


def decide(samples: list[Sample], path: Path, from_zero: bool = False) -> None:
    """Replace truths that are texts or indices by letters, if this is what the truths of the log are.

    Args:
        from_zero: the form counts indices from 0 where nothing in the log says otherwise.

    Raises:
        UserError: several meanings fit, give different letters, and no score of the log tells which is meant.
    """
    known = [sample for sample in samples if sample.truth and sample.options]
    if not known:
        return
    fits = {name: sum(fit(sample) is not None for sample in known) for name, fit in _MEANINGS.items()}
    best = max(fits.values())
    names = [name for name in _MEANINGS if best and fits[name] >= _TOLERANCE * best]
    if not names:
        return
    if len(names) > 1:
        unlike = [s for s in known if len({_letters(name, s) for name in names}) > 1]
        agreed = {name: sum(_agreement(sample, _letters(name, sample)) for sample in unlike) for name in names}
        names = [name for name in names if agreed[name] == max(agreed.values())]
        if from_zero and set(names) == {_FROM_ZERO, _FROM_ONE}:
            names = [_FROM_ZERO]
        unlike = [s for s in unlike if len({_letters(name, s) for name in names}) > 1]
        if unlike and "letters" not in names:
            raise UserError(
                f"{path}: line {unlike[0].line}: the right answer {unlike[0].truth!r:.60} can be meant as "
                f"{' or as '.join(names)}, and no score in the log tells which; write it as a letter"
            )
    if names[0] != "letters":
        for sample in known:
            if (letters := _MEANINGS[names[0]](sample)) is not None:
                sample.truth = ",".join(sorted(letters))


def _letters(name: str, sample: Sample) -> frozenset[str]:
    letters = _MEANINGS[name](sample)
    return parse_truth(sample.truth or "", sample.options) if letters is None else letters


def _agreement(sample: Sample, letters: frozenset[str]) -> int:
    """How many scores of the log come out with these right letters, less those that do not."""
    if not letters:
        return 0
    soft = soft_reward(
        parse_answer(sample.response if sample.answer is None else sample.answer, sample.options), letters
    )
    agree = [abs(right_or_soft(name, soft) - value) < _EPSILON for name, value in (sample.recorded or {}).items()]
    return 2 * sum(agree) - len(agree)


def _as_letters(sample: Sample) -> frozenset[str] | None:
    text = _AROUND.sub("", sample.truth or "")
    letters = parse_truth(sample.truth or "", sample.options)
    if not letters <= set(LETTERS[: len(sample.options or ())]):
        return None
    if _IS_LETTERS.fullmatch(text):
        return letters or None
    lower = len(text) == 1 and _option_with(sample, text) is None  # "b" for B, unless an option is "b"
    return letters or None if lower else None


def _as_text(sample: Sample) -> frozenset[str] | None:
    text = _TAGS.sub("", sample.truth or "").strip()
    found = _option_with(sample, text)
    if found is None and not _IS_LETTERS.fullmatch(_AROUND.sub("", text)) and len(text.strip()) > 1:
        return parse_truth(text, sample.options) or None  # texts of several options
    return found


def _option_with(sample: Sample, text: str) -> frozenset[str] | None:
    """The letter of the one option with exactly this text, of those that differ in case only the exact one."""
    plain = [" ".join(option.split()) for option in sample.options or ()]
    text = " ".join(text.split())
    for options, wanted in ((plain, text), ([option.lower() for option in plain], text.lower())):
        if options.count(wanted) == 1 and options.index(wanted) < len(LETTERS):
            return frozenset(LETTERS[options.index(wanted)])
    return None


def _as_index(first: int) -> Callable[[Sample], frozenset[str] | None]:
    def index(sample: Sample) -> frozenset[str] | None:
        parts = [part.strip() for part in _TAGS.sub("", sample.truth or "")[:200].split(",")]
        if not all(part.isascii() and part.isdigit() and len(part) < 3 for part in parts):
            return None
        places = [int(part) - first for part in parts]
        known = 0 <= min(places) and max(places) < min(len(sample.options or ()), len(LETTERS))
        return frozenset(LETTERS[place] for place in places) if known else None

    return index


_FROM_ZERO, _FROM_ONE = "an index from 0", "an index from 1"
_MEANINGS: dict[str, Callable[[Sample], frozenset[str] | None]] = {
    "letters": _as_letters,
    "the text of an option": _as_text,
    _FROM_ZERO: _as_index(0),
    _FROM_ONE: _as_index(1),
}
