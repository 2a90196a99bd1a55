"""From maps to located people, and back to people per cell."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

EIGHT_NEIGHBOURS = np.ones((3, 3), np.int64)
MIN_SUMMIT_SCORE = 0.05  # summits below this score are never heads; a record's threshold is higher


def find_peaks(heat: Tensor, threshold: float) -> NDArray[np.float32]:
    """Local maxima of at least `threshold` in (H, W): (N, 3) float32 x, y (pixel centres at +0.5) and value in 0..1.

    A maximum equals the largest value of its 3 x 3 window (RAZ-Net 3.1: max-pooling and comparison). Neighbouring
    maxima, which have the same value, are one plateau and give one point, their centroid.
    """
    heat = heat.float()
    highest = F.max_pool2d(heat[None, None], 3, stride=1, padding=1)[0, 0]
    peaks = ((heat == highest) & (heat >= threshold)).cpu().numpy()
    plateaus, n = ndimage.label(peaks, EIGHT_NEIGHBOURS)
    y, x = peaks.nonzero()
    plateau = plateaus[y, x] - 1
    values = heat.cpu().numpy()[y, x]
    pixels = np.bincount(plateau, minlength=n)
    columns = [np.bincount(plateau, weights, minlength=n) / pixels for weights in (x + 0.5, y + 0.5, values)]
    points = np.stack(columns, axis=1).astype(np.float32)
    points[:, 2] = points[:, 2].clip(0, 1)
    return points


def summits(heat: Tensor, images: Tensor, stride: int) -> Tensor:
    """Local maxima of heat maps (B, h, w) over `images` (..., H, W), as maps (B, 3, h, w) of x, y in pixels and score.

    The score is 0 where no maximum is. The position within the cell comes from a parabola through the maximum and its
    two neighbours on each axis. Of equal neighbours, common in bf16, the first in reading order is the head.
    """
    middle = heat[:, None]  # (B, 1, h, w)
    padded = F.pad(middle, (1, 1, 1, 1))
    left, right = padded[..., 1:-1, :-2], padded[..., 1:-1, 2:]
    above, below = padded[..., :-2, 1:-1], padded[..., 2:, 1:-1]
    corners = torch.maximum(padded[..., :-2, :-2], padded[..., :-2, 2:])
    before = torch.maximum(torch.maximum(left, above), corners)
    highest = (middle == F.max_pool2d(padded, 3, 1)) & (middle > before) & (middle > MIN_SUMMIT_SCORE)

    def shift(before: Tensor, after: Tensor) -> Tensor:
        return 0.5 * (after - before) / (2 * middle - before - after).clamp(min=1e-6)

    rows, cols = (torch.arange(side, device=heat.device) for side in middle.shape[-2:])
    height, width = images.shape[-2:]  # the last cell may reach past the image
    x = ((cols[None] + 0.5 + shift(left, right)) * stride).clamp(max=width)
    y = ((rows[:, None] + 0.5 + shift(above, below)) * stride).clamp(max=height)
    return torch.cat([x, y, middle.where(highest, 0)], 1).float()


def points_to_cells(points_xy: NDArray[np.floating], size_hw: tuple[int, int], stride: int) -> Tensor:
    """One person per point in the cell that holds it: (ceil(H / stride), ceil(W / stride)) float32."""
    rows, cols = (-(-side // stride) for side in size_hw)
    col, row = (points_xy[:, :2] / stride).astype(np.int64).T
    counts = np.zeros((rows, cols), np.float32)
    np.add.at(counts, (np.minimum(row, rows - 1), np.minimum(col, cols - 1)), 1)
    return torch.from_numpy(counts)
