"""Regions of a picture and what is counted in each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gigacount.density import DensityMap
from gigacount.regions.inside import Ring, people_inside, points_inside


@dataclass(frozen=True)
class Region:
    """A polygon, maybe of several parts and with holes, as far as it lies in the picture.

    rings: see `inside`. area_px: in full-resolution pixels. area_m2: on the ground; None where the scale is unknown.
    """

    name: str
    rings: tuple[Ring, ...]
    area_px: float
    area_m2: float | None = None


@dataclass(frozen=True)
class RegionCount:
    """What is in a region; `points` is None where nobody was located."""

    region: Region
    count: float
    points: int | None

    @property
    def people_per_m2(self) -> float | None:
        """By the count, which unlike the points holds those too small to locate."""
        return self.count / self.region.area_m2 if self.region.area_m2 else None


@dataclass(frozen=True)
class Regions:
    """The regions of a file in its order. coordinates: what they were given in, "pixels" or such as "EPSG:32633"."""

    regions: tuple[Region, ...]
    coordinates: str = "pixels"

    def measure(self, density: DensityMap, points_xy: NDArray[np.float32] | None = None) -> list[RegionCount]:
        """Count each region, with its points (N, 2) where people were located."""
        return [
            RegionCount(
                region,
                people_inside(region.rings, density),
                None if points_xy is None else int(points_inside(region.rings, points_xy).sum()),
            )
            for region in self.regions
        ]
