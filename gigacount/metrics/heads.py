"""Heads as labelled and as predicted, one image at a time: what localization is measured on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

AREA_EDGES = (10, 100, 1_000, 10_000, 100_000)
SIZE_CLASSES = tuple(f"A{i}" for i in range(len(AREA_EDGES) + 1))


@dataclass(frozen=True)
class TruePoints:
    """The labelled heads of one image.

    points_xy: (N, 2) pixels. sigma_s, sigma_l: (N,) match radii of the NWPU protocol in pixels, None where the truth
    has no head sizes. size_class: (N,) 0..5 for A0..A5, or None.
    """

    points_xy: Floats
    sigma_s: Floats | None = None
    sigma_l: Floats | None = None
    size_class: Integers | None = None

    def __len__(self) -> int:
        return len(self.points_xy)

    @property
    def sigmas(self) -> tuple[Floats, Floats] | None:
        """sigma_s and sigma_l, or None where they are unknown; empty for an image without heads."""
        if self.sigma_s is None or self.sigma_l is None:
            return None if len(self) else (np.zeros(0), np.zeros(0))
        return self.sigma_s, self.sigma_l

    @property
    def classes(self) -> Integers | None:
        """The size class of each head, or None where they are unknown; empty for an image without heads."""
        return np.zeros(0, np.int64) if self.size_class is None and not len(self) else self.size_class

    @classmethod
    def from_boxes(cls, points_xy: Floats, sizes_wh: Floats) -> TruePoints:
        """Match radii and size classes from head boxes (N, 2) of width and height in pixels.

        NWPU-Crowd: sigma_s = floor(min(w, h) / 2), sigma_l = floor(sqrt(w^2 + h^2) / 2).
        """
        return cls(
            points_xy,
            sigma_s=np.floor(sizes_wh.min(axis=1, initial=np.inf) / 2),
            sigma_l=np.floor(np.hypot(sizes_wh[:, 0], sizes_wh[:, 1]) / 2),
            size_class=size_class(sizes_wh[:, 0] * sizes_wh[:, 1]),
        )


@dataclass(frozen=True)
class PredictedPoints:
    """The heads found in one image: points_xy (M, 2) pixels, scores (M,) with higher meaning surer, or None."""

    points_xy: Floats
    scores: Floats | None = None

    def __len__(self) -> int:
        return len(self.points_xy)


@dataclass(frozen=True)
class PointPair:
    """Truth and prediction of one image."""

    name: str
    truth: TruePoints
    predicted: PredictedPoints


def size_class(areas: Floats) -> Integers:
    """NWPU-Crowd's class 0..5 of head boxes by area in square pixels: up to 10, 100, 1k, 10k, 100k, and above.

    Upstream compares strictly on both sides, so an area of exactly 10, 100, ... 100,000 falls to class 0; kept, for
    the published truth files were made so.
    """
    classes = np.searchsorted(AREA_EDGES, areas)
    classes[np.isin(areas, AREA_EDGES)] = 0
    return classes.astype(np.int64)


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are defined; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
