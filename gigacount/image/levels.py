"""Grids of stored pixels at one resolution: in memory, in a scratch file, or in tiles of the picture's own file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gigacount.geometry import Size

from .boxes import box_means
from .scratch import Scratch
from .vips import VipsError, VipsImage, is_left_out, lacks_codec, release_memory, tile_size, to_array

CHUNK_PIXELS = 2048
"""Side of the squares in which tiles are decoded: few enough pixels to hold, many enough to share among threads."""

CHUNK_BYTES = 8 * 2**20
"""Bytes of rows that are read at a time."""

USUAL_TILE = 256
"""Side of the squares in which a damaged picture without tiles is salvaged."""

DAMAGED = 128
"""The grey that stands for pixels that cannot be decoded."""

LEFT_OUT = 0
"""The black that stands for tiles that a file leaves out, as GDAL has it."""


class Level(ABC):
    """One resolution of a picture, in its stored orientation.

    size_wh: pixels of this level. factor_xy: full-resolution pixels per pixel of this level. bands: 1 or 3.
    """

    def __init__(self, size_wh: Size, factor_xy: tuple[float, float], bands: int) -> None:
        self.size_wh = size_wh
        self.factor_xy = factor_xy
        self.bands = bands

    @abstractmethod
    def pixels(self, left: int, top: int, size_wh: Size) -> NDArray[np.uint8]:
        """A rectangle of pixels, (rows, cols, bands). Raises VipsError, OutputError."""

    def close(self) -> None:  # noqa: B027  most hold nothing that needs it
        """Close files."""

    @abstractmethod
    def chunk_wh(self, width: int) -> Size:
        """The largest rectangle that is read in one piece by a look that is `width` pixels wide."""

    def boxes(self, first_xy: tuple[int, int], count_wh: Size, step_xy: Size) -> NDArray[np.uint8]:
        """Means of `count_wh` boxes of `step_xy` pixels, (rows, cols, bands); box (0, 0) is the level's top left one.

        Boxes that lie outside the level repeat its edge. Read chunk by chunk, so that memory stays bounded and Ctrl-C
        is heard. Raises VipsError, OutputError.
        """
        (first_x, first_y), (cols, rows), (step_x, step_y) = first_xy, count_wh, step_xy
        width, height = self.size_wh
        x0, x1 = max(first_x, 0), min(first_x + cols, -(-width // step_x))
        y0, y1 = max(first_y, 0), min(first_y + rows, -(-height // step_y))
        chunk_w, chunk_h = self.chunk_wh((x1 - x0) * step_x)
        result = np.empty((rows, cols, self.bands), np.uint8)
        for top, bottom in _cuts(y0, y1, step_y, chunk_h):
            for left, right in _cuts(x0, x1, step_x, chunk_w):
                size_wh = min(right * step_x, width) - left * step_x, min(bottom * step_y, height) - top * step_y
                chunk = box_means(self.pixels(left * step_x, top * step_y, size_wh), step_xy)
                result[top - first_y : bottom - first_y, left - first_x : right - first_x] = chunk
        _repeat_edges(result, slice(x0 - first_x, x1 - first_x), slice(y0 - first_y, y1 - first_y))
        return result


class MemoryLevel(Level):
    """Pixels held in an array (rows, cols, bands)."""

    def __init__(self, array: NDArray[np.uint8], factor: int) -> None:
        rows, cols, bands = array.shape
        super().__init__((cols, rows), (factor, factor), bands)
        self._array = array

    def pixels(self, left: int, top: int, size_wh: Size) -> NDArray[np.uint8]:
        return self._array[top : top + size_wh[1], left : left + size_wh[0]]

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

    def pixels(self, left: int, top: int, size_wh: Size) -> NDArray[np.uint8]:
        width, height = size_wh
        pixels = np.empty((height, width, self.bands), np.uint8)
        pitch = self.size_wh[0] * self.bands
        start = top * pitch + left * self.bands
        if width == self.size_wh[0]:
            self._scratch.read(pixels, start)
        else:
            for row in range(height):
                self._scratch.read(pixels[row], start + row * pitch)
        return pixels

    def chunk_wh(self, width: int) -> Size:
        return self.size_wh[0], max(1, CHUNK_BYTES // (width * self.bands))


class TileLevel(Level):
    """Tiles of the picture's own file, decoded when looked at.

    Tiles that the file leaves out (sparse GeoTIFF) are black. Damaged tiles are grey if `forgiving`, else errors.
    """

    def __init__(self, image: VipsImage, factor_xy: tuple[float, float], forgiving: bool = False) -> None:
        super().__init__((image.width, image.height), factor_xy, image.bands)
        self._image = image
        self._forgiving = forgiving
        self._tile_wh = tile_size(image) or (USUAL_TILE, USUAL_TILE)

    def pixels(self, left: int, top: int, size_wh: Size) -> NDArray[np.uint8]:
        try:
            return to_array(self._image.crop(left, top, *size_wh))
        except VipsError as error:
            if self._stand_in(error) is None:
                raise
        result = np.empty((size_wh[1], size_wh[0], self.bands), np.uint8)
        for y0, y1 in _cuts(top, top + size_wh[1], 1, self._tile_wh[1]):
            for x0, x1 in _cuts(left, left + size_wh[0], 1, self._tile_wh[0]):
                try:
                    tile = to_array(self._image.crop(x0, y0, x1 - x0, y1 - y0))
                except VipsError as error:
                    value = self._stand_in(error)
                    if value is None:
                        raise
                    tile = np.full((1, 1, self.bands), value, np.uint8)
                result[y0 - top : y1 - top, x0 - left : x1 - left] = tile
        return result

    def _stand_in(self, error: VipsError) -> int | None:
        """The value for a tile that cannot be decoded; None where none may stand in for it."""
        if is_left_out(error):
            return LEFT_OUT
        return DAMAGED if self._forgiving and not lacks_codec(error) else None

    def boxes(self, first_xy: tuple[int, int], count_wh: Size, step_xy: Size) -> NDArray[np.uint8]:
        means = super().boxes(first_xy, count_wh, step_xy)
        if count_wh[0] * step_xy[0] * count_wh[1] * step_xy[1] > CHUNK_PIXELS**2:
            release_memory()
        return means

    def chunk_wh(self, width: int) -> Size:
        return CHUNK_PIXELS, CHUNK_PIXELS


def _repeat_edges(pixels: NDArray[np.uint8], inside_x: slice, inside_y: slice) -> None:
    """Fill what lies around the inside of an array with its edge, in place."""
    rows = pixels[inside_y]
    rows[:, : inside_x.start] = rows[:, inside_x.start, None]
    rows[:, inside_x.stop :] = rows[:, inside_x.stop - 1, None]
    pixels[: inside_y.start] = pixels[inside_y.start]
    pixels[inside_y.stop :] = pixels[inside_y.stop - 1]


def _cuts(first: int, last: int, step: int, chunk: int) -> Iterator[tuple[int, int]]:
    """Cut boxes `first`..`last` of `step` pixels into runs that end about where multiples of `chunk` pixels do.

    Tiles end there, too, so that few are decoded twice.
    """
    while first < last:
        stop = min(last, max(first + 1, (first * step // chunk + 1) * chunk // step))
        yield first, stop
        first = stop
