# SPDX-License-Identifier: Apache-2.0
"""Toy-CLEVRER scenes of four difficulty levels, and counterfactual questions answered by a second simulation.

Level 1: lanes, two objects of a lane always meet head-on: one frame is enough. Level 2: speed and direction decide: two
frames. Level 3: chains of three in a lane: removing one changes who meets whom. Level 4: free motion in two dimensions,
entering and leaving, metal twice as heavy as rubber. Everything follows from (seed, level, sizes). Writes no files.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from examples.tiny.physics import CELL, RADIUS, Body, Collision, Scene, Simulation, simulate

__all__ = ["Body", "Choice", "Collision", "Question", "Scene", "Simulation", "make_scene", "object_names", "questions"]
__all__ += ["simulate", "COLORS", "SHAPES", "MATERIALS", "LEVELS", "WORDS"]

COLORS = ("red", "green", "blue", "yellow", "purple", "cyan")
SHAPES = ("disc", "square", "triangle")
MATERIALS = ("rubber", "metal")
LEVELS = (1, 2, 3, 4)
# A pair that touches so close to the end of the video (frames) that one cannot tell is neither right nor wrong.
MARGIN = 0.5
NO_RIGHT_RATE = {
    1: 0.0,
    2: 0.0,
    3: 0.03,
    4: 0.03,
}  # CLEVRER has questions without any right choice; data_prep drops them
OPTIONS = (2, 3, 4)  # numbers of options, equally often
# Weights of 1, 2, 3 right choices. Not every scene has three right pairs without the removed object; in levels 3 and 4
# the weights (found by counting) make each number about equally often among questions of four options, at level 2,
# where three are rare, one and two. At level 1 mostly one choice is wrong, so that neither more nor fewer letters pay
# for who guesses (docs/tiny.md).
RIGHT_WEIGHTS = {1: (0.2, 1.0, 4.0), 2: (1.0, 2.0, 4.0), 3: (1.0, 1.2, 1.2), 4: (1.0, 1.2, 1.6)}
# All choices right counts less: the answer to it is a constant.
ALL_RIGHT_WEIGHT = {1: 0.1, 2: 0.5, 3: 0.5, 4: 0.5}
# Every word of every question and choice, as a tokenizer sees them (punctuation aside).
WORDS = (*COLORS, *SHAPES, *MATERIALS, "object", "Without", "The", "the", "and", "with", "what", "will", "happen")
WORDS += ("collide", "collides")


@dataclass(frozen=True)
class Choice:
    """One option: its text, the two objects it is about (ids), whether they collide without the removed object."""

    text: str
    pair: tuple[int, int]
    correct: bool


@dataclass(frozen=True)
class Question:
    """`changed`: for at least one choice the video itself (with the removed object) shows the opposite."""

    text: str
    removed: int
    choices: tuple[Choice, ...]
    changed: bool

    @property
    def letters(self) -> tuple[str, ...]:
        """Letters of the right choices, A first."""
        return tuple(chr(65 + i) for i, choice in enumerate(self.choices) if choice.correct)


def _grid(value: float) -> float:
    """Round to 1/64 px: exact in binary and in JSON."""
    return round(value * 64) / 64


def _looks(rng: random.Random, count: int, level: int) -> list[tuple[str, str, str]]:
    """`count` different (color, shape, material); below level 4 color and shape alone already tell objects apart."""
    if level < 4:
        return [(*pair, rng.choice(MATERIALS)) for pair in rng.sample(list(itertools.product(COLORS, SHAPES)), count)]
    return rng.sample(list(itertools.product(COLORS, SHAPES, MATERIALS)), count)


def _lane_counts(rng: random.Random, lanes: int, level: int) -> list[int]:
    """Objects per lane, shuffled: mostly pairs (level 3: chains of three), the rest 0 or 1 (level 3: 1 or 2)."""
    full, rest = (3, (1, 2)) if level == 3 else (2, (0, 1, 1))
    missing = rng.choices((0, 1, 2), weights=(0.7, 0.2, 0.1) if level < 3 else (0.0, 0.5, 0.5))[0]
    counts = [full] * (lanes - missing) + [rng.choice(rest) for _ in range(missing)]
    rng.shuffle(counts)
    return counts


def _meeting_pair(rng: random.Random, gap: float, frames: int) -> tuple[float, float]:
    """Velocities of two objects that approach each other over `gap` px and touch between 30 % and 80 % of the video."""
    closing = gap / (rng.uniform(0.3, 0.8) * (frames - 1))
    share = rng.uniform(0.3, 0.7)
    return closing * share, -closing * (1 - share)


def _passing_pair(rng: random.Random, gap: float, frames: int) -> tuple[float, float]:
    """Velocities of two objects (left, right) that do not touch within the video: apart, same way, or too slow."""
    slow, fast = (rng.uniform(1.0, 2.5) for _ in range(2))
    kind = rng.choice(("apart", "follow", "slow"))
    if kind == "apart":
        return -slow, fast
    if kind == "slow":
        closing = gap / (frames - 1) * rng.uniform(0.3, 0.6)
        return closing * 0.5, -closing * 0.5
    sign = rng.choice((-1, 1))  # same direction and the one behind is not faster
    behind, ahead = sorted((slow, fast))
    return (behind, ahead) if sign > 0 else (-ahead, -behind)


def _catching_pair(rng: random.Random, gap: float, frames: int) -> tuple[float, float]:
    """Same direction, the one behind is faster and touches the other between 30 % and 80 % of the video."""
    closing, drift = gap / (rng.uniform(0.3, 0.8) * (frames - 1)), rng.uniform(0.5, 1.0)
    return (closing + drift, drift) if rng.random() < 0.5 else (-drift, -closing - drift)


def _lane_velocities(rng: random.Random, xs: Sequence[float], level: int, frames: int, meet: bool) -> list[float]:
    """Velocities (px/frame) of the objects of one lane at `xs`, left to right."""
    if len(xs) == 1:
        return [rng.choice((-1, 1)) * rng.uniform(1.0, 4.0)]
    if len(xs) == 2:
        gap = xs[1] - xs[0] - 2 * RADIUS
        if level == 1:
            return list(_meeting_pair(rng, gap, frames))
        if not meet:
            return list(_passing_pair(rng, gap, frames))
        return list(rng.choice((_meeting_pair, _catching_pair))(rng, gap, frames))
    # A chain: one end runs into the two others; the middle one rests or drifts, the far end rests or comes to meet it.
    width = xs[-1] - xs[0]
    push = width / (frames - 1) * rng.uniform(1.2, 2.2)
    velocities = [
        push,
        rng.choice((0.0, 0.0, 0.3 * push, -0.3 * push)),
        rng.choice((0.0, 0.0, -0.6 * push, 0.3 * push)),
    ]
    return velocities if rng.random() < 0.5 else [-v for v in reversed(velocities)]


def _lane_scene(rng: random.Random, level: int, height: int, width: int, frames: int) -> list[Body]:
    columns = width // CELL
    counts = _lane_counts(rng, height // CELL, level)
    looks = iter(_looks(rng, sum(counts), level))
    crowded = [lane for lane, count in enumerate(counts) if count == 2]
    meeting = set(rng.sample(crowded, min(len(crowded), rng.randint(2, 3))))
    bodies: list[Body] = []
    for lane, count in enumerate(counts):
        while True:  # pairs start two cells apart, so that the approach can be seen
            cells = sorted(rng.sample(range(columns), count))
            if count != 2 or cells[1] - cells[0] > 1:
                break
        xs = [CELL * cell + CELL / 2 for cell in cells]
        velocities = _lane_velocities(rng, xs, level, frames, lane in meeting) if xs else []
        for x, vx in zip(xs, velocities, strict=True):
            bodies.append(Body(0, *next(looks), lane, x, CELL * lane + CELL / 2, _grid(vx), 0.0))
    return bodies


def _free_scene(rng: random.Random, height: int, width: int, frames: int) -> list[Body]:
    """Five to seven bodies; about a third start outside and come in; each is aimed at a point near the middle."""
    looks = _looks(rng, rng.randint(5, 7), 4)
    bodies: list[Body] = []
    for look in looks:
        while True:
            x, y = _grid(rng.uniform(-0.4, 1.4) * width), _grid(rng.uniform(-0.4, 1.4) * height)
            outside = not (0 <= x <= width and 0 <= y <= height)
            if outside and rng.random() < 0.6:  # keep about a third outside
                continue
            if all((x - o.x) ** 2 + (y - o.y) ** 2 > (2 * RADIUS + 4) ** 2 for o in bodies):
                break
        aim_x, aim_y = rng.uniform(0.25, 0.75) * width, rng.uniform(0.25, 0.75) * height
        pace = rng.uniform(0.8, 2.2) / (frames - 1)
        rest = not outside and rng.random() < 0.2
        vx, vy = (0.0, 0.0) if rest else (_grid((aim_x - x) * pace), _grid((aim_y - y) * pace))
        bodies.append(Body(0, *look, None, x, y, vx, vy, mass=2.0 if look[2] == "metal" else 1.0))
    return bodies


def make_scene(seed: int, level: int, *, height: int = 112, width: int = 140, frames: int = 16, fps: int = 8) -> Scene:
    """Draw one scene; the same arguments always give the same scene.

    Args:
        seed: any integer.
        level: 1 to 4, see the module docstring.
        height: px, a multiple of 28, at least 84 (three lanes) and at most 168 (six: 18 looks for 18 objects).
        width: px, a multiple of 28, at least 112 (four start cells).
        frames: length of the video, at least 4.
        fps: frames per second of the video; motion is in frames, so it changes nothing else.

    Raises:
        ValueError: a level or size that is not possible.
    """
    if level not in LEVELS:
        raise ValueError(f"level must be one of {LEVELS}, not {level}")
    if height % CELL or not 3 * CELL <= height <= 6 * CELL:
        raise ValueError(f"height must be a multiple of {CELL} from {3 * CELL} to {6 * CELL}, not {height}")
    if width % CELL or width < 4 * CELL:
        raise ValueError(f"width must be a multiple of {CELL} and at least {4 * CELL}, not {width}")
    if frames < 4 or fps < 1:
        raise ValueError(f"frames must be at least 4 and fps at least 1, not {frames} and {fps}")
    for attempt in itertools.count():
        rng = random.Random(f"toy-clevrer scene {level} {seed} {height}x{width}x{frames} {attempt}")
        if level == 4:
            bodies = _free_scene(rng, height, width, frames)
        else:
            bodies = _lane_scene(rng, level, height, width, frames)
        rng.shuffle(bodies)  # ids must not give the lane away
        bodies = [Body(**{**vars(body), "object_id": i}) for i, body in enumerate(bodies)]
        scene = Scene(seed, level, height, width, frames, fps, tuple(bodies))
        # Lane scenes are rich enough by construction; free ones are drawn again until enough happens in the picture.
        if level < 3 or sum(c.visible for c in simulate(scene).collisions) >= 3:
            return scene
    raise AssertionError("unreachable")


def object_names(scene: Scene) -> tuple[str, ...]:
    """One unambiguous name per object, by object_id: "red disc" up to level 2, then the shortest that is unique."""
    if scene.level <= 2:
        return tuple(f"{body.color} {body.shape}" for body in scene.bodies)
    rng = random.Random(f"toy-clevrer names {scene.level} {scene.seed}")
    names = []
    for body in scene.bodies:
        color, shape, material = body.color, body.shape, body.material
        tiers = (
            [("", "", shape)],
            [(color, "", shape), ("", material, shape), (color, "", "object"), ("", material, "object")],
            [(color, material, shape)],
        )
        for tier in tiers:
            unique = [
                name
                for name in tier
                if sum(
                    name[0] in ("", o.color) and name[1] in ("", o.material) and name[2] in ("object", o.shape)
                    for o in scene.bodies
                )
                == 1
            ]
            if unique:
                names.append(" ".join(word for word in rng.choice(unique) if word))
                break
    return tuple(names)


def _outcome(scene: Scene, without: int | None) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Pairs that visibly collide, and pairs one cannot be sure about (too near the end, or outside the picture)."""
    collisions = simulate(scene, without, extra=MARGIN).collisions
    sure = {c.pair for c in collisions if c.visible and c.time <= scene.frames - 1 - MARGIN}
    return sure, {c.pair for c in collisions} - sure


def _shuffled(rng: random.Random, pool: Sequence, *first: set) -> list:
    """`pool` in random order; with probability 0.8 members of the sets `first` come before the others, set by set."""
    pool = rng.sample(pool, len(pool))
    if first and rng.random() < 0.8:
        pool.sort(key=lambda item: [item not in favoured for favoured in first])
    return pool


def _take_wrong(pool: list[tuple[int, int]], right: list[tuple[int, int]], count: int, level: int) -> list:
    """The first `count` pairs of `pool`; in levels 1 and 2 those that share the fewest objects with pairs taken before.

    There right pairs never share an object (one pair a lane). Wrong ones drawn freely would, and the text alone would
    tell them apart: 82 % of the choices without a shared object were right at level 1.
    """
    if level > 2:
        return pool[:count]
    taken: list[tuple[int, int]] = []
    for _ in range(count):
        used = Counter(itertools.chain(*right, *taken))
        taken.append(min((p for p in pool if p not in taken), key=lambda pair: used[pair[0]] + used[pair[1]]))
    return taken


def _question(
    scene: Scene, rng: random.Random, removed: int, seen: set[tuple[int, int]], outcome: tuple[set, set]
) -> Question | None:
    """A question about the scene without `removed` (`outcome` = _outcome of that), or None if nothing can be asked."""
    happens, unsure = outcome
    others = [body.object_id for body in scene.bodies if body.object_id != removed]
    right = [pair for pair in itertools.combinations(others, 2) if pair in happens]
    wrong = [pair for pair in itertools.combinations(others, 2) if pair not in happens and pair not in unsure]
    none = rng.random() < NO_RIGHT_RATE[scene.level]
    if not none and not right:
        return None
    most = min(len(right), len(RIGHT_WEIGHTS[scene.level]))
    counts = {n: [k for k in ([0] if none else range(1, min(n, most) + 1)) if n - k <= len(wrong)] for n in OPTIONS}
    sizes = [n for n in OPTIONS if counts[n]]
    if not sizes:
        return None
    n_options = rng.choice(sizes)
    weights = [
        RIGHT_WEIGHTS[scene.level][k - 1] * (ALL_RIGHT_WEIGHT[scene.level] if k == n_options else 1.0)
        for k in counts[n_options]
    ]
    n_right = rng.choices(counts[n_options], weights=weights)[0]
    # Near misses first: what the video shows but would not happen (level 3, 4), partners that never meet (level 2).
    lane = {body.object_id: body.lane for body in scene.bodies}
    partners = {p for p in wrong if lane[p[0]] is not None and lane[p[0]] == lane[p[1]]}
    pairs = _shuffled(rng, right, set(right) - seen)[:n_right]
    pairs += _take_wrong(_shuffled(rng, wrong, set(wrong) & seen, partners), pairs, n_options - n_right, scene.level)
    rng.shuffle(pairs)
    names = object_names(scene)
    choices = []
    for pair in pairs:
        one, two = (names[i] for i in rng.sample(pair, 2))
        both = scene.level == 1 or rng.random() < 0.5  # level 1 keeps to one wording
        text = f"The {one} and the {two} collide" if both else f"The {one} collides with the {two}"
        choices.append(Choice(text, pair, pair in happens))
    changed = any(choice.correct != (choice.pair in seen) for choice in choices)
    return Question(f"Without the {names[removed]}, what will happen?", removed, tuple(choices), changed)


def questions(scene: Scene, rng: random.Random, count: int = 1) -> list[Question]:
    """Up to `count` questions, each about another removed object; fewer when the scene does not allow more.

    A choice is right when its two objects visibly collide in `simulate(scene, without=removed)` within the video; wrong
    when they do not collide at all; pairs that cannot be told apart so are never asked about.
    """
    seen = _outcome(scene, None)[0]
    ids = range(len(scene.bodies))
    outcome = functools.cache(lambda removed: _outcome(scene, removed))
    # Objects without which something else than in the video happens are asked about first; levels 1 and 2 have none.
    matter = {i for i in ids if scene.level > 2 and outcome(i)[0] != {pair for pair in seen if i not in pair}}
    asked: list[Question] = []
    for removed in _shuffled(rng, ids, matter):
        if len(asked) == count:
            break
        question = _question(scene, rng, removed, seen, outcome(removed))
        if question is not None:
            asked.append(question)
    return asked
