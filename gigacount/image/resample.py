"""One look: any window of a level at any size, with neither aliasing nor a shift.

Down, in two steps: means of whole boxes of pixels, which is cheap, to within 1.5 to 3 times the size asked for; then a
Lanczos kernel, which is sharp. Up: bicubic. Both see the pixels around the window, so that adjoining looks agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from gigacount.geometry import Size, Window

from .levels import PyramidLevel
from .vips import from_array, library, to_array

KEEP_FOR_KERNEL = 1.5  # how much of the shrinking the kernel does at least; means alone (1.0) would double the aliasing
MARGIN = 3  # output pixels beyond the window that the Lanczos kernel reaches
MARGINS = range(MARGIN, MARGIN + 8)  # to choose from, see _plan_kernel
HARDLY_SHRUNK = 1.05  # up to this ratio a look is sampled like an enlarged one: nothing to speak of can alias


@dataclass(frozen=True)
class Axis:
    """How one axis of a look is computed.

    step: level pixels per box. first, count: the boxes to read. ratio: boxes per output pixel.
    lead: output pixels to drop at the start, if the kernel shrinks this axis. offset: where the first sample lies, in
    boxes, if it is sampled.
    """

    step: int
    first: int
    count: int
    ratio: float
    lead: int = 0
    offset: float = 0.0

    @property
    def shrinks(self) -> bool:
        """Whether the kernel shrinks this axis; otherwise it is sampled, or taken as it is."""
        return self.lead > 0


def resample(level: PyramidLevel, window: Window, size_wh: Size) -> NDArray[np.uint8]:
    """A window of the full-resolution image, as stored, at `size_wh`, (rows, cols, bands). Raises VipsError."""
    factor_x, factor_y = level.factor_xy
    x = plan_axis(window.left / factor_x, window.width / factor_x, size_wh[0])
    y = plan_axis(window.top / factor_y, window.height / factor_y, size_wh[1])
    boxes = level.boxes((x.first, y.first), (x.count, y.count), (x.step, y.step))
    if level.bands % 2:
        return _kernel(boxes, x, y, size_wh)
    # The kernels of libvips take a band beside the colours for their opacity.
    return np.dstack([_kernel(part, x, y, size_wh) for part in (boxes[:, :, :-1], boxes[:, :, -1:])])


def _kernel(boxes: NDArray[np.uint8], x: Axis, y: Axis, size_wh: Size) -> NDArray[np.uint8]:
    """What the boxes of both axes leave to do."""
    width, height = size_wh
    image = from_array(boxes)
    # Shrink with a Lanczos kernel as wide as it needs; the centre of the image stays its centre.
    if y.shrinks:
        image = image.reducev(y.ratio, kernel="lanczos3", gap=0)
    if x.shrinks:
        image = image.reduceh(x.ratio, kernel="lanczos3", gap=0)
    if x.shrinks or y.shrinks:
        image = image.crop(x.lead, y.lead, width if x.shrinks else x.count, height if y.shrinks else y.count)
    if (image.width, image.height) != size_wh or x.offset or y.offset:
        step_x, step_y = 1 if x.shrinks else x.ratio, 1 if y.shrinks else y.ratio
        image = image.affine(
            [1 / step_x, 0, 0, 1 / step_y],
            odx=-x.offset / step_x,
            ody=-y.offset / step_y,
            oarea=[0, 0, *size_wh],
            interpolate=library().Interpolate.new("bicubic"),
            extend="copy",
        )
    return to_array(image)


def plan_axis(start: float, length: float, size: int) -> Axis:
    """Plan `size` output pixels over `length` level pixels from `start`."""
    ratio = length / size
    if ratio <= HARDLY_SHRUNK:
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

    With whole boxes on one side and whole output pixels on the other the two centres seldom meet exactly. Of the
    margins tried, the best lets them meet to within 0.05 boxes mostly (95 % of random looks) and 0.17 at worst.
    """
    best = (math.inf, 0, 0, 0)
    for lead, tail in product(MARGINS, repeat=2):
        total = size + lead + tail
        center = start + (total / 2 - lead) * ratio
        for count in (math.floor(total * ratio), math.ceil(total * ratio)):
            if math.floor(count / ratio + 0.5) == total:
                first = round(center - count / 2)
                best = min(best, (abs(first + count / 2 - center), lead, first, count))
    _, lead, first, count = best
    return Axis(step, first, count, ratio, lead=lead)
