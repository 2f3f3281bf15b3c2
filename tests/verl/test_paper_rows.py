# SPDX-License-Identifier: Apache-2.0
"""Every row of the paper composes with verl's own configuration code and differs from the base in what it says."""

import os
import subprocess
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from examples.paper import catalogue, index
from recipe.tw_grpo.doctor.dry_run import compose_checked
from recipe.tw_grpo.toolbox.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
FIXED = {"reward.reward_kwargs.accuracy": "fixed"}
AS_PUBLISHED = {
    "algorithm.adv_estimator": "grpo",
    "actor_rollout_ref.actor.loss_agg_mode": "seq-mean-token-mean",
    "actor_rollout_ref.actor.freeze_vision_tower": False,
}
UNWEIGHTED = {"algorithm.tw_grpo.alpha": 0}
# Written down from the paper and the public scripts, not from the row files.
SAYS = {
    "table1_tw_grpo": {},
    "table1_grpo": AS_PUBLISHED | FIXED,
    "table1_grpo_clean": UNWEIGHTED | FIXED,
    "table2_grpo_fixed": AS_PUBLISHED | FIXED,
    "table2_grpo_fixed_clean": UNWEIGHTED | FIXED,
    "table2_grpo_soft": AS_PUBLISHED,
    "table2_grpo_soft_clean": UNWEIGHTED,
    "table3_alpha0": UNWEIGHTED,
    "table3_fixed": FIXED,
    "table3_single_choice": {"data.train_files": "data/clevrer_train_single.parquet"},
    "table3_tw_grpo": {},
    "tablea1_g4": {"actor_rollout_ref.rollout.n": 4},
    "tablea1_g8": {},
    "tablea1_g12": {"actor_rollout_ref.rollout.n": 12},
    "tablea1_t05": {"actor_rollout_ref.rollout.temperature": 0.5},
    "tablea1_t10": {},
    "tablea1_t15": {"actor_rollout_ref.rollout.temperature": 1.5},
    "tablea2_none": {"algorithm.tw_grpo.positions": "none"},
    "tablea2_padding": {"algorithm.tw_grpo.positions": "padding"},
    "tablea2_content": {"algorithm.tw_grpo.positions": "content"},
    "tablea2_all": {},
    "figa1_alpha01": {"algorithm.tw_grpo.alpha": 0.1},
    "figa1_alpha03": {"algorithm.tw_grpo.alpha": 0.3},
    "figa1_alpha05": {"algorithm.tw_grpo.alpha": 0.5},
    "figa1_alpha07": {},
    "figa1_alpha09": {"algorithm.tw_grpo.alpha": 0.9},
    "figa1_alpha10": {"algorithm.tw_grpo.alpha": 1.0},
    "public_code": {
        "algorithm.tw_grpo.divergence": "logspace_k3",
        "algorithm.tw_grpo.epsilon": 1e-4,
        "reward.reward_kwargs.rule": "strict",
    },
}
# The base itself, as PAPER.md section 4 has it: rows that are the base say these values of their table.
BASE = {
    "algorithm.adv_estimator": "tw_grpo",
    "actor_rollout_ref.rollout.n": 8,
    "actor_rollout_ref.rollout.temperature": 1.0,
    "actor_rollout_ref.actor.optim.lr": 1e-6,
    "actor_rollout_ref.actor.grad_clip": 20,
    "actor_rollout_ref.actor.freeze_vision_tower": True,
    "actor_rollout_ref.actor.use_kl_loss": False,
    "data.max_prompt_length": 4096,
    "data.max_response_length": 4096,
    "data.train_batch_size": 2,
    "trainer.n_gpus_per_node": 2,
    "trainer.total_training_steps": 500,
}


def launched(**variables):
    """The overrides the launch script would give to verl."""
    clean = {name: value for name, value in os.environ.items() if name not in ("ROW", "OUTPUT_DIR", "EXPERIMENT")}
    same = {"DRY_RUN": "args", "EXPERIMENT": "x"}  # only the name of the experiment follows the row
    script = ["bash", str(ROOT / catalogue.LAUNCHER)]
    return subprocess.run(script, env=clean | same | variables, capture_output=True, text=True, cwd=ROOT)


def flat(config, prefix=""):
    """{"a.b": value} of everything that is not a mapping; interpolations stay as they are written."""
    found = {}
    for key, value in config.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def composed(overrides):
    config = compose_checked(overrides)
    OmegaConf.resolve(config.copy())  # every interpolation leads somewhere
    return flat(OmegaConf.to_container(config))


@pytest.fixture(scope="module")
def base():
    return composed(launched().stdout.splitlines())


def test_the_base_is_the_papers_run(base):
    assert {name: base[name] for name in BASE} == BASE


def test_there_is_a_file_for_every_row_and_a_row_for_every_file():
    files = {path.stem for path in (catalogue.FOLDER / "rows").glob("*")}
    assert files == SAYS.keys() == {row.name for row in catalogue.rows()}


@pytest.mark.parametrize("name", SAYS)
def test_a_row_differs_from_the_base_in_what_it_says(base, name):
    overrides = launched(ROW=name).stdout.splitlines()
    row = composed(overrides)
    missing = object()
    found = {key: (base.get(key, missing), row.get(key, missing)) for key in base.keys() | row.keys()}
    differs = {key: value for key, (before, value) in found.items() if before != value}
    assert differs == SAYS[name]


def test_rows_with_the_same_settings_are_run_once():
    once = {catalogue.runs_as(row).name for row in catalogue.rows()}
    settings = {tuple(sorted((key, str(value)) for key, value in says.items())) for says in SAYS.values()}
    assert len(once) == len(settings)
    assert catalogue.runs_as(*catalogue.rows(["tablea1_g8"])).name == "table1_tw_grpo"


def test_a_row_that_does_not_exist_is_one_line():
    done = launched(ROW="table9")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "run_qwen25vl_7b: error: ROW=table9 is no row of docs/paper_index.md\n"
    with pytest.raises(UserError, match="did you mean tablea1_g8"):
        catalogue.rows(["tablea1_g9"])


def test_the_index_is_what_the_rows_say():
    assert (ROOT / "docs/paper_index.md").read_text() == index.index(), "python -m examples.paper.index > docs/…"


def test_published_numbers_fit_their_columns():
    for table in catalogue.tables():
        assert all(len(row.published) in (0, len(table.columns)) for row in table.rows)
    claimed = {row.name for row in catalogue.rows() if row.published}
    assert claimed == {
        *("table1_tw_grpo", "table1_grpo", "table2_grpo_fixed", "table2_grpo_soft"),
        *("table3_alpha0", "table3_fixed", "table3_single_choice", "table3_tw_grpo"),
    }
