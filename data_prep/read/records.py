# SPDX-License-Identifier: Apache-2.0
"""Reading somebody else's annotations: a file that is no JSON, a key that is missing or of the wrong type, an option
without a letter among others that have one; each is named in one line.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from recipe.tw_grpo.toolbox.errors import UserError
from recipe.tw_grpo.toolbox.letters import LETTERS

_LETTERED = re.compile(r"\s*(?:\(([A-Z])\)|([A-Z])[.):])(?:\s+|$)")
_KINDS = {int: "an integer", str: "a text", list: "a list", dict: "an object"}


def need(record: Any, key: str, kind: type, where: str) -> Any:
    """`record[key]`, which must be there and of type `kind` (int, str, list or dict; True is no integer).

    Raises:
        UserError: `where` is no object, lacks the key, or holds another type; texts must be valid Unicode.
    """
    if not isinstance(record, dict):
        raise UserError(f"{where}: expected an object, found {type(record).__name__}")
    if key not in record:
        raise UserError(f"{where}: key {key!r} is missing")
    value = record[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UserError(f"{where}: {key!r} must be {_KINDS[kind]}, found {_short(value)}")
    if kind is str:
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise UserError(f"{where}: {key!r} is not valid Unicode text: {_short(value)}") from None
    if kind is int and not 0 <= value < 2**31:
        raise UserError(f"{where}: {key!r} must lie in 0 to {2**31 - 1}, found {_short(value)}")
    return value


def text_of(record: Any, key: str, where: str) -> str:
    """A text that is more than blanks, without those around it."""
    text = need(record, key, str, where)
    if not text.strip():
        raise UserError(f"{where}: {key!r} is empty")
    return text.strip()


def load_json(path: Path) -> Any:
    """What the JSON file `path` holds (a .jsonl file: the list of its lines).

    Raises:
        UserError: it is no JSON, with the place where it breaks off.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise UserError(f"{path}: not a JSON file ({error}); download it again") from None


def plain_options(texts: Any, where: str, key: str = "options") -> tuple[str, ...]:
    """Options as they stand: 1 to 26 texts, none of them blank."""
    if not isinstance(texts, list):
        raise UserError(f"{where}: {key!r} must be a list, found {type(texts).__name__}")
    if not 1 <= len(texts) <= len(LETTERS):
        raise UserError(f"{where}: {key!r} has {len(texts)} entries, expected 1 to {len(LETTERS)}")
    named = {f"{key}[{number}]": text for number, text in enumerate(texts)}
    return tuple(text_of(named, name, where) for name in named)


def lettered_options(texts: Any, where: str, key: str = "options") -> tuple[str, ...]:
    """Options without their letters: all of "A. x", "(A) x" or "A) x", in order; or none of them lettered."""
    options = plain_options(texts, where, key)
    matches = [_LETTERED.match(option) for option in options]
    if not any(matches):
        return options
    if not all(matches):
        number = next(i for i, match in enumerate(matches) if match is None)
        raise UserError(f"{where}: {key}[{number}] has no letter, others have: {ascii(options[number]):.60}")
    letters = "".join(match[1] or match[2] for match in matches)
    if letters != LETTERS[: len(letters)]:
        raise UserError(f"{where}: {key!r} must be lettered {LETTERS[: len(letters)]}, found {letters}")
    bare = [option[match.end() :] for option, match in zip(options, matches, strict=True)]
    return plain_options(bare, where, key)


def _short(value: Any) -> str:
    try:
        text = ascii(value)
    except (RecursionError, ValueError):  # very deep lists, integers of thousands of digits
        text = type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
