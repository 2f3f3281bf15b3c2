# SPDX-License-Identifier: Apache-2.0
"""Misspelt variables of the launch script are named; variables of their own are left alone."""

import re
from pathlib import Path

import pytest

from recipe.tw_grpo.doctor.environment import VARIABLES, misspelt

ROOT = Path(__file__).resolve().parents[2]


def test_the_list_is_what_the_script_reads():
    text = (ROOT / "examples/run_qwen25vl_7b_twgrpo.sh").read_text()
    assert set(re.findall(r"^([A-Z_]+)=\$\{\1:-", text, re.MULTILINE)) == set(VARIABLES)


@pytest.mark.parametrize(
    "wrong, right",
    [
        ("TRIAN_FILE", "TRAIN_FILE"),
        ("GPUS_PER_NOD", "GPUS_PER_NODE"),
        ("DRYRUN", "DRY_RUN"),
        ("MODELPATH", "MODEL_PATH"),
        ("STEP", "STEPS"),
        ("OUTPUT_DIRS", "OUTPUT_DIR"),
    ],
)
def test_a_near_miss_is_named_unless_the_right_one_is_set(wrong, right):
    (line,) = misspelt({wrong: "x", "PATH": "/bin"})
    assert line.startswith(f"{wrong}=x ") and f"did you mean {right}" in line
    assert not list(misspelt({wrong: "x", right: "y"}))


@pytest.mark.parametrize("name", ["HOME", "PATH", "OUT", "SEED", "ROWS", "DEVICE", "MODEL", "PYTHON", "SLURM_NNODES"])
def test_other_variables_are_left_alone(name):
    assert not list(misspelt({name: "x"}))
