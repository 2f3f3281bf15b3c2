# SPDX-License-Identifier: Apache-2.0
"""The numbers the paper claims (arXiv 2505.24718v3, percent), and its CLEVRER table against itself.

"All" is a mean over questions, so it follows from "Single" and "Multi": All = (3945 S + 5293 M) / 9238. A printed
number may be off by half of its last digit, and the parts as well.
"""

from __future__ import annotations

from typing import Any

SINGLE_QUESTIONS, MULTI_QUESTIONS = 3945, 5293  # the validation split, questions without a right choice left out

# The columns of Table 1 in their order, by the name of the benchmark's parquet.
BENCHMARKS = {
    "clevrer": "CLEVRER",
    "nextgqa": "NExT-GQA",
    "mmvu": "MMVU",
    "mvbench": "MVBench",
    "tempcompass": "TempCompass",
    "videomme": "VideoMME",
}
TABLE_1 = {
    "zero-shot": (30.5, 75.9, 65.4, 63.3, 72.5, 56.5),
    "Video-R1": (31.6, 74.3, 64.2, 62.7, 72.6, 57.4),
    "VideoChat-R1": (29.2, 76.0, 64.2, 63.1, 72.9, 52.4),
    "TW-GRPO": (50.4, 76.1, 65.8, 63.3, 73.3, 55.1),
    "GRPO, as published": (41.1, 75.2, 65.1, 62.8, 71.9, 55.9),
}
# Tables 2 and 3: CLEVRER single acc, multi acc, multi soft, all acc, all soft; MMVU.
ABLATION_COLUMNS = ("single", "multi", "multi soft", "all", "all soft", "MMVU")
ABLATIONS = {
    "GRPO, fixed reward": (50.4, 32.3, 55.4, 41.1, 52.7, 65.1),
    "GRPO, soft reward": (58.3, 28.1, 57.6, 41.2, 57.9, 64.6),
    "TW-GRPO, alpha 0": (64.7, 36.6, 60.5, 48.6, 62.3, 62.1),
    "TW-GRPO, fixed reward": (64.9, 26.0, 54.2, 42.6, 58.7, 65.0),
    "TW-GRPO, single-choice data": (60.4, 22.8, 55.9, 38.9, 57.8, 63.7),
    "TW-GRPO": (60.9, 42.5, 64.4, 50.4, 62.9, 65.8),
}
# Table 1, all acc, and the parts in the metric files beside the authors' public logs (*clevrer*_metrics.json).
METRIC_FILES = {
    "zero-shot (metric file)": (38.80861850443599, 24.315133194785567, None, 30.5, None),
    "Video-R1 (metric file)": (55.79214195183777, 13.546193085206875, None, 31.6, None),
    "VideoChat-R1 (metric file)": (52.9531051964512, 11.335726431135463, None, 29.2, None),
    "TW-GRPO (metric file)": (60.912547528517116, 42.490081239372756, 64.37433087725861, 50.4, 62.9),
}
HALF_DIGIT = 0.05


def total(single: float, multi: float) -> float:
    """Mean over all questions from the means over those with one and with several right options."""
    return (SINGLE_QUESTIONS * single + MULTI_QUESTIONS * multi) / (SINGLE_QUESTIONS + MULTI_QUESTIONS)


def published_rows() -> tuple[str, list[list[str]], list[dict[str, Any]]]:
    """Title, table and JSON: every printed total beside the one its parts give."""
    rows = [["row of the paper", "all acc", "from parts", "", "all soft", "from parts", ""]]
    data = []
    for name, (single, multi, multi_soft, acc, soft, *_) in (ABLATIONS | METRIC_FILES).items():
        allowed = 2 * HALF_DIGIT if name in ABLATIONS else HALF_DIGIT  # the parts may be rounded too
        cells, record = [name], {"row": name}
        # With one right option soft and exact accuracy are the same number.
        for kind, printed, part in (("acc", acc, multi), ("soft", soft, multi_soft)):
            found = None if part is None else total(single, part)
            follows = None if found is None else abs(found - printed) <= allowed + 1e-9
            record |= {kind: printed, f"{kind}_from_parts": found, f"{kind}_follows": follows}
            verdict = {None: "-", True: "follows", False: "does NOT follow"}[follows]
            cells += ["-", "-", "-"] if found is None else [f"{printed:.1f}", f"{found:.2f}", verdict]
        rows.append(cells)
        data.append(record)
    return "All = (3945 S + 5293 M) / 9238, percent", rows, data
