"""EXIF orientation: between the picture as stored and the upright picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gigacount.geometry import Size, Window


@dataclass(frozen=True)
class Orientation:
    """From stored to upright: swap the axes, then mirror in x and in y."""

    swap: bool
    mirror_x: bool
    mirror_y: bool

    def size(self, size_wh: Size) -> Size:
        """The upright size of a stored one, and the stored size of an upright one."""
        return (size_wh[1], size_wh[0]) if self.swap else size_wh

    def stored(self, window: Window, size_wh: Size) -> Window:
        """Where a window of the upright picture of `size_wh` lies as stored."""
        left = size_wh[0] - window.right if self.mirror_x else window.left
        top = size_wh[1] - window.bottom if self.mirror_y else window.top
        if self.swap:
            return Window(top, left, window.height, window.width)
        return Window(left, top, window.width, window.height)

    def upright(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Stored pixels (rows, cols, bands) turned upright."""
        if self.swap:
            pixels = pixels.swapaxes(0, 1)
        return pixels[:: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1]


ORIENTATIONS = {
    1: Orientation(False, False, False),
    2: Orientation(False, True, False),
    3: Orientation(False, True, True),
    4: Orientation(False, False, True),
    5: Orientation(True, False, False),
    6: Orientation(True, True, False),
    7: Orientation(True, True, True),
    8: Orientation(True, False, True),
}
"""By EXIF tag 274."""
