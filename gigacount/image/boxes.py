"""Means of boxes of pixels: the cheap part of shrinking."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gigacount.geometry import Size

from .vips import from_array, shrink_rows, to_array


def box_means(pixels: NDArray[np.uint8], step_xy: Size) -> NDArray[np.uint8]:
    """Means of boxes of `step_xy` pixels, (rows, cols, bands); at the right and bottom of what is left of them.

    Down the columns by NumPy, which is several times faster at it than libvips; along the rows by libvips.
    """
    step_x, step_y = step_xy
    if step_y > 1:
        pixels = _column_means(pixels, step_y)
    return to_array(shrink_rows(from_array(pixels), step_x)) if step_x > 1 else pixels


def _column_means(pixels: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    rows, cols, bands = pixels.shape
    whole = rows // step
    means = np.empty((-(-rows // step), cols, bands), np.uint8)
    groups = pixels[: whole * step].reshape(whole, step, cols, bands)
    means[:whole] = _mean(groups.sum(axis=1, dtype=_sum_type(step)), step)
    if whole < len(means):
        rest = pixels[whole * step :]
        means[whole] = _mean(rest.sum(axis=0, dtype=_sum_type(step)), len(rest))
    return means


def _sum_type(step: int) -> type[np.unsignedinteger]:
    return np.uint16 if (step + 1) * 255 <= 65535 else np.uint32


def _mean(total: NDArray[np.unsignedinteger], count: int) -> NDArray[np.unsignedinteger]:
    """Divide in place, to the nearest whole number."""
    total += count // 2
    total //= count
    return total
