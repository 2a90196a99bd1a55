"""The canvas on which every look is painted, and count-preserving resampling.

A cell holds the people in that cell, never a density per pixel: summing gives the count at every resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gigacount.geometry import Size, Window, cells_of, whole
from gigacount.resolution import SQUARE

Density = NDArray[np.float32]
Number = TypeVar("Number", bound=np.floating[Any])

MAX_CELLS = 64_000_000
BAND_CELLS = 4_000_000  # cells resampled at once, so that a replacement's extra memory stays small


def choose_cell_px(size_wh: Size, smallest: int = 8) -> int:
    """The cell side for an image: `smallest`, doubled until the canvas has at most 64 million cells."""
    cell = smallest
    while math.ceil(size_wh[0] / cell) * math.ceil(size_wh[1] / cell) > MAX_CELLS:
        cell *= 2
    return cell


@dataclass(frozen=True)
class DensityMap:
    """People per square cell over a whole image.

    cells: (rows, cols) float32. cell_px: cell side in full-resolution pixels. The last row and column reach past the
    image's edge where its sides are no multiples of `cell_px`; they hold the people of the part inside.
    """

    cells: Density
    size_wh: Size
    cell_px: int

    @classmethod
    def empty(cls, size_wh: Size, cell_px: int | None = None) -> DensityMap:
        cell = cell_px or choose_cell_px(size_wh)
        shape = math.ceil(size_wh[1] / cell), math.ceil(size_wh[0] / cell)
        return cls(np.zeros(shape, np.float32), size_wh, cell)

    @property
    def count(self) -> float:
        return float(self.cells.sum(dtype=np.float64))

    def replace(self, window: Window, density: Density) -> None:
        """Paint `density` (rows, cols) of people over `window`; what stood there before is gone.

        The sum over the window's cells becomes the sum of `density`. The window must lie on the cell grid, as
        `geometry.place` and `geometry.tile` make it; raises ValueError otherwise.
        """
        rows, cols = self._cells_of(window)
        target = self.cells[rows, cols]
        down, across = (
            cell_edges(cells, self.cell_px, side)
            for cells, side in zip(target.shape, (window.height, window.width), strict=True)
        )
        people = between(across, density.T.astype(np.float64), window.width).T
        step = max(BAND_CELLS // target.shape[1], 1)
        for first in range(0, target.shape[0], step):
            target[first : first + step] = between(down[first : first + step + 1], people, window.height)

    def sum_in(self, window: Window) -> float:
        """People in the cells of a window that lies on the cell grid."""
        rows, cols = self._cells_of(window)
        return float(self.cells[rows, cols].sum(dtype=np.float64))

    def pooled(self, max_wh: Size) -> Density:
        """The map summed into blocks of whole cells, at most `max_wh` blocks: a small image of where people are."""
        factor = max(math.ceil(self.cells.shape[1] / max_wh[0]), math.ceil(self.cells.shape[0] / max_wh[1]), 1)
        return block_sums(self.cells, factor)

    def _cells_of(self, window: Window) -> tuple[slice, slice]:
        cell = self.cell_px
        if not whole(self.size_wh).contains(window):
            raise ValueError(f"{window} is not inside an image of {self.size_wh}")
        ends = ((window.right, self.size_wh[0]), (window.bottom, self.size_wh[1]))
        if window.left % cell or window.top % cell or any(end % cell and end != side for end, side in ends):
            raise ValueError(f"{window} is not on the grid of {cell} px cells")
        return cells_of(window, cell)


def people_in(density: DensityMap, left: float, top: float, right: float, bottom: float) -> float:
    """People in a rectangle; a cell on its edge gives its share by area."""
    spans = []
    for start, end, side in ((top, bottom, density.size_wh[1]), (left, right, density.size_wh[0])):
        start, end = max(start, 0), min(end, side)
        if end <= start:
            return 0.0
        index = np.arange(int(start // density.cell_px), math.ceil(end / density.cell_px))
        edges = np.minimum(np.append(index, index[-1] + 1) * density.cell_px, side)  # the last cell reaches past it
        inside = np.minimum(edges[1:], end) - np.maximum(edges[:-1], start)
        spans.append((index, (inside / np.diff(edges)).astype(np.float32)))
    (rows, down), (cols, across) = spans
    part = density.cells[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    return float(down.astype(np.float64) @ (part @ across))


def block_sums(cells: NDArray[Number], side: int) -> NDArray[Number]:
    """Sums over blocks of `side` x `side` cells; the last ones are what is left."""
    rows, cols = (np.arange(0, length, side) for length in cells.shape)
    return np.add.reduceat(np.add.reduceat(cells, rows, axis=0), cols, axis=1)


def spread_of(cells: Density, side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """People in each square of SQUARE x SQUARE blocks of `side` cells, and their mean spacing in sides of a block.

    A block's n people stand 1 / sqrt(n) apart; the mean over a square is weighted by people. Infinite where nobody is.
    """
    blocks = np.maximum(block_sums(cells, side), 0).astype(np.float64)
    people, roots = block_sums(blocks, SQUARE), block_sums(np.sqrt(blocks), SQUARE)
    return people, np.divide(roots, people, out=np.full_like(people, np.inf), where=people > 0)


def cell_edges(cells: int, cell_px: int, length: float) -> NDArray[np.float64]:
    """Where cells begin and end along `length` pixels (cells + 1,): the last ends with them."""
    edges = np.arange(cells + 1, dtype=np.float64) * cell_px
    edges[-1] = length
    return edges


def between(edges_px: NDArray[np.float64], people: NDArray[np.float64], length: float) -> NDArray[np.float64]:
    """People between each edge and the next, (edges - 1, ...): `people` (parts, ...) fill equal parts of `length`.

    Differences of sums from the start: together they are the people between the first edge and the last.
    """
    before: NDArray[np.float64] = np.concatenate([np.zeros_like(people[:1]), np.cumsum(people, axis=0)])
    at = edges_px / length * len(people)
    part = np.minimum(at.astype(np.int64), len(people) - 1)
    inside = (at - part).reshape(-1, *(1,) * (people.ndim - 1))
    return np.diff(before[part] + inside * (before[part + 1] - before[part]), axis=0)


def crop(density: Density, outer: Window, inner: Window, cell_wh: tuple[float, float]) -> Density:
    """The part in `inner` of a density (rows, cols) over `outer` with cells of (width, height) full-resolution pixels.

    A cell that an edge of `inner` cuts gives the share of its people that lies inside.
    """
    rows, down = _span(inner.top - outer.top, outer.bottom - inner.bottom, inner.height, (density.shape[0], cell_wh[1]))
    cols, across = _span(
        inner.left - outer.left, outer.right - inner.right, inner.width, (density.shape[1], cell_wh[0])
    )
    return np.asarray(density[rows, cols] * down[:, None] * across, np.float32)


def _span(before: int, after: int, length: int, grid: tuple[int, float]) -> tuple[slice, Density]:
    """The cells of a (number, side) grid along `length` pixels with so many before and after, and their shares.

    The last cell may reach past the image's edge; it belongs wholly to what ends at that edge.
    """
    cells, side = grid
    start = round(before / side, 6)
    stop = float(cells) if after == 0 else round((before + length) / side, 6)
    first, last = math.floor(start), min(math.ceil(stop), cells)
    index = np.arange(first, last)
    shares = np.minimum(index + 1, stop) - np.maximum(index, start)
    return slice(first, last), shares.astype(np.float32)


def points_to_density(points_xy: NDArray[np.float64], window: Window, shape: tuple[int, int]) -> Density:
    """People per cell of a (rows, cols) grid over `window`, from points in full-resolution pixels."""
    rows, cols = shape
    x = (points_xy[:, 0] - window.left) * cols / window.width
    y = (points_xy[:, 1] - window.top) * rows / window.height
    inside = (x >= 0) & (y >= 0) & (x < cols) & (y < rows)
    density = np.zeros(shape, np.float32)
    np.add.at(density, (y[inside].astype(int), x[inside].astype(int)), 1)
    return density
