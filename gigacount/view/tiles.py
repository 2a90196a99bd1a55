"""What the viewer draws, tile by tile: the image, the density over it, what is no ground, and the heads.

Level `most` of the pyramid is the full resolution; each level below it is half as large. Tiles are
made when they are asked for; encoded ones are kept up to CACHE_BYTES.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from gigacount.density import Density, DensityMap, block_sums
from gigacount.errors import DataError
from gigacount.geometry import Size, Window
from gigacount.image import GigaImage
from gigacount.output.overlay import SHADES, ColourScale, encoded, palette

TILE_PX = 256
CACHE_BYTES = 96 * 2**20
COLOURS_WH = (1600, 1000)  # the size at which the density's colours are settled, as the overlay's are

SIGMA, AROUND, LEAST_CELL_PX = 1.5, 6, 2
"""Of the density's smoothing, in cells of LEAST_CELL_PX screen pixels or more; without it, people were single dots."""

BIN_PX = 512
MOST_HEADS = 2000  # heads in a tile that are sent; of more, an even part


class Cache:
    """The bytes that were made last, up to so many of them."""

    def __init__(self, most: int = CACHE_BYTES) -> None:
        self.most, self.held = most, 0
        self._kept: OrderedDict[object, bytes] = OrderedDict()
        self._lock = Lock()

    def get(self, key: object, make: Callable[[], bytes]) -> bytes:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            if key not in self._kept and len(made) <= self.most:
                self._kept[key] = made
                self.held += len(made)
            while self.held > self.most:
                self.held -= len(self._kept.popitem(last=False)[1])
        return made

    def __contains__(self, key: object) -> bool:
        return key in self._kept


def most_level(size_wh: Size) -> int:
    """The level of the full resolution; level 0 is a pixel."""
    return math.ceil(math.log2(max(size_wh)))


def tile_window(size_wh: Size, level: int, x: int, y: int) -> tuple[Window, Size]:
    """What a tile shows of the image, and its size in pixels. Raises DataError for a tile that there is not."""
    down = most_level(size_wh) - level
    if not 0 <= down <= most_level(size_wh):
        raise DataError(f"there is no level {level}")
    side = TILE_PX << down
    left, top = x * side, y * side
    if not (0 <= left < size_wh[0] and 0 <= top < size_wh[1]):
        raise DataError(f"there is no tile {x}, {y} on level {level}")
    window = Window(left, top, min(side, size_wh[0] - left), min(side, size_wh[1] - top))
    return window, (-(-window.width >> down), -(-window.height >> down))


def image_tile(image: GigaImage, level: int, x: int, y: int) -> bytes:
    """A JPEG. Raises DataError, ImageError."""
    window, size_wh = tile_window(image.size_wh, level, x, y)
    return encoded(Image.fromarray(image.read(window, size_wh)), "JPEG", quality=85)


def ground_tile(image: GigaImage, level: int, x: int, y: int) -> bytes:
    """A PNG with stripes where the image's file says that there is no ground."""
    window, (width, height) = tile_window(image.size_wh, level, x, y)
    pixels = np.zeros((height, width, 4), np.uint8)
    valid = image.valid(window, (width, height))
    if valid is not None:
        rows, cols = np.indices((height, width))
        pixels[..., 0] = np.where((rows + cols) % 16 < 8, 255, 60)
        pixels[..., 3] = (1 - valid) * 200
    return encoded(Image.fromarray(pixels), "PNG")


class DensityTiles:
    """The density as tiles: colours as the overlay has them, more opaque where more people are."""

    def __init__(self, density: DensityMap, square_metres: float | None) -> None:
        self.size_wh, self.cell_px = density.size_wh, density.cell_px
        scale = ColourScale.of(density, COLOURS_WH)
        self.label = scale.label(square_metres)
        self._top = (scale.top or 1.0) / scale.block_px**2
        self._levels: list[Density] = [density.cells]
        while max(self._levels[-1].shape) > TILE_PX:
            self._levels.append(block_sums(self._levels[-1], 2))
        self._colours = palette().astype(np.uint8)

    def tile(self, level: int, x: int, y: int) -> bytes:
        """A PNG. Raises DataError."""
        window, size_wh = tile_window(self.size_wh, level, x, y)
        per_px = LEAST_CELL_PX << (most_level(self.size_wh) - level)
        number = min(int(math.log2(max(per_px / self.cell_px, 1))), len(self._levels) - 1)
        cells, side = self._levels[number], self.cell_px << number
        # As many cells around it as the smoothing sees, so that neighbouring tiles fit.
        rows, cols = (
            np.clip(np.arange(start // side - AROUND, -(-end // side) + AROUND), 0, last - 1)
            for start, end, last in zip(
                (window.top, window.left), (window.bottom, window.right), cells.shape, strict=True
            )
        )
        people = gaussian_filter(np.maximum(cells[np.ix_(rows, cols)], 0), SIGMA, truncate=3) / side**2
        strength = Image.fromarray(np.sqrt(np.minimum(people / self._top, 1)).astype(np.float32))
        left, top = ((start % side) / side + AROUND for start in (window.left, window.top))
        box = (left, top, left + window.width / side, top + window.height / side)
        smooth = np.asarray(strength.resize(size_wh, Image.Resampling.BILINEAR, box=box))
        shade = (np.clip(smooth, 0, 1) * (SHADES - 1)).astype(np.int64)
        return encoded(Image.fromarray(self._colours[shade]), "PNG", compress_level=1)


class HeadTiles:
    """Heads (N, 3) found by place: x, y, score."""

    def __init__(self, heads: NDArray[np.float32], size_wh: Size) -> None:
        self.size_wh = size_wh
        self._across, self._down = (-(-side // BIN_PX) for side in size_wh)
        col, row = (
            np.clip((heads[:, axis] / BIN_PX).astype(np.int64), 0, last - 1)
            for axis, last in enumerate((self._across, self._down))
        )
        bins = row * self._across + col
        order = np.argsort(bins, kind="stable")
        self._heads = heads[order]
        self._starts = np.searchsorted(bins[order], np.arange(self._across * self._down + 1))

    def inside(self, left: float, top: float, right: float, bottom: float) -> NDArray[np.float32]:
        """The heads (N, 3) in a rectangle."""
        first, last = (int(np.clip(x // BIN_PX, 0, self._across - 1)) for x in (left, right))
        upper, lower = (int(np.clip(y // BIN_PX, 0, self._down - 1)) for y in (top, bottom))
        runs = [
            self._heads[self._starts[row * self._across + first] : self._starts[row * self._across + last + 1]]
            for row in range(upper, lower + 1)
        ]
        near = np.concatenate(runs)
        x, y = near[:, 0], near[:, 1]
        return near[(x >= left) & (x < right) & (y >= top) & (y < bottom)]

    def tile(self, level: int, x: int, y: int) -> tuple[NDArray[np.float32], int]:
        """The heads of a tile, at most MOST_HEADS of them, and how many there are. Raises DataError."""
        window, _ = tile_window(self.size_wh, level, x, y)
        found = self.inside(window.left, window.top, window.right, window.bottom)
        step = max(-(-len(found) // MOST_HEADS), 1)
        return found[::step], len(found)
