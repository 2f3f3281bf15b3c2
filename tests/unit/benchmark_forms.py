# SPDX-License-Identifier: Apache-2.0
"""Small files in the published forms of the benchmarks, with questions written for the tests; the right text is known.

The forms themselves were learned from the published files, see docs/data.md.
"""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq

LETTERS = "ABCDEFGH"
# (video, question, options, position of the right option)
FACTS = [
    ("v1", "What does the man throw?", ["a red ball", "a hat. No, two", "a stone"], 1),
    ("v1", "Who leaves first?", ["the girl", "the boy", "nobody"], 0),
    ("v2", "Where is the cat? Look twice", ["on the mat", "under it", "in the (A) box"], 2),
]
TRUTH = [options[right] for _, _, options, right in FACTS]


def dump(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def video_r1_records():
    return [
        {
            "problem_id": number,
            "problem": question,
            "data_type": "video",
            "problem_type": "multiple choice",
            "options": [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)],
            "solution": f"<answer>{LETTERS[right]}</answer>",
            "path": f"./Evaluation/Some/{video}.mp4",
        }
        for number, (video, question, options, right) in enumerate(FACTS)
    ]


def mmvu_records():
    records = [
        {
            "id": f"validation_{number}",
            "video": f"https://example.org/datasets/MMVU/resolve/main/videos/Art/{video}.mp4",
            "youtube_url": "https://example.org/watch",
            "question_type": "multiple-choice",
            "metadata": {"subject": "Art"},
            "question": question,
            "choices": dict(zip(LETTERS, options, strict=False)),
            "answer": LETTERS[right],
        }
        for number, (video, question, options, right) in enumerate(FACTS)
    ]
    return [*records, {**records[0], "id": "validation_9", "question_type": "open-ended", "answer": "Noir"}]


def mvbench_records():
    return [
        {"video": f"{video}.mp4", "question": question, "candidates": options, "answer": options[right], "start": 1.5,
         "end": 4.0}
        for video, question, options, right in FACTS
    ]  # fmt: skip


def videomme_rows():
    return [
        {
            "video_id": f"{number:03d}",
            "videoID": video,
            "question_id": f"{number:03d}-1",
            "question": question,
            "options": [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)],
            "answer": LETTERS[right],
        }
        for number, (video, question, options, right) in enumerate(FACTS)
    ]


def tempcompass(task):
    """One file of the data set's own form; its answers are lines of its questions."""
    content = {}
    for video, question, options, right in FACTS:
        if task == "yes_no":
            record = {"question": question, "answer": ["yes", "no"][right % 2]}
        elif task == "multi-choice":
            lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
            record = {"question": "\n".join([question, *lines]), "answer": lines[right]}
        elif task == "caption_matching":
            lines = [f"Option {number + 1}: {option}" for number, option in enumerate(options)]
            record = {"question": "\n".join([question, *lines]), "answer": lines[right]}
        else:
            pieces = [
                f"Information {letter}: {{'subject': 'x', 'order': {option!r}}}"
                for letter, option in zip(LETTERS, options, strict=False)
            ]
            record = {
                "question": "\n".join([question, *pieces, "Generated Caption:"]),
                "answer": f"{LETTERS[right]}. {options[right]}",
            }
        content.setdefault(video, {}).setdefault("order", []).append(record)
    return content


def nextgqa_rows(index=False):
    header = "video_id,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4".split(",")
    rows = []
    for number, (video, question, options, right) in enumerate(FACTS):
        five = [*options, "something else", "nothing"]
        rows.append([video, 100, 640, 480, question, right if index else options[right], number, "TN", *five])
    return [header, *rows]


def clevrer_scenes():
    scenes = {}
    for number, (video, question, options, right) in enumerate(FACTS):
        choices = [
            {"choice_id": i, "choice": option, "answer": "correct" if i == right else "wrong"}
            for i, option in enumerate(options)
        ]
        scene = scenes.setdefault(video, {"scene_index": int(video[1:]), "video_filename": f"{video}.mp4"})
        asked = {"question_id": number, "question": question, "question_type": "counterfactual", "choices": choices}
        scene.setdefault("questions", []).append(asked)
    return list(scenes.values())


def write_csv(path, rows, delimiter=","):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def make(benchmark, form, folder):
    """Annotations of `benchmark` in `form` ("published" or "video_r1") below `folder`."""
    if form == "video_r1":
        return dump(folder / f"eval_{benchmark}.json", video_r1_records())
    if benchmark == "mmvu":
        return dump(folder / "validation.json", mmvu_records())
    if benchmark == "mvbench":
        dump(folder / "mvbench" / "json" / "action_sequence.json", mvbench_records())
        return folder / "mvbench"
    if benchmark == "videomme":
        pq.write_table(pa.Table.from_pylist(videomme_rows()), folder / "test.parquet")
        return folder / "test.parquet"
    if benchmark == "tempcompass":
        for task in ("multi-choice", "caption_matching", "captioning"):
            dump(folder / "tempcompass" / "questions" / f"{task}.json", tempcompass(task))
        return folder / "tempcompass"
    if benchmark == "nextgqa":
        dump(folder / "map_vid_vidorID.json", {"v1": "0001/v1"})
        return write_csv(folder / "test.csv", nextgqa_rows())
    return dump(folder / "validation.json", clevrer_scenes())
