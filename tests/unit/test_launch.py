# SPDX-License-Identifier: Apache-2.0
"""Run folders and supervision: nothing is overwritten, nothing is left running, errors come out readable."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from examples.tiny.seeds import response_seed
from recipe.tw_grpo.runs.folder import differences, identity_of, prepare, reward_settings
from recipe.tw_grpo.toolbox.errors import UserError

IDENTITY = {"estimator": "tw_grpo", "seed": 1, "command": "x"}


def make_run(out, identity=IDENTITY, done=0):
    out.mkdir()
    (out / "run.json").write_text(json.dumps({"identity": identity}))
    if done:
        (out / "checkpoints").mkdir()
        (out / "checkpoints" / "latest_checkpointed_iteration.txt").write_text(str(done))


@pytest.mark.parametrize("resume", ["auto", "never"])
def test_a_new_folder_starts_at_zero(tmp_path, resume):
    assert prepare(tmp_path / "new" / "run", IDENTITY, 10, resume) == 0
    assert (tmp_path / "new" / "run").is_dir()


def test_an_interrupted_run_goes_on_where_its_checkpoint_is(tmp_path):
    make_run(tmp_path / "run", done=4)
    assert prepare(tmp_path / "run", IDENTITY, 10, "auto") == 4
    assert prepare(tmp_path / "run", IDENTITY, 10, "always") == 4


@pytest.mark.parametrize(
    "identity, done, steps, resume",
    [
        (IDENTITY | {"seed": 2}, 4, 10, "auto"),  # other settings
        (IDENTITY, 10, 10, "auto"),  # finished
        (IDENTITY, 0, 10, "auto"),  # no checkpoint yet
        (IDENTITY, 4, 10, "never"),  # told so
    ],
)
def test_starting_over_keeps_the_old_run(tmp_path, identity, done, steps, resume):
    make_run(tmp_path / "run", identity, done)
    make_run(tmp_path / "run.1")
    assert prepare(tmp_path / "run", IDENTITY, steps, resume) == 0
    assert json.loads((tmp_path / "run.2" / "run.json").read_text())["identity"] == identity
    assert not any((tmp_path / "run").iterdir())


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_text("cat")
    with pytest.raises(UserError, match="photos"):
        prepare(tmp_path / "photos", IDENTITY, 10, "auto")
    assert (tmp_path / "photos" / "cat.png").exists()


def test_resume_always_needs_something_to_resume(tmp_path):
    with pytest.raises(UserError, match="no run"):
        prepare(tmp_path / "run", IDENTITY, 10, "always")
    make_run(tmp_path / "run", IDENTITY | {"seed": 2}, 4)
    with pytest.raises(UserError, match="other settings"):
        prepare(tmp_path / "run", IDENTITY, 10, "always")


# --- runs of days: another run is refused, not moved aside


def test_a_run_with_other_settings_is_refused_with_what_differs(tmp_path):
    make_run(tmp_path / "run", {"settings": {"algorithm.tw_grpo.alpha": 0.7}, "repairs": ["a"]}, 4)
    now = {"settings": {"algorithm.tw_grpo.alpha": 0.3}, "repairs": ["a"]}
    with pytest.raises(UserError, match="algorithm.tw_grpo.alpha was 0.7, is 0.3.*RESUME=never"):
        prepare(tmp_path / "run", now, 10, "auto", "refuse")
    assert json.loads((tmp_path / "run/run.json").read_text())["identity"]["settings"]["algorithm.tw_grpo.alpha"] == 0.7
    assert prepare(tmp_path / "run", now, 10, "never", "refuse") == 0 and (tmp_path / "run.1/run.json").exists()


def test_a_finished_run_is_said_to_be_finished(tmp_path):
    make_run(tmp_path / "run", done=10)
    assert prepare(tmp_path / "run", IDENTITY, 10, "auto", "refuse") == 10
    assert prepare(tmp_path / "run", IDENTITY, 12, "auto", "refuse") == 10  # more steps: it goes on
    assert (tmp_path / "run/run.json").exists()


def composed(folder, lr=1e-6, steps=500, scheduler="constant", alpha=0.7, save=100, rows=b"rows"):
    data = folder / "train.parquet"
    data.write_bytes(rows)
    (folder / "config.yaml").write_text(
        f"""
algorithm: {{tw_grpo: {{alpha: {alpha}}}}}
data: {{train_files: {data}, val_files: [{data}]}}
actor_rollout_ref: {{actor: {{optim: {{lr: {lr}, lr_scheduler_type: {scheduler}}}}}}}
trainer: {{total_training_steps: {steps}, save_freq: {save}, logger: [console], default_local_dir: x}}
"""
    )
    return identity_of(folder / "config.yaml")


@pytest.mark.parametrize(
    "change, named",
    [
        ({}, []),
        ({"save": 7}, []),
        ({"steps": 800}, []),
        ({"alpha": 0.3}, ["algorithm.tw_grpo.alpha was 0.7, is 0.3"]),
        ({"rows": b"other rows"}, ["train.parquet was", "train.parquet was"][:1]),
    ],
)
def test_what_makes_two_runs_the_same(tmp_path, change, named):
    lines = differences(composed(tmp_path), composed(tmp_path, **change))
    assert len(lines) == len(named) and all(part in line for part, line in zip(named, lines, strict=True)), lines


def test_the_number_of_steps_counts_where_the_learning_rate_depends_on_it(tmp_path):
    (line,) = differences(composed(tmp_path, scheduler="cosine"), composed(tmp_path, scheduler="cosine", steps=800))
    assert line == "trainer.total_training_steps was 500, is 800"


def test_repairs_belong_to_a_run(tmp_path, monkeypatch):
    before = composed(tmp_path)
    monkeypatch.setenv("TW_GRPO_REPAIRS", "time-positions")
    assert any("repairs" in line for line in differences(before, composed(tmp_path)))


def test_a_data_file_that_is_not_there_is_named(tmp_path):
    composed(tmp_path)
    (tmp_path / "train.parquet").unlink()
    with pytest.raises(UserError, match="train.parquet: the data file is not there"):
        identity_of(tmp_path / "config.yaml")


def test_the_report_learns_how_rewards_were_given():
    command = ["python", "-m", "verl", "data.seed=1", "+reward.reward_kwargs.accuracy=fixed"]
    assert reward_settings(command) == {"accuracy": "fixed"}
    assert reward_settings([*command, "reward.reward_kwargs.format_weight=0.5"])["format_weight"] == 0.5
    assert reward_settings(command[:-1]) == {}


def supervised(tmp_path, script, steps=3):
    """Start a supervisor in a process of its own (it adopts orphans, which pytest must not) over a bash script."""
    code = (
        "import sys; from pathlib import Path; from recipe.tw_grpo.toolbox.supervise import supervise;"
        "d = Path(sys.argv[1]);"
        f"sys.exit(supervise(['bash', '-c', sys.argv[2]], log=d / 'log', metrics=d / 'metrics', steps={steps}))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), script], stderr=subprocess.PIPE, text=True, env=os.environ
    )


def test_steps_are_counted_and_the_exit_code_passes_through(tmp_path):
    line = json.dumps({"step": 3, "data": {"critic/score/mean": 1.25}})
    process = supervised(tmp_path, f"echo '{line}' >> {tmp_path}/metrics")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "3/3" in err


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_leaves_no_process_even_if_it_hides(tmp_path, number, code):
    """A grandchild in a session of its own that ignores interrupts, as Ray's daemons do, is ended too."""
    mark = f"{tmp_path}/hidden"
    hidden = f"setsid bash -c 'trap \"\" INT; echo $$ > {mark}; while :; do read -t 1000 <> <(:); done' &"
    process = supervised(tmp_path, f"{hidden} wait")
    for _ in range(600):
        if os.path.exists(mark) and open(mark).read().strip():
            break
        time.sleep(0.1)
    pid = int(open(mark).read())
    assert psutil.pid_exists(pid)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert not psutil.pid_exists(pid)
    assert "every process has ended" in err


def test_the_command_ends_with_a_killed_supervisor(tmp_path):
    process = supervised(tmp_path, f"echo $$ > {tmp_path}/pid; while :; do read -t 1000 <> <(:); done")
    for _ in range(600):
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip():
            break
        time.sleep(0.1)
    command = psutil.Process(int((tmp_path / "pid").read_text()))
    process.kill()
    process.communicate(timeout=60)
    command.wait(timeout=60)


def test_a_failed_vllm_worker_does_not_hang_the_run(tmp_path):
    process = supervised(tmp_path, "echo 'ERROR WorkerProc hit an exception.'; while :; do read -t 1000 <> <(:); done")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "vLLM worker failed" in err


def test_a_users_mistake_comes_out_as_its_one_line(tmp_path):
    process = supervised(tmp_path, "echo noise; echo 'tw_grpo: error: no such setting'; echo more noise; exit 2")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.strip().splitlines()[-1] == "tw_grpo: error: no such setting"


def test_a_crash_shows_the_end_of_its_traceback_and_the_log(tmp_path):
    process = supervised(tmp_path, "python3 -c 'raise KeyError(\"lost\")'")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "KeyError: 'lost'" in err and f"{tmp_path}/log" in err


def test_every_response_has_its_own_seed_and_keeps_it():
    seeds = {response_seed(1, s, p, r) for s in range(5) for p in range(5) for r in range(8)}
    assert len(seeds) == 200 and all(0 <= seed < 2**31 for seed in seeds)
    assert response_seed(1, 2, 3, 4) == response_seed(1, 2, 3, 4) != response_seed(2, 2, 3, 4)
