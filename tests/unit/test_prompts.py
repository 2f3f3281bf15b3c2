# SPDX-License-Identifier: Apache-2.0
"""Prompts: the paper's printed one, and a user's file in its place, whose protocol has a name of its own."""

import json

import benchmark_forms as forms
import pyarrow.parquet as pq
import pytest

from data_prep import benchmarks
from data_prep.check.records import check_text
from data_prep.write.prompts import MULTI_ANSWER, PRINTED, read_prompt
from recipe.tw_grpo.scoring.published import PROTOCOLS
from recipe.tw_grpo.toolbox.errors import UserError

WORDS = "{question}Options:\n{options}\n Think, then answer in tags.\n"


def test_the_printed_prompt_and_one_from_a_file(tmp_path):
    assert PRINTED.ask("Why?", ["x", "y"]) == f"<video>Why?\nA. x\nB. y\n{MULTI_ANSWER}"
    (tmp_path / "video_r1.txt").write_text(WORDS)
    prompt = read_prompt(tmp_path / "video_r1.txt")
    assert prompt.name == "video_r1"
    assert prompt.ask("Why?", ["x", "y"]) == "<video>Why?Options:\nA. x\nB. y\n Think, then answer in tags."
    # What a question or an option says is never taken for a place of the prompt.
    assert prompt.ask("{options}?", ["{question}"]) == (
        "<video>{options}?Options:\nA. {question}\n Think, then answer in tags."
    )


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("printed.txt", WORDS, "not printed"),
        ("Video-R1.txt", WORDS, "small letters"),
        ("p.txt", "Why?", r"\{question\} stands in it 0 times"),
        ("p.txt", WORDS + "{options}", r"\{options\} stands in it 2 times"),
        ("p.txt", "{question} {options}", "a line of its own"),
        ("p.txt", "<video>" + WORDS, "the video is put in front"),
        ("p.txt", None, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_a_prompt_is_refused(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        read_prompt(tmp_path / name)


@pytest.mark.parametrize("name", benchmarks.BENCHMARKS)
def test_a_benchmark_in_other_words_has_a_protocol_of_its_own(tmp_path, capsys, name):
    """The published protocols are those of the printed prompt for CLEVRER and of video_r1.txt for the others."""
    (tmp_path / "video_r1.txt").write_text(WORDS)
    source = forms.make(name, "video_r1", tmp_path)
    arguments = ["--benchmark", name, "--annotations", str(source), "--video-root", str(tmp_path), "--videos-later"]
    written = {}
    for prompt in ("printed", "video_r1"):
        output = tmp_path / f"{prompt}.parquet"
        words = ["--prompt-file", str(tmp_path / "video_r1.txt")] if prompt == "video_r1" else []
        assert benchmarks.main([*arguments, *words, "--output", str(output)]) == 0
        rows = pq.read_table(output).to_pylist()
        assert not [problem for row in rows for problem in check_text(row)]
        assert all(("Think, then answer" in row["prompt"][0]["content"]) is bool(words) for row in rows)
        report = json.loads((tmp_path / f"{prompt}.parquet.report.json").read_text())
        assert report["prompt"] == prompt
        assert any(path.endswith("video_r1.txt") for path in report["inputs"]) is bool(words)
        (written[prompt],) = {row["data_source"] for row in rows}
    assert written["video_r1"] == f"{written['printed']}_video_r1"
    assert PROTOCOLS[name] == written["printed" if name == "clevrer" else "video_r1"]
    assert written["printed"] in capsys.readouterr().out
