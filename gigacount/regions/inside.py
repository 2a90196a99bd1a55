"""What lies in a polygon: cells of a grid by exact area, and points by the even-odd rule.

A polygon is its rings, each (V, 2) in full-resolution pixels, open (the last vertex is not the first again). Outer
rings turn one way and holes the other. What polygons share out between them adds up: neighbours with a common edge
have no cell's people twice, and no point on that edge twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gigacount.density import BAND_CELLS, DensityMap

Ring = NDArray[np.float64]

PIECES = 250_000
"""Pieces of edges worked on at once, so that a long outline takes time but no memory: a piece takes about 300 bytes."""


def coverage(
    rings: Sequence[Ring], cell_wh: tuple[float, float], shape: tuple[int, int]
) -> Iterator[tuple[slice, slice, NDArray[np.float64]]]:
    """The share, 0..1, of each cell that a polygon covers: rows, columns and shares of one band of cells at a time.

    cell_wh: a cell's sides in pixels. shape: (rows, cols) of the grid, within which the polygon lies. Memory is bounded
    by the size of a band, whatever the outline.
    """
    edges = np.concatenate([np.zeros((0, 4)), *(np.hstack([ring, np.roll(ring, -1, axis=0)]) for ring in rings)])
    edges /= (*cell_wh, *cell_wh)
    edges = edges[edges[:, 1] != edges[:, 3]]  # what is level encloses nothing
    if len(edges) == 0:
        return
    left, right = int(edges[:, [0, 2]].min()), min(int(edges[:, [0, 2]].max()) + 1, shape[1])
    first, last = int(edges[:, [1, 3]].min()), min(int(np.ceil(edges[:, [1, 3]].max())), shape[0])
    band = max(BAND_CELLS // (right - left), 1)
    for top in range(first, last, band):
        bottom = min(top + band, last)
        inside = _between(edges, top, bottom) - (left, top, left, top)
        yield slice(top, bottom), slice(left, right), _shares(inside, (bottom - top, right - left))


def people_inside(rings: Sequence[Ring], density: DensityMap) -> float:
    """People of the map in a polygon that lies within the picture; a cell on its edge gives its share by area."""
    return sum(float((share * density.cells[rows, cols]).sum()) for rows, cols, share in _cells_inside(rings, density))


def clear_inside(rings: Sequence[Ring], density: DensityMap) -> None:
    """Take the people in a polygon out of the map; a cell on its edge keeps its share by area."""
    for rows, cols, share in _cells_inside(rings, density):
        density.cells[rows, cols] *= 1 - np.minimum(share, 1).astype(np.float32)


def _cells_inside(rings: Sequence[Ring], density: DensityMap) -> Iterator[tuple[slice, slice, NDArray[np.float64]]]:
    """The coverage of a map's cells as far as they are picture: the last ones may reach past its edge."""
    down, across = _filled_share(density)
    for rows, cols, share in coverage(rings, (density.cell_px, density.cell_px), density.cells.shape):
        yield rows, cols, share / (down[rows, None] * across[cols])


def _filled_share(density: DensityMap) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of each row and column of cells that is picture: all but in the last, which may reach past its edge."""
    shares = []
    for cells, side in zip(density.cells.shape, density.size_wh[::-1], strict=True):
        share = np.ones(cells)
        share[-1] = side / density.cell_px - (cells - 1)
        shares.append(share)
    return shares[0], shares[1]


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


def _shares(edges: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """The share of each cell (rows, cols) that edges (E, 4), x y from and to in cells, enclose.

    Each piece lies within one cell and adds what lies to its right: part of its own cell, and as much of every further
    cell of the row as it is high, which the running sum carries on. This is how fonts are drawn.
    """
    width = shape[1] + 1
    steps = np.zeros(shape[0] * width)
    lengths = np.abs(edges[:, :2] - edges[:, 2:]).sum(axis=1) + 3
    group = (np.cumsum(lengths) / PIECES).astype(np.int64)
    for some in np.split(edges, np.flatnonzero(np.diff(group)) + 1):
        pieces = _cut(_cut(some, axis=1), axis=0)
        middle = pieces[:, [0, 2]].mean(axis=1)
        row = np.clip(pieces[:, [1, 3]].mean(axis=1).astype(np.int64), 0, shape[0] - 1)
        col = np.clip(middle.astype(np.int64), 0, shape[1] - 1)
        height = pieces[:, 3] - pieces[:, 1]
        left_of_it = (middle - col) * height
        cells = np.concatenate([row * width + col, row * width + col + 1])
        steps += np.bincount(cells, np.concatenate([height - left_of_it, left_of_it]), len(steps))
    shares: NDArray[np.float64] = np.abs(steps.reshape(shape[0], width).cumsum(axis=1)[:, :-1])
    return shares


def _cut(pieces: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Pieces (P, 4) cut where their x (axis 0) or y (axis 1) is a whole number."""
    a, b = pieces[:, axis], pieces[:, axis + 2]
    low, high = np.minimum(a, b), np.maximum(a, b)
    parts = np.maximum(np.ceil(high) - np.floor(low), 1).astype(np.int64)
    uncut = parts == 1
    if uncut.any():
        return pieces if uncut.all() else np.concatenate([pieces[uncut], _cut(pieces[~uncut], axis)])
    which = np.repeat(np.arange(len(pieces)), parts)
    nth = np.arange(len(which)) - np.repeat(np.cumsum(parts) - parts, parts)
    start = np.maximum(np.floor(low)[which] + nth, low[which])
    stop = np.minimum(np.floor(low)[which] + nth + 1, high[which])
    down = (b < a)[which]
    whole = pieces[which]
    ends = np.where(down, stop, start), np.where(down, start, stop)
    length = np.where(a == b, 1, b - a)[which]
    cut = np.empty_like(whole)
    for column, end in zip((0, 2), ends, strict=True):
        along = (end - whole[:, axis]) / length
        flat = (a == b)[which]
        along = np.where(flat, column / 2, along)  # a piece along a grid line is kept whole
        cut[:, column + 1 - axis] = whole[:, 1 - axis] + along * (whole[:, 3 - axis] - whole[:, 1 - axis])
        cut[:, column + axis] = end
    return cut


def points_inside(rings: Sequence[Ring], xy: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each point (N, 2) lies in the polygon; left and upper edges belong to it, right and lower ones do not."""
    order = np.argsort(xy[:, 1], kind="stable")
    x, y = xy[order].astype(np.float64).T
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
    return inside
