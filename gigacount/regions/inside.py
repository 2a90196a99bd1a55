"""What lies in a polygon: cells of a grid by exact area, and points by the even-odd rule.

A polygon is its rings, each (V, 2) in full-resolution pixels, open (the last vertex is not the first again). Outer
rings turn one way and holes the other. What polygons share out between them adds up: neighbours with a common edge
have no cell's people twice, and no point on that edge twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gigacount.density import BAND_CELLS, DensityMap

Ring = NDArray[np.float64]

PIECES = 65_536  # of edges worked on at once, so that a long outline takes no memory: each takes about 150 bytes


class EdgePieces(NamedTuple):
    """Edges cut at the lines of a grid: the cell of each piece, its height with a sign, and how much is left of it.

    row, col: of its cell. height: of what it crosses, in cells, negative where the edge goes up. left: the part of
    its own cell, as far as it is high, that lies to its left, in cells.
    """

    row: NDArray[np.int64]
    col: NDArray[np.int64]
    height: NDArray[np.float64]
    left: NDArray[np.float64]


def coverage(
    polygons: Sequence[Sequence[Ring]], cell_wh: tuple[float, float], shape: tuple[int, int]
) -> Iterator[tuple[slice, slice, NDArray[np.float64]]]:
    """The summed share of each cell that polygons cover: rows, columns and shares of one band of cells at a time.

    cell_wh: a cell's sides in pixels. shape: (rows, cols) of the grid, within which the polygons lie. Memory is bounded
    by the size of a band, whatever the outlines.

    Each piece of an edge lies within one cell and adds what lies to its right: part of its own cell, and as much of
    every further cell of the row as it is high, which the running sum carries on. This is how fonts are drawn.
    """
    all_edges = [edges for edges in (_edges(rings, cell_wh) for rings in polygons) if len(edges)]
    if not all_edges:
        return
    x = np.concatenate([edges[:, [0, 2]].ravel() for edges in all_edges])
    left, right = int(x.min()), min(int(x.max()) + 1, shape[1])
    for top, bottom in _bands(all_edges, shape[0], right - left):
        width, rows = right - left + 1, bottom - top
        steps = np.zeros(rows * width)
        for edges in all_edges:
            inside = _between(edges, top, bottom) - (left, top, left, top)
            for row, col, height, beside in _pieces(inside, (rows, right - left)):
                cell = row * width + col
                np.add.at(steps, cell, height - beside)
                np.add.at(steps, cell + 1, beside)
        shares: NDArray[np.float64] = np.abs(steps.reshape(rows, width).cumsum(axis=1)[:, :-1])
        yield slice(top, bottom), slice(left, right), shares


def people_inside(polygons: Sequence[Sequence[Ring]], density: DensityMap) -> list[float]:
    """People of the map in each polygon, within the image; a cell on its edge gives its share by area.

    As much work as the outlines are long, after one look at each cell, whatever the number of polygons: a piece of an
    edge adds the people to its right, as far as it is high.
    """
    all_edges = [_edges(rings, (density.cell_px, density.cell_px)) for rings in polygons]
    down, across = _filled_share(density)
    people = np.zeros(len(polygons))
    for top, bottom in _bands([edges for edges in all_edges if len(edges)], *density.cells.shape):
        # to_right[row, col]: people in this row in this column and those to its right.
        there = density.cells[top:bottom] / (down[top:bottom, None] * across)
        to_right = np.zeros((bottom - top, there.shape[1] + 1))
        np.cumsum(there[:, ::-1], axis=1, out=to_right[:, -2::-1])
        for number, edges in enumerate(all_edges):
            for row, col, height, left in _pieces(_between(edges, top, bottom) - (0, top, 0, top), there.shape):
                people[number] += height @ to_right[row, col] - left @ there[row, col]
    found: list[float] = people.tolist()
    return found


def clear_inside(polygons: Sequence[Sequence[Ring]], density: DensityMap) -> None:
    """Take the people in the polygons out of the map; a cell on an edge keeps its share by area."""
    down, across = _filled_share(density)
    for rows, cols, share in coverage(polygons, (density.cell_px, density.cell_px), density.cells.shape):
        share /= down[rows, None] * across[cols]
        density.cells[rows, cols] *= 1 - np.minimum(share, 1).astype(np.float32)


def _filled_share(density: DensityMap) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of each row and column of cells that is image: all but in the last, which may reach past its edge."""
    down, across = (np.ones(cells) for cells in density.cells.shape)
    for share, side in zip((down, across), density.size_wh[::-1], strict=True):
        share[-1] = side / density.cell_px - (len(share) - 1)
    return down, across


def _bands(all_edges: Sequence[NDArray[np.float64]], rows: int, cols: int) -> Iterator[tuple[int, int]]:
    """First row and last row + 1 of each band, `cols` wide, of a grid in which one of the polygons lies."""
    if not all_edges:
        return
    y = np.concatenate([edges[:, [1, 3]].ravel() for edges in all_edges])
    last, band = min(int(np.ceil(y.max())), rows), max(BAND_CELLS // cols, 1)
    for top in range(int(y.min()), last, band):
        yield top, min(top + band, last)


def _edges(rings: Sequence[Ring], cell_wh: tuple[float, float]) -> NDArray[np.float64]:
    """The edges of a polygon (E, 4), x y from and to in cells, so turned that what they enclose counts as positive."""
    edges = np.concatenate([np.zeros((0, 4)), *(np.hstack([ring, np.roll(ring, -1, axis=0)]) for ring in rings)])
    edges /= (*cell_wh, *cell_wh)
    edges = edges[edges[:, 1] != edges[:, 3]]  # what is level encloses nothing
    x0, y0, x1, y1 = edges.T
    turned: NDArray[np.float64] = edges if ((x0 + x1) * (y1 - y0)).sum() <= 0 else edges[:, [2, 3, 0, 1]]
    return turned


def _between(edges: NDArray[np.float64], top: int, bottom: int) -> NDArray[np.float64]:
    """Edges (E, 4) as far as they lie between two heights."""
    low, high = np.minimum(edges[:, 1], edges[:, 3]), np.maximum(edges[:, 1], edges[:, 3])
    edges = edges[(low < bottom) & (high > top)]
    x, y, run, rise = edges[:, 0], edges[:, 1], edges[:, 2] - edges[:, 0], edges[:, 3] - edges[:, 1]
    cut = np.empty_like(edges)
    for column in (0, 2):
        cut[:, column + 1] = np.clip(edges[:, column + 1], top, bottom)
        moved = cut[:, column + 1] != edges[:, column + 1]
        cut[:, column] = np.where(moved, x + (cut[:, column + 1] - y) / rise * run, edges[:, column])
    return cut


def _pieces(edges: NDArray[np.float64], shape: tuple[int, int]) -> Iterator[EdgePieces]:
    """Edges (E, 4) that lie in a grid of (rows, cols), cut at its lines; about PIECES at a time."""
    lengths = np.abs(edges[:, :2] - edges[:, 2:]).sum(axis=1) + 3
    group = (np.cumsum(lengths) / PIECES).astype(np.int64)
    for some in np.split(edges, np.flatnonzero(np.diff(group)) + 1):
        x0, y0, x1, y1 = some.T
        which, row, low, high = _cut(np.minimum(y0, y1), np.maximum(y0, y1), shape[0])
        x, y, run, rise = (values[which] for values in (x0, y0, x1 - x0, y1 - y0))
        xs = x + (low - y) / rise * run, x + (high - y) / rise * run
        height = np.copysign(high - low, rise)
        nth, col, start, stop = _cut(np.minimum(*xs), np.maximum(*xs), shape[1])
        across = np.abs(xs[1] - xs[0])[nth]
        height = height[nth] * np.divide(stop - start, across, out=np.ones_like(across), where=across > 0)
        yield EdgePieces(row[nth], col, height, ((start + stop) / 2 - col) * height)


def _cut(
    low: NDArray[np.float64], high: NDArray[np.float64], cells: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Spans cut at whole numbers: which span each part is of, the cell of 0..cells it lies in, its ends."""
    first = np.floor(low).astype(np.int64)
    parts = np.maximum(np.ceil(high).astype(np.int64) - first, 1)
    which = np.repeat(np.arange(len(low)), parts)
    cell = np.arange(len(which)) - np.repeat(np.cumsum(parts) - parts - first, parts)
    start, stop = np.maximum(cell, low[which]), np.minimum(cell + 1, high[which])
    return which, np.clip(cell, 0, cells - 1), start, stop


def points_inside(polygons: Sequence[Sequence[Ring]], xy: NDArray[np.float32]) -> Iterator[NDArray[np.bool_]]:
    """For each polygon whether each point (N, 2) lies in it.

    Left and upper edges belong to it, right and lower ones do not.
    """
    order = np.argsort(xy[:, 1], kind="stable")
    x, y = xy[order].astype(np.float64).T
    for rings in polygons:
        odd = np.zeros(len(xy), bool)
        for ring in rings:
            for one, other in zip(ring.tolist(), np.roll(ring, -1, axis=0).tolist(), strict=True):
                # From top to bottom, so that the neighbour on the other side finds the very same crossing.
                (x0, y0), (x1, y1) = sorted((one, other), key=lambda vertex: (vertex[1], vertex[0]))
                if y0 < y1:
                    first, last = np.searchsorted(y, [y0, y1])
                    odd[first:last] ^= x[first:last] < x0 + (y[first:last] - y0) * ((x1 - x0) / (y1 - y0))
        inside = np.zeros(len(xy), bool)
        inside[order] = odd
        yield inside
