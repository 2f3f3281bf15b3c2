# SPDX-License-Identifier: Apache-2.0
"""The numbers the paper claims (arXiv 2505.24718v3, percent), and its CLEVRER columns against themselves.

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
# The protocol of the published numbers, as data_prep/benchmarks.py names it: CLEVRER with the printed prompt, the
# others with Video-R1's, which a user gives as video_r1.txt. The zero-shot row was asked in other words.
PROTOCOLS = {
    "clevrer": "clevrer_counterfactual_multi_answer",
    "nextgqa": "nextgqa_multiple_choice_video_r1",
    "mmvu": "mmvu_multiple_choice_video_r1",
    "mvbench": "mvbench_whole_videos_video_r1",
    "tempcompass": "tempcompass_four_tasks_video_r1",
    "videomme": "videomme_no_subtitles_video_r1",
}
# Table 1; None where the paper's cell is blank. The first five rows it quotes from other papers.
TABLE_1 = {
    "LLaMA-VID": (None, None, None, 41.9, 45.6, None),
    "VideoLLaMA2": (None, None, None, 44.8, 54.6, 47.9),
    "LongVA-7B": (None, None, None, None, 56.9, 52.6),
    "Video-UTR-7B": (None, None, None, 58.8, 59.7, 52.6),
    "Kangaroo-8B": (None, None, None, 61.1, 62.5, 56.0),
    "zero-shot": (30.5, 75.9, 65.4, 63.3, 72.5, 56.5),
    "CoT": (27.7, 73.4, 63.0, 57.4, 72.2, 53.1),
    "SFT": (29.0, 69.0, 61.3, 59.4, 69.2, 52.8),
    "Video-R1": (31.6, 74.3, 64.2, 62.7, 72.6, 57.4),
    "VideoChat-R1": (29.2, 76.0, 64.2, 63.1, 72.9, 52.4),
    "GRPO": (41.1, 75.2, 65.1, 62.8, 71.9, 55.9),
    "TW-GRPO": (50.4, 76.1, 65.8, 63.3, 73.3, 55.1),
}
# Tables 2, 3 and A1: CLEVRER single acc, multi acc, multi soft, all acc, all soft; MMVU.
ABLATION_COLUMNS = ("single", "multi", "multi soft", "all", "all soft", "MMVU")
_GRPO_FIXED = (50.4, 32.3, 55.4, 41.1, 52.7, 65.1)
_TW_GRPO_FIXED = (64.9, 26.0, 54.2, 42.6, 58.7, 65.0)
_TW_GRPO = (60.9, 42.5, 64.4, 50.4, 62.9, 65.8)
TABLE_2 = {
    "CLEVRER, single-choice": (51.5, 18.2, 50.9, 32.6, 51.2, 62.7),
    "CLEVRER, multi-choice": _GRPO_FIXED,
    "NExT-GQA, single-choice": (48.0, 12.3, 45.5, 30.7, 45.7, 64.3),
    "NExT-GQA, multi-choice (QAI)": (63.5, 9.6, 44.9, 36.7, 54.7, 64.6),
    "STAR, single-choice": (65.1, 2.6, 41.4, 29.3, 51.5, 64.8),
    "STAR, multi-choice (QAI)": (65.9, 1.5, 40.8, 29.1, 51.5, 66.2),
}
TABLE_3 = {
    "single-choice data": (60.4, 22.8, 55.9, 38.9, 57.8, 63.7),
    "multi-choice data": _TW_GRPO,
    "fixed reward": _TW_GRPO_FIXED,
    "soft reward": _TW_GRPO,
    "fixed reward: GRPO": _GRPO_FIXED,
    "fixed reward: TW-GRPO": _TW_GRPO_FIXED,
    "soft reward: GRPO": (58.3, 28.1, 57.6, 41.2, 57.9, 64.6),
    "soft reward: TW-GRPO, alpha = 0": (64.7, 36.6, 60.5, 48.6, 62.3, 62.1),
    "soft reward: TW-GRPO": _TW_GRPO,
}
TABLE_A1 = {
    "G = 4": (56.2, 26.0, 55.2, 38.9, 55.6, 65.9),
    "G = 8": _TW_GRPO,
    "G = 12": (65.1, 37.2, 62.8, 49.1, 63.8, 63.2),
    "temperature 0.5": (63.4, 33.5, 61.0, 46.3, 62.1, 65.3),
    "temperature 1.0": _TW_GRPO,
    "temperature 1.5": (51.7, 38.7, 61.5, 44.3, 57.4, 63.7),
}
# Table A2 and Figure A1 are pictures without numbers.
TABLES = {"Table 1": TABLE_1, "Table 2": TABLE_2, "Table 3": TABLE_3, "Table A1": TABLE_A1}
# Table 1, all acc, and the parts in the metric files beside the authors' public logs (*clevrer*_metrics.json).
METRIC_FILES = {
    "zero-shot": (38.80861850443599, 24.315133194785567, None, 30.5, None),
    "Video-R1": (55.79214195183777, 13.546193085206875, None, 31.6, None),
    "VideoChat-R1": (52.9531051964512, 11.335726431135463, None, 29.2, None),
    "TW-GRPO": (60.912547528517116, 42.490081239372756, 64.37433087725861, 50.4, 62.9),
}
HALF_DIGIT = 0.05


def total(single: float, multi: float) -> float:
    """Mean over all questions from the means over those with one and with several right options."""
    return (SINGLE_QUESTIONS * single + MULTI_QUESTIONS * multi) / (SINGLE_QUESTIONS + MULTI_QUESTIONS)


def published_rows() -> tuple[str, list[list[str]], list[dict[str, Any]]]:
    """Title, table and JSON: every printed total beside the one its parts give, of all tables that print parts."""
    sources = {f"{table}: {row}": numbers for table in ("Table 2", "Table 3", "Table A1")
               for row, numbers in TABLES[table].items()}  # fmt: skip
    sources |= {f"metric file: {row}": numbers for row, numbers in METRIC_FILES.items()}
    rows = [["row of the paper", "all acc", "from parts", "", "all soft", "from parts", ""]]
    data = []
    for name, (single, multi, multi_soft, acc, soft, *_) in sources.items():
        allowed = HALF_DIGIT if name.startswith("metric file") else 2 * HALF_DIGIT  # printed parts are rounded too
        cells, record = [name], {"row": name}
        # With one right option soft and exact accuracy are the same number.
        for kind, printed, part in (("acc", acc, multi), ("soft", soft, multi_soft)):
            value = None if part is None else total(single, part)
            follows = None if value is None else abs(value - printed) <= allowed + 1e-9
            record |= {kind: printed, f"{kind}_from_parts": value, f"{kind}_follows": follows}
            verdict = {None: "-", True: "follows", False: "does NOT follow"}[follows]
            cells += ["-", "-", "-"] if value is None else [f"{printed:.1f}", f"{value:.2f}", verdict]
        rows.append(cells)
        data.append(record)
    return "All = (3945 S + 5293 M) / 9238, percent", rows, data
