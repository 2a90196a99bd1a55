"""Scenes of drawn figures from straight above, as a drone sees them: people of one size on squares, streets, beaches.

Nobody hides another's head: who leans towards the edge of the image is painted before those nearer to its middle, and
nothing that is taller than a person stands over one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.random import Generator
from scipy.spatial import cKDTree

from gigacount.errors import UsageError
from gigacount.geometry import Size
from gigacount.synthesize.crowd import FORMATIONS, CrowdStyle, Doubles, make_build, make_style, pick
from gigacount.synthesize.ground_plane import make_ground
from gigacount.synthesize.overhead import (
    HEAD_WH,
    THINGS,
    Sun,
    Vector,
    make_sun,
    person_from_above,
    person_solids,
    shadow,
    turned,
)
from gigacount.synthesize.painting import PERSON, SHADOW, Figure, draw_figures, make_lens
from gigacount.synthesize.scene import Scene, SceneOptions, Truth, make_perspective
from gigacount.synthesize.wardrobe import Taste, make_look, make_taste

ROOM = 1.6
"""Heads are at least this far apart, in heads: shoulders touch."""
LONG = 100.0
"""Paths, lanes and pitches reach further than this, in heads; a scene has two of them at most."""
TALL = 8.0
"""Things higher than this, in heads, are above people."""

PLACES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "square": (
        ("slabs", "cobbles", "floor"),
        ("bench", "post", "post", "tree", "parasol", "table", "table", "manhole", "planting", "roof"),
    ),
    "street": (
        ("asphalt", "asphalt", "cobbles"),
        ("car", "car", "car", "crossing", "lane", "bays", "manhole", "post", "tree", "roof", "bench"),
    ),
    "park": (("grass", "grass", "earth"), ("path", "tree", "tree", "bush", "planting", "bench", "towel", "parasol")),
    "beach": (("sand",), ("towel", "towel", "towel", "parasol", "parasol", "bush", "table", "post")),
    "sports ground": (("track", "grass", "asphalt"), ("pitch", "bench", "tree", "post", "roof", "car")),
    "winter": (("snow", "earth"), ("tree", "car", "bench", "roof", "path", "bush", "post")),
}
"""Place -> its grounds, and what stands or lies there."""


@dataclass(frozen=True)
class Camera:
    """middle_xy: what is straight below it. slant: tangent of the angle at which it sees the image's corner.

    0 is a mosaic of many photographs, in which nobody leans.
    """

    size_wh: Size
    slant: float

    def lean(self, head_xy: Vector, stature: float) -> Vector:
        """The way from the feet to the head of who is `stature` heads high, in heads."""
        middle = np.array(self.size_wh) / 2
        x, y = (np.array(head_xy) - middle) / np.hypot(*middle) * self.slant * stature
        return float(x), float(y)


def draw_from_above(options: SceneOptions) -> Scene:
    """A scene seen from straight above, with a box for every head. Nothing is painted before `paint`.

    There are fewer than `options.people` heads where there is no room for more; zero people give the same light. Raises
    UsageError where not one of so large figures fits.
    """
    rng = np.random.default_rng([options.seed, 0])
    perspective = make_perspective(options, rng)
    crowd = make_style(rng)
    head_px = float(perspective.head_px(np.zeros(1))[0])
    people = _people(options, head_px, rng)
    if options.people and not people:
        raise UsageError(f"heads of {head_px:.0f} px leave no room for people; draw smaller heads")

    rng = np.random.default_rng([options.seed, 1])
    taste, lens, sun = make_taste(rng), replace(make_lens(rng), haze=0.0), make_sun(rng)
    camera = Camera(options.size_wh, float(rng.uniform(0.0, 0.06) if rng.random() < 0.5 else rng.uniform(0.1, 0.6)))
    grounds, things = PLACES[list(PLACES)[int(rng.integers(len(PLACES)))]]
    figures = _things(options, head_px, people, things, rng)
    artist = partial(_svg, crowd, taste, sun, camera)
    ground = make_ground(rng, options.size_wh, perspective, grounds)
    painter = draw_figures(_in_order(people, figures, crowd, sun, camera), artist, ground, lens, rng)

    points = np.array([p.origin_xy for p in people], np.float64).reshape(-1, 2)
    size, turn = np.array([(p.unit_px, p.turn) for p in people]).reshape(-1, 2).T[:, :, None]
    across, along = np.array(HEAD_WH) / 2
    half_w = np.hypot(across * np.cos(turn), along * np.sin(turn)) * size
    half_h = np.hypot(across * np.sin(turn), along * np.cos(turn)) * size
    half = np.concatenate([half_w, half_h], 1)
    return Scene(Truth(options.size_wh, points, np.concatenate([points - half, points + half], 1)), painter.paint)


def _people(options: SceneOptions, head_px: float, rng: Generator) -> list[Figure]:
    """`options.people` people at random, or as many as there is room for; their bounds are not known yet."""
    axis = rng.uniform(0, 2 * np.pi)
    places = np.zeros((0, 3))
    for surplus in (1.3, 2.5, 5.0, 10.0):
        if len(places) >= options.people:
            break
        places = _settle(int(options.people * surplus) + 5, options, head_px, axis, rng)
    people = []
    for x, y, turn in places[rng.permutation(len(places))[: options.people]].tolist():
        size = head_px * float(np.clip(rng.normal(1, 0.05), 0.85, 1.15)) * (0.8 if rng.random() < 0.08 else 1.0)
        people.append(Figure(PERSON, (x, y), size, y, int(rng.integers(2**31)), (0, 0, 0, 0), turn))
    return people


def _settle(n: int, options: SceneOptions, head_px: float, axis: float, rng: Generator) -> Doubles:
    """(about n, 3) places in pixels and ways to look: people alone, and groups that stand, or walk along the axis."""
    width, height = options.size_wh
    parts = []
    have = 0
    while have < n:
        count = 1 if rng.random() < 0.3 else int(np.clip(rng.lognormal(np.log(max(n / 40, 3.0)), 1.1), 1, n * 0.4 + 1))
        formation = FORMATIONS[pick(rng, files=0.2, group=0.5, block=0.3)]
        way = axis + _way(rng)
        spread = turned(formation(rng, count).T, way)
        standing = rng.random() < 0.4
        turns = rng.uniform(0, 2 * np.pi, count) if standing else way + rng.normal(0, 0.3, count)
        places = rng.uniform((0, 0), (width, height)) + spread * head_px
        parts.append(np.concatenate([places, turns[:, None]], 1))
        have += count
    settled = np.concatenate(parts)
    edge = 0.6 * head_px * 1.15  # the largest head, whole
    inside = ((settled[:, :2] >= edge) & (settled[:, :2] <= np.array([width, height]) - edge)).all(1)
    settled = settled[inside]
    return settled[_apart(settled[:, :2], ROOM * head_px)]


def _way(rng: Generator) -> float:
    """Along the axis, one way or the other; sometimes across."""
    return float(rng.choice([0, np.pi, np.pi / 2, -np.pi / 2], p=[0.35, 0.35, 0.15, 0.15]) + rng.normal(0, 0.15))


def _apart(points_xy: Doubles, least: float) -> list[int]:
    """Indices of points of which no two are nearer than `least`: the earlier one stays."""
    gone = np.zeros(len(points_xy), bool)
    if len(points_xy):
        pairs = np.asarray(cKDTree(points_xy).query_pairs(least, output_type="ndarray"))
        for i, j in pairs[np.lexsort(pairs.T[::-1])].tolist():
            gone[j] |= not gone[i]
    kept: list[int] = np.flatnonzero(~gone).tolist()
    return kept


def _things(
    options: SceneOptions, head_px: float, people: list[Figure], kinds: tuple[str, ...], rng: Generator
) -> list[Figure]:
    """Things that are nobody; what is not flat only where no head is over or under it, and no other such thing."""
    width, height = options.size_wh
    heads = np.array([p.origin_xy for p in people]).reshape(-1, 2)
    axis = rng.uniform(0, np.pi / 2)
    room = width * height / (head_px * head_px)
    figures: list[Figure] = []
    standing, long = np.zeros((0, 3)), 0
    for _ in range(int(rng.uniform(0.2, 1) * min(250, room / 250 + 4))):
        kind = kinds[int(rng.integers(len(kinds)))]
        place, seed = rng.uniform((0, 0), (width, height)), int(rng.integers(2**31))
        turn = axis + np.pi / 2 * rng.integers(4) + rng.normal(0, 0.03 if rng.random() < 0.7 else 1.0)
        thing = THINGS[kind](np.random.default_rng(seed))
        reach = thing.reach
        long += reach > LONG
        if reach > LONG and long > 2:
            continue
        if thing.solids:
            half = np.max([np.abs(outline).max(0) for outline, _, _ in thing.solids], 0)
            under = (np.abs(turned((heads - place) / head_px, -turn)) < half + 1.5).all(1)
            gaps = np.hypot(*(standing[:, :2] - place).T) / head_px
            if under.any() or (gaps < standing[:, 2] + half.max()).any():
                continue
            standing = np.concatenate([standing, [[*place, half.max()]]])
        bounds = (-reach, -reach, reach, reach)
        figures.append(Figure(kind, (place[0], place[1]), head_px, place[1], seed, bounds, turn))
    return figures


def _in_order(people: list[Figure], things: list[Figure], crowd: CrowdStyle, sun: Sun, camera: Camera) -> list[Figure]:
    """Flat things, shadows, low things, people from the edge to the middle, tall shadows, tall things."""
    flat: list[Figure] = []
    low: list[Figure] = []
    tall: list[Figure] = []
    shadows: list[Figure] = []
    tall_shadows: list[Figure] = []
    for thing in things:
        made = THINGS[thing.kind](np.random.default_rng(thing.seed))
        if not made.solids:
            flat.append(thing)
            continue
        cast = replace(thing, kind=SHADOW + thing.kind, bounds=shadow(made.solids, thing.turn, sun)[1])
        (tall if made.top > TALL else low).append(thing)
        (tall_shadows if made.top > TALL else shadows).append(cast)
    bodies = []
    for person in people:
        build = make_build(np.random.default_rng(person.seed), crowd.stature, crowd.hats)
        x, y = camera.lean(person.origin_xy, build.stature)
        bounds = (min(-x, 0) - 2.0, min(-y, 0) - 2.0, max(-x, 0) + 2.0, max(-y, 0) + 2.0)
        bodies.append(replace(person, bounds=bounds))
        left, top, right, bottom = shadow(person_solids(build), person.turn, sun)[1]
        cast = replace(person, kind=SHADOW + PERSON, bounds=(left - x, top - y, right - x, bottom - y))
        shadows.append(cast)
    middle = np.array(camera.size_wh) / 2
    bodies.sort(key=lambda figure: -float(np.hypot(*(np.array(figure.origin_xy) - middle))))
    flat.sort(key=lambda figure: -figure.bounds[2])  # the largest below
    return [*flat, *shadows, *low, *bodies, *tall_shadows, *tall]


def _svg(crowd: CrowdStyle, taste: Taste, sun: Sun, camera: Camera, figure: Figure) -> str:
    rng = np.random.default_rng(figure.seed)
    kind = figure.kind.removeprefix(SHADOW)
    casts = kind != figure.kind
    if kind == PERSON:
        build = make_build(rng, crowd.stature, crowd.hats)
        lean = camera.lean(figure.origin_xy, build.stature)
        if casts:
            dark = shadow(person_solids(build), figure.turn, sun)[0]
            return f'<g transform="translate({-lean[0]:.2f},{-lean[1]:.2f})">{dark}</g>'
        return person_from_above(build, make_look(rng, taste), rng, figure.unit_px, figure.turn, lean, sun)
    thing = THINGS[kind](rng)
    if casts:
        return shadow(thing.solids, figure.turn, sun)[0]
    return f'<g transform="rotate({np.degrees(figure.turn):.1f})">{thing.svg}</g>'
