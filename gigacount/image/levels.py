"""Grids of stored pixels at one resolution: in memory, in a scratch file, or in tiles of the picture's own file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gigacount.geometry import Size

from .scratch import Scratch
from .vips import VipsError, VipsImage, from_array, lacks_codec, shrink, to_array

CHUNK_PIXELS = 4096
"""Side of the squares in which tiles are decoded: few enough pixels to hold, many enough to share among threads."""

CHUNK_BYTES = 8 * 2**20
"""Bytes read from the scratch at a time."""

SMALLEST_TILE = 64
"""Side in pixels below which a block that cannot be decoded is given up."""

DAMAGED = 128
"""The grey that stands for pixels that cannot be decoded."""


class Level(ABC):
    """One resolution of a picture, in its stored orientation.

    size_wh: pixels of this level. factor_xy: full-resolution pixels per pixel of this level. bands: 1 or 3.
    """

    def __init__(self, size_wh: Size, factor_xy: tuple[float, float], bands: int) -> None:
        self.size_wh = size_wh
        self.factor_xy = factor_xy
        self.bands = bands

    @abstractmethod
    def block(self, left: int, top: int, size_wh: Size, step_xy: Size) -> NDArray[np.uint8]:
        """Means of boxes of `step_xy` pixels in a rectangle of pixels, (rows, cols, bands)."""

    @abstractmethod
    def chunk_wh(self, width: int) -> Size:
        """The largest rectangle, in pixels, that is read in one piece by a look that is `width` pixels wide."""

    def boxes(self, first_xy: tuple[int, int], count_wh: Size, step_xy: Size) -> NDArray[np.uint8]:
        """Means of `count_wh` boxes of `step_xy` pixels, (rows, cols, bands); box (0, 0) is the level's top left one.

        Boxes that lie outside the level repeat its edge. Read chunk by chunk, so that memory stays bounded and Ctrl-C
        is heard. Raises VipsError.
        """
        inside = [
            (max(first, 0), min(first + count, -(-side // step)))
            for first, count, step, side in zip(first_xy, count_wh, step_xy, self.size_wh, strict=True)
        ]
        (x0, x1), (y0, y1) = inside
        chunk_w, chunk_h = self.chunk_wh((x1 - x0) * step_xy[0])
        result = np.empty((y1 - y0, x1 - x0, self.bands), np.uint8)
        for top, bottom in _cuts(y0, y1, step_xy[1], chunk_h):
            for left, right in _cuts(x0, x1, step_xy[0], chunk_w):
                corner = left * step_xy[0], top * step_xy[1]
                size_wh = (
                    min(right * step_xy[0], self.size_wh[0]) - corner[0],
                    min(bottom * step_xy[1], self.size_wh[1]) - corner[1],
                )
                result[top - y0 : bottom - y0, left - x0 : right - x0] = self.block(*corner, size_wh, step_xy)
        around = [
            (start - first, first + count - stop)
            for first, count, (start, stop) in zip(first_xy, count_wh, inside, strict=True)
        ]
        if any(before or after for before, after in around):
            result = np.pad(result, (around[1], around[0], (0, 0)), mode="edge")
        return result


class MemoryLevel(Level):
    """Pixels held in an array (rows, cols, bands)."""

    def __init__(self, array: NDArray[np.uint8], factor: int) -> None:
        rows, cols, bands = array.shape
        super().__init__((cols, rows), (factor, factor), bands)
        self._array = array

    def block(self, left: int, top: int, size_wh: Size, step_xy: Size) -> NDArray[np.uint8]:
        part = self._array[top : top + size_wh[1], left : left + size_wh[0]]
        return part if step_xy == (1, 1) else to_array(shrink(from_array(part), step_xy))

    def chunk_wh(self, width: int) -> Size:
        return self.size_wh


class ScratchLevel(Level):
    """Full-resolution pixels, row by row, in a scratch file.

    Read with pread rather than memory-mapped: mapped pages count as resident memory, and the kernel maps 16 around each
    one touched, so that a look of 11 MB would show as 130 MB and a look at everything as the whole file.
    """

    def __init__(self, scratch: Scratch, size_wh: Size, bands: int) -> None:
        super().__init__(size_wh, (1, 1), bands)
        self._scratch = scratch

    def block(self, left: int, top: int, size_wh: Size, step_xy: Size) -> NDArray[np.uint8]:
        width, height = size_wh
        pixels = np.empty((height, width, self.bands), np.uint8)
        pitch = self.size_wh[0] * self.bands
        start = top * pitch + left * self.bands
        if width == self.size_wh[0]:
            self._scratch.read(pixels, start)
        else:
            for row in range(height):
                self._scratch.read(pixels[row], start + row * pitch)
        return pixels if step_xy == (1, 1) else to_array(shrink(from_array(pixels), step_xy))

    def chunk_wh(self, width: int) -> Size:
        return self.size_wh[0], max(1, CHUNK_BYTES // (width * self.bands))


class TileLevel(Level):
    """Tiles of the picture's own file, decoded when looked at. Damaged tiles turn grey if `forgiving`."""

    def __init__(self, image: VipsImage, factor_xy: tuple[float, float], forgiving: bool = False) -> None:
        super().__init__((image.width, image.height), factor_xy, image.bands)
        self._image = image
        self._forgiving = forgiving

    def block(self, left: int, top: int, size_wh: Size, step_xy: Size) -> NDArray[np.uint8]:
        try:
            return to_array(shrink(self._image.crop(left, top, *size_wh), step_xy))
        except VipsError as error:
            if not self._forgiving or lacks_codec(error):
                raise
        return self._salvage(left, top, size_wh, step_xy)

    def _salvage(self, left: int, top: int, size_wh: Size, step_xy: Size) -> NDArray[np.uint8]:
        """Read the halves of a block that cannot be read whole, down to grey where nothing is left to halve."""
        count_wh = [-(-side // step) for side, step in zip(size_wh, step_xy, strict=True)]
        if max(size_wh) <= SMALLEST_TILE or max(count_wh) == 1:
            return np.full((count_wh[1], count_wh[0], self.bands), DAMAGED, np.uint8)
        wide = count_wh[0] >= count_wh[1]
        half = count_wh[0 if wide else 1] // 2 * step_xy[0 if wide else 1]
        if wide:
            halves = [(left, top, (half, size_wh[1])), (left + half, top, (size_wh[0] - half, size_wh[1]))]
        else:
            halves = [(left, top, (size_wh[0], half)), (left, top + half, (size_wh[0], size_wh[1] - half))]
        return np.concatenate([self.block(*part, step_xy) for part in halves], axis=1 if wide else 0)

    def chunk_wh(self, width: int) -> Size:
        return CHUNK_PIXELS, CHUNK_PIXELS


def _cuts(first: int, last: int, step: int, chunk: int) -> Iterator[tuple[int, int]]:
    """Cut boxes `first`..`last` of `step` pixels into runs of about `chunk` pixels that end on multiples of `chunk`,

    where tiles end, too, so that few tiles are decoded twice.
    """
    while first < last:
        stop = min(last, max(first + 1, (first * step // chunk + 1) * chunk // step))
        yield first, stop
        first = stop
