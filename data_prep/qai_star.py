# SPDX-License-Identifier: Apache-2.0
"""STAR questions -> a parquet file verl trains on, some of them inverted (Question-Answer Inversion).

A thin command: the reader is data_prep/read/star.py, the rest data_prep/qai.py.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a file: find `data_prep` in this clone even when the package is not installed
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_prep import qai
from data_prep.read import star
from recipe.tw_grpo.toolbox.command_line import run_main


def main(argv: Sequence[str] | None = None) -> int:
    """Read, invert, write, print a summary; raises UserError for anything the user has to correct."""
    return qai.main("star", "STAR", star.read, argv)


if __name__ == "__main__":
    run_main(main)
