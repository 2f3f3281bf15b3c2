# SPDX-License-Identifier: Apache-2.0
"""Physics of the toy world: bodies in free flight that collide elastically, moved from event to event, no time steps.

Every body collides as its bounding circle, whatever shape is drawn, does not turn, feels neither friction nor walls.
Only IEEE-exact operations (+ - * / sqrt) are used, so a scene gives the same numbers on every machine. Drawing is in
render.py; what is a scene and what is asked about it is in world.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

CELL = 28  # px: one merged vision token of Qwen2.5-VL (2 x 2 patches of 14 px); lanes and start cells are this size
RADIUS = 10.0  # px: bounding circle of every body
MAX_EVENTS = 10_000  # far above any real scene (about 10); a loop without end must become an error


@dataclass(frozen=True)
class Body:
    """One object: its looks, its lane (None in free motion), and its state at frame 0 in px and px/frame."""

    object_id: int
    color: str
    shape: str
    material: str
    lane: int | None
    x: float
    y: float
    vx: float
    vy: float
    mass: float = 1.0


@dataclass(frozen=True)
class Scene:
    """Initial state and picture size; everything else follows from it by `simulate`."""

    seed: int
    level: int
    height: int
    width: int
    frames: int
    fps: int
    bodies: tuple[Body, ...]


@dataclass(frozen=True)
class Collision:
    """Bodies `pair` (ids, ascending) touch at `time` (frames), `location` (px); `visible`: both centres are in view."""

    pair: tuple[int, int]
    time: float
    location: tuple[float, float]
    visible: bool


@dataclass(frozen=True)
class Simulation:
    """What happens: positions, velocities [T, N, 2] float64 (NaN: removed body), inside [T, N] bool, collisions."""

    positions: np.ndarray
    velocities: np.ndarray
    inside: np.ndarray
    collisions: tuple[Collision, ...]


def slower(scene: Scene, factor: int, fps: int) -> Scene:
    """The same motion in `factor` times as many frames, of `fps` a second."""
    bodies = tuple(replace(body, vx=body.vx / factor, vy=body.vy / factor) for body in scene.bodies)
    return replace(scene, frames=scene.frames * factor, fps=fps, bodies=bodies)


def _next_contact(
    position: np.ndarray, velocity: np.ndarray, left: np.ndarray, right: np.ndarray
) -> tuple[float, int, int]:
    """Time to the first contact of any pair (inf if none) and the pair; only pairs that approach each other count."""
    gap, closing = position[right] - position[left], velocity[right] - velocity[left]  # [P, 2]
    approach = gap[:, 0] * closing[:, 0] + gap[:, 1] * closing[:, 1]
    speed2 = closing[:, 0] * closing[:, 0] + closing[:, 1] * closing[:, 1]
    room = gap[:, 0] * gap[:, 0] + gap[:, 1] * gap[:, 1] - 4 * RADIUS * RADIUS
    under_root = approach * approach - speed2 * room
    meets = (approach < 0) & (under_root >= 0)
    if not meets.any():
        return np.inf, -1, -1
    # Root of |gap + closing t| = 2 r in the form without cancellation; max(): rounding may leave bodies 1e-15 px deep.
    time = np.full(len(left), np.inf)
    time[meets] = np.maximum(room[meets], 0.0) / (np.sqrt(under_root[meets]) - approach[meets])
    first = int(np.argmin(time))
    return float(time[first]), int(left[first]), int(right[first])


def simulate(scene: Scene, without: int | None = None, extra: float = 0.0) -> Simulation:
    """Run `scene` from frame 0 to its last frame, or the same initial state without body `without`.

    Args:
        scene: the initial state.
        without: object_id to leave out; None runs what the video shows.
        extra: frames to go on looking for collisions after the last frame (near misses in time); positions stop at T.

    Returns:
        Simulation with arrays [T, N, 2]; collisions in order of time.

    Raises:
        ValueError: `without` is no object of the scene, or the motion has more than MAX_EVENTS collisions.
    """
    ids = [body.object_id for body in scene.bodies]
    if without is not None and without not in ids:
        raise ValueError(f"scene has no object {without}; objects are {ids}")
    kept = [i for i, body in enumerate(scene.bodies) if body.object_id != without]
    position = np.array([(scene.bodies[i].x, scene.bodies[i].y) for i in kept], dtype=np.float64).reshape(-1, 2)
    velocity = np.array([(scene.bodies[i].vx, scene.bodies[i].vy) for i in kept], dtype=np.float64).reshape(-1, 2)
    mass = [scene.bodies[i].mass for i in kept]
    left, right = np.triu_indices(len(kept), k=1)
    positions = np.full((scene.frames, len(ids), 2), np.nan)
    velocities = np.full_like(positions, np.nan)
    limit = np.array([scene.width, scene.height], dtype=np.float64)
    collisions: list[Collision] = []
    now, frame, end = 0.0, 0, scene.frames - 1 + extra
    for _ in range(MAX_EVENTS):
        wait, a, b = _next_contact(position, velocity, left, right)
        until = min(now + wait, end)
        while frame < scene.frames and frame <= until:
            positions[frame, kept] = position + velocity * (frame - now)
            velocities[frame, kept] = velocity
            frame += 1
        if now + wait > end:
            break
        now += wait
        position = position + velocity * wait
        middle = (position[a] + position[b]) / 2
        visible = all(bool(np.all((position[i] >= 0) & (position[i] <= limit))) for i in (a, b))
        pair = tuple(sorted((ids[kept[a]], ids[kept[b]])))
        collisions.append(Collision(pair, now, (float(middle[0]), float(middle[1])), visible))
        normal = position[b] - position[a]
        distance2 = normal[0] * normal[0] + normal[1] * normal[1]
        closing = velocity[b] - velocity[a]
        # Impulse along the line of centres; conserves momentum and kinetic energy.
        along = (closing[0] * normal[0] + closing[1] * normal[1]) / distance2 * 2 / (mass[a] + mass[b])
        velocity = velocity.copy()
        velocity[a] += along * mass[b] * normal
        velocity[b] -= along * mass[a] * normal
    else:
        raise ValueError(f"scene {scene.seed} of level {scene.level}: more than {MAX_EVENTS} collisions")
    with np.errstate(invalid="ignore"):
        inside = np.all((positions > -RADIUS) & (positions < limit + RADIUS), axis=-1)  # NaN compares False: removed
    return Simulation(positions, velocities, inside, tuple(collisions))
