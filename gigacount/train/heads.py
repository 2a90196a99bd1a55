"""The labelled heads of a crop: positions, and boxes where a data set has them, through every change of the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gigacount.datasets import Sample
from gigacount.geometry import Size

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Heads:
    """points_xy: (N, 2) pixels. boxes_xyxy: (N, 4) pixels; rows of NaN for heads whose box is not known."""

    points_xy: Floats
    boxes_xyxy: Floats

    @classmethod
    def of(cls, sample: Sample) -> Heads:
        points, boxes = sample.points_xy, sample.boxes_xyxy
        return cls(points, np.full((len(points), 4), np.nan) if boxes is None else boxes)

    @classmethod
    def joined(cls, parts: Sequence[Heads]) -> Heads:
        return cls(
            np.concatenate([part.points_xy for part in parts]), np.concatenate([part.boxes_xyxy for part in parts])
        )

    def moved(self, shift_xy: ArrayLike, scale_xy: ArrayLike = (1.0, 1.0)) -> Heads:
        """Shifted, then scaled."""
        shift, scale = np.asarray(shift_xy, np.float64), np.asarray(scale_xy, np.float64)
        return Heads((self.points_xy + shift) * scale, (self.boxes_xyxy + np.tile(shift, 2)) * np.tile(scale, 2))

    def mirrored(self, width: int) -> Heads:
        """Left and right exchanged in a crop so wide."""
        points = np.stack([np.nextafter(width, 0) - self.points_xy[:, 0], self.points_xy[:, 1]], axis=1)
        left, top, right, bottom = self.boxes_xyxy.T
        return Heads(points, np.stack([width - right, top, width - left, bottom], axis=1))

    def turned(self, matrix: Floats) -> Heads:
        """About the origin by (2, 2) `matrix`, which points are multiplied by. A head is about round: its box keeps
        its sides."""
        centre = (self.boxes_xyxy[:, :2] + self.boxes_xyxy[:, 2:]) / 2
        half = (self.boxes_xyxy[:, 2:] - self.boxes_xyxy[:, :2]) / 2
        centre = centre @ matrix
        return Heads(self.points_xy @ matrix, np.hstack([centre - half, centre + half]))

    def inside(self, size_wh: Size) -> Heads:
        """The heads in a crop of `size_wh`; the box of one is not known where it does not reach into the crop."""
        here = ((self.points_xy >= 0) & (self.points_xy < size_wh)).all(axis=1)
        boxes = self.boxes_xyxy[here]
        reaching = ((boxes[:, 2:] > 0) & (boxes[:, :2] < size_wh)).all(axis=1, keepdims=True)
        return Heads(self.points_xy[here], np.where(reaching, boxes, np.nan))

    def clipped(self, size_wh: Size) -> Heads:
        """With all positions inside, whatever rounding did."""
        return Heads(np.clip(self.points_xy, 0, np.nextafter(size_wh, 0)), self.boxes_xyxy)
