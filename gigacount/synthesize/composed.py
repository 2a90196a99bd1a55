"""Scenes composed of labelled photographs, laid on a people-free ground so that heads grow from horizon to front."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from gigacount.datasets.entries import Sample
from gigacount.errors import DataError
from gigacount.geometry import Size, Window, tile, whole
from gigacount.image import GigaImage
from gigacount.synthesize.drawn import draw_scene
from gigacount.synthesize.scene import Paint, Perspective, Scene, SceneOptions, Truth, make_perspective, overlap

BLOCK = 1024
KEPT = 24
"""Photographs kept in memory while windows are painted."""

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Patch:
    """A photograph of `photo_wh` on the canvas; `core` is where it lies, whole and unchanged but for its size.

    mirrored: left and right are exchanged. Around the core its edge colours fade out over `fade` pixels.
    """

    image: Path
    photo_wh: Size
    core: Window
    mirrored: bool
    fade: int

    @property
    def around(self) -> Window:
        core, fade = self.core, self.fade
        return Window(core.left - fade, core.top - fade, core.width + 2 * fade, core.height + 2 * fade)

    def place(self, points_xy: Doubles) -> Doubles:
        """Points (N, 2) of the photograph in pixels of the canvas."""
        scale = np.array(self.core.size_wh) / self.photo_wh
        placed: Doubles = points_xy * scale
        if self.mirrored:
            placed[:, 0] = self.core.width - placed[:, 0]
        placed += np.array([self.core.left, self.core.top])
        return placed


@dataclass(frozen=True)
class Composition:
    """Patches on a background that something else paints."""

    background: Paint
    patches: tuple[Patch, ...]

    def paint(self, window: Window) -> NDArray[np.uint8]:
        out = self.background(window)
        for part in tile(window.size_wh, (BLOCK, BLOCK), 1):
            block = Window(window.left + part.left, window.top + part.top, part.width, part.height)
            for patch in self.patches:
                if overlap(patch.around, block):
                    _lay_over(out[part.top : part.bottom, part.left : part.right], block, patch)
        return out


def _lay_over(canvas: NDArray[np.uint8], window: Window, patch: Patch) -> None:
    """Lay the part of a patch that is inside the window over the canvas."""
    core, around = patch.core, patch.around
    left, top = max(around.left, window.left), max(around.top, window.top)
    right, bottom = min(around.right, window.right), min(around.bottom, window.bottom)
    below = canvas[top - window.top : bottom - window.top, left - window.left : right - window.left]
    x, y = _centres(left, right) - core.left, _centres(top, bottom) - core.top
    opacity = np.outer(_fade(y, core.height, patch.fade), _fade(x, core.width, patch.fade))[..., None]
    below[:] = below + (_enlarge(patch, x, y) - below) * opacity + np.float32(0.5)


def _centres(first: int, last: int) -> Doubles:
    return np.linspace(first + 0.5, last - 0.5, last - first)


def _fade(at: Doubles, length: int, fade: int) -> Floats:
    """1 from 0 to `length`, falling smoothly to 0 at `fade` beyond."""
    outside = np.maximum(np.maximum(-at, at - length), 0) / fade
    ease = 1 - np.clip(outside, 0, 1)
    return (ease * ease * (3 - 2 * ease)).astype(np.float32)


def _enlarge(patch: Patch, x: Doubles, y: Doubles) -> Floats:
    """(len(y), len(x), 3) colours of a patch at pixels from its core's corner, interpolated bicubically."""
    photo, margin = _framed(patch)
    core = patch.core
    ratio_x = (photo.shape[1] - 2 * margin) / core.width
    ratio_y = (photo.shape[0] - 2 * margin) / core.height
    rows, row_weights = _taps(y * ratio_y + margin, photo.shape[0])
    columns, column_weights = _taps(x * ratio_x + margin, photo.shape[1])
    first, last = int(columns.min()), int(columns.max()) + 1
    strip = photo[:, first:last]
    tall = sum(strip[rows[k]] * row_weights[k][:, None, None] for k in range(4))
    out = sum(tall[:, columns[k] - first] * column_weights[k][:, None] for k in range(4))
    return np.clip(np.asarray(out, np.float32), 0, 255)


def _taps(at: Doubles, length: int) -> tuple[NDArray[np.int64], Floats]:
    """Indices and weights, (4, N) each, of the pixels that make the value at each position (Catmull-Rom)."""
    low = np.floor(at - 0.5)
    t = at - 0.5 - low
    weights = [
        ((2 - t) * t - 1) * t / 2,
        ((3 * t - 5) * t * t + 2) / 2,
        ((4 - 3 * t) * t + 1) * t / 2,
        (t - 1) * t * t / 2,
    ]
    indices = np.clip(low.astype(np.int64) + np.arange(-1, 3)[:, None], 0, length - 1)
    return indices, np.array(weights, np.float32)


@lru_cache(KEPT)
def _framed(patch: Patch) -> tuple[Floats, int]:
    """A patch's photograph, no larger than its core, in a frame of its own blurred edge colours; the frame's width."""
    width, height = (min(photo, core) for photo, core in zip(patch.photo_wh, patch.core.size_wh, strict=True))
    with GigaImage.open(patch.image) as image:
        pixels = image.read(whole(image.size_wh), (width, height))
    if patch.mirrored:
        pixels = pixels[:, ::-1]
    margin = int(np.ceil(patch.fade * width / patch.core.width)) + 2
    photo = np.pad(pixels.astype(np.float32), ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    soft = ndimage.gaussian_filter(photo, (margin / 2, margin / 2, 0), mode="nearest", truncate=3)
    soft[margin:-margin, margin:-margin] = photo[margin:-margin, margin:-margin]
    return soft, margin


SCALES = (0.3, 6.0)
"""Photographs are never reduced or enlarged further, whatever the perspective asks for."""

FADE = 0.12
"""Width of the blended edge around a photograph, as a share of its shorter side."""

USUAL_HEAD_PX = 25.0
"""Head height assumed where too few heads are labelled to estimate it."""

TRIES = 80
ROUNDS = 8
"""Times that the same photographs are gone through; every second time they are mirrored."""


@dataclass
class PhotoLayout:
    """The canvas while photographs are laid on it."""

    options: SceneOptions
    perspective: Perspective
    rng: np.random.Generator
    patches: list[Patch] = field(default_factory=list)

    def lay(self, image: Path, head_px: float, mirrored: bool) -> Patch | None:
        """Place an image whose heads are `head_px` high; None where it fits nowhere.

        Of several free places at random the one nearest to a photograph already there is taken: so they form clusters.
        """
        with GigaImage.open(image) as opened:
            photo_wh = opened.size_wh
        free = []
        for _ in range(TRIES):
            patch = self._anywhere(image, photo_wh, head_px, mirrored)
            if patch is not None and not any(
                overlap(patch.around, other.core) or overlap(patch.core, other.around) for other in self.patches
            ):
                free.append(patch)
        if not free:
            return None

        def loneliness(patch: Patch) -> float:
            """Distance to the nearest patch, in sides of this one."""
            gaps = (max(_gap(patch.core, other.core)) for other in self.patches)
            return min(gaps, default=0) / min(patch.core.size_wh)

        best = min(free, key=loneliness) if self.rng.random() < 0.7 else free[0]
        self.patches.append(best)
        return best

    def _anywhere(self, image: Path, photo_wh: Size, head_px: float, mirrored: bool) -> Patch | None:
        """The image somewhere on the ground, as large as perspective has it there; None where it sticks out."""
        width, height = self.options.size_wh
        if self.options.view == "above":
            middle = float(self.rng.uniform(0, height))
            wanted = float(self.perspective.head_px(np.array(middle)))
        else:
            far, near = self.options.heads_px
            wanted = np.exp(self.rng.uniform(np.log(far), np.log(near)))
            middle = float(self.perspective.foot_y(wanted))
        scale = float(np.clip(wanted / head_px, *SCALES))
        core_wh = round(photo_wh[0] * scale), round(photo_wh[1] * scale)
        fade = max(2, round(FADE * min(core_wh)))
        left, top = round(self.rng.uniform(0, width) - core_wh[0] / 2), round(middle - core_wh[1] / 2)
        core = Window(left, top, *core_wh)
        inside = left > 0 and core.right < width and top > max(self.perspective.horizon, 0) and core.bottom < height
        return Patch(image, photo_wh, core, mirrored, fade) if inside and min(core_wh) > 2 * fade else None


def compose_scene(options: SceneOptions, samples: Sequence[Sample], backgrounds: Sequence[Path] = ()) -> Scene:
    """About `options.people` people in photographs, each whole, at the size that puts its heads in perspective.

    They are taken in random order until the heads are enough, from the start again and mirrored where there are too
    few, or until nothing more fits. backgrounds: people-free images for the gaps. Heads have boxes where all samples
    have them. Raises DataError where no head is labelled in the samples, ImageError for an image that cannot be read.
    """
    if options.people and not any(len(sample.points_xy) for sample in samples):
        raise DataError("no head is labelled in these photographs; give some with people to compose a scene")
    rng = np.random.default_rng([options.seed, 2])
    layout = PhotoLayout(options, make_perspective(options, np.random.default_rng([options.seed, 0])), rng)
    points, boxes = [np.zeros((0, 2))], [np.zeros((0, 4))]
    missing = options.people
    for sample, mirrored in _supply(samples, rng):
        if missing <= 0.01 * options.people:
            break
        if not 0 < len(sample.points_xy) < 1.1 * missing + 20:
            continue
        patch = layout.lay(sample.image, estimate_head_px(sample), mirrored)
        if patch is None:
            continue
        inside = ((sample.points_xy >= 0) & (sample.points_xy < patch.photo_wh)).all(1)
        points.append(patch.place(sample.points_xy[inside]))
        missing -= len(points[-1])
        if sample.boxes_xyxy is not None:
            corners = patch.place(sample.boxes_xyxy[inside].reshape(-1, 2)).reshape(-1, 4)
            boxes.append(corners[:, [2, 1, 0, 3]] if mirrored else corners)
    for image in backgrounds:
        layout.lay(image, USUAL_HEAD_PX, mirrored=False)
    boxed = all(sample.boxes_xyxy is not None for sample in samples)
    truth = Truth(options.size_wh, np.concatenate(points), np.concatenate(boxes) if boxed else None)
    ground = draw_scene(replace(options, people=0, head_px=options.heads_px))
    return Scene(truth, Composition(ground.paint, tuple(layout.patches)).paint)


def estimate_head_px(sample: Sample) -> float:
    """The usual height of a head in a photograph: of its boxes, or else from how far apart heads are.

    In a crowd about 2.5 of their heights: the mean distance to the nearest three, times 0.4, and at most 40 pixels.
    """
    if sample.boxes_xyxy is not None and len(sample.boxes_xyxy):
        return float(np.median(sample.boxes_xyxy[:, 3] - sample.boxes_xyxy[:, 1]).clip(2.0))
    if len(sample.points_xy) < 5:
        return USUAL_HEAD_PX
    distances = np.asarray(cKDTree(sample.points_xy).query(sample.points_xy, k=4)[0])
    return float(np.clip(0.4 * np.median(distances[:, 1:].mean(1)), 6.0, 40.0))


def _supply(samples: Sequence[Sample], rng: np.random.Generator) -> Iterator[tuple[Sample, bool]]:
    """Samples in random order, ROUNDS times over, each mirrored from one time to the next."""
    mirrored = rng.random(len(samples)) < 0.5
    for _ in range(ROUNDS):
        for i in rng.permutation(len(samples)).tolist():
            yield samples[i], bool(mirrored[i])
        mirrored = ~mirrored


def _gap(a: Window, b: Window) -> tuple[int, int]:
    return max(a.left - b.right, b.left - a.right, 0), max(a.top - b.bottom, b.top - a.bottom, 0)
