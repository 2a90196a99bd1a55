"""Heads checked against the image, and maps of the distance to them and of their own pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gigacount.errors import DataError
from gigacount.geometry import Size
from gigacount.labels.distance import distance_map


def checked_points(points_xy: ArrayLike, size_wh: Size) -> NDArray[np.float64]:
    """The heads as (N, 2) float64; DataError if one is not finite or lies outside the image."""
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
    """The head boxes as (N, 4) float64; DataError if one is not finite, inside out or wholly outside the image."""
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
    pixels: NDArray[np.int64] = np.minimum(points_xy.astype(np.int64), np.asarray(size_wh) - 1)
    return pixels


def iknn_map(points_xy: ArrayLike, size_wh: Size, k: int = 1) -> NDArray[np.float32]:
    """Inverse k-nearest-neighbour map 1 / (mean distance to the k nearest heads + 1), (H, W) in 0..1 (MUD-ikNN).

    Distances are pixels from the pixel's centre, k at most the number of heads. Without a head the map is 0.
    """
    points = checked_points(points_xy, size_wh)
    if len(points) == 0:
        return np.zeros(size_wh[::-1], np.float32)
    return (1 / (distance_map(points, size_wh[::-1], min(k, len(points))) + 1)).astype(np.float32, copy=False)


def attention_map(points_xy: ArrayLike, size_wh: Size, neighbours: int = 3, sigma: float = 3) -> NDArray[np.float32]:
    """RAZ-Net's true attention exp(-d^2 / (2 sigma^2)), d the mean distance to the nearest heads (3.1): (H, W), 0..1.

    The paper is silent on fewer heads than `neighbours`: 0, as they are no crowd.
    """
    points = checked_points(points_xy, size_wh)
    if len(points) < neighbours:
        return np.zeros(size_wh[::-1], np.float32)
    distance = distance_map(points, size_wh[::-1], neighbours)
    return np.exp(-((distance / sigma) ** 2) / 2).astype(np.float32, copy=False)


def cross_map(points_xy: ArrayLike, size_wh: Size) -> NDArray[np.float32]:
    """1 on the pixel of each head and its four neighbours, else 0: (H, W) (RAZ-Net, eq. 2)."""
    pixel = pixels_of(checked_points(points_xy, size_wh), size_wh)
    cross = np.zeros((size_wh[1] + 2, size_wh[0] + 2), np.float32)  # a margin of 1 for arms that leave the image
    for right, down in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
        cross[pixel[:, 1] + 1 + down, pixel[:, 0] + 1 + right] = 1
    return np.ascontiguousarray(cross[1:-1, 1:-1])
