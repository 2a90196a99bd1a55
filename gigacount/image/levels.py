"""Grids of stored pixels at one resolution: in memory, in a scratch file, or in tiles of the image's own file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gigacount.geometry import Size, Window

from .scratch import Scratch
from .vips import VipsError, VipsImage, from_array, release_memory, tile_size, to_array

CHUNK_PIXELS = 2048  # side of the squares in which tiles are decoded: few enough to hold, many enough for all threads
CHUNK_BYTES = 8 * 2**20  # of rows that are read at a time
USUAL_TILE = 256  # side of the squares in which a damaged image without tiles is salvaged
DAMAGED = 128  # the grey that stands for pixels that cannot be decoded
LEFT_OUT = 0  # the black that stands for tiles that a file leaves out, as GDAL has it


def filler(grey: int, bands: int) -> NDArray[np.uint8]:
    """A stored pixel (bands,) for one that is not there: no ground if it is left out and a band says what is ground."""
    if bands % 2:
        return np.full(bands, grey, np.uint8)
    return np.array([grey] * (bands - 1) + [255] if grey == DAMAGED else [255] * (bands - 1) + [0], np.uint8)


class PyramidLevel(ABC):
    """One resolution of an image, in its stored orientation.

    size_wh: pixels of this level. factor_xy: full-resolution pixels per pixel of this level. bands: 1 or 3, and one
    more where not all is ground: how much of each pixel is, 0..255.
    """

    def __init__(self, size_wh: Size, factor_xy: tuple[float, float], bands: int) -> None:
        self.size_wh = size_wh
        self.factor_xy = factor_xy
        self.bands = bands
        self._missed: set[tuple[float, float, float, float]] = set()

    def miss(self, first_xy: tuple[int, int], size_wh: Size) -> None:
        """Remember a damaged rectangle of this level, which is shown in grey. Rectangles do not overlap."""
        (x, y), (fx, fy) = first_xy, self.factor_xy
        right, bottom = min(x + size_wh[0], self.size_wh[0]), min(y + size_wh[1], self.size_wh[1])
        self._missed.add((x * fx, y * fy, right * fx, bottom * fy))

    def missing(self, window: Window) -> float:
        """The share of a window (full-resolution pixels, as stored) that is known to be damaged, 0..1."""
        total = 0.0
        for left, top, right, bottom in tuple(self._missed):
            width = min(right, window.right) - max(left, window.left)
            height = min(bottom, window.bottom) - max(top, window.top)
            total += max(width, 0.0) * max(height, 0.0)
        return min(total / window.pixels, 1.0)

    def uniform(self, left: int, top: int, size_wh: Size) -> NDArray[np.uint8] | None:
        """The stored pixel (bands,) of a whole rectangle where it is known without reading; None elsewhere."""
        return None

    @abstractmethod
    def pixels(self, left: int, top: int, size_wh: Size) -> NDArray[np.uint8]:
        """A rectangle of pixels, (rows, cols, bands). Raises VipsError, OutputError."""

    def close(self) -> None:  # noqa: B027  most hold nothing that needs it
        """Close files."""

    @abstractmethod
    def chunk_wh(self, width: int) -> Size:
        """The largest rectangle that is read in one piece for a window that is `width` pixels wide."""

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
                chunk: NDArray[np.uint8] | int | None = self.uniform(left * step_x, top * step_y, size_wh)
                if chunk is None:
                    chunk = box_means(self.pixels(left * step_x, top * step_y, size_wh), step_xy)
                result[top - first_y : bottom - first_y, left - first_x : right - first_x] = chunk
        _repeat_edges(result, slice(x0 - first_x, x1 - first_x), slice(y0 - first_y, y1 - first_y))
        return result


class MemoryLevel(PyramidLevel):
    """Pixels held in an array (rows, cols, bands)."""

    def __init__(self, array: NDArray[np.uint8], factor: int) -> None:
        rows, cols, bands = array.shape
        super().__init__((cols, rows), (factor, factor), bands)
        self._array = array

    def pixels(self, left: int, top: int, size_wh: Size) -> NDArray[np.uint8]:
        return self._array[top : top + size_wh[1], left : left + size_wh[0]]

    def chunk_wh(self, width: int) -> Size:
        return self.size_wh


class ScratchLevel(PyramidLevel):
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


class TileLevel(PyramidLevel):
    """Tiles of the image's own file, decoded when they are needed.

    left_out: (rows, cols), which tiles have no bytes (sparse GeoTIFF): they are black, and cost nothing. Damaged tiles
    are grey if `forgiving`, else errors.
    """

    def __init__(
        self, image: VipsImage, factor_xy: tuple[float, float], forgiving: bool, left_out: NDArray[np.bool_] | None
    ) -> None:
        super().__init__((image.width, image.height), factor_xy, image.bands)
        self._image = image
        self._forgiving = forgiving
        self._tile_wh = tile_size(image) or (USUAL_TILE, USUAL_TILE)
        self._left_out = left_out

    def pixels(self, left: int, top: int, size_wh: Size) -> NDArray[np.uint8]:
        missing = self._left_out_of(left, top, size_wh)
        if missing is None or not missing.any():
            return self._decode(left, top, size_wh)
        result = np.empty((size_wh[1], size_wh[0], self.bands), np.uint8)
        result[:] = filler(LEFT_OUT, self.bands)
        right, bottom = left + size_wh[0], top + size_wh[1]
        tile_w, tile_h = self._tile_wh
        for row, y0, y1 in _tiles(top, bottom, tile_h):
            edges = np.flatnonzero(np.diff(np.concatenate([[True], missing[row], [True]]).astype(np.int8)))
            for first, last in edges.reshape(-1, 2):  # runs of tiles that are there
                x0 = max((left // tile_w + int(first)) * tile_w, left)
                x1 = min((left // tile_w + int(last)) * tile_w, right)
                result[y0 - top : y1 - top, x0 - left : x1 - left] = self._decode(x0, y0, (x1 - x0, y1 - y0))
        return result

    def uniform(self, left: int, top: int, size_wh: Size) -> NDArray[np.uint8] | None:
        missing = self._left_out_of(left, top, size_wh)
        return filler(LEFT_OUT, self.bands) if missing is not None and missing.all() else None

    def _left_out_of(self, left: int, top: int, size_wh: Size) -> NDArray[np.bool_] | None:
        if self._left_out is None:
            return None
        (width, height), (tile_w, tile_h) = size_wh, self._tile_wh
        rows = slice(top // tile_h, -(-(top + height) // tile_h))
        return self._left_out[rows, left // tile_w : -(-(left + width) // tile_w)]

    def _decode(self, left: int, top: int, size_wh: Size) -> NDArray[np.uint8]:
        """Pixels of tiles that are there; tile by tile, the damaged ones grey, where damage is forgiven."""
        try:
            return to_array(self._image.crop(left, top, *size_wh))
        except VipsError:
            if not self._forgiving:
                raise
        result = np.empty((size_wh[1], size_wh[0], self.bands), np.uint8)
        result[:] = filler(DAMAGED, self.bands)
        tile_w, tile_h = self._tile_wh
        for _, y0, y1 in _tiles(top, top + size_wh[1], tile_h):
            for _, x0, x1 in _tiles(left, left + size_wh[0], tile_w):
                try:
                    tile = to_array(self._image.crop(x0, y0, x1 - x0, y1 - y0))
                    result[y0 - top : y1 - top, x0 - left : x1 - left] = tile
                except VipsError:
                    self.miss((x0 // tile_w * tile_w, y0 // tile_h * tile_h), self._tile_wh)
        return result

    def boxes(self, first_xy: tuple[int, int], count_wh: Size, step_xy: Size) -> NDArray[np.uint8]:
        means = super().boxes(first_xy, count_wh, step_xy)
        if count_wh[0] * step_xy[0] * count_wh[1] * step_xy[1] > CHUNK_PIXELS**2:
            release_memory()
        return means

    def chunk_wh(self, width: int) -> Size:
        return CHUNK_PIXELS, CHUNK_PIXELS


def box_means(pixels: NDArray[np.uint8], step_xy: Size) -> NDArray[np.uint8]:
    """Means of boxes of `step_xy` pixels, (rows, cols, bands); at the right and bottom of what is left of them.

    Down the columns by NumPy, which is several times faster at it than libvips; along the rows by libvips.
    """
    (step_x, step), (rows, cols, bands) = step_xy, pixels.shape
    if step > 1:
        whole, kind = rows // step, np.uint16 if (step + 1) * 255 <= 65535 else np.uint32
        means = np.empty((-(-rows // step), cols, bands), np.uint8)
        groups = pixels[: whole * step].reshape(whole, step, cols, bands)
        means[:whole] = _rounded(groups.sum(axis=1, dtype=kind), step)
        if whole < len(means):
            means[whole] = _rounded(pixels[whole * step :].sum(axis=0, dtype=kind), rows - whole * step)
        pixels = means
    return to_array(from_array(pixels).shrinkh(step_x, ceil=True)) if step_x > 1 else pixels


def _rounded(total: NDArray[np.unsignedinteger], count: int) -> NDArray[np.unsignedinteger]:
    """Divide in place, to the nearest whole number."""
    total += count // 2
    total //= count
    return total


def _repeat_edges(pixels: NDArray[np.uint8], inside_x: slice, inside_y: slice) -> None:
    """Fill what lies around the inside of an array with its edge, in place."""
    rows = pixels[inside_y]
    rows[:, : inside_x.start] = rows[:, inside_x.start, None]
    rows[:, inside_x.stop :] = rows[:, inside_x.stop - 1, None]
    pixels[: inside_y.start] = pixels[inside_y.start]
    pixels[inside_y.stop :] = pixels[inside_y.stop - 1]


def _tiles(first: int, last: int, side: int) -> Iterator[tuple[int, int, int]]:
    """Cut pixels `first`..`last` where multiples of `side` are: the number of each part, its start and its end."""
    for number, start in enumerate(range(first // side * side, last, side)):
        yield number, max(start, first), min(start + side, last)


def _cuts(first: int, last: int, step: int, chunk: int) -> Iterator[tuple[int, int]]:
    """Cut boxes `first`..`last` of `step` pixels into runs that end about where multiples of `chunk` pixels do.

    Tiles end there, too, so that few are decoded twice.
    """
    while first < last:
        stop = min(last, max(first + 1, (first * step // chunk + 1) * chunk // step))
        yield first, stop
        first = stop
