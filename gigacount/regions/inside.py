"""What lies in a polygon: people of a density map by exact area, and points by the even-odd rule.

A polygon is its rings, each (V, 2) in full-resolution pixels, open (the last vertex is not the first again). Outer
rings turn one way and holes the other. What polygons share out between them adds up: neighbours with a common edge
have no cell's people twice, and no point on that edge twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gigacount.density import BAND_CELLS, DensityMap

Ring = NDArray[np.float64]


def people_inside(rings: Sequence[Ring], density: DensityMap) -> float:
    """People of the map in a polygon that lies within the picture; a cell on its edge gives its share by area."""
    pieces = _cell_pieces(rings, density.cell_px)
    if len(pieces) == 0:
        return 0.0
    rows, cols = density.cells.shape
    row = np.minimum(pieces[:, [1, 3]].mean(axis=1).astype(np.int64), rows - 1)
    order = np.argsort(row, kind="stable")
    pieces, row = pieces[order], row[order]
    left, right = int(pieces[:, [0, 2]].min()), min(int(pieces[:, [0, 2]].max()) + 1, cols)
    filled = _filled_share(density)
    band = max(BAND_CELLS // (right - left), 1)
    people = 0.0
    for top in range(int(row[0]), int(row[-1]) + 1, band):
        bottom = min(top + band, int(row[-1]) + 1)
        mine = slice(*np.searchsorted(row, [top, bottom]))
        share = _coverage(pieces[mine] - (left, top, left, top), row[mine] - top, (bottom - top, right - left))
        share /= filled[0][top:bottom, None] * filled[1][left:right]
        people += float((share * density.cells[top:bottom, left:right]).sum())
    return abs(people)


def _filled_share(density: DensityMap) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of each row and column of cells that is picture: all but in the last, which may reach past its edge."""
    shares = []
    for cells, side in zip(density.cells.shape, density.size_wh[::-1], strict=True):
        share = np.ones(cells)
        share[-1] = side / density.cell_px - (cells - 1)
        shares.append(share)
    return shares[0], shares[1]


def _cell_pieces(rings: Sequence[Ring], cell_px: int) -> NDArray[np.float64]:
    """The rings' edges cut at the cells' edges: (P, 4) x, y from and to, in cells."""
    edges = [np.hstack([ring, np.roll(ring, -1, axis=0)]) / cell_px for ring in rings]
    pieces = np.concatenate([np.zeros((0, 4)), *edges])
    return _cut(_cut(pieces, axis=1), axis=0)


def _cut(pieces: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Pieces (P, 4) cut where their x (axis 0) or y (axis 1) is a whole number."""
    a, b = pieces[:, axis], pieces[:, axis + 2]
    low, high = np.minimum(a, b), np.maximum(a, b)
    parts = np.maximum(np.ceil(high) - np.floor(low), 1).astype(np.int64)
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


def _coverage(pieces: NDArray[np.float64], row: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Signed share of each cell (rows, cols) that the rings around it enclose.

    Each piece lies within one cell and adds what lies to its right: part of its own cell, and as much of every further
    cell of the row as it is high, which the running sum carries on. This is how fonts are drawn.
    """
    middle = pieces[:, [0, 2]].mean(axis=1)
    col = np.minimum(middle.astype(np.int64), shape[1] - 1)
    height = pieces[:, 3] - pieces[:, 1]
    left_of_it = (middle - col) * height
    width = shape[1] + 1
    cells = np.concatenate([row * width + col, row * width + col + 1])
    steps = np.bincount(cells, np.concatenate([height - left_of_it, left_of_it]), shape[0] * width)
    shares: NDArray[np.float64] = steps.reshape(shape[0], width).cumsum(axis=1)[:, :-1]
    return shares


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
