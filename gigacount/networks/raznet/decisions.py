"""What RAZ-Net decides without learning: which parts it looks at again (3.1, figure 4), and where the crowd is so dense
that the density alone counts (two-stream fusion, eq. 4).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gigacount.geometry import Window

INTEREST_POINTS = 200  # m, drawn from the attention map
MIN_ATTENTION = 0.01  # theta_z, the least mean of a sub-image
OVERLAP = 0.5  # intersection over union from which the lower of two goes
REGIONS = 10  # k_z
RATIOS = (1.0, 0.5, 2.0)  # height to width
SCALES = (1 / 3, 2 / 3)  # side of the square anchor, of the image's shorter edge


def anchors(size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """Width and height of the six anchors, (6, 2) pixels; those of one scale have the same area."""
    sides = min(size_hw) * np.asarray(SCALES)
    return np.array([(side / ratio**0.5, side * ratio**0.5) for side in sides for ratio in RATIOS])


def propose_regions(attention: NDArray[np.float32], regions: int = REGIONS) -> list[Window]:
    """The sub-images of (H, W) attention to zoom, best first: anchors around interest points, ranked by mean attention.

    An interest point is drawn in proportion to its attention, the paper's "randomly sampled from the attention map",
    always in the same way, so that an image always gives the same count. Anchors are cut at the image's border.
    """
    cumulative = attention.cumsum(dtype=np.float64)
    if cumulative[-1] <= 0:
        return []
    draws = np.random.default_rng(0).random(INTEREST_POINTS) * cumulative[-1]
    row, col = np.unravel_index(np.searchsorted(cumulative, draws, side="right"), attention.shape)
    boxes = boxes_around(np.stack([col, row], axis=1) + 0.5, attention.shape)
    means = mean_inside(attention, boxes)
    ranked = np.argsort(-means, kind="stable")
    best = suppress(boxes[ranked[means[ranked] >= MIN_ATTENTION]], regions)
    return [Window(left, top, right - left, bottom - top) for left, top, right, bottom in best.tolist()]


def boxes_around(centres_xy: NDArray[np.float64], size_hw: tuple[int, ...]) -> NDArray[np.int64]:
    """All anchors around all centres: (6 N, 4) left, top, right, bottom in whole pixels, at least one pixel a side."""
    rows, cols = size_hw
    half = anchors((rows, cols))[None] / 2  # (1, 6, 2)
    near = np.clip(np.rint(centres_xy[:, None] - half), 0, (cols - 1, rows - 1))
    far = np.clip(np.rint(centres_xy[:, None] + half), near + 1, (cols, rows))
    boxes: NDArray[np.int64] = np.concatenate([near, far], axis=2).reshape(-1, 4).astype(np.int64)
    return boxes


def mean_inside(values: NDArray[np.float32], boxes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean of (H, W) `values` in each of (N, 4) boxes, from the integral image."""
    integral = np.pad(values.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    left, top, right, bottom = boxes.T
    total = integral[bottom, right] - integral[top, right] - integral[bottom, left] + integral[top, left]
    means: NDArray[np.float64] = total / ((right - left) * (bottom - top))
    return means


def suppress(boxes: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Non-maximum suppression of (N, 4) boxes ranked best first: at most `most` of them."""
    kept: list[NDArray[np.int64]] = []
    while len(boxes) and len(kept) < most:
        best = boxes[0]
        kept.append(best)
        boxes = boxes[intersection_over_union(best, boxes) <= OVERLAP]
    return np.asarray(kept, np.int64).reshape(-1, 4)


def intersection_over_union(box: NDArray[np.int64], boxes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of one box with each of (N, 4)."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    common = sides.clip(min=0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    ious: NDArray[np.float64] = common / (areas + (box[2:] - box[:2]).prod() - common)
    return ious


def replace_points(points: NDArray[np.float32], region: Window, found: NDArray[np.float32]) -> NDArray[np.float32]:
    """`points` (N, 3) x, y, score, with those inside `region` exchanged for what was `found` there."""
    x, y = points[:, 0], points[:, 1]
    inside = (x >= region.left) & (x < region.right) & (y >= region.top) & (y < region.bottom)
    return np.concatenate([points[~inside], found])


GRID = 4  # sub-images a side
NO_THETA = 1e9  # people, more than any image holds: the mean of both streams everywhere. Finite, as weights must be


def sub_images(rows: int, cols: int) -> Iterator[tuple[slice, slice]]:
    """The 4 x 4 sub-images of a map, row by row; some are empty where it has fewer than 4 rows or columns."""
    edges = [[side * i // GRID for i in range(GRID + 1)] for side in (rows, cols)]
    for top, bottom in pairwise(edges[0]):
        for left, right in pairwise(edges[1]):
            yield slice(top, bottom), slice(left, right)


def sub_counts(cells: Tensor) -> Tensor:
    """People in each sub-image of (rows, cols) cells: (16,)."""
    return torch.stack([cells[place].sum() for place in sub_images(*cells.shape)])


def fuse(density: Tensor, located: Tensor, theta: Tensor) -> Tensor:
    """Eq. 4 on people per cell (rows, cols), so that the sum is C_fused; theta (16,) is theta_f of each sub-image: from
    so many people on a sub-image keeps its density, below it gets the mean of both.
    """
    dense = (sub_counts(density) + sub_counts(located)) / 2 >= theta
    fused = (density + located) / 2
    for place, is_dense in zip(sub_images(*density.shape), dense.tolist(), strict=True):
        if is_dense:
            fused[place] = density[place]
    return fused


def fit_theta(density: Tensor, located: Tensor, truth: Tensor) -> Tensor:
    """theta_f (16,) with the least absolute error of C_fused over the N images; counts are (N, 16), theirs and true.

    The paper estimates it "for each grid from all training data". Only N + 1 values of theta differ in effect: each
    image's mean count, and `NO_THETA`. Of equally good ones the largest is taken, which trusts both streams.
    """
    mean, order = ((density + located) / 2).sort(dim=0)
    density, truth = density.gather(0, order), truth.gather(0, order)
    nothing = torch.zeros_like(mean[:1])
    below = torch.cat([nothing, (mean - truth).abs().cumsum(0)])  # (N + 1, 16): the error of the first n images
    dense = (density - truth).abs()
    above = torch.cat([dense.flip(0).cumsum(0).flip(0), nothing])  # and that of the others
    candidates = torch.cat([mean, torch.full_like(nothing, NO_THETA)])
    # Images of equal mean fall on the same side: only the first of them may be the threshold.
    repeated = torch.cat([nothing.bool(), candidates[1:] == candidates[:-1]])
    error = (below + above).masked_fill(repeated, torch.inf)
    best = len(error) - 1 - error.flip(0).argmin(0, keepdim=True)
    return candidates.gather(0, best)[0]
