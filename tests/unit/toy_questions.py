# SPDX-License-Identifier: Apache-2.0
"""Five questions about three videos as data_prep writes them, and lines of verl's validation dump that answer them."""

from pathlib import Path

from data_prep.videos.sampling import sampling_options
from data_prep.write.schema import arrow_schema, build_record, write_parquet

RIGHT = [(0,), (0, 2), (1,), (1, 2), (2,)]
OPTIONS = ["it falls", "it rolls", "it stops"]


def make_parquet(path, *, fps=None, resized=None):
    """Five questions about three videos, truths A / A,C / B / B,C / C."""
    sampling = sampling_options(16, fps=fps, resized=resized)
    lines = "\n".join(f"{letter}. {option}" for letter, option in zip("ABC", OPTIONS, strict=True))
    records = [
        build_record(
            data_source="toy",
            prompt=f"<video>Without it, what happens to object {number}?\n{lines}\nAnswer.",
            video=Path(f"/videos/{number // 2}.mp4"),
            sampling=sampling,
            right=right,
            extra_info={
                "index": number,
                "scene": number // 2,
                "question_id": number,
                "question": "?",
                "options": OPTIONS,
                "split": "validation",
                "video": f"{number // 2}.mp4",
            },
        )
        for number, right in enumerate(RIGHT)
    ]
    write_parquet(records, arrow_schema(sampling), path, {})
    return path


def line(index, truth, answer="A"):
    question = f"user\nWithout it, what happens to object {index}?\nA. it falls\nB. it rolls\nC. it stops\nAnswer."
    return {"input": question, "output": f"<answer>{answer}</answer>", "gts": truth, "score": 1.0, "index": str(index)}


TRUTHS = ["A", "A,C", "B", "B,C", "C"]
WHOLE = [line(i, truth) for i, truth in enumerate(TRUTHS)]
