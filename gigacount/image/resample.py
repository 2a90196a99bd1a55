"""One look: any window of a level at any size, with neither aliasing nor a shift.

Down, in two steps: means of whole boxes of pixels, which is cheap, to within 1.5 to 3 times the size asked for; then a
Lanczos kernel, which is sharp. Up: bicubic. Both see the pixels around the window, so that adjoining looks agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gigacount.geometry import Size, Window

from .levels import Level
from .vips import from_array, reduce, sample, to_array

KEEP_FOR_KERNEL = 1.5
"""How much of the shrinking the kernel does at least; means alone (1.0) would double the aliasing."""

MARGIN = 3
"""Output pixels beyond the window that the Lanczos kernel reaches."""


@dataclass(frozen=True)
class Axis:
    """How one axis of a look is computed.

    step: level pixels per box. first, count: the boxes to read. ratio: boxes per output pixel.
    lead: output pixels to drop at the start (shrinking). offset: where the first sample lies in boxes (enlarging).
    """

    step: int
    first: int
    count: int
    ratio: float
    lead: int = 0
    offset: float = 0.0


def resample(level: Level, window: Window, size_wh: Size) -> NDArray[np.uint8]:
    """A window of the full-resolution picture, as stored, at `size_wh`, (rows, cols, bands). Raises VipsError."""
    (factor_x, factor_y), (width, height) = level.factor_xy, size_wh
    x = plan_axis(window.left / factor_x, window.width / factor_x, width)
    y = plan_axis(window.top / factor_y, window.height / factor_y, height)
    boxes = level.boxes((x.first, y.first), (x.count, y.count), (x.step, y.step))
    image = reduce(from_array(boxes), (x.ratio, y.ratio))
    image = image.crop(x.lead, y.lead, width if x.ratio > 1 else x.count, height if y.ratio > 1 else y.count)
    if (image.width, image.height) != size_wh or x.offset or y.offset:
        image = sample(image, (min(x.ratio, 1), min(y.ratio, 1)), (x.offset, y.offset), size_wh)
    return to_array(image)


def plan_axis(start: float, length: float, size: int) -> Axis:
    """Plan `size` output pixels over `length` level pixels from `start`."""
    ratio = length / size
    if ratio <= 1:
        return _plan_samples(start, ratio, size)
    step = max(1, int(ratio / KEEP_FOR_KERNEL))
    return _plan_kernel(start / step, ratio / step, size, step)


def _plan_samples(start: float, ratio: float, size: int) -> Axis:
    if ratio == 1 and start.is_integer():
        return Axis(1, int(start), size, 1.0)
    first = math.floor(start) - 2  # a bicubic kernel reaches two pixels
    count = math.ceil(start + ratio * size) + 2 - first
    return Axis(1, first, count, ratio, offset=start - first + ratio / 2 - 0.5)


def _plan_kernel(start: float, ratio: float, size: int, step: int) -> Axis:
    """Choose the boxes whose centre is the centre of the output, since that is the point libvips keeps in place.

    With whole boxes on one side and whole output pixels on the other the two centres seldom meet exactly; of the few
    margins tried, the best meets to within a few hundredths of a box.
    """
    best = (math.inf, 0, 0, 0)
    for lead in range(MARGIN, MARGIN + 8):
        total = size + lead + MARGIN
        center = start + (total / 2 - lead) * ratio
        for count in (math.floor(total * ratio), math.ceil(total * ratio)):
            if math.floor(count / ratio + 0.5) == total:
                first = round(center - count / 2)
                best = min(best, (abs(first + count / 2 - center), lead, first, count))
    _, lead, first, count = best
    return Axis(step, first, count, ratio, lead=lead)
