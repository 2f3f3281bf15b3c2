# SPDX-License-Identifier: Apache-2.0
"""The options a prompt lists as "A. …", "B. …", read back from its text, for logs that hold prompts and no options.

It reads what data_prep writes and the usual variants ("(A) …", "A) …", "A: …"); it does not guess where nothing is
listed.
"""

from __future__ import annotations

import re

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_OPTION = re.compile(r"(?:^|(?<=\s))\(?([A-Z])[.):](?=\s)")


def listed_options(prompt: str) -> list[str]:
    """Texts of the longest run of options "A", "B", "C", … in a prompt; empty without at least two.

    An option ends where the next begins, the last one at the end of its line. Of two runs of equal length the later
    one counts: the question stands behind any examples.
    """
    best: list[re.Match[str]] = []
    run: list[re.Match[str]] = []
    for match in _OPTION.finditer(prompt):
        letter = match.group(1)
        if len(run) < len(LETTERS) and letter == LETTERS[len(run)]:
            run.append(match)
        elif letter == "A":
            run = [match]
        if len(run) >= len(best):
            best = run
    if len(best) < 2:
        return []
    last = prompt.find("\n", best[-1].end())
    ends = [match.start() for match in best[1:]] + [last if last >= 0 else len(prompt)]
    return [prompt[match.end() : end].strip() for match, end in zip(best, ends, strict=True)]
