# SPDX-License-Identifier: Apache-2.0
"""Where a parquet file came from, for the JSON report beside it: arguments, checksums of what was read, version."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recipe.tw_grpo import __version__


def provenance(args: argparse.Namespace, inputs: Iterable[Path]) -> dict[str, Any]:
    """Keys `arguments`, `inputs` (path -> sha256) and `version` of a report."""
    arguments = {key: _plain(value) for key, value in vars(args).items()}
    checksums = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in inputs}
    return {"arguments": arguments, "inputs": checksums, "version": __version__}


def _plain(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value) if isinstance(value, Path) else value
