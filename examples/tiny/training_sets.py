# SPDX-License-Identifier: Apache-2.0
"""The tiny world's counterpart of the paper's Table 2: three training sets with the same number of questions.

single: the questions with one right option; multi: as many of all questions; inverted: those of `single`, each asked
the other way round with probability 0.5, by data_prep's own inversion. The same command writes all three.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pyarrow.parquet as pq

from data_prep import clevrer_counterfactual
from data_prep.read import clevrer
from recipe.tw_grpo.toolbox.errors import UserError

SETS = {
    "single": ("--answers", "one"),
    "multi": (),
    "inverted": ("--answers", "one", "--invert-probability", "0.5"),
}


def make_training_sets(world: Path, folder: Path) -> dict[str, Path]:
    """Write FOLDER/NAME.parquet for every name of SETS; same world, same bytes.

    Args:
        world: folder of examples.tiny.toy_clevrer.
        folder: where the files go; made if it is not there.

    Raises:
        UserError: the world has no question with one right option, or the sets do not come out equally large.
    """
    path, _ = clevrer.find_annotations(world, "train")
    size = sum(len(question.right) == 1 for question in clevrer.read(path).questions)
    if not size:
        raise UserError(f"{path}: no question with exactly one right option")
    files = {name: folder / f"{name}.parquet" for name in SETS}
    for name, options in SETS.items():
        arguments = ["--annotations", str(world), "--split", "train", "--video-root", str(world), "--num-frames", "2"]
        arguments += ["--data-source", "toy_clevrer", "--limit", str(size), "--output", str(files[name]), *options]
        with contextlib.redirect_stdout(io.StringIO()):
            clevrer_counterfactual.main(arguments)
        if (written := pq.read_metadata(files[name]).num_rows) != size:
            raise UserError(f"{files[name]} has {written} questions, the set `single` {size}")
    return files
