"""Scenes of drawn figures, people and things on a plane, painted from far to near; and small ones to train on."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import UsageError
from gigacount.geometry import Size, whole
from gigacount.image.vips import library
from gigacount.synthesize.above import draw_from_above
from gigacount.synthesize.crowd import HEAD_WH, CrowdStyle, Person, make_build, make_style, populate
from gigacount.synthesize.ground_plane import make_ground
from gigacount.synthesize.painting import PERSON, Drawing, Figure, draw_figures, make_lens
from gigacount.synthesize.props import ON_GROUND, ON_HORIZON, PROPS
from gigacount.synthesize.scene import Perspective, Scene, SceneOptions, Truth, make_perspective
from gigacount.synthesize.wardrobe import Taste, make_taste, person_svg


def draw_scene(options: SceneOptions) -> Scene:
    """A scene of drawn figures, with a box for every head. Nothing is painted before `paint`.

    There are fewer than `options.people` heads where there is no room for more; zero people give the same ground and
    light. Raises UsageError where not one of so large figures fits.
    """
    return draw_from_above(options) if options.view == "above" else _draw_from_the_side(options)


def _draw_from_the_side(options: SceneOptions) -> Scene:
    rng = np.random.default_rng([options.seed, 0])
    perspective = make_perspective(options, rng)
    crowd = make_style(rng)
    people = populate(options, perspective, crowd, rng)
    if options.people and not people:
        raise UsageError(f"heads of {options.heads_px[1]:g} px leave no room for people; draw smaller heads")
    painter = _drawing(options, perspective, crowd, people)
    points = np.array([p.head_xy for p in people], np.float64).reshape(-1, 2)
    half = np.array([p.head_px for p in people], np.float64)[:, None] * np.array(HEAD_WH) / 2
    return Scene(Truth(options.size_wh, points, np.concatenate([points - half, points + half], 1)), painter.paint)


def _drawing(options: SceneOptions, perspective: Perspective, crowd: CrowdStyle, people: list[Person]) -> Drawing:
    rng = np.random.default_rng([options.seed, 1])
    taste, lens = make_taste(rng), make_lens(rng)
    figures = [Figure(PERSON, p.head_xy, p.head_px, p.foot_y, p.seed, p.build.bounds) for p in people]
    figures += _things(options, perspective, people, rng)
    figures.sort(key=lambda f: f.foot_y)
    ground = make_ground(rng, options.size_wh, perspective)
    return draw_figures(figures, partial(_svg, crowd, taste), ground, lens, rng, crowd.mirrored)


def _svg(crowd: CrowdStyle, taste: Taste, figure: Figure) -> str:
    rng = np.random.default_rng(figure.seed)
    if figure.kind == PERSON:
        return person_svg(make_build(rng, crowd.stature, crowd.hats), rng, figure.unit_px, taste)
    return PROPS[figure.kind](rng)[0]


def _things(
    options: SceneOptions, perspective: Perspective, people: list[Person], rng: np.random.Generator
) -> list[Figure]:
    """Things that are nobody, on the ground and along the horizon, except where they would hide a head."""
    (width, height), (far, near) = options.size_wh, options.heads_px
    things = []
    for _ in range(int(rng.integers(0, 60)) if perspective.horizon > 0 else 0):
        unit = far * rng.uniform(0.3, 0.95)  # behind everybody
        kind = ON_HORIZON[int(rng.integers(len(ON_HORIZON)))]
        foot = perspective.horizon + unit / perspective.rise * rng.uniform(0.2, 1)
        things.append((kind, foot, unit))
    for _ in range(int(rng.uniform(0, min(120, width * height / (near * far * 25) + 3)))):
        unit = np.exp(rng.uniform(np.log(far), np.log(near)))
        kind = ON_GROUND[int(rng.integers(len(ON_GROUND)))]
        things.append((kind, float(perspective.foot_y(unit)), unit))
    heads = np.array([(*p.head_xy, p.foot_y) for p in people]).reshape(-1, 3)
    figures = []
    for kind, foot, unit in things:
        x, seed = float(rng.uniform(0, width)), int(rng.integers(2**31))
        _, bounds = PROPS[kind](np.random.default_rng(seed))
        reach = (max(-bounds[0], bounds[2]) + 1) * unit
        above = (heads[:, 1] > foot + (bounds[1] - 1) * unit) & (heads[:, 1] < foot + unit)
        if not ((heads[:, 2] < foot) & above & (np.abs(heads[:, 0] - x) < reach)).any():
            figures.append(Figure(kind, (x, foot), unit, foot, seed, bounds))
    return figures


SIDES = (500, 1300)
MAX_PEOPLE = 1500
MAX_PIXELS = 3e7
"""Of the drawing that an image is shrunk from."""


def draw_image(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """An image (height, width, 3) and its head centres (N, 2), in its pixels; the same for the same seed.

    Drawn up to six times as large and shrunk, as a look at a large image is; every fourth is compressed as JPEG.
    Heads are 3 to 120 px, people 0 to 1,500, and every eighth image shows nobody.
    """
    rng = np.random.default_rng([seed, 3])
    size_wh = int(rng.integers(*SIDES)), int(rng.integers(SIDES[0], 1000))
    most = min(6.0, np.sqrt(MAX_PIXELS / (size_wh[0] * size_wh[1])))
    zoom = 1.0 if rng.random() < 0.25 else float(np.exp(rng.uniform(0, np.log(most))))
    scene = _scene(rng, size_wh, zoom)
    drawing = library().Image.new_from_array(scene.paint(whole(scene.size_wh)))
    scale = np.array(size_wh) / scene.size_wh
    image = drawing.resize(scale[0], vscale=scale[1]) if zoom > 1 else drawing
    if rng.random() < 0.25:
        image = library().Image.jpegload_buffer(image.jpegsave_buffer(Q=int(rng.integers(40, 92))))
    points: NDArray[np.float64] = scene.truth.points_xy * (image.width, image.height) / scene.size_wh
    pixels: NDArray[np.uint8] = image.numpy()
    return pixels, points


def _scene(rng: np.random.Generator, size_wh: Size, zoom: float) -> Scene:
    large_wh = round(size_wh[0] * zoom), round(size_wh[1] * zoom)
    while True:
        near = float(np.exp(rng.uniform(np.log(9), np.log(120))))
        far = max(3.0, near / float(np.exp(rng.uniform(np.log(1.3), np.log(12)))))
        horizon = float(rng.uniform(0.05, 0.4)) if rng.random() < 0.5 else -far / (near - far)
        room = size_wh[0] * size_wh[1] / (near * far)
        people = int(np.exp(rng.uniform(np.log(5), np.log(np.clip(room, 20, MAX_PEOPLE)))))
        options = SceneOptions(
            size_wh=large_wh,
            people=0 if rng.random() < 1 / 8 else people,
            seed=int(rng.integers(2**31)),
            head_px=(far * zoom, near * zoom),
            horizon=horizon,
        )
        try:
            return draw_scene(options)
        except UsageError:
            continue
