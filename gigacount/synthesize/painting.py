"""Drawn figures on a ground, painted window by window: what scenes from the side and from above have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gigacount.geometry import Size, Window, tile
from gigacount.image.vips import VipsImage, library, load_drawing, to_array
from gigacount.synthesize.crowd import Bounds
from gigacount.synthesize.ground_plane import GroundPlane
from gigacount.synthesize.scene import overlap

BLOCK = 1024
HALO = 6
"""Pixels that blur can reach: the widest here, sigma 1.4, reaches 4."""
GRAIN_WH = (1531, 1021)
SPRITE_BYTES = 48 * 2**20
"""Of drawings kept for the next blocks of a window."""
PERSON, SHADOW = "person", "shadow of "

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
    """Something drawn.

    kind: "person", a prop, or "shadow of " one. origin_xy: centre of a head, or foot of a prop. unit_px: a head.
    foot_y: the row where it stands. bounds: left, top, right, bottom of it in heads from its origin. turn: the way it
    looks, clockwise from straight up, where it is seen from above.
    """

    kind: str
    origin_xy: tuple[float, float]
    unit_px: float
    foot_y: float
    seed: int
    bounds: Bounds
    turn: float = 0.0


@dataclass(frozen=True)
class Drawing:
    """Figures, those behind first, and everything needed to paint any window of them.

    boxes: (N, 4) left, top, right, bottom pixels that each figure can touch, cut to the image and its halo.
    svg: draws a figure, in heads from its origin, lit from the left; mirrored: left and right are exchanged.
    grain: sensor noise, periodic; extended by a block on both axes so that any block is a plain slice of it.
    """

    size_wh: Size
    ground: GroundPlane
    figures: tuple[Figure, ...]
    boxes: NDArray[np.int64]
    svg: Callable[[Figure], str]
    mirrored: bool
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
        lit: Image | None = None
        for i in np.flatnonzero(touched).tolist():
            if not self.figures[i].kind.startswith(SHADOW):
                lit = None
            elif lit is None:
                lit = canvas.copy()
            for part in self._parts(i):
                if overlap(part, around):
                    if (i, part) not in sprites:
                        while sum(sprite.nbytes for sprite in sprites.values()) > SPRITE_BYTES:
                            del sprites[next(iter(sprites))]  # the oldest
                        sprites[i, part] = self._sprite(self.figures[i], part)
                    _lay_over(canvas, around, sprites[i, part], part, lit)
        image = library().Image.new_from_array(canvas).maplut(self.lens.curve)
        soft = image.gaussblur(self.lens.blur, precision="integer", min_ampl=0.05).numpy()
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
        body = self.svg(figure)
        if self.mirrored:
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


def _lay_over(canvas: Image, window: Window, sprite: Image, place: Window, lit: Image | None) -> None:
    """lit: the canvas before the first of several shadows, of which the darkest counts: two are no darker than one."""
    left, top = max(place.left, window.left), max(place.top, window.top)
    right, bottom = min(place.right, window.right), min(place.bottom, window.bottom)
    above = sprite[top - place.top : bottom - place.top, left - place.left : right - place.left]
    inside = slice(top - window.top, bottom - window.top), slice(left - window.left, right - window.left)
    below = canvas[inside] if lit is None else lit[inside]
    opacity = above[..., 3:].astype(np.float32) * np.float32(1 / 255)
    laid = (below + (above[..., :3] - below.astype(np.float32)) * opacity + np.float32(0.5)).astype(np.uint8)
    canvas[inside] = laid if lit is None else np.minimum(canvas[inside], laid)


def make_lens(rng: np.random.Generator) -> Lens:
    return Lens(
        gain_rgb=rng.lognormal(-0.05, 0.14) * rng.lognormal(0, 0.05, 3),
        contrast=rng.lognormal(0, 0.12),
        blur=rng.uniform(0.45, 1.4),
        noise=rng.uniform(1, 6),
        haze=rng.uniform(0.05, 0.6),
    )


def draw_figures(
    figures: list[Figure],
    svg: Callable[[Figure], str],
    ground: GroundPlane,
    lens: Lens,
    rng: np.random.Generator,
    mirrored: bool = False,
) -> Drawing:
    """A drawing of those figures that can be seen in an image of the ground's size, each over the ones before it."""
    boxes = _boxes(figures, ground.size_wh, mirrored)
    inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    shown = tuple(f for f, ok in zip(figures, inside, strict=True) if ok)
    return Drawing(ground.size_wh, ground, shown, boxes[inside], svg, mirrored, lens, _grain(rng, lens.noise))


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
