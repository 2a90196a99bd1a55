"""What a scene is: a truth, and something that paints any window of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import UnknownNameError, UsageError
from gigacount.geometry import Size, Window

PANDA_WH = (26908, 15024)
MIN_SIDE = 32
VIEWS = ("side", "above")

_FAR_ABOVE = 1e8
"""Heads up to the camera that looks straight down."""


@dataclass(frozen=True)
class SceneOptions:
    """What a scene is made from; the same options give the same truth, byte for byte.

    size_wh: pixels. people: heads that can be seen. seed: of everything random. head_px: height of a head on the far
    and on the near edge of the crowd, in pixels; None is 8 to 160, and smaller in images less than 9,600 high.
    horizon: its row as a share of the image's height (below 0 it is above the image); None is one at random that
    is in the image. view: "side", or "above" for straight down: heads of one size, drawn from `head_px` (None is 4 to
    40, and smaller where people need the room), and no horizon.
    """

    size_wh: Size = PANDA_WH
    people: int = 4000
    seed: int = 0
    head_px: tuple[float, float] | None = None
    horizon: float | None = None
    view: str = "side"

    def __post_init__(self) -> None:
        if self.view not in VIEWS:
            raise UnknownNameError("view", self.view, VIEWS)
        far, near = self.heads_px
        if min(self.size_wh) < MIN_SIDE:
            raise UsageError(f"a scene of {self.size_wh[0]}x{self.size_wh[1]} is too small; use {MIN_SIDE} px or more")
        if self.people < 0 or self.seed < 0:
            raise UsageError("people and seed of a scene cannot be negative; use 0 or more")
        if not 2 <= far < near:
            raise UsageError(f"heads of {far:g} to {near:g} px make no scene; use 2 px or more, the near ones larger")
        if self.horizon is not None and self.horizon >= 0.9:
            raise UsageError(f"a horizon at {self.horizon:g} of the height leaves no ground; use less than 0.9")

    @property
    def heads_px(self) -> tuple[float, float]:
        if self.head_px is not None:
            return self.head_px
        if self.view == "above":
            room = (self.size_wh[0] * self.size_wh[1] / max(self.people, 1)) ** 0.5 / 4
            return 4.0, min(max(room, 5.0), 40.0)
        near = min(max(self.size_wh[1] / 60, 12.0), 160.0)
        return max(near / 20, 4.0), near


@dataclass(frozen=True)
class Truth:
    """The heads of an image of `size_wh`: centres (N, 2) and boxes (N, 4) left, top, right, bottom, if known."""

    size_wh: Size
    points_xy: NDArray[np.float64]
    boxes_xyxy: NDArray[np.float64] | None = None


Paint = Callable[[Window], NDArray[np.uint8]]
"""(height, width, 3) RGB of a window inside an image, in any thread. Neighbouring windows fit without a seam."""


@dataclass(frozen=True)
class Scene:
    """An image that need never be whole in memory, and the heads in it."""

    truth: Truth
    paint: Paint

    @property
    def size_wh(self) -> Size:
        return self.truth.size_wh


@dataclass(frozen=True)
class Perspective:
    """A level camera above a plane: who stands on row y has a head `rise * (y - horizon)` pixels high.

    depth: the distance, in heads, at which a head is one pixel high; distance times head height is constant.
    """

    horizon: float
    rise: float
    depth: float

    def head_px(self, foot_y: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.rise * (foot_y - self.horizon)

    def foot_y(self, head_px: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.horizon + head_px / self.rise


def make_perspective(options: SceneOptions, rng: np.random.Generator) -> Perspective:
    """The camera whose lower image edge sees heads of the near size; or one that looks straight down.

    What the latter sees is the limit of a level camera's image with its horizon: heads of one size everywhere.
    """
    width, height = options.size_wh
    if options.view == "above":
        far, near = np.log(options.heads_px)
        return Perspective(-_FAR_ABOVE, float(np.exp(rng.uniform(far, near))) / _FAR_ABOVE, _FAR_ABOVE)
    level = float(rng.uniform(0.1, 0.3)) if options.horizon is None else options.horizon
    return Perspective(level * height, options.heads_px[1] / (height * (1 - level)), 1.2 * width)


def overlap(a: Window, b: Window) -> bool:
    return a.left < b.right and b.left < a.right and a.top < b.bottom and b.top < a.bottom
