"""`look`: the one place where windows become densities, for every strategy.

Reading the next window, the network's work on this one and the strategy's own work overlap. What was looked at is kept
for the result.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from gigacount.density import Density, crop
from gigacount.geometry import Size, View, Window, fit, whole
from gigacount.results import Looked

if TYPE_CHECKING:
    from gigacount.predict import Found, Predictor

PREVIEW_WH = (2560, 1440)

REMEMBERED = 32
"""Last looks that are not taken anew: zooms that have met ask for the same views."""

Progress = Callable[[int, int], None]
"""Called with windows done and windows planned (an upper bound)."""


class Readable(Protocol):
    """A picture to look at, such as a `GigaImage`."""

    @property
    def size_wh(self) -> Size:
        """Width and height in pixels, upright."""

    def read(self, window: Window, size_wh: Size) -> NDArray[np.uint8]:
        """The pixels of a window at a size, (H, W, 3)."""

    def valid(self, window: Window, size_wh: Size) -> NDArray[np.float32] | None:
        """The share of each of these pixels that is ground, (H, W); None where all are."""

    def missing(self, window: Window) -> float:
        """The share of a window, once it was read, that is damaged and was made up."""


@dataclass(frozen=True)
class Pixels:
    """What was read for a look: uint8 (H, W, 3), the share of each pixel that is ground, and the share made up."""

    picture: NDArray[np.uint8]
    valid: NDArray[np.float32] | None
    missing: float


@dataclass(frozen=True)
class Seen:
    """What a look gave: people and heads, and the share of its pixels that was made up."""

    found: Found
    missing: float


@dataclass(frozen=True)
class Heads:
    """How heads are located: those of at least `min_score` (None: the record's); fuse: whether the density is fused
    with them, as RAZ-Net does.
    """

    min_score: float | None = None
    fuse: bool = False


@dataclass(frozen=True)
class Glance:
    """A look under way (`strategies.Pending`)."""

    looker: Looker
    number: int
    view: View
    future: Future[Seen]

    def result(self) -> Density:
        """People per cell of the view; waits for them, and puts the look on record."""
        seen = self.future.result()
        self.looker.record(self, seen)
        return seen.found.density


@dataclass
class Looker:
    """Callable as a strategy's `look`. A context manager: leaving it ends what is still under way.

    coarse_predictor: takes the look that is marked `coarse`, when given. heads: how heads are located, if at all.
    """

    image: Readable
    predictor: Predictor
    coarse_predictor: Predictor | None = None
    heads: Heads | None = None
    planned: int = 1
    progress: Progress | None = None
    inferences: int = 0
    read_seconds: float = 0.0
    network_seconds: float = 0.0
    whole_picture: NDArray[np.uint8] | None = None
    _begun: int = 0
    _recorded: dict[int, Looked] = field(default_factory=dict)
    _taken: OrderedDict[View, Future[Seen]] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self._reader, self._network = ThreadPoolExecutor(1, "read"), ThreadPoolExecutor(1, "network")

    def __call__(self, view: View) -> Glance:
        """Begin a look, unless it is among the last ones."""
        if view not in self._taken:
            self._taken[view] = self._network.submit(self._predict, view, self._reader.submit(self._read, view))
            if len(self._taken) > REMEMBERED:
                self._taken.popitem(last=False)
        self._begun += 1
        return Glance(self, self._begun, view, self._taken[view])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in (self._network, self._reader):
            pool.shutdown(cancel_futures=True)

    @property
    def looked(self) -> list[Looked]:
        """The looks whose densities were asked for, in the order in which they were begun."""
        return [self._recorded[number] for number in sorted(self._recorded)]

    def record(self, glance: Glance, seen: Seen) -> None:
        """Keep what a look saw, its heads in full-resolution pixels, and tell how far the picture is."""
        if glance.number in self._recorded:
            return
        found, points = seen.found, None
        if found.points is not None:
            window, (width, height) = self._seen(glance.view)
            from gigacount.points import scaled  # brings scipy

            points = scaled(found.points, (window.width / width, window.height / height), (window.left, window.top))
        count = float(found.density.sum(dtype=np.float64))
        self._recorded[glance.number] = Looked(glance.view, count, points, seen.missing)
        if self.progress:
            self.progress(len(self._recorded), max(self.planned, len(self._recorded)))

    def preview(self) -> NDArray[np.uint8]:
        """The whole picture at most 2560 x 1440 px large, uint8 (H, W, 3): a look's own pixels where there are some."""
        size = fit(self.image.size_wh, PREVIEW_WH)
        if self.whole_picture is None or self.whole_picture.shape[1::-1] != size:
            return self.image.read(whole(self.image.size_wh), size)
        return self.whole_picture

    def _read(self, view: View) -> Pixels:
        start = time.perf_counter()
        window, size_wh = self._seen(view)
        picture = self.image.read(window, size_wh)
        pixels = Pixels(picture, self.image.valid(window, size_wh), self.image.missing(window))
        self.read_seconds += time.perf_counter() - start
        if view.window.size_wh == self.image.size_wh:
            self.whole_picture = picture
        return pixels

    def _predict(self, view: View, reading: Future[Pixels]) -> Seen:
        pixels = reading.result()
        start = time.perf_counter()
        predictor = self.coarse_predictor if view.coarse and self.coarse_predictor else self.predictor
        found = self._found(predictor, pixels.picture)
        self.network_seconds += time.perf_counter() - start
        self.inferences += 1
        if pixels.valid is not None:
            found = on_ground(found, pixels.valid, predictor.record.stride)
        if view.context:
            outer, (width, height) = self._seen(view)
            stride = predictor.record.stride
            cell_wh = stride * outer.width / width, stride * outer.height / height
            found = replace(found, density=crop(found.density, outer, view.window, cell_wh))
        return Seen(found, pixels.missing)

    def _found(self, predictor: Predictor, picture: NDArray[np.uint8]) -> Found:
        if self.heads is None:
            return predictor.predict([picture])[0]
        from gigacount.predict import with_fusion, with_heads

        record, (height, width) = predictor.record, picture.shape[:2]
        found = with_heads(predictor.predict([picture], predictor.locates)[0], record, self.heads.min_score)
        return with_fusion(found, record, (width, height)) if self.heads.fuse else found

    def _seen(self, view: View) -> tuple[Window, Size]:
        """What is read for a view: its window with the context, and the size."""
        seen = view.with_context(whole(self.image.size_wh))
        return seen.window, seen.size_wh


def on_ground(found: Found, valid: NDArray[np.float32], stride: int) -> Found:
    """Without those whom the network saw where there is no ground: `valid` is its share of each pixel (H, W)."""
    rows, cols = (np.arange(0, side, stride) for side in valid.shape)
    ground = np.add.reduceat(np.add.reduceat(valid, rows, axis=0), cols, axis=1)
    areas = np.outer(np.diff(rows, append=valid.shape[0]), np.diff(cols, append=valid.shape[1]))
    points = found.points
    if points is not None:
        col, row = (np.clip(points[:, axis].astype(int), 0, valid.shape[1 - axis] - 1) for axis in (0, 1))
        points = points[valid[row, col] >= 0.5]
    return replace(found, density=np.asarray(found.density * (ground / areas), np.float32), points=points)
