"""Independent instance masks: one rectangle per head, shrunk until neighbours stand apart (IIM)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gigacount.geometry import Size
from gigacount.labels.maps import checked_boxes, checked_points, nearest_heads, pixels_of

MIN_HALF = 3  # px, before shrinking
MAX_GAP = 60  # px, the most that two instances are held apart
SHRINK = 0.9
NEIGHBOURS = 4
MAX_DOT = 31  # px across


@dataclass(frozen=True)
class MaskRecipe:
    """How IIM's authors shrink rectangles, which differs between their data sets; lengths in pixels.

    largest: cap on half a rectangle's side. least: floor of half a side when shrinking. rounds: of shrinking a pair.
    ease_overlaps: half of an overlap is taken off both before the gap that they must keep is computed from them.
    crowding: the gap below which the next neighbour, if largest of the three, is shrunk too; None: the pair's own gap.
    """

    largest: int = 25
    least: int = 2
    rounds: int = 40
    ease_overlaps: bool = True
    crowding: int | None = 3


MASK_RECIPES = {
    "nwpu": MaskRecipe(),
    "shanghaitech-a": MaskRecipe(least=1, rounds=50, ease_overlaps=False, crowding=None),
    "shanghaitech-b": MaskRecipe(),
    "ucf-qnrf": MaskRecipe(largest=15),
    "jhu": MaskRecipe(largest=15),
}


def instance_mask(
    boxes_xyxy: ArrayLike, size_wh: Size, recipe: MaskRecipe = MASK_RECIPES["nwpu"]
) -> NDArray[np.float32]:
    """1 inside each head's shrunk rectangle, else 0: (H, W) float32.

    As IIM's public code makes its masks: rectangles of neighbours end up about half the larger half side apart.
    Heads within `2 * recipe.least` px of each other may still touch, and then become one instance.
    """
    boxes = checked_boxes(boxes_xyxy, size_wh)
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2).astype(np.int64)
    halves = np.maximum((boxes[:, 2:] - boxes[:, :2]) / 2, MIN_HALF).astype(np.int64)
    rectangles = _Rectangles(centres.tolist(), np.minimum(halves, recipe.largest).tolist(), recipe)
    rectangles.separate()
    mask = np.zeros((size_wh[1], size_wh[0]), np.float32)
    for (x, y), (a, b) in zip(rectangles.centres, rectangles.halves, strict=True):
        mask[max(y - b, 0) : y + b, max(x - a, 0) : x + a] = 1
    return mask


def boxes_from_points(points_xy: ArrayLike, size_wh: Size, largest: float = 50) -> NDArray[np.float64]:
    """A square of side `largest` around every head, (N, 4), for sets that have only points.

    IIM's authors advise 50 or 100 px and leave the rest to the shrinking of `instance_mask`.
    """
    points = checked_points(points_xy, size_wh)
    return np.concatenate([points - largest / 2, points + largest / 2], axis=1)


def dot_mask(points_xy: ArrayLike, size_wh: Size, largest: int = MAX_DOT) -> NDArray[np.float32]:
    """1 on a disc around each head, else 0: (H, W) float32. IIM's point labels (4.2).

    A dot is dilated up to 31 px, and less than half the way to its nearest neighbour, so that a row of pixels stays
    between two; of two heads less than 4 px apart each keeps little more than its own pixel.
    """
    points = checked_points(points_xy, size_wh)
    pixels = pixels_of(points, size_wh)
    mask = np.zeros((size_wh[1], size_wh[0]), np.float32)
    if len(points) == 0:
        return mask
    reach = np.full(len(points), largest / 2)
    if len(points) > 1:
        distances, _ = nearest_heads(pixels.astype(np.float64), pixels.astype(np.float64), 2)
        reach = np.minimum(reach, (distances[:, 1] - 1) / 2 - 1e-6)
    offsets = np.mgrid[-(largest // 2) : largest // 2 + 1, -(largest // 2) : largest // 2 + 1].reshape(2, -1)[::-1].T
    lengths = np.hypot(*offsets.T)
    for pixel, radius in zip(pixels, reach, strict=True):
        near = pixel + offsets[lengths <= max(radius, 0)]
        col, row = near[((near >= 0) & (near < size_wh)).all(axis=1)].T
        mask[row, col] = 1
    return mask


class _Rectangles:
    """Rectangles by integer centre and half sides. Shrinking is sequential: each pair sees what the last one left."""

    def __init__(self, centres: list[list[int]], halves: list[list[int]], recipe: MaskRecipe) -> None:
        self.centres = centres
        self.halves = halves
        self.recipe = recipe

    def separate(self) -> None:
        """Go through the heads, and for each through its nearest neighbours, and shrink what is too close."""
        n = len(self.centres)
        if n < 2:
            return
        centres = np.asarray(self.centres, np.float64)
        # Itself, its neighbours, and the one after the last of them.
        _, nearest = nearest_heads(centres, centres, min(NEIGHBOURS + 2, n))
        for head, near in enumerate(nearest.tolist()):
            others = [other for other in near if other != head]  # with two heads in one place either may come first
            for other, following in zip(others[:NEIGHBOURS], [*others[1:], None], strict=False):
                self._separate_pair(head, other, following)

    def _separate_pair(self, head: int, other: int, following: int | None) -> None:
        gap = self._gap(head, other)
        crowding = gap if self.recipe.crowding is None else (self.recipe.crowding,) * 2
        for _ in range(self.recipe.rounds):
            if not self._closer(head, other, gap):
                return
            self._shrink(other if self._area(other) > self._area(head) else head)
            if following is None or self._area(following) <= max(self._area(head), self._area(other)):
                continue
            if self._closer(head, following, crowding):
                self._shrink(following)

    def _overlap(self, p: int, q: int) -> tuple[int, int]:
        (xp, yp), (xq, yq) = self.centres[p], self.centres[q]
        (ap, bp), (aq, bq) = self.halves[p], self.halves[q]
        return ap + aq - abs(xp - xq), bp + bq - abs(yp - yq)

    def _gap(self, p: int, q: int) -> tuple[int, int]:
        """The gap that two rectangles must keep along x or y: half the larger half side."""
        a, b = (max(sides) for sides in zip(self.halves[p], self.halves[q], strict=True))
        over_x, over_y = self._overlap(p, q)
        if self.recipe.ease_overlaps and over_x > 0 and over_y > 0:
            return min(int((a - over_x / 2) / 2), MAX_GAP), min(int((b - over_y / 2) / 2), MAX_GAP)
        return min(a // 2, MAX_GAP), min(b // 2, MAX_GAP)

    def _closer(self, p: int, q: int, gap: tuple[int, ...]) -> bool:
        over_x, over_y = self._overlap(p, q)
        return over_x > -gap[0] and over_y > -gap[1]

    def _area(self, p: int) -> int:
        a, b = self.halves[p]
        return a * b

    def _shrink(self, p: int) -> None:
        a, b = self.halves[p]
        self.halves[p] = [max(int(a * SHRINK), self.recipe.least), max(int(b * SHRINK), self.recipe.least)]
