# SPDX-License-Identifier: Apache-2.0
"""Toy-CLEVRER: physics, promises of each level, determinism of the writer, mp4 files that decode to what is drawn."""

import hashlib
import itertools
import json
import random
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.tiny import toy_clevrer
from examples.tiny.physics import RADIUS, Body, Scene, simulate
from examples.tiny.render import PALETTE, background, render_frames, write_mp4
from examples.tiny.world import LEVELS, WORDS, make_scene, object_names, questions
from recipe.tw_grpo.reward import soft_reward

ROOT = Path(__file__).resolve().parents[2]
seeds = st.integers(0, 2**63)
levels = st.sampled_from(LEVELS)


def ask(scene, count=4):
    return questions(scene, random.Random(f"test {scene.seed}"), count)


def energy_and_momentum(scene, velocities):
    mass = np.array([body.mass for body in scene.bodies])
    energy = (mass[None, :, None] * velocities**2).sum(axis=(1, 2))
    return energy, (mass[None, :, None] * velocities).sum(axis=1)


def two_bodies(mass, second_x, velocity, second_y=0.0):
    first = Body(0, "red", "disc", "rubber", None, 0.0, 0.0, velocity, 0.0, 1.0)
    second = Body(1, "blue", "disc", "metal", None, second_x, second_y, 0.0, 0.0, mass)
    return Scene(0, 4, 112, 140, 16, 8, (first, second))


# Head-on against a body at rest: v1 = (m1 - m2) / (m1 + m2) v, v2 = 2 m1 / (m1 + m2) v.
@pytest.mark.parametrize("mass, v1, v2", [(1.0, 0.0, 5.0), (2.0, -5 / 3, 10 / 3), (1e6, -5.0, 0.0)])
def test_head_on_collision_as_in_the_textbook(mass, v1, v2):
    result = simulate(two_bodies(mass, second_x=50.0, velocity=5.0))
    (collision,) = result.collisions
    assert collision.time == pytest.approx((50 - 2 * RADIUS) / 5)
    assert result.velocities[-1, :, 0] == pytest.approx([v1, v2], abs=2e-5)
    assert result.velocities[-1, :, 1] == pytest.approx([0, 0])


def test_glancing_collision_of_equal_masses_leaves_at_a_right_angle():
    velocities = simulate(two_bodies(1.0, second_x=50.0, velocity=5.0, second_y=RADIUS)).velocities[-1]
    assert np.abs(velocities).min() > 0.5 and velocities[0] @ velocities[1] == pytest.approx(0, abs=1e-9)


def test_bodies_that_miss_by_a_hair_do_not_collide():
    assert simulate(two_bodies(1.0, 50.0, 5.0, second_y=2 * RADIUS - 1e-9)).collisions
    assert not simulate(two_bodies(1.0, 50.0, 5.0, second_y=2 * RADIUS + 1e-9)).collisions


@given(seeds, levels)
@settings(max_examples=60, deadline=None)
def test_energy_and_momentum_are_conserved_and_nothing_overlaps(seed, level):
    scene = make_scene(seed, level)
    result = simulate(scene)
    energy, momentum = energy_and_momentum(scene, result.velocities)
    np.testing.assert_allclose(energy, energy[0], rtol=1e-9)
    np.testing.assert_allclose(momentum, np.broadcast_to(momentum[0], momentum.shape), atol=1e-9 * (1 + energy[0]))
    for a, b in itertools.combinations(range(len(scene.bodies)), 2):
        gaps = np.linalg.norm(result.positions[:, a] - result.positions[:, b], axis=-1)
        assert gaps.min() > 2 * RADIUS - 1e-6


@given(seeds, levels)
@settings(max_examples=40, deadline=None)
def test_simulation_agrees_with_small_time_steps(seed, level):
    """An independent, crude integrator finds the same first collision."""
    scene = make_scene(seed, level)
    first = min(simulate(scene).collisions, key=lambda collision: collision.time)
    start = np.array([(body.x, body.y) for body in scene.bodies])
    velocity = np.array([(body.vx, body.vy) for body in scene.bodies])
    for time, touching in ((first.time - 1e-3, False), (first.time + 1e-6, True)):
        a, b = (start[i] + velocity[i] * time for i in first.pair)
        assert (np.linalg.norm(a - b) <= 2 * RADIUS + 1e-9) == touching
    for step in np.linspace(0, first.time - 1e-3, 50):
        where = start + velocity * step
        gaps = np.linalg.norm(where[:, None] - where[None], axis=-1) + 1e9 * np.eye(len(where))
        assert gaps.min() > 2 * RADIUS


@given(seeds, levels)
@settings(max_examples=40, deadline=None)
def test_leaving_an_object_out_is_the_same_as_never_having_had_it(seed, level):
    scene = make_scene(seed, level)
    removed = seed % len(scene.bodies)
    rest = tuple(body for body in scene.bodies if body.object_id != removed)
    alone = simulate(Scene(**{**vars(scene), "bodies": rest}))
    without = simulate(scene, removed)
    assert without.collisions == alone.collisions
    np.testing.assert_array_equal(np.delete(without.positions, removed, axis=1), alone.positions)
    assert np.isnan(without.positions[:, removed]).all() and not without.inside[:, removed].any()


def test_removing_what_is_not_there_is_refused():
    with pytest.raises(ValueError, match="no object 99"):
        simulate(make_scene(0, 1), without=99)


@given(seeds, levels)
@settings(max_examples=100, deadline=None)
def test_questions_are_answered_by_the_second_simulation(seed, level):
    scene = make_scene(seed, level)
    names = object_names(scene)
    assert len(set(names)) == len(names)
    for question in ask(scene):
        assert question.text == f"Without the {names[question.removed]}, what will happen?"
        assert 2 <= len(question.choices) <= 4
        assert len({choice.pair for choice in question.choices}) == len(question.choices)
        assert level > 2 or question.letters
        happened = {c.pair for c in simulate(scene, question.removed).collisions}
        for choice in question.choices:
            assert question.removed not in choice.pair
            assert choice.correct == (choice.pair in happened)
            assert {names[i] for i in choice.pair} == set(
                choice.text.removeprefix("The ")
                .removesuffix(" collide")
                .replace(" collides with the ", " and the ")
                .split(" and the ")
            )
            words = f"{question.text} {choice.text}".replace(",", " ").replace("?", " ").split()
            assert set(words) <= set(WORDS)


@given(seeds)
@settings(max_examples=100, deadline=None)
def test_level_1_is_solved_by_the_first_frame(seed):
    scene = make_scene(seed, 1)
    cells = [(body.x % 28, body.y % 28, body.y // 28) for body in scene.bodies]
    assert all((x, y) == (14, 14) and lane == body.lane for (x, y, lane), body in zip(cells, scene.bodies, strict=True))
    counts = [sum(body.lane == lane for body in scene.bodies) for lane in range(4)]
    assert max(counts) <= 2 and len({(body.color, body.shape) for body in scene.bodies}) == len(scene.bodies)
    for question in ask(scene):
        for choice in question.choices:
            a, b = (scene.bodies[i] for i in choice.pair)
            assert choice.correct == (a.lane == b.lane)
            assert choice.text == f"The {choice.text[4:-8]} collide" and " and the " in choice.text


def share(level, predicate, scenes=150):
    asked = [(scene, q) for scene in (make_scene(seed, level) for seed in range(scenes)) for q in ask(scene)]
    return np.mean([predicate(scene, question) for scene, question in asked]), len(asked)


def same_lane(scene, choice):
    return scene.bodies[choice.pair[0]].lane == scene.bodies[choice.pair[1]].lane


def test_level_2_needs_more_than_the_lanes():
    solved, count = share(2, lambda scene, q: all(same_lane(scene, c) == c.correct for c in q.choices))
    assert count > 500 and solved < 0.6


def test_levels_3_and_4_differ_from_what_the_video_shows():
    for level in (3, 4):
        changed, _ = share(level, lambda _, q: q.changed, 60)
        assert 0.35 < changed < 0.85
    for level in (1, 2):  # lanes with two objects: what remains of the video is what happens
        assert share(level, lambda _, q: q.changed, 50)[0] == 0


def test_level_4_enters_and_leaves_and_rarely_has_no_right_choice():
    inside = [simulate(make_scene(seed, 4)).inside for seed in range(100)]
    assert np.mean([(~i[0] & i.any(axis=0)).any() for i in inside]) > 0.5  # something comes in
    assert np.mean([(i[0] & ~i[-1]).any() for i in inside]) > 0.5  # something leaves
    none, _ = share(4, lambda _, q: not q.letters)
    assert 0 < none < 0.08


@pytest.mark.parametrize("level", LEVELS)
def test_right_choices_are_balanced_over_numbers_and_letters(level):
    asked = [q for seed in range(400 if level < 4 else 150) for q in ask(make_scene(seed, level))]
    sizes = [len(q.choices) for q in asked]
    assert all(0.25 < np.mean([size == n for size in sizes]) < 0.40 for n in (2, 3, 4))
    four = [q for q in asked if len(q.choices) == 4]
    shares = {1: (0.05, 0.2, 0.4), 2: (0.3, 0.3, 0.0)}
    for k, low in zip((1, 2, 3), shares.get(level, (0.2, 0.2, 0.2)), strict=True):
        assert low < np.mean([len(q.letters) == k for q in four]) < low + 0.25
    by_letter = [np.mean([letter in q.letters for q in four]) for letter in "ABCD"]
    assert max(by_letter) - min(by_letter) < (0.1 if level < 4 else 0.2)
    assert 0.1 < np.mean([len(q.letters) == len(q.choices) for q in asked]) < 0.25


def test_at_level_1_neither_more_nor_fewer_letters_pay():
    """Mean soft reward of saying yes to every option with probability p: highest in the middle, and nearly flat there.
    Else a policy learns how many letters to give before it learns to look."""
    asked = [(len(q.choices), len(q.letters)) for seed in range(400) for q in ask(make_scene(seed, 1))]

    def reward(p):  # p of the right letters, if no wrong one
        return np.mean([p * (1 - p) ** (options - right) for options, right in asked])

    assert reward(0.5) > max(reward(0.15), reward(0.85))
    slope = (reward(0.51) - reward(0.49)) / 0.02
    assert abs(slope) < 0.2 * reward(0.5) / 0.5


def test_no_constant_answer_is_good_at_level_1():
    asked = [q for seed in range(400) for q in ask(make_scene(seed, 1))]
    for options in (2, 3, 4):
        asked_with = [q for q in asked if len(q.choices) == options]
        for k in range(1, options + 1):
            for answer in itertools.combinations("ABCD"[:options], k):
                reward = np.mean([soft_reward(answer, q.letters) for q in asked_with])
                assert reward < (0.55 if options == 2 else 0.4)


@pytest.mark.parametrize(
    "sizes",
    [{"height": 100}, {"height": 56}, {"height": 196}, {"width": 84}, {"width": 113}, {"frames": 3}, {"fps": 0}],
)
def test_sizes_that_cannot_be_are_refused(sizes):
    with pytest.raises(ValueError, match=next(iter(sizes))):
        make_scene(0, 1, **sizes)


@given(seeds, levels, st.sampled_from([84, 112, 168]), st.sampled_from([112, 140, 224]), st.integers(4, 40))
@settings(max_examples=40, deadline=None)
def test_other_sizes_work(seed, level, height, width, frames):
    scene = make_scene(seed, level, height=height, width=width, frames=frames)
    assert scene == make_scene(seed, level, height=height, width=width, frames=frames)
    assert render_frames(scene, count=1).shape == (1, height, width, 3)
    ask(scene)


def test_the_picture_shows_every_object_in_its_colour():
    scene = make_scene(3, 1)
    frames = render_frames(scene)
    assert frames.shape == (16, 112, 140, 3) and frames.dtype == np.uint8
    for body in scene.bodies:  # below the centre: the highlight of metal is above it
        assert tuple(frames[0, int(body.y) + 3, int(body.x)]) == PALETTE[body.color]
    gone = render_frames(scene, without=0, count=1)[0]
    x, y = int(scene.bodies[0].x), int(scene.bodies[0].y)
    np.testing.assert_array_equal(
        gone[y - 14 : y + 14, x - 14 : x + 14], background(scene)[y - 14 : y + 14, x - 14 : x + 14]
    )


def test_metal_looks_different_from_rubber():
    body = dict(object_id=0, color="red", shape="disc", lane=None, x=50.0, y=50.0, vx=0.0, vy=0.0)
    rubber, metal = (
        render_frames(Scene(0, 4, 112, 140, 4, 8, (Body(material=m, **body),)), count=1)[0].astype(int)
        for m in ("rubber", "metal")
    )
    assert (np.abs(rubber - metal).max(axis=-1) > 100).sum() > 80  # of about 314 pixels


def decode(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize("level", LEVELS)
def test_mp4_decodes_to_the_drawn_frames(tmp_path, level):
    frames = render_frames(make_scene(1, level))
    write_mp4(frames, tmp_path / "a.mp4", fps=8)
    write_mp4(frames, tmp_path / "b.mp4", fps=8)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]
    back = decode(tmp_path / "a.mp4")
    assert back.shape == frames.shape
    assert np.abs(back.astype(int) - frames).mean() < 6  # h264 halves the resolution of colour
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].average_rate == 8 and container.streams.video[0].frames == 16


def test_write_mp4_refuses_what_it_cannot_code(tmp_path):
    with pytest.raises(ValueError, match="uint8"):
        write_mp4(np.zeros((2, 28, 28, 3)), tmp_path / "a.mp4", 8)
    with pytest.raises(ValueError, match="even"):
        write_mp4(np.zeros((2, 27, 28, 3), np.uint8), tmp_path / "a.mp4", 8)
    assert not list(tmp_path.iterdir())


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def write(folder, *extra):
    toy_clevrer.main(["--out", str(folder), "--scenes", "5", "--validation-scenes", "2", "--frames", "4", *extra])
    return folder


def test_data_set_is_the_same_for_any_number_of_workers_and_like_clevrer(tmp_path):
    one = write(tmp_path / "one", "--workers", "1", "--seed", "7", "--level", "3")
    two = write(tmp_path / "two", "--workers", "2", "--seed", "7", "--level", "3")
    assert digest(one) == digest(two)
    other = write(tmp_path / "other", "--workers", "1", "--seed", "8", "--level", "3")
    assert digest(one)["questions/train.json"] != digest(other)["questions/train.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other", "two"]  # no temporary folder is left

    assert (one / "video_train/video_00000-01000/video_00004.mp4").is_file()
    assert (one / "video_validation/video_10000-11000/video_10001.mp4").is_file()
    truth = json.loads((one / "annotation_train/annotation_00000-01000/annotation_00000.json").read_text())
    assert len(truth["motion_trajectory"]) == 4
    assert set(truth["object_property"][0]) == {"object_id", "color", "material", "shape", "lane", "mass"}
    assert set(truth["motion_trajectory"][0]["objects"][0]) == {
        "object_id",
        "location",
        "velocity",
        "inside_camera_view",
    }
    scenes = json.loads((one / "questions/validation.json").read_text())
    assert [scene["scene_index"] for scene in scenes] == [10000, 10001]
    assert scenes[0]["video_filename"] == "video_10000.mp4"
    question = scenes[0]["questions"][0]
    assert set(question) == {"question_id", "question", "question_type", "program", "choices"}
    assert set(question["choices"][0]) == {"choice_id", "choice", "program", "answer"}


def test_a_data_set_is_replaced_only_when_asked_and_only_if_it_is_ours(tmp_path):
    out = write(tmp_path / "toy")
    before = digest(out)
    with pytest.raises(toy_clevrer.UserError, match="--overwrite"):
        write(out, "--seed", "1")
    assert digest(out) == before
    write(out, "--seed", "1", "--overwrite")
    assert digest(out) != before
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("dear")
    with pytest.raises(toy_clevrer.UserError, match="not empty"):
        write(foreign, "--overwrite")
    assert digest(foreign).keys() == {"thesis.txt"}


@pytest.mark.parametrize(
    "arguments, names",
    [
        (["--height", "100"], "height"),
        (["--level", "9"], "--level"),
        (["--scenes", "0"], "--scenes"),
        (["--validation-scenes", "5001"], "--validation-scenes"),
        (["--colour", "red"], "--colour"),
    ],
)
def test_bad_arguments_give_one_line(tmp_path, arguments, names):
    command = [sys.executable, "-m", "examples.tiny.toy_clevrer", "--out", str(tmp_path / "toy"), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and names in done.stderr
    assert not list(tmp_path.iterdir())
