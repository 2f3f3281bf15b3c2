# SPDX-License-Identifier: Apache-2.0
"""qai_nextgqa.py and qai_star.py on files: every input form, video layouts, refusals, determinism, a fuzz of damage."""

import contextlib
import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from damage import damaged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep import qai_nextgqa, qai_star
from data_prep.check import leak_test
from data_prep.invert import review
from data_prep.read import nextgqa, star
from examples.tiny.render import write_mp4
from recipe.tw_grpo.toolbox.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared" / "data"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="real data not here")
TEXTS = ["sings a song", "jump high", "sleep", "eat. a lot", "swim"]


def next_json(number=0, answer="(C)", video="1104/v0.mp4"):
    options = [f"({letter}) {text}" for letter, text in zip("ABCDE", TEXTS, strict=True)]
    question = ["why did the boy hold a racket", "what does the dog do after it"][number % 2]
    return {
        "id": f"v0_{number}",
        "video": video,
        "question": question,
        "options": options,
        "answer": answer,
        "type": "CW",
    }


def video_r1(number=0, solution="<answer>B</answer>", source="STAR"):
    options = ["A. The box.", "B. The bag.", "C. The bed.", "D. The food."]
    return {"problem_id": number, "problem": "Which object was taken by the person?", "path": "./STAR/v0.mp4",
            "options": options, "solution": solution, "data_source": source}  # fmt: skip


def star_own(number=0, answer="The bag.", **changes):
    choices = [{"choice_id": i, "choice": t} for i, t in enumerate(["The box.", "The bag.", "The bed.", "The food."])]
    return {"question_id": f"Interaction_T1_{number}", "question": "Which object was taken by the person?",
            "video_id": "v0", "start": 0.25, "end": 1.5, "choices": choices, "answer": answer, **changes}  # fmt: skip


def next_csv(rows=2, answers=("sleep",), video_column="video_id", delimiter=","):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    columns = "frame_count width height question answer qid type a0 a1 a2 a3 a4".split()
    writer.writerow([video_column, *columns])
    for i in range(rows):
        writer.writerow(["v0", 9, 28, 28, next_json(i)["question"], answers[i % len(answers)], i, "TN", *TEXTS])
    return out.getvalue()


@pytest.fixture
def place(tmp_path):
    (tmp_path / "videos" / "NExTVideo" / "1104").mkdir(parents=True)
    write_mp4(np.zeros((16, 28, 28, 3), np.uint8), tmp_path / "videos" / "NExTVideo" / "1104" / "v0.mp4", 8)

    class Place:
        root = tmp_path
        output = tmp_path / "out.parquet"

        def main(self, script, content, *extra):
            if not isinstance(content, (str, bytes)):
                content = json.dumps(content)
            content = content.encode() if isinstance(content, str) else content
            path = tmp_path / "in.txt"  # the name says nothing: the content decides
            path.write_bytes(content)
            arguments = [
                "--annotations",
                str(path),
                "--video-root",
                str(tmp_path / "videos"),
                "--output",
                str(self.output),
            ]
            with contextlib.redirect_stdout(io.StringIO()) as out:
                script.main([*arguments, *extra])
            self.printed = out.getvalue()
            self.report = json.loads(Path(f"{self.output}.report.json").read_text())
            return pq.read_table(self.output).to_pylist()

    return Place()


# Every form must give the same record, told by the content alone.
FORMS = [
    (qai_nextgqa, [next_json(0), next_json(1)], "sleep"),
    (qai_nextgqa, [next_json(0, "C", "/NExTQA/videos/v0.mp4"), next_json(1, "sleep", "v0")], "sleep"),
    (qai_nextgqa, next_csv(), "sleep"),
    (qai_nextgqa, "\ufeff" + next_csv(), "sleep"),
    (qai_nextgqa, next_csv(answers=["2"], video_column="video"), "sleep"),
    (qai_nextgqa, [video_r1(0, source="NeXT-QA"), video_r1(1, source="STAR")], "The bag."),
    (qai_star, [video_r1(0), video_r1(1, source="NeXT-QA")], "The bag."),
    (qai_star, [{**video_r1(0), "problem_type": "multiple choice"}, video_r1(1, source="NeXT-QA")], "The bag."),
    (qai_star, [star_own(0), star_own(1)], "The bag."),
]


@pytest.mark.parametrize("script, content, truth", FORMS)
def test_every_form_is_read_by_its_content(place, script, content, truth):
    rows = place.main(script, content, "--check-videos", "--invert-probability", "0")
    for row in rows:
        info = row["extra_info"]
        (letter,) = row["reward_model"]["ground_truth"].split(",")
        assert info["options"]["ABCDE".index(letter)] == truth and not info["inverted"]
        assert row["videos"][0]["video"] == f"file://{place.root}/videos/NExTVideo/1104/v0.mp4"
        assert info["original_question"] == info["question"] and truth in info["original_options"]
    others = isinstance(content, list) and any("data_source" in record for record in content)
    assert len(rows) == (1 if others else 2) == place.report["counts"]["read"]


def test_inverted_records_say_what_they_were(place):
    rows = place.main(qai_star, [star_own(i) for i in range(40)], "--seed", "3")
    inverted = [row for row in rows if row["extra_info"]["inverted"]]
    assert 8 < len(inverted) < 32 and place.report["why"]["inverted"] == len(inverted)
    for row in inverted:
        info = row["extra_info"]
        assert info["question"] == "Which of the following objects was NOT taken by the person?"
        assert (info["style"], info["original_question"]) == ("exclusion", "Which object was taken by the person?")
        assert info["original_options"] == ["The box.", "The bag.", "The bed.", "The food."]
        right = [info["options"]["ABCD".index(letter)] for letter in row["reward_model"]["ground_truth"].split(",")]
        assert right and "The bag." not in right and set(info["options"]) - set(right) <= {"The bag."}
        assert row["prompt"][0]["content"].startswith("<video>Which of the following objects was NOT taken")
    assert {(r["videos"][0]["video_start"], r["videos"][0]["video_end"]) for r in rows} == {(0.25, 1.5)}
    assert place.report["by_type"]["Interaction_T1"] == {
        "questions": 40, "the style can negate": 40, "of these invalid": 0, "inverted": len(inverted)}  # fmt: skip


def test_same_seed_same_bytes_and_a_record_does_not_depend_on_its_neighbours(place):
    records = [next_json(i) for i in range(30)]
    rows = place.main(qai_nextgqa, records)
    first = place.output.read_bytes(), Path(f"{place.output}.report.json").read_bytes()
    place.main(qai_nextgqa, records)
    assert first == (place.output.read_bytes(), Path(f"{place.output}.report.json").read_bytes())
    alone = place.main(qai_nextgqa, records[7:8])[0]
    alone["extra_info"]["index"] = 7
    assert alone == rows[7]
    assert [row["prompt"] for row in place.main(qai_nextgqa, records, "--seed", "1")] != [row["prompt"] for row in rows]
    report = place.report
    assert report["arguments"]["seed"] == 1 and len(next(iter(report["inputs"].values()))) == 64 and report["version"]


def test_limit_is_a_seeded_sample_in_file_order_and_changes_no_record(place):
    records = [next_json(i) for i in range(30)]
    rows = {row["extra_info"]["question_id"]: row for row in place.main(qai_nextgqa, records)}
    some = place.main(qai_nextgqa, records, "--limit", "8", "--seed", "0")
    ids = [row["extra_info"]["question_id"] for row in some]
    assert len(ids) == 8 and ids == [key for key in rows if key in ids] and ids != list(rows)[:8]
    for row in some:
        assert {**row["extra_info"], "index": 0} == {**rows[row["extra_info"]["question_id"]]["extra_info"], "index": 0}
    assert place.report["counts"]["read"] == 30 and place.report["counts"]["written"] == 8


def test_dropping_everything_is_refused_and_keeping_is_not(place):
    records = [next_json(i) for i in range(0, 60, 2)]  # "why …" only: its negation denies the event
    common = ["--style", "grammatical", "--invert-probability", "1", "--on-invalid"]
    with pytest.raises(UserError, match="every record was dropped"):
        place.main(qai_nextgqa, records, *common, "drop")
    assert not place.output.exists()
    rows = place.main(qai_nextgqa, records, *common, "keep")
    assert {row["extra_info"]["question"] for row in rows} == {"why didn't the boy hold a racket"}
    rows = place.main(qai_nextgqa, records, *common, "exclusion")
    assert (
        place.report["why"] == {"inverted by exclusion instead": 30} and rows[0]["extra_info"]["style"] == "exclusion"
    )
    rows = place.main(qai_nextgqa, records, "--style", "paper", "--leaks", "none", "--overlaps", "remove")
    assert place.report["policy"] == {"style": "paper", "on_invalid": "keep", "leaks": [], "overlaps": "remove"}
    overlapping = next_json()
    overlapping["options"][0] = "(A) sleeping"
    place.main(qai_nextgqa, [overlapping])
    assert place.report["overlaps"] == [{"question_id": "v0_0", "right": "sleep", "overlapping": ["sleeping"]}]


def test_videos_are_found_or_named(place, tmp_path):
    gone = next_json(1, video="1104/gone.mp4")
    with pytest.raises(UserError, match="id 'v0_1': video '1104/gone.mp4' is missing"):
        place.main(qai_nextgqa, [next_json(), gone])
    assert len(place.main(qai_nextgqa, [next_json(), gone], "--skip-bad-videos")) == 1
    assert place.report["counts"]["of bad videos"] == 1
    (tmp_path / "map.json").write_text(json.dumps({"v0": "1104/v0"}))
    rows = place.main(qai_nextgqa, next_csv(), "--videos-later", "--video-map", str(tmp_path / "map.json"))
    assert rows[0]["videos"][0]["video"] == f"file://{tmp_path}/videos/1104/v0.mp4"
    with pytest.raises(UserError, match="lasts 2.0 s, too short for the clip 5 to 6 s"):
        place.main(qai_star, [star_own(start=5, end=6)], "--check-videos")
    (tmp_path / "videos" / "v1").mkdir()
    (tmp_path / "videos" / "v1" / "v0.mp4").write_bytes(b"x")
    with pytest.raises(UserError, match="ambiguous"):
        place.main(qai_star, [star_own()])


def changed(record, **changes):
    return {**record, **changes}


REFUSED = [
    (qai_nextgqa, b"", ["in.txt", "empty"]),
    (qai_nextgqa, b"[{", ["not a JSON"]),  # truncated
    (qai_nextgqa, "", ["in.txt", "empty"]),
    (qai_nextgqa, [], ["none of its 0 records"]),
    (qai_nextgqa, {"questions": []}, ["list of questions"]),
    (qai_nextgqa, [7], ["record 0", "object"]),
    (qai_nextgqa, [{k: v for k, v in next_json().items() if k != "answer"}], ["id 'v0_0'", "'answer'", "missing"]),
    (qai_nextgqa, [changed(next_json(), id=[5])], ["record 0", "'id'", "5"]),
    (qai_nextgqa, [changed(next_json(), id=" ")], ["record 0", "'id'", "empty"]),
    (qai_nextgqa, [changed(next_json(), question="")], ["id 'v0_0'", "'question'", "empty"]),
    (qai_nextgqa, [changed(next_json(), question="a\ud800")], ["'question'", "Unicode"]),
    (qai_nextgqa, [changed(next_json(), question="a <video> b")], ["question v0_0", "<video>"]),
    (qai_nextgqa, [next_json(answer="(F)")], ["id 'v0_0'", "'answer'", "'(F)'"]),
    (qai_nextgqa, [next_json(answer="(B),(C)")], ["several options", "inverted already"]),
    (qai_nextgqa, [next_json(answer="dance")], ["'answer'", "'dance'"]),
    (qai_nextgqa, [next_json(), next_json()], ["record 1", "occurs twice", "record 0"]),
    (qai_nextgqa, [changed(next_json(answer="(A)"), options=["(A) x"])], ["'options' has 1 entry"]),
    (qai_nextgqa, [changed(next_json(), options=["(A) x", "(A) y"])], ["must be lettered AB, found AA"]),
    (qai_nextgqa, [changed(next_json(), options=["(A) x", "(B) y", "z"])], ["options[2] has no letter"]),
    (qai_nextgqa, [changed(next_json(), options=["(A) x", "(B) "])], ["options[1]' is empty"]),
    (qai_nextgqa, [changed(next_json(), options=["(A) x", None])], ["options", "None"]),
    (qai_nextgqa, next_csv(delimiter=";"), ["line 1", "video", "';'"]),
    (qai_nextgqa, next_csv(delimiter="\t"), ["line 1", "commas"]),
    (qai_nextgqa, next_csv(answers=["dance"]), ["line 2", "qid '0'", "'dance'", "a0 to a4"]),
    (qai_nextgqa, next_csv(rows=3, answers=["2", "2", "5"]), ["line 4", "'5'", "0 to 4"]),
    (qai_nextgqa, next_csv().replace("jump high", ""), ["line 2", "'a1'", "empty"]),
    (qai_nextgqa, next_csv() + "v0,1\n", ["line 4", "2 fields"]),
    (qai_nextgqa, next_csv() + next_csv().splitlines()[1] + "\n", ["line 4", "occurs twice", "line 2"]),
    (qai_nextgqa, next_csv(rows=0), ["no question"]),
    (qai_nextgqa, next_csv().encode() + b"\xff", ["UTF-8"]),
    (qai_nextgqa, next_csv() + '"open quote', ["line", "fields", "double quotes"]),
    (qai_nextgqa, [video_r1(source="STAR")], ["question of NExT-QA"]),
    (qai_star, [video_r1(source="NeXT-QA")], ["STAR"]),
    (
        qai_star,
        [{k: v for k, v in star_own().items() if k != "answer"}],
        ["Interaction_T1_0", "test split has no answers"],
    ),
    (qai_star, [{**video_r1(), "answer": "C"}], ["problem_id '0'", "label says option 2", "'C'"]),
    (qai_star, [{**video_r1(), "problem_type": "free-form"}], ["none of its 1 records"]),
    (qai_star, [star_own(answer="The sofa.")], ["Interaction_T1_0", "'The sofa.'", "choices"]),
    (qai_star, [star_own(start=2.0)], ["'start' (2.0) must be before 'end' (1.5)"]),
    (qai_star, [star_own(start="0")], ["'start'", "seconds"]),
    (qai_star, [star_own(end=float("nan"))], ["'end'", "nan"]),
    (qai_star, [star_own(end=10**400)], ["'end'", "must be seconds"]),
    (qai_star, [star_own(choices=[])], ["'choices'", "0 entries"]),
    (qai_star, [star_own(choices=[{"choice_id": 0, "choice": "a"}] * 2)], ["choice_id 0", "twice"]),
    (qai_star, [star_own(), video_r1()], ["start and end in all records or in none"]),
]


@pytest.mark.parametrize("script, content, names", REFUSED)
def test_bad_annotations_are_refused_by_name(place, script, content, names):
    with pytest.raises(UserError) as caught:
        place.main(script, content)
    message = str(caught.value)
    assert any(name in message for name in names) if "double quotes" in names else all(n in message for n in names), (
        message
    )
    assert not [path for path in place.root.iterdir() if "parquet" in path.name]


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_gives_a_plain_refusal_or_true_labels(place, data):
    script, base = data.draw(
        st.sampled_from([(qai_nextgqa, [next_json(0), next_json(1)]), (qai_star, [star_own(0), star_own(1)])])
    )
    content, _ = damaged(data, base)
    check_refusal_or_true_labels(place, script, content)


@given(st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damaged_bytes_give_a_plain_refusal_or_true_labels(place, data):
    whole = data.draw(st.sampled_from([next_csv(4), json.dumps([next_json(0), next_json(1)])])).encode()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 40)))
    damage = data.draw(st.binary(max_size=6) | st.sampled_from([b"\n", b",", b'"', b";", b"\x00", b"\xff"]))
    cut = data.draw(st.booleans())
    check_refusal_or_true_labels(place, qai_nextgqa, whole[:start] + damage + (b"" if cut else whole[end:]))


def check_refusal_or_true_labels(place, script, content):
    for file in place.root.glob("*parquet*"):
        file.unlink()
    try:
        rows = place.main(script, content, "--videos-later", "--invert-probability", "0.7")
    except UserError as error:
        assert not list(place.root.glob("*parquet*")) and str(error).strip()
        return
    for row in rows:
        info = row["extra_info"]
        letters = row["reward_model"]["ground_truth"].split(",")
        named = [info["options"]["ABCDEFGH".index(letter)] for letter in letters]
        assert letters == sorted(set(letters)) and set(info["options"]) <= set(info["original_options"])
        assert info["inverted"] == (info["question"] != info["original_question"])
        assert len(named) == 1 or info["inverted"]


SUBPROCESS = [
    (["--help"], 0, "example: python data_prep/qai_star.py"),
    (["--annotations", "none.json", "--video-root", ".", "--output", "o.parquet"], 2, "none.json: no such file"),
    (["--annotations", "in.json", "--video-root", "none", "--output", "o.parquet"], 2, "none: no such folder"),
    (["--annotations", "in.json", "--video-root", ".", "--output", "o.json"], 2, ".parquet"),
    (["--annotations", "in.json", "--video-root", ".", "--output", "o.parquet", "--style", "x"], 2, "--style"),
    (["--annotations", "in.json", "--video-root", ".", "--output", "o.parquet", "--leaks", "x"], 2, "--leaks"),
    (
        ["--annotations", "in.json", "--video-root", ".", "--output", "o.parquet", "--invert-probability", "2"],
        2,
        "0 to 1",
    ),
    (["--annotations", "in.json", "--video-root", ".", "--output", "o.parquet"], 2, "video 'v0' is missing"),
    (
        ["--annotations", "in.json", "--video-root", ".", "--output", "o.parquet", "--videos-later"],
        0,
        "written to o.parquet",
    ),
]


@pytest.mark.parametrize("arguments, code, text", SUBPROCESS)
def test_as_a_plain_script(tmp_path, arguments, code, text):
    (tmp_path / "in.json").write_text(json.dumps([star_own()]))
    command = [sys.executable, str(ROOT / "data_prep" / "qai_star.py"), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == code and text in (done.stderr if code else done.stdout)
    if code:
        assert done.stderr.count("\n") == 1 and done.stdout == ""
        assert [path.name for path in tmp_path.iterdir()] == ["in.json"]


@needs_real
def test_real_questions_in_three_forms_give_the_same_records(place):
    prompts = []
    for name in ("nextgqa_val_1200.json", "nextgqa_val.csv", "nextqa_val_index_answers.csv"):
        rows = place.main(qai_nextgqa, (REAL / name).read_bytes(), "--videos-later")
        assert len(rows) == 1200
        prompts.append({r["extra_info"]["question_id"]: (r["prompt"], r["reward_model"]) for r in rows})
        by_options = place.report["wrong_options_of_inverted"]
        assert by_options["1"] > 3 * by_options["0"] > 0
    assert prompts[0] == prompts[1]
    assert sum(prompts[0][key] != prompts[2][key] for key in prompts[0]) <= 1  # see the next test but one


@needs_real
def test_leak_test_and_paper_statistics_on_real_questions(place, tmp_path, capsys):
    path = str(REAL / "nextgqa_val_1200.json")
    for style in ("exclusion", "paper"):
        place.main(qai_nextgqa, Path(path).read_bytes(), "--videos-later", "--style", style)
        place.output.rename(tmp_path / f"{style}.parquet")
    right = place.report["right_options_of_inverted"]
    assert set(right) == {"1", "2", "3", "4"} and max(right.values()) < 1.4 * min(right.values())
    assert place.report["coverage"] == pytest.approx(0.985, abs=0.003)
    leak_test.main([str(tmp_path / "exclusion.parquet"), str(tmp_path / "paper.parquet")])
    default, paper = capsys.readouterr().out.splitlines()
    assert "no better than chance" in default and "LEAKS" in paper
    with pytest.raises(UserError, match="in.txt: not a parquet"):
        leak_test.main([str(tmp_path / "in.txt")])
    review.main(["--annotations", path, "--count", "5", "--output", str(tmp_path / "list.md")])
    assert (tmp_path / "list.md").read_text().count("**") == 10


@needs_real
def test_readers_find_the_same_answers(tmp_path):
    one = nextgqa.read(REAL / "nextgqa_val_1200.json").questions
    two = nextgqa.read(REAL / "nextqa_val_index_answers.csv").questions
    answers = {q.question_id: (q.options, q.right) for q in one}
    different = [q for q in two if answers[q.question_id] != (q.options, q.right)]
    assert len(different) == 1  # one wrong option was mended between NExT-QA and NExT-GQA
    assert answers[different[0].question_id][0][:4] == different[0].options[:4]
    with pytest.raises(UserError, match="no answers"):
        star.read(REAL / "star_test_2000_no_answers.json")
