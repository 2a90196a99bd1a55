"""Regions of an image and what is counted in each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gigacount.density import DensityMap
from gigacount.geometry import Size, Window
from gigacount.regions.inside import Ring, clear_inside, coverage, people_inside, points_inside

Valid = Callable[[Window, Size], NDArray[np.float32] | None]
"""`GigaImage.valid`: the share of each of (width, height) pixels of a window that is ground; None: all of it is."""

GROUND_PX = 4096  # longest side at which the ground of all regions is read


@dataclass(frozen=True)
class Region:
    """A polygon, maybe of several parts and with holes, as far as it lies in the image.

    rings: see `inside`; none outside the image. area_px: in full-resolution pixels. area_m2: on the ground; None where
    the scale is unknown. Both are of ground alone, without the parts that the image's file marks as no data.
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
    """The regions of a file in its order.

    coordinates: what they were given in, "pixels" or such as "EPSG:32633". notes: what is odd about them, a line each.
    """

    regions: tuple[Region, ...]
    coordinates: str = "pixels"
    notes: tuple[str, ...] = ()

    def on_ground(self, valid: Valid, size_wh: Size) -> Regions:
        """The regions with areas of ground alone, by `valid` of an image of `size_wh`, which is read once for all."""
        rings = [ring for region in self.regions for ring in region.rings]
        if not rings:
            return self
        corners = np.concatenate(rings)
        left, top = (math.floor(side) for side in corners.min(axis=0))
        right, bottom = (min(math.ceil(end), side) for end, side in zip(corners.max(axis=0), size_wh, strict=True))
        window = Window(left, top, right - left, bottom - top)
        shrink = max(1.0, max(window.size_wh) / GROUND_PX)
        width, height = (max(math.ceil(side / shrink), 1) for side in window.size_wh)
        ground = valid(window, (width, height))
        if ground is None:
            return self
        cell_wh = window.width / width, window.height / height

        def grounded(region: Region) -> Region:
            covered = there = 0.0
            for rows, cols, share in coverage(
                [[ring - (left, top) for ring in region.rings]], cell_wh, (height, width)
            ):
                covered += float(share.sum())
                there += float((share * ground[rows, cols]).sum())
            part = there / covered if covered > 0 else 0.0
            area_m2 = None if region.area_m2 is None else region.area_m2 * part
            return replace(region, area_px=region.area_px * part, area_m2=area_m2)

        return replace(self, regions=tuple(map(grounded, self.regions)))

    def measure(self, density: DensityMap, points_xy: NDArray[np.float32] | None = None) -> list[RegionCount]:
        """Count each region, with its points (N, 2) where people were located."""
        rings = [region.rings for region in self.regions]
        inside: list[int | None] = [None] * len(rings)
        if points_xy is not None:
            inside = [int(one.sum()) for one in points_inside(rings, points_xy)]
        people = people_inside(rings, density)
        return [RegionCount(*one) for one in zip(self.regions, people, inside, strict=True)]

    def clear(self, density: DensityMap) -> None:
        """Take the people in the regions out of the map."""
        clear_inside([region.rings for region in self.regions], density)

    def contain(self, points_xy: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether each point (N, 2) lies in one of the regions."""
        inside = np.zeros(len(points_xy), bool)
        for one in points_inside([region.rings for region in self.regions], points_xy):
            inside |= one
        return inside
