"""Heads in full-resolution pixels: every head once where looks overlap, and peaks where a network locates nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigacount.density import Density, block_sums
from gigacount.geometry import Size, View, Window, cells_of

Heads = NDArray[np.float32]
"""(N, 3) x, y and score 0..1, or (N, 8) these with left, top, right and bottom of the head's box, and its area."""

BOXED = 8  # columns of heads with boxes

NOBODY: Heads = np.zeros((0, 3), np.float32)

SEAM_PX = 2.0
"""Read pixels within which two looks mean one head: half a cell of the default network's heat map. Two heads that one
look tells apart are farther from each other."""

PEAK_SCORE = 0.25
"""People within 3 x 3 cells of 8 px that make a density peak a head: what is left there of a lone head that training
spread with a sigma of 17 px, (erf(12 / (17 sqrt 2)))^2. Published recipes with one sigma stay below (CSRNet: 15)."""

PEAK_CELL_PX = 8


@dataclass(frozen=True)
class Points:
    """The located heads of an image.

    xy: (N, 2) float32, full-resolution pixels. score: (N,) float32, 0..1. level, window: (N,) int32, the zoom level
    and the number of the look that each comes from, counted from 0 in the order of looking. boxes: (N, 5) left, top,
    right, bottom in full-resolution pixels and area in square ones; None where no look gave any.
    """

    xy: NDArray[np.float32]
    score: NDArray[np.float32]
    level: NDArray[np.int32]
    window: NDArray[np.int32]
    boxes: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.xy)


@dataclass(frozen=True)
class Ownership:
    """Which look each cell's people come from: painted like the density canvas, so a later look replaces earlier ones.

    owner: (rows, cols) numbers of looks; their total where nothing looked.
    """

    owner: NDArray[np.unsignedinteger[Any]]
    size_wh: Size
    cell_px: int

    @classmethod
    def of(cls, windows: Sequence[Window], size_wh: Size, cell_px: int) -> Ownership:
        """Of windows on the cell grid, in the order of looking; they are half-open, as cells are."""
        shape = -(-size_wh[1] // cell_px), -(-size_wh[0] // cell_px)
        owner = np.full(shape, len(windows), np.min_scalar_type(len(windows)))
        for number, window in enumerate(windows):
            owner[cells_of(window, cell_px)] = number
        return cls(owner, size_wh, cell_px)

    def at(self, xy: NDArray[np.float32]) -> NDArray[np.int64]:
        """The owners of points (N, 2); one beyond the image's edge counts as on it."""
        cells = (xy / self.cell_px).astype(np.int64)
        rows, cols = (np.clip(cells[:, 1 - axis], 0, side - 1) for axis, side in enumerate(self.owner.shape))
        return self.owner[rows, cols].astype(np.int64)


def gather(views: Sequence[View], heads: Sequence[Heads], ownership: Ownership) -> Points:
    """Every head once, out of all that the looks saw: `heads` holds an array for each of `views`, in order.

    A head belongs to the look that owns the cell it lies in, so what a coarse look saw stands where nothing finer
    looked, and what a look saw in its context is left to its neighbour. Two looks never place a head at quite the same
    position; those that they place on either side of a seam are settled by `settle_seams`.
    """
    boxed = any(array.shape[1] == BOXED for array in heads)
    seen = np.concatenate([NOBODY, *(array[:, :3] for array in heads)])
    # A head at the very edge may be placed just outside the image; float32 has no number nearer to the far edges.
    xy = np.clip(seen[:, :2], 0, np.nextafter(np.array(ownership.size_wh, np.float32), np.float32(0)))
    look = np.repeat(np.arange(len(views)), [len(array) for array in heads])
    reach = np.round([SEAM_PX / view.scale for view in views], 3)[look]
    sightings = Sightings(xy, seen[:, 2], look, ownership.at(xy), reach)
    kept = settle_seams(sightings, ownership)
    levels = np.array([view.level for view in views], np.int32)
    boxes = np.concatenate([boxes_of(array) for array in heads])[kept] if boxed else None
    return Points(xy[kept], seen[kept, 2], levels[look[kept]], look[kept].astype(np.int32), boxes)


def boxes_of(heads: Heads) -> NDArray[np.float32]:
    """(N, 5) boxes and areas of heads; those without one have one of no size where they are."""
    if heads.shape[1] == BOXED:
        return heads[:, 3:]
    return np.hstack([heads[:, :2], heads[:, :2], np.zeros_like(heads[:, :1])])


def scaled(heads: Heads, scale_xy: tuple[float, float], shift_xy: tuple[float, float]) -> Heads:
    """Heads, with their boxes where they have some, scaled and then shifted."""
    moved = heads.copy()
    for axis in (0, 1):
        for column in (axis, 3 + axis, 5 + axis) if heads.shape[1] == BOXED else (axis,):
            moved[:, column] = shift_xy[axis] + heads[:, column] * scale_xy[axis]
    moved[:, 7:] *= scale_xy[0] * scale_xy[1]
    return moved


@dataclass(frozen=True)
class Sightings:
    """Heads as the looks saw them, some by several: (N,) arrays but for xy (N, 2).

    look: which saw it. owner: which owns the cell it lies in. reach: SEAM_PX of that look in full-resolution pixels.
    """

    xy: NDArray[np.float32]
    score: NDArray[np.float32]
    look: NDArray[np.int64]
    owner: NDArray[np.int64]
    reach: NDArray[np.float64]


def settle_seams(seen: Sightings, ownership: Ownership) -> NDArray[np.bool_]:
    """Which sightings stand (N,): the owners', save that looks which meet at a seam agree on the heads beside it.

    Sightings of different looks within the coarser one's reach of each other, nearest first, are one head, and so is
    no more than one sighting of each look. Of such a head the finest owner's sighting stands, so it is not there
    twice. Where each look placed it on the other's side, the finest sighting in the area of a look that saw it stands,
    so it is not lost.
    """
    stands: NDArray[np.bool_] = seen.owner == seen.look
    for head in _shared_heads(seen, _near_seams(seen, ownership)):
        looks = set(seen.look[head].tolist())
        candidates = [i for i in head if stands[i]] or [i for i in head if seen.owner[i] in looks]
        stands[head] = False
        if candidates:
            stands[min(candidates, key=lambda i: (seen.reach[i], -seen.score[i], seen.look[i]))] = True
    return stands


def _near_seams(seen: Sightings, ownership: Ownership) -> NDArray[np.bool_]:
    """Whether another look's area lies within reach (N,)."""
    near = np.zeros(len(seen.xy), bool)
    for direction in ((x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if x or y):
        moved = seen.xy + seen.reach[:, None] * np.array(direction)
        near |= ownership.at(moved.astype(np.float32)) != seen.owner
    return near


def _shared_heads(seen: Sightings, near: NDArray[np.bool_]) -> list[list[int]]:
    """Sightings that are one head, of which one at least is `near` a seam."""
    heads: dict[int, set[int]] = {}
    for i, j in _pairs(seen, near).tolist():
        one, other = heads.setdefault(i, {i}), heads.setdefault(j, {j})
        if one is not other and not {seen.look[k] for k in one} & {seen.look[k] for k in other}:
            one |= other
            heads.update(dict.fromkeys(other, one))
    return [sorted(head) for head in {id(head): head for head in heads.values()}.values() if len(head) > 1]


def _pairs(seen: Sightings, near: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(P, 2) sightings of different looks within the coarser one's reach, which is `near` a seam; nearest first."""
    if not near.any():
        return np.zeros((0, 2), np.int64)
    from scipy.spatial import cKDTree  # scipy takes a quarter of a second, which counting need not wait for

    everyone = cKDTree(seen.xy)
    pairs, distances = [], []
    for reach in np.unique(seen.reach[near]):
        some = np.flatnonzero(near & (seen.reach == reach))
        found = cKDTree(seen.xy[some]).sparse_distance_matrix(everyone, reach, output_type="ndarray")
        i, j = some[found["i"]], found["j"].astype(np.int64)
        fine = (seen.look[i] != seen.look[j]) & (seen.reach[j] <= reach)
        pairs.append(np.sort(np.stack([i[fine], j[fine]], axis=1), axis=1))
        distances.append(found["v"][fine])
    both = np.concatenate(pairs)
    return both[np.lexsort((both[:, 1], both[:, 0], np.concatenate(distances)))]


def density_peaks(density: Density, stride: float) -> Heads:
    """Heads at the peaks of people per cell (rows, cols) with `stride` input pixels a cell, in input pixels.

    The fallback for networks that only count. A peak is the middle of 3 x 3 cells of 8 px that hold as many people as
    any 3 x 3 around; its score is those people, at most 1, and its position their centre of mass.
    """
    from scipy import ndimage

    factor = max(round(PEAK_CELL_PX / stride), 1)
    cells = block_sums(density.astype(np.float64), factor)
    people = 9 * ndimage.uniform_filter(cells, 3, mode="constant")
    # Running sums leave rounding errors, which would split a plateau into many peaks.
    summit = (people >= ndimage.maximum_filter(people, 3, mode="constant") - 1e-6) & (people >= PEAK_SCORE)
    plateaus, n = ndimage.label(summit, np.ones((3, 3)))
    middles = np.array(ndimage.center_of_mass(summit, plateaus, range(1, n + 1))).reshape(-1, 2)
    row, col = np.rint(middles).astype(np.int64).T
    y, x = np.mgrid[0 : cells.shape[0], 0 : cells.shape[1]] + 0.5
    centres = [
        9 * ndimage.uniform_filter(cells * axis, 3, mode="constant") / np.maximum(people, 1e-9) for axis in (x, y)
    ]
    columns = [centre[row, col] * factor * stride for centre in centres]
    return np.stack([*columns, np.minimum(people[row, col], 1)], axis=1).astype(np.float32)


def heads_in(maps: NDArray[np.float32]) -> list[Heads]:
    """Maps (B, 3, h, w) of x, y and score, which is 0 where no head is -> for each image its heads (N, 3)."""
    return [image[:, *image[2].nonzero()].T.astype(np.float32) for image in maps]
