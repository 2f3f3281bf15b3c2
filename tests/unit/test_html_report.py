# SPDX-License-Identifier: Apache-2.0
"""What stands in report.html: numbers by hand, texts as data, room kept, and what is said where something is missing.

How it looks and moves is test_html_browser.py.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from made_up_run import HOSTILE, write_made_up

from recipe.tw_grpo.advantage import group_advantages
from recipe.tw_grpo.report import follow, head, html, reading, samples
from recipe.tw_grpo.report.__main__ import main
from recipe.tw_grpo.report.tokens import TokenTexts, load_tokenizer
from recipe.tw_grpo.toolbox.command_line import run_main
from recipe.tw_grpo.toolbox.html import page

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r'<script type="([^"]+)" id="([^"]+)">([^<]*)</script>')


@pytest.fixture(scope="module")
def made_up(tmp_path_factory) -> Path:
    return write_made_up(tmp_path_factory.mktemp("made_up") / "run", videos=2)


def written(*folders: Path, target: Path) -> tuple[str, dict, dict]:
    """The page, its head, and its groups by id."""
    read = [html.read_for_page(folder, len(folders)) for folder in folders]
    html.write_page(read, target)
    text = target.read_text(encoding="utf-8")
    blocks = {name: content for _, name, content in BLOCK.findall(text)}
    packed = {name: content for name, content in blocks.items() if name.startswith("g")}
    groups = {name: json.loads(gzip.decompress(base64.b64decode(content))) for name, content in packed.items()}
    return text, json.loads(blocks["head"]), groups


@pytest.fixture(scope="module")
def whole(made_up, tmp_path_factory):
    return written(made_up, target=tmp_path_factory.mktemp("page") / "report.html")


def test_every_group_has_its_row_and_its_responses(whole, made_up):
    _, top, groups = whole
    (run,) = top["runs"]
    assert run["groups_all"] == run["groups_kept"] == len(groups) == 18
    for step, number, prompt, kind, reward, dead, broken, cut, size, here in run["groups"]:
        group = groups[f"g0-{step}-{number}"]
        scores = [response["score"] for response in group["responses"]]
        assert here == 1 and size == len(scores) == 4 and run["prompts"][prompt] == group["prompt"]
        assert reward == pytest.approx(np.mean(scores), abs=1e-3) and dead == (max(scores) == min(scores))
        assert kind == (2 if "," in group["right"] else 1)
        assert broken == sum(response["format"] == 0 for response in group["responses"])
        assert cut == sum(response["ended"] is False for response in group["responses"])
    rows = {(row[0], row[1]): row for row in run["groups"]}
    assert rows[1, 1][5] == 1 and rows[1, 2][6] == 2 and rows[1, 2][7] == 1  # dead; two without format; one never ended


def test_tokens_weights_and_divergence_are_those_of_the_dump(whole, made_up):
    lines = [json.loads(line) for line in (made_up / "rollouts/2.jsonl").read_text().splitlines()]
    for line in lines:
        _, p, g = re.match(r"(\d+)x(\d+)_(\d+)", line["uid"]).groups()
        group = whole[2][f"g0-2-{p}"]
        response = group["responses"][int(g)]
        n = len(line["response_ids"])
        assert len(response["tokens"]) == n and "".join(response["tokens"]).removesuffix("<|im_end|>") == line["output"]
        assert "d" not in response and "w" not in response  # the group's, up to where the response ends
        assert group["w"][:n] == pytest.approx(line["token_weights"], abs=5e-4)
        assert group["d"][:n] == pytest.approx(line["token_divergence"], rel=1e-3)


def test_the_advantage_is_that_of_the_estimator(whole):
    import torch

    for group in whole[2].values():
        rewards = torch.tensor([response["score"] for response in group["responses"]], dtype=torch.float64)
        shown = [response["advantage"] for response in group["responses"]]
        assert shown == pytest.approx(group_advantages(rewards, [0] * len(shown)).tolist(), abs=2e-3)


def test_curves_by_kind_and_positions_by_hand(whole, made_up):
    (run,) = whole[1]["runs"]
    for i, step in enumerate(run["series"]["step"]):
        lines = [json.loads(line) for line in (made_up / f"rollouts/{step}.jsonl").read_text().splitlines()]
        single = [line["reward"]["acc"] for line in lines if "," not in line["gts"]]
        assert run["series"]["single_acc"][i] == pytest.approx(np.mean(single) if single else None)
        content, padding = [], []
        for p in {line["uid"].split("_")[0] for line in lines}:
            of = [line["token_divergence"] for line in lines if line["uid"].startswith(f"{p}_")]
            shortest = min(map(len, of))
            content += [d for values in of for d in values[:shortest]]
            padding += [d for values in of for d in values[shortest:]]
        assert run["series"]["divergence_content"][i] == pytest.approx(np.mean(content), rel=1e-4)
        assert run["series"]["divergence_padding"][i] == pytest.approx(np.mean(padding), rel=1e-4)
    profile = run["positions"]["profiles"]["all"]
    longest = [max((json.loads(line) for line in (made_up / f"rollouts/{step}.jsonl").read_text().splitlines()
                    if f'"{step}x{p}_' in line), key=lambda line: len(line["token_weights"]))["token_weights"]
               for step in range(1, 7) for p in range(3)]  # fmt: skip
    assert profile["w"][5] == pytest.approx(np.mean([weights[5] for weights in longest]), rel=1e-4)
    assert run["validation"] == {"toy": {"acc": [[3, 0.4], [6, 0.4]], "multi_soft_acc": [[3, 0.5], [6, 0.5]]}}
    assert run["seconds_left"] == 2 * 28.0 and list(run["times"]) == ["gen", "update_actor"]


def test_texts_are_data_and_only_the_pages_own_scripts_may_run(whole):
    text, _, groups = whole
    said = ["".join(response["tokens"]) for response in groups["g0-1-0"]["responses"]]
    assert all(any(hostile in response for response in said) for hostile in HOSTILE.values())
    scripts = re.findall(r"<script>", text)
    assert len(scripts) == 1 + len(html.SCRIPTS) and text.count("<script") == len(scripts) + len(BLOCK.findall(text))
    assert "Copyright (c) 2022 Leon Sorokin" in text  # uPlot's licence goes with its code
    assert "window.hurt" not in text  # packed; in a head it would be escaped, see below
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    assert "default-src 'none'" in policy and "unsafe" not in policy and policy.count("sha256-") == len(scripts) + 3
    assert not re.search(r'(?:src|href)="(?!data:)', text.replace('src="x"', ""))


def test_a_title_and_json_cannot_end_their_place():
    made = "".join(page("</title><script>1</script>", styles=[], scripts=[], data={"a": "</script><b>\u2028\ud800"}))
    assert "<script>1" not in made and made.count("</script>") == 2 and made.encode("utf-8")
    assert json.loads(BLOCK.search(made)[3]) == "</script><b>\u2028\ud800"


def test_frames_are_those_of_the_record(whole):
    pytest.importorskip("qwen_vl_utils")
    import io

    from PIL import Image

    text, top, _ = whole
    strips = top["runs"][0]["strips"]
    assert len(strips) == 18 and len(set(strips.values())) == 2
    blocks = {name: content for _, name, content in BLOCK.findall(text)}
    for (step, number), (index, _) in zip([(2, 0), (2, 1)], [(6, 0), (7, 0)], strict=True):
        strip = json.loads(blocks[f"s0-{strips[f'{step}-{number}']}"])
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(strip["picture"]))).convert("L"))
        assert strip["count"] == strip["shown"] == 4 and strip["video"] == f"v{index % 2}.mp4"
        assert picture.shape == (96, 4 * 194 - 2)
        assert int(picture[48, 185]) == pytest.approx(220 if index % 2 else 20, abs=12)  # its own grey, not yet wiped
        assert picture[48, 3 * 194 + 20] > 240  # wiped by then


def test_a_character_of_several_tokens_stands_at_its_first(made_up):
    run = reading.read_run(made_up)
    tokenizer = load_tokenizer(run)
    text = HOSTILE["emoji"]
    ids = tokenizer.encode(text).ids
    texts = TokenTexts(tokenizer)(ids)
    assert len(texts) == len(ids) and "".join(texts) == text and "\ufffd" not in "".join(texts)


def test_room_is_kept_and_shared_by_all_steps(made_up, monkeypatch, tmp_path):
    one = len(gzip.compress(b"")) and max(
        len(group.packed) for step in html.read_for_page(made_up)[0].digests.values() for group in step.groups
    )
    monkeypatch.setattr(html, "TEXT_ROOM", 6 * one)
    monkeypatch.setattr(html, "FRAME_ROOM", 1)
    _, top, groups = written(made_up, target=tmp_path / "small.html")
    (run,) = top["runs"]
    assert run["groups_all"] == 18 and 6 <= run["groups_kept"] == len(groups) <= 12
    steps = [int(name.split("-")[1]) for name in groups]
    assert {steps.count(step) for step in range(1, 7)} <= {1, 2}
    assert "g0-1-2" in groups  # a broken format comes first
    assert len(set(run["strips"].values())) <= 1


def test_seeds_are_one_row_and_other_settings_another(made_up, tmp_path):
    other = write_made_up(tmp_path / "other", steps=2, seed=1)
    third = write_made_up(tmp_path / "third", steps=2, seed=0)
    record = json.loads((third / "run.json").read_text())
    record["command"] = record["command"].replace("alpha=0.7", "alpha=0.3").replace("data.seed=0", "data.seed=5")
    (third / "run.json").write_text(json.dumps(record))
    same = write_made_up(tmp_path / "same", steps=2, seed=2)
    _, top, _ = written(other, third, same, target=tmp_path / "compare.html")
    rows = [run["row"] for run in top["runs"]]
    assert rows[0] == rows[2] != rows[1]
    assert top["runs"][1]["settings"]["algorithm.tw_grpo.alpha"] == "0.3"


def test_plain_grpo_and_a_run_without_anything_else_still_have_a_page(tmp_path):
    (tmp_path / "run/rollouts").mkdir(parents=True)
    lines = [{"input": "q", "output": f"<answer>{x}</answer>", "gts": "A", "score": float(x == "A"), "uid": f"u_{i}_0"}
             for i, x in enumerate("AB")]  # fmt: skip
    (tmp_path / "run/rollouts/1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"input": "')
    _, top, groups = written(tmp_path / "run", target=tmp_path / "run/report.html")
    (run,) = top["runs"]
    notes = "\n".join(run["notes"] + run["page_notes"])
    for missing in ("run.json is missing", "not complete JSON", "no timing_s/step", "no frames are shown"):
        assert missing in notes
    assert run["positions"] is None and run["seconds_left"] is None and run["settings"] == {}
    (group,) = groups.values()
    assert group["w"] is None and [r["text"] for r in group["responses"]] == [line["output"] for line in lines]
    assert [r["advantage"] for r in group["responses"]] == [None, None]  # nobody knows the estimator


def test_records_that_could_not_be_used_are_listed_once(tmp_path):
    said = "tw_grpo: train.parquet row 3: v3.mp4 cannot be used: the file is empty"
    (tmp_path / "train.log").write_text(f"\x1b[36m(x pid=1)\x1b[0m {said}\nother\n{said}\n")
    (tmp_path / "train.000.log").write_text(said.replace("3", "4") + "\n")
    assert head.failed_records(tmp_path) == [said.replace("3", "4").removeprefix("tw_grpo: "),
                                             said.removeprefix("tw_grpo: ")]  # fmt: skip


def test_html_names_the_file_and_a_folder_that_is_not_there_is_one_line(made_up, tmp_path, capsys):
    main([str(made_up), "--html", str(tmp_path / "there.html")])
    assert (tmp_path / "there.html").is_file() and f"page: {tmp_path}/there.html" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        run_main(main, [str(made_up), "--html", str(tmp_path / "no/there.html")])
    assert stopped.value.code == 2 and capsys.readouterr().err.count("\n") == 1


# ------------------------------------------------------------------------------------------------ while it trains


@pytest.fixture
def served(tmp_path):
    """A run of two steps, the server's state and its address."""
    out = write_made_up(tmp_path / "run", steps=2)
    live = follow.Live([out])
    live.refresh()
    server = ThreadingHTTPServer((follow.ADDRESS, 0), type("Handler", (follow.Handler,), {"live": live}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield out, live, f"http://{follow.ADDRESS}:{server.server_port}/"
    server.shutdown()
    server.server_close()


def fetched(address: str, **headers: str) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=30) as answer:
        return answer.read()


def test_a_new_step_is_picked_up_and_old_ones_are_not_read_again(served, monkeypatch):
    out, live, address = served
    assert json.loads(fetched(address + "head"))["runs"][0]["last_step"] == 2 and not live.refresh()
    read = []
    rows = reading.read_rows
    monkeypatch.setattr(reading, "read_rows", lambda run, path: read.append(path.name) or rows(run, path))
    write_made_up(out, steps=3, first=3)
    assert live.refresh() and json.loads(fetched(address + "version")) == {"version": 2}
    assert json.loads(fetched(address + "head"))["runs"][0]["last_step"] == 3 and read == ["3.jsonl"]


def test_the_server_gives_groups_and_nothing_else(served):
    out, live, address = served
    group = json.loads(gzip.decompress(fetched(address + "group/0/2/1")))
    assert group["prompt"] == live.runs[0].digests[2].groups[1].prompt and len(group["responses"]) == 4
    for path in ("group/0/2/9", "group/0/9/0", "group/0/2/-1", "group/1/1/0", "group/0/../../x", "strip/0/2/1", "etc"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetched(address + path)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        fetched(address + "head", Host="other.example:80")
    assert b"connect-src 'self'" in fetched(address)


def test_a_run_without_a_step_is_waited_for_and_no_run_is_refused(tmp_path, capsys):
    (tmp_path / "run/rollouts").mkdir(parents=True)
    live = follow.Live([tmp_path / "run"])
    assert live.refresh() and live.head()["runs"] == [] and "no {step}.jsonl" in live.head()["waiting"][0]
    write_made_up(tmp_path / "run", steps=1)
    assert live.refresh() and len(live.head()["runs"]) == 1 and live.head()["waiting"] == []
    (tmp_path / "thesis").mkdir()
    for folder, words in (("thesis", "holds no run"), ("nothing", "no such folder")):
        with pytest.raises(SystemExit) as stopped:
            run_main(main, [str(tmp_path / folder), "--follow"])
        printed = capsys.readouterr()
        assert stopped.value.code == 2 and words in printed.err and printed.err.count("\n") == 1


def test_the_command_serves_until_it_is_interrupted(made_up):
    command = [sys.executable, "-m", "recipe.tw_grpo.report", str(made_up), "--follow"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
    try:
        address = process.stdout.readline().split()[0]
        assert address.startswith("http://127.0.0.1:")
        line = process.stdout.readline()
        assert line.startswith("run step 6 of 8 reward ") and line.endswith(" 0:00:56 left\n")
        assert len(json.loads(fetched(address + "head"))["runs"]) == 1
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
        assert process.returncode == 0 and rest.startswith("stopped") and rest.count("\n") == 1
    finally:
        process.kill()


def test_own_weights_of_a_response_are_kept():
    rows = []
    for weights in ([1.0, 1.5, 1.2], [1.0, 1.7]):
        record = {"response_ids": [1] * len(weights), "token_divergence": weights}
        line = reading.Line("u", "q", "text", None, 0.0, "", "", {}, record)
        parts = {"soft_acc": float("nan"), "acc": float("nan"), "format": float("nan")}
        response = reading.Response(1, "1:u", ("", "q", ""), frozenset(), None, parts, (0, 0.0, 0.0))
        rows.append((response, line, np.array(weights)))
    run = reading.Run(Path("."), {"estimator": "tw_grpo"}, reading.RewardConfig())
    packed = json.loads(gzip.decompress(samples.Digest(run, {}, None, 0).pack(rows)))
    assert packed["w"] == [1.0, 1.5, 1.2] and packed["responses"][1]["w"] == [1.0, 1.7]
    assert "w" not in packed["responses"][0]
