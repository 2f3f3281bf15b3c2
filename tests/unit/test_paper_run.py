# SPDX-License-Identifier: Apache-2.0
"""Rows and seeds: what is started, what counts as done, and whether a difference over seeds is called one."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from toy_questions import WHOLE, make_parquet

from examples.paper.catalogue import rows
from examples.paper.plan import MEASURE, plan
from examples.paper.run import collect, main
from examples.paper.table import MEASURES, cells, paired, smallest_exact, table
from recipe.tw_grpo.toolbox.errors import UserError


def by_seed(values):
    return dict(enumerate(values))


@pytest.mark.parametrize(
    "row, reference, expected, why",
    [
        ([], [], (0, None, None, None), "nothing to compare"),
        ([0.5], [0.4], (1, 0.1, None, None), "one pair says nothing"),
        ([0.5, 0.6], [0.4, 0.5], (2, 0.1, None, 0.5), "no spread: the t-test would say p = 0"),
        ([0.5, 0.6], [0.5, 0.6], (2, 0.0, 1.0, 1.0), "no difference"),
        ([0.4, 0.5], [0.3, 0.7], (2, -0.05, 0.795167, 1.0), "one better, one worse"),
        ([0.1] * 6, [0.0] * 6, (6, 0.1, None, 2 / 64), "six of six"),
    ],
)
def test_paired_differences(row, reference, expected, why):
    found = paired(by_seed(row), by_seed(reference))
    assert found["n"] == expected[0], why
    for key, value in zip(("difference", "p_t", "p_exact"), expected[1:], strict=True):
        assert found[key] == (None if value is None else pytest.approx(value, abs=1e-6)), why


def test_pairs_are_made_by_seed_not_by_order():
    found = paired({1: 0.5, 2: 0.7, 9: 0.0}, {2: 0.6, 1: 0.5, 3: 1.0})
    assert found["n"] == 2 and found["difference"] == pytest.approx(0.05)


@given(st.lists(st.integers(-64, 64), min_size=2, max_size=7))
def test_p_values_are_scipys_and_every_swap_counted(sixty_fourths):
    differences = [n / 64 for n in sixty_fourths]
    found = paired(by_seed(differences), by_seed([0.0] * len(differences)))
    total = abs(sum(differences))
    swaps = list(itertools.product((-1, 1), repeat=len(differences)))
    as_large = sum(abs(np.dot(signs, differences)) >= total - 1e-9 for signs in swaps)
    assert found["p_exact"] == pytest.approx(as_large / len(swaps))
    assert found["p_exact"] >= smallest_exact(len(differences)) - 1e-12
    if len(set(differences)) > 1:
        assert found["p_t"] == pytest.approx(stats.ttest_rel(differences, [0.0] * len(differences)).pvalue)


def run_numbers(acc):
    return dict.fromkeys(MEASURES) | {"acc": acc, "soft_acc": acc, "training_soft_acc": acc}


def test_the_table_says_how_many_seeds_and_what_is_missing():
    numbers = {"a": {1: run_numbers(0.2), 2: run_numbers(0.4)}, "b": {1: run_numbers(0.3)}}
    result = table(numbers, {"a": "A", "b": "B"}, "a", {"b": {2: "not started"}})
    first, second = result["rows"]
    assert first["acc"] == {"mean": pytest.approx(0.3), "std": pytest.approx(math.sqrt(0.02)), "n": 2}
    assert "against_reference" not in first
    assert second["acc"] == {"mean": 0.3, "std": None, "n": 1} and second["missing"] == {"2": "not started"}
    assert second["against_reference"]["acc"]["n"] == 1
    (_, means), (title, tests) = cells(result)
    assert means[1][:3] == ["A (a)", "1, 2", "30.0 ± 14.1"] and means[2][:3] == ["B (b)", "1", "30.0"]
    assert tests[1][2:4] == ["1", "+10.0"] and tests[1][5:] == ["-", "-"]
    assert "with 1 pairs the exact p is 1 or more" in title
    assert json.loads(json.dumps(result, allow_nan=False)) == result


@pytest.fixture
def planned(tmp_path):
    names = ["table1_tw_grpo", "tablea1_g8", "table1_grpo", "table3_single_choice"]
    chosen = {"out": tmp_path / "out", "steps": 2, "validation": make_parquet(tmp_path / "v.parquet")}
    return lambda where, **more: plan(rows(names), [1, 2], where=where, **(chosen | more))


def test_rows_become_runs(planned, tmp_path):
    files = {"data/clevrer_train_single.parquet": tmp_path / "single.parquet"}
    runs = planned("tiny", tiny_files=files, extra=("trainer.save_freq=-1",))
    assert len(runs) == 8 and len({run.folder for run in runs.values()}) == 6  # G = 8 is the base
    assert runs["tablea1_g8", 2] is not runs["tablea1_g8", 1]
    assert runs["tablea1_g8", 2].folder == runs["table1_tw_grpo", 2].folder
    grpo, single = runs["table1_grpo", 2], runs["table3_single_choice", 1]
    assert grpo.environment()["ESTIMATOR"] == "grpo" and grpo.environment()["SEED"] == "2"
    assert "algorithm.adv_estimator=grpo" not in grpo.overrides()  # the launcher's ESTIMATOR says it, and is recorded
    assert "+reward.reward_kwargs.accuracy=fixed" in grpo.overrides()
    assert single.overrides() == [f"data.train_files={tmp_path / 'single.parquet'}", "trainer.save_freq=-1"]
    cluster = planned("cluster")["table1_grpo", 2]
    assert set(cluster.row.overrides) | set(MEASURE) < set(cluster.overrides())
    assert {"data.seed=2", f"trainer.validation_data_dir={cluster.folder}/validation"} < set(cluster.overrides())
    assert cluster.environment()["OUTPUT_DIR"] == str(cluster.folder) and cluster.environment()["STEPS"] == "2"


def finish(run, lines):
    run.dump.parent.mkdir(parents=True)
    run.dump.write_text("".join(json.dumps(row) + "\n" for row in lines))
    run.record.write_text(json.dumps({"identity": run.identity()}))


def test_done_is_what_answered_every_question_with_these_settings(planned):
    run = planned("tiny")["table1_grpo", 1]
    assert run.missing() == "not started"
    finish(run, WHOLE[:3])
    assert "3 of 5 questions" in run.missing()
    run.dump.write_text("".join(json.dumps(row) + "\n" for row in WHOLE))
    assert run.missing() is None
    assert planned("tiny", extra=("a=1",))["table1_grpo", 1].missing() == "was made with other settings"
    assert planned("tiny", steps=3)["table1_grpo", 1].missing() == "was made with other settings"


def test_the_numbers_of_a_run_are_those_of_its_files(planned):
    runs = {key: run for key, run in planned("tiny").items() if key[0] in ("table1_tw_grpo", "tablea1_g8")}
    run = runs["table1_tw_grpo", 1]
    finish(run, WHOLE)
    (run.folder / "rollouts").mkdir()
    for step in (1, 2):
        answers = [{"output": "<answer>A</answer>"}, {"output": f"<answer>{'AB'[step - 1]}</answer>"}]
        rollouts = [WHOLE[0] | answer | {"uid": f"u{step}_{i}_0"} for i, answer in enumerate(answers)]
        text = "".join(json.dumps(row) + "\n" for row in rollouts)
        (run.folder / "rollouts" / f"{step}.jsonl").write_text(text)
    result = collect(runs, {"table1_tw_grpo": "TW-GRPO", "tablea1_g8": "G = 8"}, "table1_tw_grpo")
    for row in result["rows"]:  # both rows are the same run
        assert row["seeds"] == [1] and row["missing"] == {"2": "not started"}
        assert row["acc"]["mean"] == 0.2 and row["soft_acc"]["mean"] == 0.3
        assert row["single_acc"]["mean"] == pytest.approx(1 / 3) and row["multi_soft_acc"]["mean"] == 0.25
        assert row["training_soft_acc"]["mean"] == 0.5  # of the last step
    assert result["rows"][1]["against_reference"]["acc"]["difference"] == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--rows", "table9", "--where", "cluster"], "table9 is no row of the paper"),
        (["--rows", "table1_grpo", "--reference", "tablea1_g4", "--where", "cluster"], "not among --rows"),
        (["--rows", "table1_grpo", "--where", "cluster"], "VAL_FILE=: name the parquet"),
        (["--rows", "table1_video_r1"], "table1_video_r1 is a row of the paper that is not trained"),
        (["--rows", "table1_kangaroo"], "table1_kangaroo is a row of the paper that is not trained"),
        (["--rows", "table2_star_qai"], "star_train_qai.parquet has no counterpart on the tiny world: see tiny_inv"),
        (["--rows", "tiny_single", "--where", "cluster"], "tiny_single is a row of the tiny world: --where tiny"),
    ],
)
def test_mistakes_are_one_line_before_anything_starts(tmp_path, monkeypatch, arguments, message):
    monkeypatch.delenv("VAL_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        main(arguments)
    assert not any(tmp_path.iterdir())


def test_a_dry_run_prints_commands_and_starts_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VAL_FILE", str(make_parquet(tmp_path / "v.parquet")))
    arguments = ["--rows", "table3_alpha0", "--seeds", "1", "2", "--where", "cluster", "--dry-run", "--out"]
    assert main([*arguments, str(tmp_path / "out"), "--", "trainer.save_freq=50"]) == 0
    head, *commands = capsys.readouterr().out.splitlines()
    assert head.startswith("2 runs, 2 to do") and len(commands) == 2
    assert all(c.endswith("trainer.save_freq=50") and "+algorithm.tw_grpo.alpha=0 " in c for c in commands)
    assert not (tmp_path / "out").exists()
