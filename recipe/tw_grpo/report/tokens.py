# SPDX-License-Identifier: Apache-2.0
"""Texts of the tokens of a run: its policy's tokenizer, and what each token adds to the text of a response."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from recipe.tw_grpo.report.reading import Run

_LONGEST_CHARACTER = 8  # tokens that may make up one character; a byte of UTF-8 each, and two emoji in one


_WITHOUT = "neither the page nor the heat map has token texts"


def load_tokenizer(run: Run) -> Any | None:
    """The `tokenizers.Tokenizer` of a run; None, and a note in the run, where it is not there.

    run.json names a folder or a model of the hub, which is looked for in the local cache only; a checkpoint of the run
    has the tokenizer too.
    """
    name = run.settings.get("tokenizer")
    if not name:
        return None
    first = Path(name) / "tokenizer.json"
    path = next((path for path in _candidates(run, name, first) if path.is_file()), None)
    if path is None:
        return _without(run, f"{first} is missing: {_WITHOUT}")
    try:
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception for a bad file
        return _without(run, f"{path} cannot be loaded ({error}): {_WITHOUT}")


def _without(run: Run, note: str) -> None:
    if note not in run.notes:
        run.notes.append(note)


def _candidates(run: Run, name: str, first: Path) -> Iterator[Path]:
    yield first
    if not first.is_absolute():
        yield run.folder / first
    yield from run.folder.glob("checkpoints/global_step_*/actor/huggingface/tokenizer.json")
    if not first.is_absolute():
        try:
            from huggingface_hub import try_to_load_from_cache
            from huggingface_hub.errors import HFValidationError

            cached = try_to_load_from_cache(name, "tokenizer.json")
        except (ImportError, HFValidationError):
            return
        if isinstance(cached, str):
            yield Path(cached)


class TokenTexts:
    """What each token adds to a text. A character of several tokens stands at the first, the others add nothing."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, str] = {}

    def __call__(self, ids: Sequence[int]) -> list[str]:
        """As many texts as ids."""
        known = self._known
        different = set(ids)
        for i in different - known.keys():
            known[i] = self._text([i])
        texts = [known[i] for i in ids]
        if not any("\ufffd" in known[i] for i in different):
            return texts
        t = 0
        while t < len(texts):
            if "\ufffd" not in texts[t]:
                t += 1
                continue
            for size in range(2, _LONGEST_CHARACTER + 1):
                whole = self._text(ids[t : t + size])
                if "\ufffd" not in whole:
                    texts[t : t + size] = [whole, *[""] * (len(ids[t : t + size]) - 1)]
                    break
            t += 1
        return texts

    def _text(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)
