"""Photographs on a canvas: where they lie, where their heads come to lie, and painting them window by window."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gigacount.geometry import Size, Window, tile, whole
from gigacount.image import GigaImage
from gigacount.synthesize.scene import Painter, overlap

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
        """All pixels that the patch touches."""
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

    background: Painter
    patches: tuple[Patch, ...]

    def paint(self, window: Window) -> NDArray[np.uint8]:
        out = self.background.paint(window)
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
    """Centres of the pixels first to last - 1."""
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
    """A patch's photograph, no larger than its core, in a frame of its own blurred edge colours; the frame's width.

    The frame holds no copy of the photograph's people: it only carries the colours at the edge outwards.
    """
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
