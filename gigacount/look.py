"""`look`: the one place where windows become densities, for every strategy.

Reading the next windows, the network's work on these and the strategy's own work overlap. On a GPU, windows of one size
that wait at the same time go through the network as one batch. What was looked at is kept for the result.
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

from gigacount.appearance import Appearance, appearance_of
from gigacount.density import Density, block_sums, crop
from gigacount.geometry import Size, View, Window, fit, whole
from gigacount.points import scaled
from gigacount.results import Looked

if TYPE_CHECKING:
    from gigacount.predict import Found, Predictor

PREVIEW_WH = (2560, 1440)

REMEMBERED = 32
"""The latest views whose results are kept: zooms that have met ask for the same views."""

Progress = Callable[[int, int], None]
"""Called with windows done and windows planned (an upper bound)."""


class Readable(Protocol):
    """An image to look at, such as a `GigaImage`. With a batch of several, threads read from it side by side."""

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
    """A window as read: uint8 (H, W, 3), the share of each pixel that is ground, the share of all that was made up."""

    image: NDArray[np.uint8]
    valid: NDArray[np.float32] | None
    missing: float
    appearance: Appearance
    seconds: float


@dataclass(frozen=True)
class SeenView:
    """What the network found in a view, the share of its pixels that was made up, and how light and sharp they are."""

    found: Found
    missing: float
    appearance: Appearance


@dataclass(frozen=True)
class Locating:
    """How heads are located: those of at least `min_score` (None: the record's); fuse: whether the density is fused
    with them, as RAZ-Net does.
    """

    min_score: float | None = None
    fuse: bool = False


@dataclass
class Inference:
    """A view on its way through the network: `results`, once its batch is sent, has its own at `place`.

    outer: the view with its context, which is what is read.
    """

    view: View
    outer: View
    results: Future[list[SeenView]] | None = None
    place: int = 0


ViewBatch = list[tuple[Inference, Future[Pixels]]]

BatchKind = tuple[Size, bool]
"""Views of one kind can be in one batch: they are of one size, for one network."""


@dataclass(frozen=True)
class Glance:
    """A look under way (`strategies.Pending`)."""

    looker: Looker
    number: int
    inference: Inference

    def result(self) -> Density:
        """People per cell of the view; waits for them, and puts the look on record."""
        return self.looker.result_of(self)


@dataclass
class Looker:
    """Callable as a strategy's `look`. A context manager: leaving it ends what is still under way.

    coarse_predictor: takes the look that is marked `coarse`, when given. heads: how heads are located, if at all.

    A batch is made of views of one size. It goes to the network when it is full or when one of its results is asked
    for: what is in it follows from the strategy alone, never from how fast windows are read, so that the same image
    always gives the same count.
    """

    image: Readable
    predictor: Predictor
    coarse_predictor: Predictor | None = None
    heads: Locating | None = None
    planned: int = 1
    progress: Progress | None = None
    inferences: int = 0
    read_seconds: float = 0.0
    network_seconds: float = 0.0
    whole_image: NDArray[np.uint8] | None = None
    _begun: int = 0
    _recorded: dict[int, Looked] = field(default_factory=dict)
    _recent: OrderedDict[View, Inference] = field(default_factory=OrderedDict)
    _waiting: dict[BatchKind, ViewBatch] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.batch = self.predictor.batch
        """The most windows that the network takes at once."""
        self._readers, self._network = ThreadPoolExecutor(self.batch, "read"), ThreadPoolExecutor(1, "network")

    def __call__(self, view: View) -> Glance:
        """Begin a look, unless it is among the latest ones."""
        if view not in self._recent:
            self._recent[view] = self._begin(view)
            if len(self._recent) > REMEMBERED:
                self._recent.popitem(last=False)
        self._begun += 1
        return Glance(self, self._begun, self._recent[view])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in (self._network, self._readers):
            pool.shutdown(cancel_futures=True)

    @property
    def looked(self) -> list[Looked]:
        """The looks whose densities were asked for, in the order in which they were begun."""
        return [self._recorded[number] for number in sorted(self._recorded)]

    def result_of(self, glance: Glance) -> Density:
        """The density of a look; its heads, in full-resolution pixels, and its count are kept, and progress is told."""
        inference = glance.inference
        if inference.results is None:
            self._send(kind_of(inference.outer))
        assert inference.results is not None
        seen = inference.results.result()[inference.place]
        found, points = seen.found, None
        if glance.number in self._recorded:
            return found.density
        if found.points is not None:
            window, (width, height) = inference.outer.window, inference.outer.size_wh
            points = scaled(found.points, (window.width / width, window.height / height), (window.left, window.top))
        count = float(found.density.sum(dtype=np.float64))
        self._recorded[glance.number] = Looked(inference.view, count, points, seen.missing, seen.appearance)
        if self.progress:
            self.progress(len(self._recorded), max(self.planned, len(self._recorded)))
        return found.density

    def preview(self) -> NDArray[np.uint8]:
        """The whole image at most 2560 x 1440 px large, uint8 (H, W, 3): a look's own pixels where there are some."""
        size = fit(self.image.size_wh, PREVIEW_WH)
        if self.whole_image is None or self.whole_image.shape[1::-1] != size:
            return self.image.read(whole(self.image.size_wh), size)
        return self.whole_image

    def _begin(self, view: View) -> Inference:
        outer = view.with_context(whole(self.image.size_wh))
        inference = Inference(view, outer)
        batch = self._waiting.setdefault(kind_of(outer), [])
        batch.append((inference, self._readers.submit(self._read, outer)))
        if len(batch) >= self.batch:
            self._send(kind_of(outer))
        return inference

    def _send(self, kind: BatchKind) -> None:
        """Send to the network what waits of a kind."""
        batch = self._waiting.pop(kind)
        results = self._network.submit(self._predict, batch)
        for place, (inference, _) in enumerate(batch):
            inference.results, inference.place = results, place

    def _read(self, view: View) -> Pixels:
        start = time.perf_counter()
        image = self.image.read(view.window, view.size_wh)
        valid, missing = self.image.valid(view.window, view.size_wh), self.image.missing(view.window)
        if view.window.size_wh == self.image.size_wh:
            self.whole_image = image
        appearance = appearance_of(image, view.scale)
        return Pixels(image, valid, missing, appearance, time.perf_counter() - start)

    def _predict(self, batch: ViewBatch) -> list[SeenView]:
        windows = [pixels.result() for _, pixels in batch]
        start = time.perf_counter()
        predictor = self.coarse_predictor if batch[0][0].view.coarse and self.coarse_predictor else self.predictor
        results = self._found(predictor, [pixels.image for pixels in windows])
        self.network_seconds += time.perf_counter() - start
        self.read_seconds += sum(pixels.seconds for pixels in windows)
        self.inferences += len(batch)
        stride, seen = predictor.record.stride, []
        for (inference, _), pixels, found in zip(batch, windows, results, strict=True):
            if pixels.valid is not None:
                found = on_ground(found, pixels.valid, stride)
            if inference.view.context:
                outer, (width, height) = inference.outer.window, inference.outer.size_wh
                cell_wh = stride * outer.width / width, stride * outer.height / height
                found = replace(found, density=crop(found.density, outer, inference.view.window, cell_wh))
            seen.append(SeenView(found, pixels.missing, pixels.appearance))
        return seen

    def _found(self, predictor: Predictor, images: list[NDArray[np.uint8]]) -> list[Found]:
        if self.heads is None:
            return predictor.predict(images)
        from gigacount.predict import with_fusion, with_heads

        record, (height, width) = predictor.record, images[0].shape[:2]
        results = [
            with_heads(found, record, self.heads.min_score) for found in predictor.predict(images, predictor.locates)
        ]
        return [with_fusion(found, record, (width, height)) for found in results] if self.heads.fuse else results


def kind_of(view: View) -> BatchKind:
    return view.size_wh, view.coarse


def on_ground(found: Found, valid: NDArray[np.float32], stride: int) -> Found:
    """Without those whom the network saw where there is no ground: `valid` is its share of each pixel (H, W)."""
    rows, cols = (np.arange(0, side, stride) for side in valid.shape)
    areas = np.outer(np.diff(rows, append=valid.shape[0]), np.diff(cols, append=valid.shape[1]))
    points = found.points
    if points is not None:
        col, row = (np.clip(points[:, axis].astype(int), 0, valid.shape[1 - axis] - 1) for axis in (0, 1))
        points = points[valid[row, col] >= 0.5]
    density = np.asarray(found.density * (block_sums(valid, stride) / areas), np.float32)
    return replace(found, density=density, points=points)
