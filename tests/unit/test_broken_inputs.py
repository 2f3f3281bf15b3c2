# SPDX-License-Identifier: Apache-2.0
"""Files that are cut, mixed up or hold other values, given to every command that reads one: a result, or one line.

`pytest tests/unit/test_broken_inputs.py -m slow -s` tries ten thousand a command and prints the counts.
"""

import copy
import json
import random
from collections import Counter
from pathlib import Path

import benchmark_forms as forms
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damage import inside, spots

from data_prep import benchmarks, clevrer_counterfactual, own, qai_nextgqa, qai_star
from data_prep.check.__main__ import main as check
from data_prep.write import hold_out
from recipe.tw_grpo.runs.recompute import read_groups
from recipe.tw_grpo.scoring.__main__ import main as score
from recipe.tw_grpo.toolbox.errors import UserError, one_line

VALUES = [
    None,
    True,
    0,
    -1,
    1e308,
    float("nan"),
    "",
    "A",
    "(C)",
    "ä\u202e",
    "x\0y",
    [],
    {},
    [None],
    {"a": []},
    "2.8E+09",
]
LOG = Path(__file__).with_name("log_forms")
OWN = {"id": "1", "video": "a.mp4", "question": "What?", "options": ["x", "y", "z"], "answers": ["C", "A"]}
STAR = {"question_id": "Interaction_T1_1", "question": "Which?", "video_id": "v0", "start": 0.5, "end": 1.5,
        "choices": [{"choice_id": i, "choice": text} for i, text in enumerate(["The box.", "The bag."])],
        "answer": "The bag."}  # fmt: skip
ROLLOUT = {"input": "q", "output": "<answer>A</answer>", "gts": "A", "score": 2.0, "uid": "u_0_0", "index": 3,
           "prompt_ids": [1, 2], "response_ids": [3, 4], "token_divergence": [0.0, 0.1],
           "token_weights": [1.0, 1.7]}  # fmt: skip
RECORD = {"data_source": "own", "prompt": [{"role": "user", "content": "<video>What?\nA. x\nB. y"}], "ability": "v",
          "videos": [{"video": "file:///v.mp4", "nframes": 4}], "reward_model": {"style": "rule", "ground_truth": "A"},
          "extra_info": {"index": 0, "options": ["x", "y"], "split": "train"}}  # fmt: skip

LATER = ["--video-root", ".", "--videos-later", "--output", "out.parquet"]


def text(*records) -> bytes:
    return "\n".join(map(json.dumps, records)).encode() + b"\n"


def table() -> bytes:
    sink = pa.BufferOutputStream()
    rows = [{**RECORD, "videos": [{"video": f"file:///v{i}.mp4", "nframes": 4}]} for i in range(4)]
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


# name: (name of the file, its good content, what is done with its path)
COMMANDS = {
    "qai_nextgqa": ("a.json", lambda: json.dumps(forms.video_r1_records()).encode(),
                    lambda p: qai_nextgqa.main(["--annotations", p, *LATER])),
    "qai_star": ("a.json", lambda: json.dumps([STAR]).encode(), lambda p: qai_star.main(["--annotations", p, *LATER])),
    "clevrer_counterfactual": ("train.json", lambda: json.dumps(forms.clevrer_scenes()).encode(),
                               lambda p: clevrer_counterfactual.main(["--annotations", p, *LATER])),
    "benchmarks": ("mmvu.json", lambda: json.dumps(forms.mmvu_records()).encode(),
                   lambda p: benchmarks.main(["--benchmark", "mmvu", "--annotations", p, *LATER])),
    "own": ("q.jsonl", lambda: text(OWN, {**OWN, "id": "2"}), lambda p: own.main([p, *LATER])),
    "check": ("d.parquet", table, lambda p: check([p])),
    "hold_out": ("d.parquet", table, lambda p: hold_out.main([p, "--questions", "1", "--train", "t.parquet",
                                                              "--validation", "v.parquet"])),
    "score": ("log.jsonl", lambda: (LOG / "lmms_eval_mmvu.jsonl").read_bytes(), lambda p: score([p])),
    "score json": ("log.json", lambda: (LOG / "video_r1.json").read_bytes(), lambda p: score([p])),
    "score tsv": ("log.tsv", lambda: (LOG / "vlmevalkit_mvbench.tsv").read_bytes(), lambda p: score([p])),
    "compare": ("a.jsonl", lambda: (LOG / "verl_generation.jsonl").read_bytes(),
                lambda p: score(["compare", p, str(LOG / "verl_generation.jsonl")])),
    "recompute": ("1.jsonl", lambda: text(ROLLOUT, ROLLOUT), lambda p: read_groups(Path(p))),
}  # fmt: skip


def broken(good: bytes, draw: random.Random) -> bytes:
    """The file cut, with other bytes, lines twice, or other values in its JSON."""
    kind = draw.randrange(6)
    if kind == 0:
        return good[: draw.randrange(len(good))]
    if kind == 1:
        changed = bytearray(good)
        for _ in range(draw.randint(1, 4)):
            changed[draw.randrange(len(good))] = draw.randrange(256)
        return bytes(changed)
    if kind == 2:
        lines = good.split(b"\n")
        lines.insert(draw.randrange(len(lines)), draw.choice(lines))
        return b"\n".join(lines)
    try:
        values = [json.loads(good)]
        whole = True
    except ValueError:
        try:
            values, whole = [json.loads(line) for line in good.split(b"\n") if line], False
        except ValueError:  # no JSON
            return good[: draw.randrange(len(good))] + draw.randbytes(draw.randint(0, 8))
    values = copy.deepcopy(values)
    for _ in range(draw.randint(1, 3)):
        number = draw.randrange(len(values))
        places = [spot for spot in spots(values[number]) if spot]
        if not places:
            continue
        *path, last = draw.choice(places)
        node = inside(values[number], path)
        if draw.random() < 0.3:
            del node[last]
        else:
            node[last] = draw.choice(VALUES)
    return json.dumps(values[0]).encode() if whole else text(*values)


def try_all(name: str, count: int, folder: Path) -> Counter:
    file, make, use = COMMANDS[name]
    good, path, outcomes = make(), folder / file, Counter()
    path.write_bytes(good)
    use(str(path))  # so that what is refused below is refused because it is broken
    outputs(folder, file)
    for number in range(count):
        path.write_bytes(broken(good, random.Random(f"{name} {number}")))
        before = {p.name for p in folder.iterdir()}
        try:
            use(str(path))
            outcomes["result"] += 1
        except UserError as error:
            assert one_line(error), (name, number)  # as `stop` prints it
            new = {p.name for p in folder.iterdir()} - before
            assert not new, (name, number, f"refused, but {new} is there")
            outcomes["one line"] += 1
        except SystemExit as error:
            assert error.code in (0, 1, 2, None), (name, number)
            outcomes["exit code"] += 1
        except Exception as error:
            raise AssertionError(f"{name}, input {number}: {type(error).__name__}: {error}") from error
        outputs(folder, file)
    return outcomes


def outputs(folder: Path, file: str) -> None:
    """Take away what a command has written."""
    for left in folder.iterdir():
        if left.name != file:
            left.unlink()


@pytest.mark.parametrize("name", COMMANDS)
def test_broken_inputs_give_a_result_or_one_line(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert sum(try_all(name, 25, tmp_path).values()) == 25


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_ten_thousand_broken_inputs(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    outcomes = try_all(name, 10_000, tmp_path)
    with capsys.disabled():
        print(f"\n{name}: {sum(outcomes.values()):,} broken inputs: {dict(outcomes)}")
