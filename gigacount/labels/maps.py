"""Heads checked against the image, and maps of the distance to them and of their own pixels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from gigacount.errors import DataError
from gigacount.geometry import Size

Floats = NDArray[np.float64]

BLOCK = 8  # cells a side that share their candidates
SPARE = 8  # candidates per block beyond the k nearest
CHUNK = 2048  # blocks computed at once: 4 MB for k = 1


def checked_points(points_xy: ArrayLike, size_wh: Size) -> NDArray[np.float64]:
    """The heads as (N, 2) float64; DataError if one is not finite or lies outside the image."""
    points = np.asarray(points_xy, np.float64).reshape(-1, 2)
    bad = ~((points >= 0) & (points <= size_wh)).all(axis=1)  # NaN fails both comparisons
    if bad.any():
        x, y = points[bad][0]
        raise DataError(
            f"{bad.sum()} of {len(points)} heads lie outside the {size_wh[0]} x {size_wh[1]} image, "
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
            f"{(~fine).sum()} of {len(boxes)} head boxes lie outside the {size_wh[0]} x {size_wh[1]} image or are "
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


def nearest_heads(points_xy: Floats, at_xy: Floats, k: int) -> tuple[Floats, NDArray[np.int64]]:
    """Distances (M, k) in pixels and indices (M, k) of the k <= N nearest heads of M places, nearest first."""
    tree = cKDTree(points_xy, balanced_tree=False)  # crowds are clustered: a third faster than with a balanced tree
    distances, indices = tree.query(at_xy, range(1, k + 1))
    return np.asarray(distances), np.asarray(indices)


def distance_map(points_xy: Floats, shape: tuple[int, int], k: int) -> NDArray[np.float32]:
    """Mean distance in pixels from each pixel's centre to its k <= N nearest heads, (rows, cols) float32.

    Those are among the heads within d + 2 r of its block's centre, where d is that centre's distance to its own k-th
    head and r the block's half diagonal. So a k-d tree is asked once per block of 8 x 8 pixels; those of the few blocks
    with more such heads than candidates ask it themselves. Exact, and ten times as fast as asking for every pixel.
    """
    blocks_shape = -(-shape[0] // BLOCK), -(-shape[1] // BLOCK)
    centres = _centres(blocks_shape, BLOCK).reshape(-1, 2)
    many = min(k + SPARE, len(points_xy))
    distances, nearest = nearest_heads(points_xy, centres, many)  # (M, many)
    reach = distances[:, k - 1] + 2 * BLOCK / math.sqrt(2)
    needed = (distances <= reach[:, None]).sum(axis=1)

    blocks = np.empty((len(centres), BLOCK, BLOCK), np.float32)
    order = np.argsort(needed)  # blocks that need equally many candidates together
    for first in range(0, len(order), CHUNK):
        chosen = order[first : first + CHUNK]
        relative = points_xy[nearest[chosen, : needed[chosen[-1]]]] - centres[chosen, None]  # (n, candidates, 2)
        blocks[chosen] = _in_block(relative, k)
    distance = blocks.reshape(*blocks_shape, BLOCK, BLOCK).swapaxes(1, 2).reshape(-1, blocks_shape[1] * BLOCK)
    distance = np.ascontiguousarray(distance[: shape[0], : shape[1]])

    if many < len(points_xy):
        crowded = (needed == many).reshape(blocks_shape).repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)
        cells = crowded[: shape[0], : shape[1]]
        own, _ = nearest_heads(points_xy, _centres(shape, 1)[cells], k)
        distance[cells] = own.mean(axis=1)
    return distance


def _in_block(relative: Floats, k: int) -> NDArray[np.float32]:
    """Mean distance of each pixel of n blocks (n, 8, 8) to its k nearest candidates (n, candidates, 2)."""
    pixels = np.arange(BLOCK, dtype=np.float32) + 0.5 - BLOCK / 2
    squares = (relative[..., None].astype(np.float32) - pixels) ** 2  # (n, candidates, 2, 8)
    every = squares[:, :, 0, None, :] + squares[:, :, 1, :, None]  # (n, candidates, 8, 8)
    if k > 1:
        every.partition(k - 1, axis=1)
    nearest = every[:, :k] if k > 1 else every.min(axis=1, keepdims=True)
    mean: NDArray[np.float32] = np.sqrt(nearest).mean(axis=1)
    return mean


def _centres(shape: tuple[int, int], side: int) -> Floats:
    """Of cells of `side` pixels: (rows, cols, 2) x, y."""
    rows, cols = (np.arange(length) * side + side / 2 for length in shape)
    return np.stack(np.meshgrid(cols, rows), axis=-1)
