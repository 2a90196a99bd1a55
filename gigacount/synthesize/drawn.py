"""Scenes of drawn figures, people and things on a plane, painted from far to near; and small ones to train on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import UsageError
from gigacount.geometry import Size, Window, tile, whole
from gigacount.image.vips import VipsImage, library, load_drawing, to_array
from gigacount.synthesize.crowd import HEAD_WH, Bounds, CrowdStyle, Person, make_build, populate
from gigacount.synthesize.ground import GroundPlane, make_ground
from gigacount.synthesize.props import ON_GROUND, ON_HORIZON, PROPS
from gigacount.synthesize.scene import Perspective, Scene, SceneOptions, Truth, make_perspective, overlap
from gigacount.synthesize.wardrobe import Taste, cloth_rgb, person_svg

BLOCK = 1024
HALO = 6
"""Pixels that blur can reach: the widest here, sigma 1.4, reaches 4."""
GRAIN_WH = (1531, 1021)
SPRITE_BYTES = 48 * 2**20
"""Of drawings kept for the next blocks of a window."""
PERSON = "person"

Image = NDArray[np.uint8]
Sprites = dict[tuple[int, Window], Image]


@dataclass(frozen=True)
class Lens:
    """How the camera sees: gain per channel, contrast, blur in pixels, noise in grey levels, haze over the far end."""

    gain_rgb: NDArray[np.float64]
    contrast: float
    blur: float
    noise: float
    haze: float

    @property
    def curve(self) -> VipsImage:
        """Lookup table of 256 x 1 x 3; highlights approach white instead of being cut off."""
        level = np.arange(256)[None, :, None] / 255
        light = np.maximum((level - 0.5) * self.contrast + 0.5, 0) * self.gain_rgb
        soft = 0.75 + 0.25 * np.tanh((light - 0.75) / 0.25)
        return library().Image.new_from_array((np.where(light < 0.75, light, soft) * 255).astype(np.uint8))


@dataclass(frozen=True)
class Figure:
    """Something drawn. kind: "person" or a prop; origin_xy: centre of a head, or foot of a prop; unit_px: a head."""

    kind: str
    origin_xy: tuple[float, float]
    unit_px: float
    foot_y: float
    seed: int
    bounds: Bounds


@dataclass(frozen=True)
class Drawing:
    """Figures from far to near, and everything needed to paint any window of them.

    boxes: (N, 4) left, top, right, bottom pixels that each figure can touch, cut to the image and its halo.
    grain: sensor noise, periodic; extended by a block on both axes so that any block is a plain slice of it.
    """

    size_wh: Size
    ground: GroundPlane
    figures: tuple[Figure, ...]
    boxes: NDArray[np.int64]
    crowd: CrowdStyle
    taste: Taste
    lens: Lens
    grain: NDArray[np.int16]

    def paint(self, window: Window) -> Image:
        out = np.empty((window.height, window.width, 3), np.uint8)
        sprites: Sprites = {}
        for part in tile(window.size_wh, (BLOCK, BLOCK), 1):
            block = Window(window.left + part.left, window.top + part.top, part.width, part.height)
            out[part.top : part.bottom, part.left : part.right] = self._block(block, sprites)
        return out

    def _block(self, window: Window, sprites: Sprites) -> Image:
        around = Window(window.left - HALO, window.top - HALO, window.width + 2 * HALO, window.height + 2 * HALO)
        canvas = self.ground.paint(around)
        left, top, right, bottom = self.boxes.T
        touched = (left < around.right) & (right > around.left) & (top < around.bottom) & (bottom > around.top)
        for i in np.flatnonzero(touched).tolist():
            for part in self._parts(i):
                if overlap(part, around):
                    if (i, part) not in sprites:
                        while sum(sprite.nbytes for sprite in sprites.values()) > SPRITE_BYTES:
                            del sprites[next(iter(sprites))]  # the oldest
                        sprites[i, part] = self._sprite(self.figures[i], part)
                    _lay_over(canvas, around, sprites[i, part], part)
        picture = library().Image.new_from_array(canvas).maplut(self.lens.curve)
        soft = picture.gaussblur(self.lens.blur, precision="integer", min_ampl=0.05).numpy()
        x, y = window.left % GRAIN_WH[0], window.top % GRAIN_WH[1]
        grained = self.grain[y : y + window.height, x : x + window.width] + soft[HALO:-HALO, HALO:-HALO]
        out: Image = np.clip(grained, 0, 255).astype(np.uint8)
        return out

    def _parts(self, i: int) -> Iterator[Window]:
        """The pieces in which a figure is drawn: the same ones for every window, or their edges might show."""
        left, top, right, bottom = self.boxes[i].tolist()
        for part in tile((right - left, bottom - top), (BLOCK, BLOCK), 1):
            yield Window(left + part.left, top + part.top, part.width, part.height)

    def _sprite(self, figure: Figure, part: Window) -> Image:
        """(height, width, 4) drawing of a part of a figure, with opacity."""
        body = self._svg(figure)
        if self.crowd.mirrored:
            body = f'<g transform="scale(-1,1)">{body}</g>'
        unit = figure.unit_px
        x, y = (part.left - figure.origin_xy[0]) / unit, (part.top - figure.origin_xy[1]) / unit
        frame = (
            f'<svg xmlns="http://www.w3.org/2000/svg" fill="none" width="{part.width}" height="{part.height}" '
            f'viewBox="{x:.6f} {y:.6f} {part.width / unit:.6f} {part.height / unit:.6f}">{body}</svg>'
        )
        sprite: Image = to_array(load_drawing(frame.encode()))
        near = (figure.foot_y - self.ground.perspective.horizon) / (self.size_wh[1] - self.ground.perspective.horizon)
        haze = self.lens.haze * (1 - min(max(near, 0.0), 1.0)) ** 6
        if haze > 0.01:
            hazy = sprite[..., :3] * (1 - haze) + self.ground.sky_rgb[1] * haze
            sprite = np.concatenate([hazy.astype(np.uint8), sprite[..., 3:]], 2)
        return sprite

    def _svg(self, figure: Figure) -> str:
        rng = np.random.default_rng(figure.seed)
        if figure.kind == PERSON:
            return person_svg(make_build(rng, self.crowd.stature, self.crowd.hats), rng, figure.unit_px, self.taste)
        return PROPS[figure.kind](rng)[0]


def _lay_over(canvas: Image, window: Window, sprite: Image, place: Window) -> None:
    left, top = max(place.left, window.left), max(place.top, window.top)
    right, bottom = min(place.right, window.right), min(place.bottom, window.bottom)
    above = sprite[top - place.top : bottom - place.top, left - place.left : right - place.left]
    below = canvas[top - window.top : bottom - window.top, left - window.left : right - window.left]
    opacity = above[..., 3:].astype(np.float32) * np.float32(1 / 255)
    below[:] = below + (above[..., :3] - below.astype(np.float32)) * opacity + np.float32(0.5)


def draw_scene(options: SceneOptions) -> Scene:
    """A scene of drawn figures, with a box for every head. Nothing is painted before `paint`.

    There are fewer than `options.people` heads where there is no room for more; zero people give the same ground and
    light. Raises UsageError where not one of so large figures fits.
    """
    rng = np.random.default_rng([options.seed, 0])
    perspective = make_perspective(options, rng)
    crowd = CrowdStyle(
        stature=rng.uniform(5.6, 7.4),
        hats=(0.05, 0.15, 0.3, 0.9)[int(rng.choice(4, p=(0.35, 0.35, 0.2, 0.1)))],
        mirrored=bool(rng.random() < 0.5),
    )
    people = populate(options, perspective, crowd, rng)
    if options.people and not people:
        raise UsageError(f"heads of {options.heads_px[1]:g} px leave no room for people; draw smaller heads")
    painter = _drawing(options, perspective, crowd, people)
    points = np.array([p.head_xy for p in people], np.float64).reshape(-1, 2)
    half = np.array([p.head_px for p in people], np.float64)[:, None] * np.array(HEAD_WH) / 2
    return Scene(Truth(options.size_wh, points, np.concatenate([points - half, points + half], 1)), painter.paint)


def _drawing(options: SceneOptions, perspective: Perspective, crowd: CrowdStyle, people: list[Person]) -> Drawing:
    rng = np.random.default_rng([options.seed, 1])
    taste = Taste(
        vivid=rng.uniform(0.3, 1.1),
        uniform=(0.0, 0.3, 0.85)[int(rng.choice(3, p=(0.75, 0.15, 0.1)))],
        uniform_rgb=cloth_rgb(rng, 1.0),
    )
    lens = Lens(
        gain_rgb=rng.lognormal(-0.05, 0.14) * rng.lognormal(0, 0.05, 3),
        contrast=rng.lognormal(0, 0.12),
        blur=rng.uniform(0.45, 1.4),
        noise=rng.uniform(1, 6),
        haze=rng.uniform(0.05, 0.6),
    )
    figures = [Figure(PERSON, p.head_xy, p.head_px, p.foot_y, p.seed, p.build.bounds) for p in people]
    figures += _things(options, perspective, people, rng)
    figures.sort(key=lambda f: f.foot_y)
    boxes = _boxes(figures, options.size_wh, crowd.mirrored)
    inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    shown = tuple(f for f, ok in zip(figures, inside, strict=True) if ok)
    ground = make_ground(rng, options.size_wh, perspective)
    return Drawing(options.size_wh, ground, shown, boxes[inside], crowd, taste, lens, _grain(rng, lens.noise))


def _grain(rng: np.random.Generator, noise: float) -> NDArray[np.int16]:
    width, height = GRAIN_WH
    grain = rng.normal(0, noise * 0.8, (height, width, 1)) + rng.normal(0, noise * 0.5, (height, width, 3))
    return np.pad(np.rint(grain).astype(np.int16), ((0, BLOCK), (0, BLOCK), (0, 0)), mode="wrap")


def _boxes(figures: list[Figure], size_wh: Size, mirrored: bool) -> NDArray[np.int64]:
    bounds = np.array([f.bounds for f in figures], np.float64).reshape(-1, 4)
    if mirrored:
        bounds = bounds[:, [2, 1, 0, 3]] * (-1, 1, -1, 1)
    origin = np.array([f.origin_xy for f in figures], np.float64).reshape(-1, 2)
    edges = np.tile(origin, 2) + bounds * np.array([f.unit_px for f in figures])[:, None]
    width, height = size_wh
    low = np.maximum(np.floor(edges[:, :2]) - 1, -HALO)
    high = np.minimum(np.ceil(edges[:, 2:]) + 1, (width + HALO, height + HALO))
    return np.concatenate([low, high], 1).astype(np.int64)


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


def draw_picture(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
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
    picture = drawing.resize(scale[0], vscale=scale[1]) if zoom > 1 else drawing
    if rng.random() < 0.25:
        picture = library().Image.jpegload_buffer(picture.jpegsave_buffer(Q=int(rng.integers(40, 92))))
    points: NDArray[np.float64] = scene.truth.points_xy * (picture.width, picture.height) / scene.size_wh
    pixels: NDArray[np.uint8] = picture.numpy()
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
