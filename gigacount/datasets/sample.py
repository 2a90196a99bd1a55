"""One labelled picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sample:
    """A picture and its heads.

    image: file path. points_xy: (N, 2) head positions in pixels of the upright picture, x right, y down.
    boxes_xyxy: (N, 4) head boxes (left, top, right, bottom) in pixels, or None where the set has only points.
    """

    image: Path
    points_xy: NDArray[np.float64]
    boxes_xyxy: NDArray[np.float64] | None = None

    @property
    def name(self) -> str:
        return self.image.stem
