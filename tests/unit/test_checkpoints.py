# SPDX-License-Identifier: Apache-2.0
"""The newest checkpoints and the best one stay, whoever saved them."""

import json

import pytest

from recipe.tw_grpo.integration.checkpoints import BEST, note_best, prune, superfluous, value_of


def saved(folder, *steps, latest):
    for step in steps:
        (folder / f"global_step_{step}" / "actor").mkdir(parents=True)
    (folder / "latest_checkpointed_iteration.txt").write_text(str(latest))


def left(folder):
    return sorted(int(path.name.removeprefix("global_step_")) for path in folder.glob("global_step_*"))


@pytest.mark.parametrize(
    "steps, newest, best, gone",
    [
        ([100, 200, 300, 400], 2, 100, [200]),
        ([400, 100, 300, 200], 2, None, [100, 200]),
        ([100, 200], 2, None, []),
        ([100, 200, 300], 1, 300, [100, 200]),
        ([100, 200, 300], 0, None, []),
        ([], 2, None, []),
    ],
)
def test_what_is_superfluous(steps, newest, best, gone):
    assert superfluous(steps, newest, best) == gone


def test_the_best_survives_a_resume(tmp_path):
    saved(tmp_path, 100, 200, latest=200)
    note_best(tmp_path, 100, {"val-core/clevrer/multi_soft_acc/mean@1": 0.6}, "multi_soft_acc")
    note_best(tmp_path, 200, {"val-core/clevrer/multi_soft_acc/mean@1": 0.5}, "multi_soft_acc")
    saved(tmp_path, 300, 400, latest=400)  # another process
    note_best(tmp_path, 400, {"val-core/clevrer/multi_soft_acc/mean@1": 0.6}, "multi_soft_acc")
    assert prune(tmp_path, 2) == [200] and left(tmp_path) == [100, 300, 400]
    assert json.loads((tmp_path / BEST).read_text())["step"] == 100


def test_a_checkpoint_that_is_being_written_is_left_alone(tmp_path):
    saved(tmp_path, 1, 2, 3, 4, latest=3)
    (tmp_path / "global_step_notes").mkdir()
    assert prune(tmp_path, 1) == [1, 2] and left_steps(tmp_path) == {
        "global_step_3",
        "global_step_4",
        "global_step_notes",
    }


def left_steps(folder):
    return {path.name for path in folder.glob("global_step_*")}


def test_only_saved_steps_can_be_the_best(tmp_path):
    note_best(tmp_path, 0, {"val-core/x/soft_acc/mean@1": 1.0}, "soft_acc")
    assert not (tmp_path / BEST).exists() and prune(tmp_path, 2) == []


def test_a_metric_is_the_mean_over_data_sources():
    metrics = {
        "val-core/a/soft_acc/mean@1": 0.2,
        "val-aux/b/soft_acc/mean@1": 0.4,
        "val-core/a/multi_soft_acc/mean@1": 1,
    }
    assert value_of(metrics, "soft_acc") == pytest.approx(0.3) and value_of(metrics, "reward") is None
