"""Windows of an image and what can be computed from their sides alone.

All lengths are full-resolution pixels, x right, y down. Sizes are (width, height).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

Size = tuple[int, int]

ASPECT_TOLERANCE = 1.05
NETWORK_MULTIPLE = 32


@dataclass(frozen=True, order=True)
class Window:
    """A rectangle of the full-resolution image, in whole pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.left + self.width

    @property
    def bottom(self) -> int:
        return self.top + self.height

    @property
    def size_wh(self) -> Size:
        return self.width, self.height

    @property
    def pixels(self) -> int:
        return self.width * self.height

    def contains(self, other: Window) -> bool:
        return (
            self.left <= other.left
            and self.top <= other.top
            and other.right <= self.right
            and other.bottom <= self.bottom
        )


@dataclass(frozen=True)
class View:
    """One look: a window, the size in pixels at which it is read, and its zoom level (0 is the coarsest).

    context: full-resolution pixels around the window that are read along, so that the network sees whole heads and
    their surroundings at its edge. The density is the window's alone.
    coarse: whether this is the first look at the whole image, which may have a network of its own.
    """

    window: Window
    size_wh: Size
    level: int = 0
    context: int = 0
    coarse: bool = False

    def with_context(self, bounds: Window) -> View:
        """The look that is taken: the window and its context, as far as `bounds` reach, at the same scale."""
        if self.context == 0:
            return self
        inner = self.window
        left, top = max(inner.left - self.context, bounds.left), max(inner.top - self.context, bounds.top)
        right, bottom = min(inner.right + self.context, bounds.right), min(inner.bottom + self.context, bounds.bottom)
        outer = Window(left, top, right - left, bottom - top)
        sides = zip(outer.size_wh, inner.size_wh, self.size_wh, strict=True)
        width, height = (max(round(side * read / length), 1) for side, length, read in sides)
        return replace(self, window=outer, size_wh=(width, height), context=0)

    @property
    def scale(self) -> float:
        """Read pixels per full-resolution pixel, as the geometric mean of both axes."""
        return math.sqrt(self.size_wh[0] * self.size_wh[1] / self.window.pixels)


def whole(size_wh: Size) -> Window:
    """The window that covers an image of `size_wh`."""
    return Window(0, 0, *size_wh)


def cells_of(window: Window, cell_px: int) -> tuple[slice, slice]:
    """The rows and columns of a window on the cell grid; the last ones may reach past the image's edge."""
    return (
        slice(window.top // cell_px, -(-window.bottom // cell_px)),
        slice(window.left // cell_px, -(-window.right // cell_px)),
    )


def fit(window_wh: Size, max_wh: Size, enlarge: float = 1.0) -> Size:
    """The size at which a window is read when `max_wh` is the most that the network takes.

    `max_wh` exactly, as the paper reads it, when the window has about that shape (within 5 %). Any other shape keeps
    its aspect and gets the same number of pixels: a 50,000 x 2,000 panorama squeezed into 16:9 would show nobody.
    Never enlarged by more than `enlarge` (1: a small image is read as it is). Networks pad to whole strides, so a
    side counts as at least 32 px: an image one pixel wide gets no longer than that allows.
    """
    w, h = window_wh
    budget = max_wh[0] * max_wh[1]
    scale = min(math.sqrt(budget / (w * h)), enlarge)
    shape = (w / h) / (max_wh[0] / max_wh[1])
    if scale < enlarge and 1 / ASPECT_TOLERANCE <= shape <= ASPECT_TOLERANCE:
        return max_wh
    longest = max(budget // NETWORK_MULTIPLE, 1)
    return min(max(round(w * scale), 1), longest), min(max(round(h * scale), 1), longest)


def place(center_xy: tuple[float, float], window_wh: tuple[float, float], bounds: Window, cell_px: int) -> Window:
    """The window of about `window_wh` around a centre, moved inside `bounds` and snapped to the cell grid.

    `bounds` lies on the grid: its left and top are multiples of `cell_px`, its right and bottom too unless they are
    the image's own edge. The result does likewise.
    """
    left, width = _place_1d(center_xy[0], window_wh[0], (bounds.left, bounds.right), cell_px)
    top, height = _place_1d(center_xy[1], window_wh[1], (bounds.top, bounds.bottom), cell_px)
    return Window(left, top, width, height)


def _place_1d(center: float, length: float, bounds: tuple[int, int], cell: int) -> tuple[int, int]:
    low, high = bounds[0] // cell, math.ceil(bounds[1] / cell)
    cells = min(max(round(length / cell), 1), high - low)
    first = min(max(round(center / cell - cells / 2), low), high - cells)
    return first * cell, min((first + cells) * cell, bounds[1]) - first * cell


def tile(size_wh: Size, tile_wh: Size, cell_px: int) -> Iterator[Window]:
    """Windows of at most `tile_wh`, snapped to the cell grid, that partition an image; row by row.

    The last column and row are narrower where the sides do not divide.
    """
    step_x, step_y = (max(side // cell_px, 1) * cell_px for side in tile_wh)
    for top in range(0, size_wh[1], step_y):
        for left in range(0, size_wh[0], step_x):
            yield Window(left, top, min(step_x, size_wh[0] - left), min(step_y, size_wh[1] - top))
