# SPDX-License-Identifier: Apache-2.0
"""check: good files pass, every kind of damage is one line that names a record, the page is whole and harmless."""

import copy
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damage import setting, spots

from data_prep.check import __main__ as check
from data_prep.videos import frames
from data_prep.videos.sampling import sampling_options
from data_prep.write.prompts import multi_answer_prompt
from data_prep.write.schema import arrow_schema, build_record, write_parquet
from examples.tiny.render import write_mp4
from recipe.tw_grpo.toolbox.errors import UserError

EVIL = '<script>alert("x")</script> & <v src=y> \u202e ✓'


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Three good rows on two videos; the words of one try to be HTML."""
    folder = tmp_path_factory.mktemp("videos")
    sampling = sampling_options(num_frames=4)
    made = []
    for index, (question, right) in enumerate([("what happens", [0]), (EVIL, [0, 2]), ("why", [1])]):
        video = folder / f"v{index % 2}.mp4"
        if not video.exists():
            write_mp4(np.full((8, 56, 84, 3), 90 * (index + 1), np.uint8), video, 8)
        options = [f"option {index}", EVIL, "c"]
        info = {"index": index, "scene": index, "question_id": index, "question": question, "options": options}
        made.append(build_record(data_source="toy", prompt=multi_answer_prompt(question, options), video=video,
                                 sampling=sampling, right=right, extra_info=info))  # fmt: skip
    return made


def run(tmp_path, rows, *arguments, name="set.parquet"):
    path = tmp_path / name
    pq.write_table(pa.Table.from_pylist(rows, schema=arrow_schema(sampling_options())), path)
    return check.main([str(path), "--samples", "0", "--print", "0", *arguments])


def test_good_rows_pass_and_are_counted(rows, tmp_path, capsys):
    assert run(tmp_path, rows, "--print", "1") == 0
    text, errors = capsys.readouterr()
    assert "check:" not in errors
    for line in (
        "records: 3, videos: 2",
        "kinds: multi: 1 (33.3%), single: 2 (66.7%)",
        "number of options: 3: 3 (100.0%)",
        "number of right options: 1: 2 (66.7%), 2: 1 (33.3%)",
        "right letters: A: 2 (50.0%), B: 1 (25.0%), C: 1 (25.0%)",
    ):
        assert line in text
    assert "--- record" in text and "Output the thinking process" in text


DAMAGE = {
    "a letter that is no option": (setting("D", "reward_model", "ground_truth"), "ground truth"),
    "no letter": (setting("", "reward_model", "ground_truth"), "ground truth"),
    "a text for a letter": (setting("option 0", "reward_model", "ground_truth"), "ground truth"),
    "a letter twice": (setting("A,A", "reward_model", "ground_truth"), "ground truth"),
    "letters out of order": (setting("C,A", "reward_model", "ground_truth"), "ground truth"),
    "another kind": (setting("multi", "extra_info", "kind"), "kind"),
    "an option the prompt lacks": (setting("gone", "extra_info", "options", 0), "letters"),
    "letters in another order": (
        setting(lambda text: text.replace("\nA. ", "\nE. "), "prompt", 0, "content"),
        "letters",
    ),
    "an empty option": (setting(" ", "extra_info", "options", 2), "options"),
    "no video tag": (setting(lambda text: text.replace("<video>", ""), "prompt", 0, "content"), "video tag"),
    "two tags": (setting(lambda text: text + "<image>", "prompt", 0, "content"), "video tag"),
    "an answer in the conversation": (
        setting(lambda old: [*old, {"role": "assistant", "content": "A"}], "prompt"),
        "prompt",
    ),
    "a moved video": (setting(lambda old: old + ".moved", "videos", 0, "video"), "video"),
    "two videos": (setting(lambda old: old * 2, "videos"), "video"),
    "an index twice": (setting(1, "extra_info", "index"), "index"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_one_line_that_names_the_record(name, rows, tmp_path, capsys):
    damage, kind = DAMAGE[name]
    rows = copy.deepcopy(rows)
    damage(rows[0])
    assert run(tmp_path, rows) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("check:")]
    assert len(lines) == 1 and f": {kind}: 1 record(s), first " in lines[0]
    assert "record 0 (scene 0, question_id 0)" in lines[0] or kind == "index"


def test_empty_fields_are_problems_not_tracebacks(rows, tmp_path, capsys):
    """Every field of a row emptied in turn: a line about it, or nothing if nothing reads it."""
    for keys in [spot for spot in spots(rows[0]) if spot]:
        broken = copy.deepcopy(rows)
        setting(None, *keys)(broken[0])
        code = run(tmp_path, broken, "--samples", "1", "--no-decode")
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("check:")]
        assert code == (2 if lines else 0)
        if keys[0] in ("prompt", "videos", "reward_model") and keys[-1] != "style":
            assert code == 2, keys


def test_many_of_one_kind_are_one_line_and_contradictions_are_found(rows, tmp_path, capsys):
    rows = [copy.deepcopy(rows[0]) for _ in range(5)]
    for index, row in enumerate(rows):
        row["extra_info"]["index"] = index
        row["reward_model"]["ground_truth"] = "AAABB"[index]
    assert run(tmp_path, rows) == 2
    text, errors = capsys.readouterr()
    (line,) = [line for line in errors.splitlines() if line.startswith("check:")]
    assert "contradiction: 2 record(s), first record 3" in line and "same prompt and video as record 0" in line
    assert "repeated: 4 records" in text


def test_videos_are_decoded_unless_told_not_to(rows, tmp_path, capsys):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"<html>404</html>" * 50)
    rows = copy.deepcopy(rows)
    rows[1]["videos"][0]["video"] = f"file://{broken}"
    assert run(tmp_path, rows, "--no-decode") == 0
    assert run(tmp_path, rows) == 2
    assert f"video {broken} cannot be decoded" in capsys.readouterr().err


def test_listed_frames_are_checked(rows, tmp_path, capsys):
    from data_prep.write.schema import frames_schema

    try:
        stored, bad, _ = frames.store(rows, tmp_path / "frames")
    except UserError as error:
        pytest.skip(str(error))
    assert not bad
    path = tmp_path / "frames.parquet"
    write_parquet(stored, frames_schema(), path, {})
    common = [str(path), "--samples", "2", "--print", "0"]
    assert check.main(common) == 0
    assert "stored frames" in (tmp_path / "frames.parquet.html").read_text()
    picture = stored[1]["videos"][0]["video"][1].removeprefix("file://")
    for content, says in ((b"not a picture", "cannot be read"), (None, "cannot be read")):
        with open(picture, "wb") as file:
            file.write(content or b"")
        assert check.main(common) == 2
        assert f"frame {picture} {says}" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all"])
def test_what_is_no_parquet_file_is_refused(content, tmp_path):
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(UserError, match="not a parquet file"):
        check.main([str(tmp_path / "a.parquet")])


@pytest.mark.parametrize(
    "table, says",
    [
        ({"question": ["x"]}, "column 'data_source' is missing"),
        ({name: ["x"] for name in check.COLUMNS}, "column 'prompt' has the type string"),
        ({name: [[{"a": 1}]] for name in check.COLUMNS}, "column 'reward_model' has the type list"),
    ],
)
def test_other_parquet_files_are_refused(table, says, tmp_path):
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=says):
        check.main([str(tmp_path / "a.parquet")])


def test_arguments_that_cannot_be_met(rows, tmp_path):
    with pytest.raises(UserError, match="needs --model"):
        run(tmp_path, rows, "--max-prompt-length", "10")
    with pytest.raises(UserError, match="no such folder"):
        run(tmp_path, rows, "--model", str(tmp_path / "nothing"))
    with pytest.raises(UserError, match="no such file"):
        check.main([str(tmp_path / "nothing.parquet")])


class Page(HTMLParser):
    """Checks as a browser would not: every tag closed in order, nothing loaded, nothing run."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.pictures, self.marked = [], [], 0, []

    def handle_starttag(self, tag, attributes):
        assert tag not in ("script", "link", "iframe", "v")
        for name, value in attributes:
            assert not name.startswith("on")
            assert name not in ("src", "href") or value.startswith("data:image/jpeg;base64,")
        self.pictures += tag == "img"
        self.marked += [(dict(attributes) or {}).get("class")] if tag == "li" else []
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_shows_records_and_cannot_do_anything(rows, tmp_path):
    try:
        frames.qwen()
    except UserError as error:
        pytest.skip(str(error))
    assert run(tmp_path, rows, "--samples", "3", "--page", str(tmp_path / "page.html")) == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    page.close()
    assert not page.open and page.pictures == 3 * 4
    assert page.marked == ["right", "wrong", "wrong", "right", "wrong", "right", "wrong", "right", "wrong"]
    assert EVIL in "".join(page.text) and "<script" not in text
    first = (tmp_path / "page.html").read_bytes()
    run(tmp_path, rows, "--samples", "3", "--page", str(tmp_path / "page.html"))
    assert (tmp_path / "page.html").read_bytes() == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["page.html", "set.parquet"]  # no half page beside it


def test_a_record_without_frames_still_has_its_place_on_the_page(rows, tmp_path):
    rows = copy.deepcopy(rows)
    rows[2]["videos"][0]["video"] += ".moved"
    assert run(tmp_path, rows, "--samples", "3") == 2
    text = (tmp_path / "set.parquet.html").read_text(encoding="utf-8")
    assert text.count("<article>") == 3 and "does not exist" in text and 'class="bad"' in text
