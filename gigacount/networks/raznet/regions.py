"""Which parts of a picture RAZ-Net looks at again (3.1, zooming region proposal branch, figure 4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gigacount.geometry import Window


@dataclass(frozen=True)
class ProposalOptions:
    """interest_points: m, drawn from the attention map. least_attention: theta_z, the least mean of a sub-image.
    overlap: the intersection over union from which the lower of two goes. most: k_z. seed: of the draw, so that a
    picture always gives the same count."""

    interest_points: int = 200
    least_attention: float = 0.01
    overlap: float = 0.5
    most: int = 10
    seed: int = 0


RATIOS = (1.0, 0.5, 2.0)  # height to width
SCALES = (1 / 3, 2 / 3)  # side of the square anchor, of the picture's shorter edge


def anchors(size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """Width and height of the six anchors, (6, 2) pixels; those of one scale have the same area."""
    sides = min(size_hw) * np.asarray(SCALES)
    return np.array([(side / ratio**0.5, side * ratio**0.5) for side in sides for ratio in RATIOS])


def propose_regions(attention: NDArray[np.float32], options: ProposalOptions | None = None) -> list[Window]:
    """The sub-images of (H, W) attention to zoom, best first: anchors around interest points, ranked by mean attention.

    An interest point is drawn in proportion to its attention, the paper's "randomly sampled from the attention map".
    Anchors are cut at the picture's border.
    """
    options = options or ProposalOptions()
    cumulative = attention.cumsum(dtype=np.float64)
    if cumulative[-1] <= 0:
        return []
    draws = np.random.default_rng(options.seed).random(options.interest_points) * cumulative[-1]
    row, col = np.unravel_index(np.searchsorted(cumulative, draws, side="right"), attention.shape)
    boxes = boxes_around(np.stack([col, row], axis=1) + 0.5, attention.shape)
    means = mean_inside(attention, boxes)
    ranked = np.argsort(-means, kind="stable")
    best = suppress(boxes[ranked[means[ranked] >= options.least_attention]], options)
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


def suppress(boxes: NDArray[np.int64], options: ProposalOptions) -> NDArray[np.int64]:
    """Non-maximum suppression of (N, 4) boxes ranked best first: at most `options.most` of them."""
    kept: list[NDArray[np.int64]] = []
    while len(boxes) and len(kept) < options.most:
        best = boxes[0]
        kept.append(best)
        boxes = boxes[intersection_over_union(best, boxes) <= options.overlap]
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
