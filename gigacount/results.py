"""What counting and locating give back: values only, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gigacount.density import DensityMap
from gigacount.geometry import Size, View
from gigacount.options import CountOptions

if TYPE_CHECKING:
    from gigacount.image.georeference import Georeference
    from gigacount.points import Points
    from gigacount.regions import Regions


@dataclass(frozen=True)
class CountResult:
    """The count of one picture, where it comes from, and what it took.

    density: people per cell over the whole picture. looked: views and the people seen in each, in order.
    preview: the picture shrunk, uint8 (H, W, 3). networks: role -> name and SHA-256 of the weights.
    identity: the file's size in bytes and time of change, by which a later run knows it again.
    seconds: by stage; reading overlaps with the network, so stages may add up to more than the total.
    regions: the parts of the picture to report on one by one; None where none were asked for. georeference: where the
    picture lies on the earth; None where its file does not say.
    """

    image: Path
    density: DensityMap
    looked: list[tuple[View, float]]
    preview: NDArray[np.uint8]
    networks: dict[str, dict[str, str]]
    options: CountOptions
    identity: dict[str, int]
    inferences: int
    device: str
    precision: str
    seconds: dict[str, float]
    regions: Regions | None = None
    georeference: Georeference | None = None

    @property
    def count(self) -> float:
        return self.density.count

    @property
    def size_wh(self) -> Size:
        return self.density.size_wh


@dataclass(frozen=True)
class Located:
    """Counted and located people in a part of the picture: `area` is its share of the picture, 0..1."""

    area: float
    people: float
    heads: int


@dataclass(frozen=True)
class LocalizeResult:
    """The located people of one picture beside the count that their densities give.

    levels: zoom level -> what the looks of that level own. too_coarse: where heads are too small or too close to tell
    apart: the density holds people there that have no point.
    """

    counted: CountResult
    points: Points
    levels: dict[int, Located]
    too_coarse: Located

    @property
    def coarse_share(self) -> float:
        """Share of the counted people who were seen too coarsely to be located, 0..1."""
        return self.too_coarse.people / self.counted.count if self.counted.count > 0 else 0.0
