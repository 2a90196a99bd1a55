"""One row at one picture: counted, compared with the truth, and put on record."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigacount.ablate.looks import Account, SharedLooks
from gigacount.ablate.tables import Row
from gigacount.datasets.entries import Sample
from gigacount.density import DensityMap
from gigacount.geometry import Size, View
from gigacount.metrics.counting import ImageCount, grid_of_density, grid_of_points
from gigacount.points import Ownership
from gigacount.strategies import find_strategy


@dataclass(frozen=True)
class Seen:
    """The part of a picture that was last seen at one zoom level.

    scale: read pixels per full-resolution pixel. area: share of the picture. truth, count: people there.
    head_px: median height of the true heads there in read pixels; None without heads or boxes.
    """

    level: int
    scale: float
    area: float
    truth: int
    count: float
    head_px: float | None


@dataclass(frozen=True)
class Measurement:
    """What one row gave at one picture.

    key: of everything that decides it. image: the picture's file name. truth_grid, count_grid: people per cell of the
    8 x 8 grid. inferences, pixels: looks taken and pixels shown to the network, as `count` would. seconds: reading and
    network of all looks one after another, as measured when each was first taken, and the strategy's own work.
    seen: by zoom level; empty where several looks are averaged at one place.
    """

    key: str
    image: str
    truth: float
    count: float
    truth_grid: list[list[float]]
    count_grid: list[list[float]]
    inferences: int
    pixels: int
    seconds: float
    seen: tuple[Seen, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Measurement:
        """Raises TypeError or KeyError for values that are no measurement."""
        return cls(**{**values, "seen": tuple(Seen(**seen) for seen in values["seen"])})

    @property
    def counted(self) -> ImageCount:
        """Truth and estimate as the metrics take them."""
        grids = (np.array(grid, np.float64) for grid in (self.truth_grid, self.count_grid))
        return ImageCount(self.image, self.truth, self.count, *grids)


def measure(key: str, row: Row, sample: Sample, size_wh: Size, shared: SharedLooks) -> Measurement:
    """Count a sample's picture of `size_wh` by a row's strategy, with looks that it may share with other rows."""
    start = time.perf_counter()
    account = Account(shared)
    density = find_strategy(row.strategy).run(account, size_wh, row.looking)
    own_work = time.perf_counter() - start - account.waited
    averaged = row.strategy == "sliding" and len(row.looking.scales) > 1
    return Measurement(
        key=key,
        image=sample.image.name,
        truth=len(sample.points_xy),
        count=density.count,
        truth_grid=grid_of_points(sample.points_xy, size_wh).tolist(),
        count_grid=grid_of_density(density).tolist(),
        inferences=len(account.views),
        pixels=account.pixels,
        seconds=sum(account.seconds.values()) + own_work,
        seen=() if averaged else seen_by_level(account.views, density, sample),
    )


def seen_by_level(views: list[View], density: DensityMap, sample: Sample) -> tuple[Seen, ...]:
    """Area and people by the zoom level of the look that has the last say at each cell; `views` in order of looking."""
    ownership = Ownership.of([view.window for view in views], density.size_wh, density.cell_px)
    levels = np.array([view.level for view in views])
    area = np.bincount(levels[ownership.owner].ravel(), minlength=levels.max() + 1) / density.cells.size
    count = np.bincount(levels[ownership.owner].ravel(), density.cells.ravel(), minlength=len(area))
    owners = ownership.at(sample.points_xy.astype(np.float32))
    heads = _heads_px(sample, np.array([view.scale for view in views])[owners])
    return tuple(
        Seen(
            level=level,
            scale=_mean_scale([view for view in views if view.level == level]),
            area=float(area[level]),
            truth=int(np.count_nonzero(levels[owners] == level)),
            count=float(count[level]),
            head_px=_median(None if heads is None else heads[levels[owners] == level]),
        )
        for level in sorted(set(levels.tolist()))
    )


def _heads_px(sample: Sample, scale: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """(N,) heights of a sample's heads in read pixels, where it has boxes."""
    if sample.boxes_xyxy is None:
        return None
    height: NDArray[np.float64] = (sample.boxes_xyxy[:, 3] - sample.boxes_xyxy[:, 1]) * scale
    return height


def _mean_scale(views: list[View]) -> float:
    return math.fsum(view.scale for view in views) / len(views)


def _median(values: NDArray[np.float64] | None) -> float | None:
    return None if values is None or len(values) == 0 else float(np.median(values))
