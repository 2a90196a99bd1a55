"""How light and how sharp a look is: what an image must share with those that a network was measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STRIPS, STRIP_PX = 16, 32
"""Rows that are judged: strips all over a look, of so many pixels each."""

COARSE_PX = 4
"""Side of the boxes whose differences those of neighbouring pixels are held against."""

FLAT = 1.0
"""Mean difference of boxes, of 255, below which there is too little in a look to tell how sharp it is."""


@dataclass(frozen=True)
class Appearance:
    """brightness: mean of the green values, 0..255. sharpness: mean difference of neighbouring pixels by that of
    neighbouring boxes of 4 px; 0.25 where all is blurred, above 1 for noise; None for a look with nothing in it.
    """

    brightness: float
    sharpness: float | None


def appearance_of(pixels: NDArray[np.uint8], enlarged: float = 1.0) -> Appearance:
    """Of a look (H, W, 3) that was enlarged so many times: the pixels before that are judged."""
    rows = pixels[:: max(round(enlarged), 1), :: max(round(enlarged), 1), 1]
    if len(rows) > STRIPS * STRIP_PX:
        starts = np.linspace(0, len(rows) - STRIP_PX, STRIPS).astype(int)
        strips = np.stack([rows[start : start + STRIP_PX] for start in starts])
    else:
        strips = rows[None]
    height, width = (side // COARSE_PX * COARSE_PX for side in strips.shape[1:])
    green = strips[:, :height, :width].astype(np.float32)
    if not green.size:
        return Appearance(float(rows.mean()), None)
    boxes = green.reshape(len(green), height // COARSE_PX, COARSE_PX, width // COARSE_PX, COARSE_PX).mean((2, 4))
    coarse = roughness(boxes)
    return Appearance(float(green.mean()), roughness(green) / coarse if coarse >= FLAT else None)


def roughness(values: NDArray[np.float32]) -> float:
    """Mean difference of neighbours along rows and columns (strips, rows, cols)."""
    return float(sum(np.abs(np.diff(values, axis=axis)).mean() for axis in (1, 2) if values.shape[axis] > 1))
