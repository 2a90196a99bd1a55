"""Maps of the distance to heads, and of the heads' own pixels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gigacount.geometry import Size
from gigacount.labels.heads import checked_points, grid_shape, nearest_heads, pixels_of

NEGLIGIBLE_SIGMAS = 6  # exp(-6^2 / 2) is 1.5e-8, below float32's resolution of 1
BLOCK = 8  # cells a side, skipped together where attention is negligible


def iknn_map(points_xy: ArrayLike, size_wh: Size, k: int = 1, stride: int = 1) -> NDArray[np.float32]:
    """Inverse k-nearest-neighbour map 1 / (mean distance to the k nearest heads + 1), (rows, cols) in 0..1.

    MUD-ikNN: distances in pixels from the cell's centre, k limited to the number of heads. Without a head the
    distance is infinite and the map 0.
    """
    points = checked_points(points_xy, size_wh)
    shape = grid_shape(size_wh, stride)
    if len(points) == 0:
        return np.zeros(shape, np.float32)
    distance = _mean_distance(points, _centres(np.ones(shape, bool), stride), k)
    return (1 / (distance + 1)).astype(np.float32).reshape(shape)


def attention_map(
    points_xy: ArrayLike, size_wh: Size, neighbours: int = 3, sigma: float = 3, stride: int = 1
) -> NDArray[np.float32]:
    """RAZ-Net's true attention exp(-d^2 / (2 sigma^2)), d the mean distance to the nearest heads; (rows, cols), 0..1.

    RAZ-Net 3.1, zooming-region proposal branch: 3 neighbours, sigma 3 px so that only the densest crowds stand out.
    The paper is silent on fewer heads than `neighbours`: 0, as they are no crowd.
    """
    points = checked_points(points_xy, size_wh)
    shape = grid_shape(size_wh, stride)
    attention = np.zeros(shape, np.float32)
    if len(points) < neighbours:
        return attention
    # A mean distance changes by at most a pixel per pixel, so a block's centre tells for the whole block.
    blocks = np.ones(grid_shape((shape[1], shape[0]), BLOCK), bool)
    half_diagonal = BLOCK * stride / math.sqrt(2)
    distance = _mean_distance(points, _centres(blocks, BLOCK * stride), neighbours)
    blocks[blocks] = distance < NEGLIGIBLE_SIGMAS * sigma + half_diagonal
    cells = blocks.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)[: shape[0], : shape[1]]
    distance = _mean_distance(points, _centres(cells, stride), neighbours)
    attention[cells] = np.exp(-((distance / sigma) ** 2) / 2)
    return attention


def cross_map(points_xy: ArrayLike, size_wh: Size) -> NDArray[np.float32]:
    """1 on the pixel of each head and its four neighbours, else 0: (H, W) (RAZ-Net, eq. 2)."""
    pixel = pixels_of(checked_points(points_xy, size_wh), size_wh)
    cross = np.zeros((size_wh[1] + 2, size_wh[0] + 2), np.float32)  # a margin of 1 for arms that leave the picture
    for right, down in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
        cross[pixel[:, 1] + 1 + down, pixel[:, 0] + 1 + right] = 1
    return np.ascontiguousarray(cross[1:-1, 1:-1])


def _centres(cells: NDArray[np.bool_], stride: int) -> NDArray[np.float64]:
    """Centres of the chosen cells in pixels, (M, 2) x, y, row by row."""
    rows, cols = np.nonzero(cells)
    return (np.stack([cols, rows], axis=-1).astype(np.float64) + 0.5) * stride


def _mean_distance(points: NDArray[np.float64], at_xy: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Mean distance in pixels from each place to its k nearest heads, or to all where there are fewer; (M,)."""
    distances, _ = nearest_heads(points, at_xy, min(k, len(points)))
    mean: NDArray[np.float64] = distances.mean(axis=1)
    return mean
