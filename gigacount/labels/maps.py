"""Maps of the distance to heads, and of the heads' own pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gigacount.geometry import Size
from gigacount.labels.distance import distance_map
from gigacount.labels.heads import checked_points, grid_shape, pixels_of


def iknn_map(points_xy: ArrayLike, size_wh: Size, k: int = 1, stride: int = 1) -> NDArray[np.float32]:
    """Inverse k-nearest-neighbour map 1 / (mean distance to the k nearest heads + 1), (rows, cols) in 0..1.

    MUD-ikNN: distances in pixels from the cell's centre, k limited to the number of heads. Without a head the
    distance is infinite and the map 0.
    """
    points = checked_points(points_xy, size_wh)
    shape = grid_shape(size_wh, stride)
    if len(points) == 0:
        return np.zeros(shape, np.float32)
    return (1 / (distance_map(points, shape, min(k, len(points)), stride) + 1)).astype(np.float32, copy=False)


def attention_map(
    points_xy: ArrayLike, size_wh: Size, neighbours: int = 3, sigma: float = 3, stride: int = 1
) -> NDArray[np.float32]:
    """RAZ-Net's true attention exp(-d^2 / (2 sigma^2)), d the mean distance to the nearest heads; (rows, cols), 0..1.

    RAZ-Net 3.1, zooming-region proposal branch: 3 neighbours, sigma 3 px so that only the densest crowds stand out.
    The paper is silent on fewer heads than `neighbours`: 0, as they are no crowd.
    """
    points = checked_points(points_xy, size_wh)
    shape = grid_shape(size_wh, stride)
    if len(points) < neighbours:
        return np.zeros(shape, np.float32)
    distance = distance_map(points, shape, neighbours, stride)
    return np.exp(-((distance / sigma) ** 2) / 2).astype(np.float32, copy=False)


def cross_map(points_xy: ArrayLike, size_wh: Size) -> NDArray[np.float32]:
    """1 on the pixel of each head and its four neighbours, else 0: (H, W) (RAZ-Net, eq. 2)."""
    pixel = pixels_of(checked_points(points_xy, size_wh), size_wh)
    cross = np.zeros((size_wh[1] + 2, size_wh[0] + 2), np.float32)  # a margin of 1 for arms that leave the picture
    for right, down in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
        cross[pixel[:, 1] + 1 + down, pixel[:, 0] + 1 + right] = 1
    return np.ascontiguousarray(cross[1:-1, 1:-1])
