# SPDX-License-Identifier: Apache-2.0
"""Reading fields of somebody else's annotations: a key that is missing or of the wrong type is named in one line."""

from __future__ import annotations

from typing import Any

from recipe.tw_grpo.errors import UserError

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


def _short(value: Any) -> str:
    try:
        text = ascii(value)
    except (RecursionError, ValueError):  # very deep lists, integers of thousands of digits
        text = type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
