"""One labelled picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """A picture and its heads.

    image: file path. points_xy: (N, 2) head positions in pixels of the upright picture, x right, y down.
    boxes_xyxy: (N, 4) head boxes (left, top, right, bottom) in pixels, or None where the set has only points.
    size_wh: the picture's size according to its labels, or None where they do not say.
    labels: the file that holds the labels, or None for a set without label files.
    region_xy: (V, 2) corners of the part of the picture in which the data set's protocol counts; None is all of it.
    """

    image: Path
    points_xy: Points
    boxes_xyxy: Boxes | None = None
    size_wh: tuple[int, int] | None = None
    labels: Path | None = None
    region_xy: Points | None = None

    @property
    def name(self) -> str:
        return self.image.stem
