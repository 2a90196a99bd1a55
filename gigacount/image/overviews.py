"""Whether the smaller copies in a file show what its full resolution shows.

Overviews may be laid out and never filled, older than the image, or another image altogether. A few places of each
are compared with the next finer copy that has been found good.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .levels import PyramidLevel
from .vips import VipsError

PLACES = 4  # places compared along each axis
SIDE = 256  # of a place in pixels of the finer level
TOLERATED = 16.0  # root mean square difference of 8-bit values between flat places: lossy compression stays far below
TEXTURE = 0.7  # of a place's contrast that the difference may reach: copies of one pixel of many differ by texture
SHIFTS = (-4, -3, -2, -1, 0, 1, 2, 3, 4)  # by how many pixels a copy may be moved, in the search for a better fit
COMPARED = 64  # side of the squares that are compared for that
FLAT, LIVELY = 1.0, 4.0  # contrast of a place that shows nothing at all, and of one that shows something


def trusted(levels: Sequence[PyramidLevel]) -> Iterator[tuple[int, str | None]]:
    """For each level but the first, in order: its number and why it is passed over, None if it is good."""
    good = levels[0]
    for number, level in enumerate(levels[1:], 1):
        reason = compare(good, level)
        yield number, reason
        if reason is None:
            good = level


def compare(finer: PyramidLevel, copy: PyramidLevel) -> str | None:
    """Why a copy does not show what a finer level shows; None if it does, as far as places show it."""
    step_xy = tuple(max(1, round(b / a)) for a, b in zip(finer.factor_xy, copy.factor_xy, strict=True))
    different = empty = lively = compared = 0
    shifts: list[NDArray[np.float64]] = []
    for place in _places(finer, step_xy):
        try:
            pair = _pair(finer, copy, place, step_xy)
        except VipsError:
            continue  # damage is reported when it is read
        if pair is None:
            continue
        means, seen, contrast = pair
        compared += 1
        lively += contrast > LIVELY
        empty += contrast > LIVELY and float(seen.std()) < FLAT
        error = float(np.sqrt(np.mean((means - seen) ** 2)))
        different += error > TOLERATED + TEXTURE * contrast
        if contrast > LIVELY and len(shifts) < PLACES:
            shifts.append(_errors_of_shifts(means, seen))
    if not compared:
        return None
    if lively and empty == lively:
        return "is empty"
    if different:
        return "shows something else"
    errors = np.sum(shifts, axis=0) if shifts else np.ones((1, 1))
    return "is shifted" if errors.min() < 0.5 * errors[errors.shape[0] // 2, errors.shape[1] // 2] else None


def _places(finer: PyramidLevel, step_xy: tuple[int, ...]) -> Iterator[tuple[int, int, int, int]]:
    """First boxes and numbers of boxes (x, y, cols, rows) of places spread over a level, snapped to whole boxes."""
    whole = [side // step for side, step in zip(finer.size_wh, step_xy, strict=True)]
    size = [min(max(SIDE // step, 16), boxes) for boxes, step in zip(whole, step_xy, strict=True)]
    if min(size) < 1:
        return
    for j in range(PLACES):
        for i in range(PLACES):
            x, y = ((boxes - length) * k // (PLACES - 1) for boxes, length, k in zip(whole, size, (i, j), strict=True))
            yield x, y, size[0], size[1]


def _pair(
    finer: PyramidLevel, copy: PyramidLevel, place: tuple[int, int, int, int], step_xy: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32], float] | None:
    """Means of the finer level and pixels of the copy at a place, (rows, cols, bands), and the finer one's contrast."""
    x, y, cols, rows = place
    step_x, step_y = step_xy
    cols, rows = min(cols, copy.size_wh[0] - x), min(rows, copy.size_wh[1] - y)
    if cols < 1 or rows < 1:
        return None
    fine = finer.pixels(x * step_x, y * step_y, (cols * step_x, rows * step_y)).astype(np.float32)
    means = fine.reshape(rows, step_y, cols, step_x, -1).mean(axis=(1, 3))
    return means, copy.pixels(x, y, (cols, rows)).astype(np.float32), float(fine.std(axis=(0, 1)).max())


def _errors_of_shifts(means: NDArray[np.float32], seen: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean square differences when the copy is moved by SHIFTS pixels in y and x; not moved is in the middle."""
    means, seen = (part[:COMPARED, :COMPARED].mean(axis=2) for part in (means, seen))
    rows, cols = means.shape
    most = SHIFTS[-1]
    errors = np.full((len(SHIFTS), len(SHIFTS)), np.inf)
    if min(rows, cols) <= 3 * most:
        return np.ones_like(errors)
    inside = means[most : rows - most, most : cols - most]
    for i, dy in enumerate(SHIFTS):
        for j, dx in enumerate(SHIFTS):
            moved = seen[most + dy : rows - most + dy, most + dx : cols - most + dx]
            errors[i, j] = float(np.mean((inside - moved) ** 2))
    return errors
