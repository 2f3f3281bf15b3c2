# SPDX-License-Identifier: Apache-2.0
"""The numbers the paper prints: which totals follow from their parts, and what is printed twice."""

import pytest

from recipe.tw_grpo.scoring import published


def test_the_papers_totals():
    rows = {row["row"]: row for row in published.published_rows()[2]}
    assert published.total(50.4, 32.3) == pytest.approx(40.03, abs=0.005)  # printed as 41.1
    assert [name for name, row in rows.items() if not row["acc_follows"]] == [
        "Table 2: CLEVRER, single-choice",
        "Table 2: CLEVRER, multi-choice",
        "Table 2: NExT-GQA, single-choice",
        "Table 2: NExT-GQA, multi-choice (QAI)",
        "Table 3: fixed reward: GRPO",
        "Table 3: soft reward: GRPO",
        "metric file: VideoChat-R1",
    ]
    assert [name for name, row in rows.items() if row["soft_follows"] is False] == [
        "Table 2: CLEVRER, multi-choice",
        "Table 2: NExT-GQA, single-choice",
        "Table 2: NExT-GQA, multi-choice (QAI)",
        "Table 3: fixed reward: GRPO",
    ]
    assert len(rows) == 6 + 9 + 6 + 4


def test_what_two_tables_print_of_one_run_is_the_same():
    one, three = published.TABLE_1, published.TABLE_3
    for name, row in (("TW-GRPO", "soft reward: TW-GRPO"), ("GRPO", "fixed reward: GRPO")):
        assert (one[name][0], one[name][2]) == (three[row][3], three[row][5])
    assert {len(row) for row in one.values()} == {len(published.BENCHMARKS)} == {6}
