"""One variant at one image: counted, with looks that variants share, and compared with the truth."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigacount.ablate.variants import Variant
from gigacount.datasets.entries import Sample
from gigacount.density import Density, DensityMap
from gigacount.geometry import Size, View, whole
from gigacount.look import Looker
from gigacount.metrics.counting import ImageCount, grid_of_density, grid_of_points
from gigacount.points import Ownership
from gigacount.strategies import find_strategy


class SharedLooks:
    """The looks at one image by one network; the longest unused ones are forgotten beyond `limit_bytes`.

    Two looks are the same where window, size, context and network are.
    """

    def __init__(self, looker: Looker, limit_bytes: int) -> None:
        self._looker, self._limit_bytes = looker, limit_bytes
        self._held: OrderedDict[View, tuple[Density, float]] = OrderedDict()
        self._held_bytes = 0

    def take(self, view: View) -> tuple[Density, float]:
        """The look at a view, from memory where it is there, and the seconds of reading and network that it took."""
        key = replace(view, level=0, coarse=view.coarse and self._looker.coarse_predictor is not None)
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        start = time.perf_counter()
        density = self._looker(key).result()
        taken = self._held[key] = density, time.perf_counter() - start
        self._held_bytes += density.nbytes
        while self._held_bytes > self._limit_bytes and self._held:
            _, (forgotten, _) = self._held.popitem(last=False)
            self._held_bytes -= forgotten.nbytes
        return taken

    def pixels(self, view: View) -> int:
        """Pixels that the network is shown for a view, its context included."""
        width, height = view.with_context(whole(self._looker.image.size_wh)).size_wh
        return width * height


@dataclass
class Account:
    """A strategy's `look` that keeps account of one variant's looks, whoever took them first.

    seconds: of each view, in the order in which they were first asked for. waited: seconds that the strategy really
    spent in it.
    """

    shared: SharedLooks
    seconds: dict[View, float] = field(default_factory=dict)
    waited: float = 0.0

    def __call__(self, view: View) -> Future[Density]:
        start = time.perf_counter()
        density, self.seconds[view] = self.shared.take(view)
        self.waited += time.perf_counter() - start
        done: Future[Density] = Future()
        done.set_result(density)
        return done


@dataclass(frozen=True)
class LevelShare:
    """The part of an image that was last seen at one zoom level.

    scale: read pixels per full-resolution pixel. area: share of the image. truth, count: people there.
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
    """What one variant gave at one image.

    key: of everything that decides it. image: the image's file name. truth_grid, count_grid: people per cell of the
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
    seen: tuple[LevelShare, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Measurement:
        """Raises TypeError or KeyError for values that are no measurement."""
        return cls(**{**values, "seen": tuple(LevelShare(**seen) for seen in values["seen"])})

    @property
    def counted(self) -> ImageCount:
        """Truth and estimate as the metrics take them."""
        grids = (np.array(grid, np.float64) for grid in (self.truth_grid, self.count_grid))
        return ImageCount(self.image, self.truth, self.count, *grids)


def measure(key: str, variant: Variant, sample: Sample, size_wh: Size, shared: SharedLooks) -> Measurement:
    """Count a sample's image of `size_wh` by a variant, with looks that it may share with other variants."""
    start = time.perf_counter()
    account = Account(shared)
    density = find_strategy(variant.strategy).run(account, size_wh, variant.looking)
    own_work = time.perf_counter() - start - account.waited
    averaged = variant.strategy == "sliding" and len(variant.looking.scales) > 1
    return Measurement(
        key=key,
        image=sample.image.name,
        truth=len(sample.points_xy),
        count=density.count,
        truth_grid=grid_of_points(sample.points_xy, size_wh).tolist(),
        count_grid=grid_of_density(density).tolist(),
        inferences=len(account.seconds),
        pixels=sum(map(shared.pixels, account.seconds)),
        seconds=sum(account.seconds.values()) + own_work,
        seen=() if averaged else seen_by_level(list(account.seconds), density, sample),
    )


def seen_by_level(views: list[View], density: DensityMap, sample: Sample) -> tuple[LevelShare, ...]:
    """Area and people by the zoom level of the look that has the last say at each cell; `views` in order of looking."""
    ownership = Ownership.of([view.window for view in views], density.size_wh, density.cell_px)
    levels, scales = np.array([view.level for view in views]), np.array([view.scale for view in views])
    area = np.bincount(levels[ownership.owner].ravel(), minlength=levels.max() + 1) / density.cells.size
    count = np.bincount(levels[ownership.owner].ravel(), density.cells.ravel(), minlength=len(area))
    owners = ownership.at(sample.points_xy.astype(np.float32))
    boxes = sample.boxes_xyxy
    heads_px = None if boxes is None else (boxes[:, 3] - boxes[:, 1]) * scales[owners]  # (N,)
    return tuple(
        LevelShare(
            level=level,
            scale=math.fsum(scales[levels == level]) / np.count_nonzero(levels == level),
            area=float(area[level]),
            truth=int(np.count_nonzero(levels[owners] == level)),
            count=float(count[level]),
            head_px=_median(None if heads_px is None else heads_px[levels[owners] == level]),
        )
        for level in sorted(set(levels.tolist()))
    )


def _median(values: NDArray[np.float64] | None) -> float | None:
    return None if values is None or len(values) == 0 else float(np.median(values))
