"""What all labels share: heads checked against the picture, the grid of a map."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gigacount.errors import DataError
from gigacount.geometry import Size


def grid_shape(size_wh: Size, stride: int) -> tuple[int, int]:
    """(rows, cols) of a map whose cells have `stride` pixels a side; the last row and column may stick out."""
    return -(-size_wh[1] // stride), -(-size_wh[0] // stride)


def checked_points(points_xy: ArrayLike, size_wh: Size) -> NDArray[np.float64]:
    """The heads as (N, 2) float64; DataError if one is not finite or lies outside the picture."""
    points = np.asarray(points_xy, np.float64).reshape(-1, 2)
    bad = ~((points >= 0) & (points <= size_wh)).all(axis=1)  # NaN fails both comparisons
    if bad.any():
        x, y = points[bad][0]
        raise DataError(
            f"{bad.sum()} of {len(points)} heads lie outside the {size_wh[0]} x {size_wh[1]} picture, "
            f"the first at ({x:g}, {y:g}); see `gigacount data check`"
        )
    return points


def checked_boxes(boxes_xyxy: ArrayLike, size_wh: Size) -> NDArray[np.float64]:
    """The head boxes as (N, 4) float64; DataError if one is not finite, inside out or wholly outside the picture."""
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
    left, top, right, bottom = boxes.T
    fine = (left <= right) & (top <= bottom) & np.isfinite(boxes).all(axis=1)
    fine &= (right >= 0) & (bottom >= 0) & (left <= size_wh[0]) & (top <= size_wh[1])
    if not fine.all():
        first = ", ".join(f"{side:g}" for side in boxes[~fine][0])
        raise DataError(
            f"{(~fine).sum()} of {len(boxes)} head boxes lie outside the {size_wh[0]} x {size_wh[1]} picture or are "
            f"inside out, the first ({first}); see `gigacount data check`"
        )
    return boxes


def pixels_of(points_xy: NDArray[np.float64], size_wh: Size) -> NDArray[np.int64]:
    """The (N, 2) column and row of the pixel that holds each head."""
    pixels: NDArray[np.int64] = np.minimum(points_xy.astype(np.int64), np.asarray(size_wh) - 1)
    return pixels
