"""From maps to located people, and back to people per cell."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

EIGHT_NEIGHBOURS = np.ones((3, 3), np.int64)


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


def points_to_cells(points_xy: NDArray[np.floating], size_hw: tuple[int, int], stride: int) -> Tensor:
    """One person per point in the cell that holds it: (ceil(H / stride), ceil(W / stride)) float32."""
    rows, cols = (-(-side // stride) for side in size_hw)
    col, row = (points_xy[:, :2] / stride).astype(np.int64).T
    counts = np.zeros((rows, cols), np.float32)
    np.add.at(counts, (np.minimum(row, rows - 1), np.minimum(col, cols - 1)), 1)
    return torch.from_numpy(counts)
