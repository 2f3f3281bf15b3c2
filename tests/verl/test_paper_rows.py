# SPDX-License-Identifier: Apache-2.0
"""Every row of the paper composes with verl's own configuration code and differs from the base in what it says."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from data_prep.videos.sampling import sampling_options
from examples.paper import catalogue, index
from recipe.tw_grpo.doctor.dry_run import compose_checked
from recipe.tw_grpo.scoring.published import TABLES
from recipe.tw_grpo.toolbox import torchvision_operators
from recipe.tw_grpo.toolbox.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
VIDEO = ROOT.parent / "shared/data/videos/clevrer_video_12176.mp4"
FIXED = {"reward.reward_kwargs.accuracy": "fixed"}
GRPO = {
    "algorithm.adv_estimator": "grpo",
    "actor_rollout_ref.actor.loss_agg_mode": "seq-mean-token-mean",
    "actor_rollout_ref.actor.freeze_vision_tower": False,
}
UNWEIGHTED = {"algorithm.tw_grpo.alpha": 0}


def trained_on(name):
    return {"data.train_files": f"data/{name}.parquet"}


# Written down from the paper and the public scripts, not from rows.yaml.
SAYS = {
    "table1_tw_grpo": {},
    "table1_grpo": GRPO | FIXED,
    "table1_grpo_clean": UNWEIGHTED | FIXED,
    "table2_clevrer_single": GRPO | FIXED | trained_on("clevrer_train_single"),
    "table2_clevrer_multi": GRPO | FIXED,
    "table2_nextgqa_single": GRPO | FIXED | trained_on("nextgqa_train_single"),
    "table2_nextgqa_qai": GRPO | FIXED | trained_on("nextgqa_train_qai"),
    "table2_star_single": GRPO | FIXED | trained_on("star_train_single"),
    "table2_star_qai": GRPO | FIXED | trained_on("star_train_qai"),
    "tiny_single": GRPO | FIXED | trained_on("tiny_single"),
    "tiny_multi": GRPO | FIXED | trained_on("tiny_multi"),
    "tiny_inverted": GRPO | FIXED | trained_on("tiny_inverted"),
    "table3_single_choice": trained_on("clevrer_train_single"),
    "table3_multi_choice": {},
    "table3_fixed": FIXED,
    "table3_soft": {},
    "table3_fixed_grpo": GRPO | FIXED,
    "table3_fixed_tw_grpo": FIXED,
    "table3_soft_grpo": GRPO,
    "table3_alpha0": UNWEIGHTED,
    "table3_soft_tw_grpo": {},
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
MODELS = {
    "table1_zero_shot": "Qwen/Qwen2.5-VL-7B-Instruct",
    "table1_cot": "Qwen/Qwen2.5-VL-7B-Instruct",
    "table1_sft": "Video-R1/Qwen2.5-VL-7B-COT-SFT",
    "table1_video_r1": "Video-R1/Video-R1-7B",
    "table1_videochat_r1": "OpenGVLab/VideoChat-R1_7B",
}
QUOTED = {f"table1_{name}" for name in ("llama_vid", "videollama2", "longva", "video_utr", "kangaroo")}
# The base itself, as PAPER.md section 4 has the published run: rows that are the base say these values of their table.
BASE = {
    "algorithm.adv_estimator": "tw_grpo",
    "actor_rollout_ref.rollout.n": 8,
    "actor_rollout_ref.rollout.temperature": 1.0,
    "actor_rollout_ref.rollout.top_k": 50,
    "actor_rollout_ref.rollout.top_p": 1,
    "actor_rollout_ref.actor.optim.lr": 1e-6,
    "actor_rollout_ref.actor.optim.lr_scheduler_type": "linear",
    "actor_rollout_ref.actor.optim.lr_warmup_steps_ratio": 0.0,
    "actor_rollout_ref.actor.optim.weight_decay": 0,
    "actor_rollout_ref.actor.grad_clip": 20,
    "actor_rollout_ref.actor.freeze_vision_tower": True,
    "actor_rollout_ref.actor.use_kl_loss": False,
    "data.max_prompt_length": 4096,
    "data.max_response_length": 4096,
    "data.train_batch_size": 2,
    "trainer.n_gpus_per_node": 2,
    "trainer.total_training_steps": 500,
}


def launched(launcher=catalogue.LAUNCHER, **variables):
    """The overrides a launch script would give to verl."""
    clean = {name: value for name, value in os.environ.items() if name not in ("ROW", "OUTPUT_DIR", "EXPERIMENT")}
    # Only the name of the experiment follows the row; a validation file of its own, so that nothing is held out.
    same = {"DRY_RUN": "args", "EXPERIMENT": "x", "PYTHON": sys.executable, "VAL_FILE": "data/validation.parquet"}
    script = ["bash", str(ROOT / launcher)]
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


def test_every_row_is_trained_evaluated_or_quoted():
    rows = {row.name: row for row in catalogue.rows()}
    assert {name for name, row in rows.items() if row.overrides is not None} == SAYS.keys()
    assert {name: row.model for name, row in rows.items() if row.model} == MODELS
    assert rows.keys() - SAYS.keys() - MODELS.keys() == QUOTED


def test_every_printed_number_has_its_row():
    for table in catalogue.tables():
        claimed = {row.label: row.published for row in table.rows if row.published}
        assert claimed == TABLES.get(table.title, {})
        assert all(len(numbers) == len(table.columns) for numbers in claimed.values())
    assert [table.title for table in catalogue.tables() if table.title in TABLES] == list(TABLES)


@pytest.mark.parametrize("name", MODELS)
def test_a_row_that_is_evaluated_composes(name):
    done = launched(catalogue.EVALUATION, MODEL=MODELS[name], DRY_RUN="args")
    overrides = [*done.stdout.splitlines(), "data.train_files=x.parquet", "data.val_files=x.parquet"]
    assert composed(overrides)["actor_rollout_ref.model.path"] == MODELS[name]


def test_a_row_with_its_own_training_file_holds_questions_out_of_that_file(tmp_path):
    """Not out of the base's: the validation would ask about training videos."""
    done = launched(ROW="table2_star_qai", VAL_FILE="", DRY_RUN="1", OUTPUT_DIR=str(tmp_path / "out"))
    assert done.returncode == 2 and "data/star_train_qai.parquet: no parquet" in done.stderr
    overrides = launched(ROW="table2_star_qai", VAL_FILE="", OUTPUT_DIR="/o").stdout.splitlines()
    files = [override for override in overrides if override.startswith("data.train_files=")]
    assert files == ["data.train_files=/o.data/train.parquet"]


@pytest.mark.parametrize("name", SAYS)
def test_a_row_differs_from_the_base_in_what_it_says(base, name):
    overrides = launched(ROW=name).stdout.splitlines()
    row = composed(overrides)
    missing = object()
    found = {key: (base.get(key, missing), row.get(key, missing)) for key in base.keys() | row.keys()}
    differs = {key: value for key, (before, value) in found.items() if before != value}
    assert differs == SAYS[name]


def test_rows_with_the_same_settings_are_run_once():
    once = {catalogue.runs_as(row).name for row in catalogue.trained(list(SAYS))}
    settings = {tuple(sorted((key, str(value)) for key, value in says.items())) for says in SAYS.values()}
    assert len(once) == len(settings)
    assert catalogue.runs_as(*catalogue.rows(["tablea1_g8"])).name == "table1_tw_grpo"


@pytest.mark.skipif(not VIDEO.exists(), reason="the shared CLEVRER video is not here")
def test_the_bases_data_command_gives_the_frames_of_the_published_run():
    """10 frames of 308 x 476, 935 video tokens (PAPER.md section 4)."""
    os.environ.setdefault("FORCE_QWENVL_VIDEO_READER", "decord")  # read when it is imported
    torchvision_operators.install()
    from qwen_vl_utils import fetch_video

    words = shlex.split(catalogue.training_sets()[catalogue.BASE_FILE].command)
    fps, pixels = (float(words[words.index(option) + 1]) for option in ("--fps", "--max-pixels"))
    video = fetch_video({"video": f"file://{VIDEO}", **sampling_options(16, int(pixels), fps=fps)})
    assert video.shape == (10, 3, 308, 476) and 10 // 2 * (308 // 28) * (476 // 28) == 935


def test_a_row_that_does_not_exist_is_one_line():
    done = launched(ROW="table9")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "table9 is no row of the paper" in done.stderr
    done = launched(ROW="table1_sft")
    assert (done.returncode, done.stdout) == (2, "") and "table1_sft is a row of the paper that is not" in done.stderr
    with pytest.raises(UserError, match="did you mean tablea1_g8"):
        catalogue.rows(["tablea1_g9"])


def test_the_index_is_what_the_rows_say():
    assert (ROOT / "docs/paper_index.md").read_text() == index.index(), "python -m examples.paper.index > docs/…"
