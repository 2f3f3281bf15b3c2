# SPDX-License-Identifier: Apache-2.0
"""The report of a run: numbers checked by hand on small runs written here in verl's own file formats, torn files, the
pictures, the command, and every user's mistake. The statistics are in test_report_statistics.py.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import matplotlib
import matplotlib.image
import numpy as np
import pytest

from recipe.tw_grpo.report import figures, reading, run_report
from recipe.tw_grpo.report.__main__ import main
from recipe.tw_grpo.toolbox.command_line import run_main

ROOT = Path(__file__).resolve().parents[2]


def tagged(letters: str) -> str:
    return f"<think>x</think><answer>{letters}</answer>"


def line(uid: str, output: str, gts: str, score: float, weights: list[float] | None = None, **more) -> dict:
    """One line of verl's dump, with the columns of adv_estimator=tw_grpo when it has weights."""
    record = {"input": f"question {gts}", "output": output, "gts": gts, "score": score, "step": 1, "uid": uid}
    if weights is not None:
        record |= {"prompt_ids": [5], "response_ids": list(range(len(weights))), "token_weights": weights}
        record |= {"token_divergence": [0.0] * len(weights)}
    return record | more


def write_run(out: Path, rollouts: dict[int, list[dict]], metrics: dict[str, list] | None = None, **settings) -> Path:
    """Rollouts by step, metric files by name as [(step, data)], and run.json when there are settings."""
    (out / "rollouts").mkdir(parents=True)
    for step, records in rollouts.items():
        text = "".join(json.dumps(record | {"step": step}, ensure_ascii=False) + "\n" for record in records)
        (out / "rollouts" / f"{step}.jsonl").write_text(text, encoding="utf-8")
    for name, rows in (metrics or {}).items():
        (out / "metrics").mkdir(exist_ok=True)
        lines = [json.dumps({"step": step, "data": data}) for step, data in rows]
        (out / "metrics" / name).write_text("\n".join(lines) + "\n")
    if settings:
        (out / "run.json").write_text(json.dumps(settings))
    return out


def two_answers(step: int, first: str, second: str, weights: bool = True) -> list[dict]:
    """A group of two responses to a question whose right letters are A and C."""
    worth = {"A": 1.5, "B": 1.0, "A, C": 2.0}
    rows = [[1.0, 1.7], [1.0, 1.7, 1.2]] if weights else [None, None]
    return [
        line(f"u{step}_{i}_0", tagged(answer), "A,C", worth[answer], rows[i])
        for i, answer in enumerate((first, second))
    ]


def small_run(out: Path, weights: bool = True, **settings) -> Path:
    """Ten steps of one group: 1.5 and 1.0, in the last fifth 2.0 and 2.0."""
    steps = {step: two_answers(step, "A", "B", weights) for step in range(1, 9)}
    steps |= {step: two_answers(step, "A, C", "A, C", weights) for step in (9, 10)}
    lengths = {"response_length/mean": 7.0, "response_length/min": 5.0, "response_length/max": 9.0}
    failed = {"tw_grpo/failed_prompts": 1.0, "tw_grpo/failed_responses": 9.0}  # in each step
    metrics = {"1.jsonl": [(step, {"timing_s/step": float(step), **lengths, **failed}) for step in range(1, 11)]}
    return write_run(out, steps, metrics, **({"estimator": "tw_grpo", "seed": 3, "steps": 10} | settings))


def summary_of(out: Path) -> dict:
    return run_report.summarize(reading.read_run(out))


# ---------------------------------------------------------------------------------------------------- numbers


def test_numbers_of_a_small_run_by_hand(tmp_path):
    run = reading.read_run(small_run(tmp_path / "run"))
    summary = run_report.summarize(run)
    assert run.notes == []
    expected = {
        "estimator": "tw_grpo",
        "seed": 3,
        "steps": 10,
        "steps_asked": 10,
        "responses": 20,
        "groups": 10,
        "reward_mean_first_fifth": 1.25,
        "reward_mean_last_fifth": 2.0,
        "reward_rise": 0.75,
        "reward_rise_interval": None,  # one prompt in each fifth
        "soft_acc_first_fifth": 0.25,
        "soft_acc_last_fifth": 1.0,
        "acc_first_fifth": 0.0,
        "acc_last_fifth": 1.0,
        "format_first_fifth": 1.0,
        "format_last_fifth": 1.0,
        "response_length_first_fifth": 2.5,
        "dead_group_rate": 0.2,
        "seconds_per_step": 5.5,
        "failed_prompts": 10,
        "failed_responses": 90,
        "token_weight_max": 1.7,
        "best_constant_reward": 2.0,
        "best_constant_answer": "A,C",
        "report": "report.png",
    }
    assert {key: summary[key] for key in expected} == expected
    assert summary["token_weight_mean"] == pytest.approx((1.0 + 1.7 + 1.0 + 1.7 + 1.2) / 5)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_series_by_hand(tmp_path):
    series = run_report.per_step(reading.read_run(small_run(tmp_path / "run")))
    assert series["step"].tolist() == list(range(1, 11))
    assert series["reward"].tolist() == [1.25] * 8 + [2.0] * 2
    assert series["reward_std"].tolist() == [0.25] * 8 + [0.0] * 2
    assert series["dead_group_rate"].tolist() == [0.0] * 8 + [1.0] * 2
    assert series["response_length_min"].tolist() == [2.0] * 10
    assert series["response_length_max"].tolist() == [3.0] * 10


def test_steps_are_ordered_as_numbers(tmp_path):
    out = write_run(tmp_path / "run", {2: two_answers(2, "A", "B"), 10: two_answers(10, "A, C", "A, C")})
    run = reading.read_run(out)
    assert run.steps == [2, 10] and run.weight_map.step == 10
    assert any("no responses of 7 steps (first: 3)" in note for note in run.notes)


def test_plain_grpo_has_no_weights_and_takes_lengths_from_the_logs(tmp_path):
    run = reading.read_run(small_run(tmp_path / "run", weights=False, estimator="grpo"))
    summary = run_report.summarize(run)
    assert run.notes == [] and run.weight_map is None
    assert summary["token_weight_mean"] is None and summary["token_weight_max"] is None
    assert summary["response_length_first_fifth"] == summary["response_length_last_fifth"] == 7.0
    assert run_report.per_step(run)["response_length_max"].tolist() == [9.0] * 10
    assert summary["reward_rise"] == 0.75


def test_a_run_not_started_by_our_scripts(tmp_path):
    summary = summary_of(write_run(tmp_path / "run", {1: two_answers(1, "A", "B")}))
    assert summary["estimator"] == "tw_grpo" and summary["seed"] is None and summary["seconds_per_step"] is None
    assert any("run.json is missing" in note for note in summary["notes"])


def test_placeholder_rows_of_verl_do_not_count(tmp_path):
    records = [*two_answers(1, "A", "B"), line("pad" + "0f" * 16 + "_0_0", "", "A,C", 0.0, [1.0])]
    run = reading.read_run(write_run(tmp_path / "run", {1: records}, seed=0))
    assert len(run.responses) == 2 and run_report.summarize(run)["groups"] == 1


def test_equal_uids_of_different_steps_are_different_groups(tmp_path):
    steps = {
        1: two_answers(1, "A", "A"),
        2: [r | {"uid": r["uid"].replace("u2", "u1")} for r in two_answers(2, "B", "B")],
    }
    assert summary_of(write_run(tmp_path / "run", steps))["dead_group_rate"] == 1.0


def test_later_starts_win_in_the_logs_and_9_comes_before_10(tmp_path):
    metrics = {
        "10.jsonl": [(2, {"timing_s/step": 30.0}), (3, {"timing_s/step": 40.0})],
        "9.jsonl": [(1, {"timing_s/step": 1.0}), (2, {"timing_s/step": 2.0, "other": "text"})],
    }
    run = reading.read_run(write_run(tmp_path / "run", {1: two_answers(1, "A", "B")}, metrics, seed=0))
    assert {step: data["timing_s/step"] for step, data in run.metrics.items()} == {1: 1.0, 2: 30.0, 3: 40.0}
    assert run_report.summarize(run)["seconds_per_step"] == 30.0


def test_heat_map_is_the_last_steps_group_with_the_widest_weights(tmp_path):
    narrow = [line(f"n_{i}_0", tagged("A"), "A", 2.0, [1.0, 1.1]) for i in range(2)]
    wide = [line("w_0_0", tagged("B"), "A", 1.0, [1.0, 1.7]), line("w_1_0", tagged("A"), "A", 2.0, [1.0, 1.7, 1.1])]
    earlier = [line(f"e_{i}_0", tagged("A"), "A", 2.0, [0.0, 5.0]) for i in range(2)]
    chosen = reading.read_run(write_run(tmp_path / "run", {1: earlier, 2: [*narrow, *wide]})).weight_map
    assert chosen.step == 2 and chosen.scores == [2.0, 1.0] and chosen.answers == ["A", "B"]
    assert [row.tolist() for row in chosen.weights] == [[1.0, 1.7, 1.1], [1.0, 1.7]]


def test_scores_that_the_reward_does_not_explain_are_said_and_reward_kwargs_explain_them(tmp_path):
    steps = {1: [line(f"u_{i}_0", tagged("A"), "A,C", 0.25, [1.0]) for i in range(2)]}
    said = "2 of 2 scores are not those of this reward"
    assert any(said in note for note in summary_of(write_run(tmp_path / "a", steps, seed=0))["notes"])
    settings = {"accuracy_weight": 0.5, "format_weight": 0.0}
    explained = summary_of(write_run(tmp_path / "b", steps, seed=0, reward_kwargs=settings))
    assert not any(said in note for note in explained["notes"])
    assert explained["best_constant_reward"] == 0.5 and explained["constant_rewards"]["A"] == 0.25


def test_truth_without_letters_leaves_the_reward_and_drops_the_accuracy(tmp_path):
    records = [line(f"u_{i}_0", "it moves left", "right", 0.3 * i) for i in range(2)]
    summary = summary_of(write_run(tmp_path / "run", {1: records}, estimator="grpo"))
    assert summary["reward_mean_last_fifth"] == pytest.approx(0.15)
    assert summary["acc_last_fifth"] is None and summary["best_constant_reward"] is None
    assert any("2 of 2 responses have no right letters" in note for note in summary["notes"])


# ------------------------------------------------------------------------------------------------- torn files


def test_a_torn_last_line_is_named_and_left_out(tmp_path):
    out = small_run(tmp_path / "run")
    path = out / "rollouts" / "10.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    run = reading.read_run(out)
    assert run.notes == [f"{path}: line 2 of 2 is not complete JSON (run killed while writing?), left out"]
    assert len(run.responses) == 19 and run.steps == list(range(1, 11))


def test_a_file_cut_anywhere_costs_only_the_line_that_is_cut(tmp_path):
    out = small_run(tmp_path / "run")
    path = out / "rollouts" / "10.jsonl"
    records = map(json.loads, path.read_text().splitlines())
    lines = [json.dumps(record | {"input": "é"}, ensure_ascii=False).encode() for record in records]
    whole = b"\n".join(lines) + b"\n"
    for cut in range(0, len(whole), 7):
        path.write_bytes(whole[:cut])
        run = reading.read_run(out)
        complete = (cut >= len(lines[0])) + (cut >= len(whole) - 1)
        on_border = cut in (len(lines[0]), len(lines[0]) + 1, len(whole) - 1)
        assert len(run.responses) == 18 + complete
        assert len(run.notes) == (0 if on_border else 1) and all(str(path) in note for note in run.notes)


def test_torn_logs_are_named_and_left_out(tmp_path):
    out = small_run(tmp_path / "run")
    path = out / "metrics" / "1.jsonl"
    path.write_text(path.read_text() + '{"step": 11, "da')
    summary = summary_of(out)
    assert summary["seconds_per_step"] == 5.5
    assert summary["notes"] == [f"{path}: line 11 of 11 is not complete JSON (run killed while writing?), left out"]


def test_scores_that_are_not_finite_are_named_and_left_out(tmp_path):
    records = [*two_answers(1, "A", "B"), line("u1_2_0", "", "A,C", math.nan, [1.0])]
    run = reading.read_run(write_run(tmp_path / "run", {1: records}, seed=0))
    assert len(run.responses) == 2
    assert any("1.jsonl: 1 scores are not finite (first: line 3), left out" in note for note in run.notes)


# --------------------------------------------------------------------------------------------- user's mistakes


def broken(tmp_path: Path, kind: str) -> Path:
    out = tmp_path / "run"
    if kind == "no folder":
        return out
    if kind == "no rollouts":
        out.mkdir()
        return out
    record = two_answers(1, "A", "B")[0]
    if kind == "uid missing":
        del record["uid"]
    if kind == "score is text":
        record["score"] = "high"
    if kind == "weights are text":
        record["token_weights"] = ["a"]
    if kind == "weights are not finite":
        record["token_weights"] = [math.nan, 1.0]
    write_run(out, {1: [record]}, {"1.jsonl": [(1, {})]}, seed=1)
    if kind == "run.json torn":
        (out / "run.json").write_text('{"seed": 1')
    if kind == "run.json a list":
        (out / "run.json").write_text("[1]")
    if kind == "reward setting unknown":
        (out / "run.json").write_text('{"reward_kwargs": {"acuracy": "soft"}}')
    if kind == "all rollouts torn":
        (out / "rollouts" / "1.jsonl").write_text('{"input": "a"')
    if kind == "logs of something else":
        (out / "metrics" / "1.jsonl").write_text('{"loss": 1}\n')
    return out


MISTAKES = {
    "no folder": "trainer.rollout_data_dir",
    "no rollouts": "trainer.rollout_data_dir",
    "uid missing": "1.jsonl: line 1: 'uid'",
    "score is text": "1.jsonl: line 1: 'score'",
    "weights are text": "1.jsonl: line 1: 'token_weights'",
    "weights are not finite": "1.jsonl: line 1: 'token_weights'",
    "run.json torn": "run.json cannot be read as JSON",
    "run.json a list": "run.json must hold one object",
    "reward setting unknown": "did you mean accuracy?",
    "all rollouts torn": "no complete response",
    "logs of something else": "1.jsonl: line 1: verl's file logger",
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_mistakes_give_one_line_and_exit_code_2(tmp_path, capsys, kind):
    out = broken(tmp_path, kind)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as stopped:
        run_main(main, [str(out)])
    printed = capsys.readouterr()
    assert stopped.value.code == 2
    assert printed.out == "" and printed.err.count("\n") == 1 and ": error: " in printed.err
    assert MISTAKES[kind] in printed.err
    assert sorted(tmp_path.rglob("*")) == before


# --------------------------------------------------------------------------------------- pictures, command line


def word_tokenizer(folder: Path, words: list[str]) -> Path:
    from tokenizers import Tokenizer, decoders, models

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[0]))
    tokenizer.decoder = decoders.Fuse()
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def pixels(path: Path) -> np.ndarray:
    return matplotlib.image.imread(path)[..., :3]


def test_command_writes_picture_summary_and_table(tmp_path, capsys):
    folder = word_tokenizer(tmp_path / "model", ["<think>", " A", "\n"])
    out = small_run(tmp_path / "run", tokenizer=str(folder))
    main([str(out)])
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert lines[0] == "tw_grpo, seed 3, 10 steps"
    assert lines[-1] == f"report: {out}/report.png"
    assert lines[-2] == f"page: {out}/report.html"
    assert lines[-3].startswith("reward changed by +0.75 between")
    assert lines[2].split() == ["reward", "1.250", "2.000", "+0.750", "-"]
    assert len({len(text) for text in lines[1:7]}) == 1  # aligned
    assert "prompts, responses that failed 10, 90" in [" ".join(line.split()) for line in lines]
    assert json.loads((out / "summary.json").read_text()) == summary_of(out)
    picture = pixels(out / "report.png")
    assert picture.shape[1] == 1400 and picture.std() > 0.05
    (folder / "tokenizer.json").unlink()
    main([str(out)])
    assert "nor the heat map has token texts" in capsys.readouterr().err
    assert (pixels(out / "report.png") != picture).any(axis=-1).sum() > 100  # the texts in the cells
    left = "metrics report.html report.png report.svg rollouts run.json summary.json"
    assert sorted(path.name for path in out.iterdir()) == left.split()


def test_grpo_has_a_page_without_the_heat_map(tmp_path):
    small_run(tmp_path / "tw")
    small_run(tmp_path / "grpo", weights=False, estimator="grpo")
    for name in ("tw", "grpo"):
        main([str(tmp_path / name)])
    with_map, without = pixels(tmp_path / "tw" / "report.png"), pixels(tmp_path / "grpo" / "report.png")
    assert without.std() > 0.05 and without.shape[0] < with_map.shape[0]
    yellow = np.array(matplotlib.colormaps["cividis"](1.0)[:3])  # the largest weight
    assert (np.abs(with_map - yellow).max(axis=-1) < 0.05).sum() > 1000
    assert (np.abs(without - yellow).max(axis=-1) < 0.05).sum() == 0


def test_one_step_has_a_page(tmp_path, capsys):
    out = write_run(tmp_path / "run", {7: two_answers(7, "A", "B")}, estimator="tw_grpo", seed=0, steps=60)
    main([str(out)])
    printed = capsys.readouterr()
    assert "tw_grpo, seed 0, 1 of 60 steps" in printed.out and "one step only" in printed.out
    assert pixels(out / "report.png").std() > 0.05


def test_tokens_are_shown_as_they_can_be_drawn(tmp_path):
    words = ["a$b$", " the", " ", "\n", "中", "<|endoftext|>", "\u0000"]
    record = line("u_0_0", "", "A", 0.0, [1.0] * 6 + [1.7])
    folder = word_tokenizer(tmp_path / "model", words)
    run = reading.read_run(write_run(tmp_path / "run", {1: [record]}, tokenizer=str(folder)))
    assert figures._token_texts(run, run.weight_map) == [["a$b$", "the", "␣", "↵", "□", "<|endoft…", "□"]]


def test_running_mean_by_hand():
    assert figures.running_mean(np.array([1.0, 2.0, 6.0, np.nan, 4.0]), 3).tolist()[:3] == [1.5, 3.0, 4.0]
    assert np.isnan(figures.running_mean(np.array([1.0, np.nan]), 3)[1])
    assert [run_report.window(n) for n in (1, 19, 20, 60, 500)] == [1, 1, 3, 7, 51]


def test_several_folders_give_one_table_and_one_picture(tmp_path, capsys):
    one, two = small_run(tmp_path / "one"), small_run(tmp_path / "two", weights=False, estimator="grpo", seed=4)
    main([str(one), str(two)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [str(one), str(two)]
    assert lines[1].split() == ["estimator", "tw_grpo", "grpo"] and lines[2].split() == ["seed", "3", "4"]
    assert lines[-1] == f"report: {one}/compare.png"
    assert pixels(one / "compare.png").std() > 0.05
    assert not (one / "summary.json").exists() and not (two / "compare.png").exists()


def test_neither_verl_nor_torch_nor_ray_is_imported(tmp_path):
    out = small_run(tmp_path / "run")
    code = (
        "import sys; from recipe.tw_grpo.report.__main__ import main; main(sys.argv[1:])\n"
        "print([name for name in ('verl', 'ray', 'torch', 'vllm', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(out)], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [f"report: {out}/report.png", "[]"]
