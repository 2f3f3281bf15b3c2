# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks`: small measurements come out as tables, and docs/performance.md is what its JSON prints."""

import json
from pathlib import Path

import pytest

from benchmarks import divergence, inversion, step
from benchmarks.__main__ import KINDS, document, main
from recipe.tw_grpo.toolbox.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = ROOT.parent / "shared/data/nextgqa_val_1200.json"
LOGS = ROOT.parent / "shared/data/logs/clevrer_train_rollouts.jsonl"


def test_the_page_is_what_the_numbers_print():
    data = json.loads((ROOT / "docs/performance.json").read_text())
    assert (ROOT / "docs/performance.md").read_text() == document(data)
    assert {name.partition(" ")[0] for name in data} <= KINDS.keys()


def test_a_small_group_is_measured(monkeypatch):
    small = divergence.Case(4, 8, 1000, 16, "float32")
    monkeypatch.setitem(divergence.CASES, "cpu", [small])
    monkeypatch.setattr("benchmarks.measure.cpu_peak", lambda *_: 1 << 20)  # a process of its own knows other cases
    (record,) = divergence.run("cpu", repeats=1)
    table = divergence.rows([record])
    assert {row[1] for row in table[1:]} >= {"naive", "streaming", "two bare passes"}
    (naive,) = [row for row in table if row[1] == "naive"]
    assert naive[3] == "1.00"


def test_a_step_is_compared_within_its_pair():
    pairs = [{"pair": i, "steps": 3, "tw_grpo": {"step": 2.0 + i}, "grpo": {"step": 2.0}} for i in (0, 1, 2)]
    assert step.rows(pairs)[-1][-1] == "1.500"


@pytest.mark.skipif(not LOGS.exists(), reason="../shared is not here")
def test_measurements_are_added_to_what_is_there(tmp_path, capsys):
    (tmp_path / "all.json").write_text("{}")
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(LOGS.read_text().split("\n")[:50]))
    main(["rewards", "--json", str(tmp_path / "all.json"), "--log", str(log), "--docs", str(tmp_path / "page.md")])
    assert json.loads((tmp_path / "all.json").read_text()).keys() == {"rewards"}
    assert "50 responses of log.jsonl" in (tmp_path / "page.md").read_text() + capsys.readouterr().out


@pytest.mark.skipif(not QUESTIONS.exists(), reason="../shared is not here")
def test_inversion_is_timed_in_every_style(monkeypatch):
    monkeypatch.setattr(inversion, "REPEATS", 1)
    records = inversion.run(QUESTIONS)
    assert len(inversion.rows(records)) == 7
    assert min(r["a_second"] for r in records) > 2_000  # the machine may be busy


@pytest.mark.parametrize("arguments, says", [(["speed"], "'speed' is none of"), (["video"], "video needs --parquet")])
def test_what_cannot_be_measured_is_said_first(tmp_path, arguments, says):
    with pytest.raises(UserError, match=says):
        main([*arguments, "--json", str(tmp_path / "all.json")])
    assert not (tmp_path / "all.json").exists()
