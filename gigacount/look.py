"""`look`: the one place where windows become densities, for every strategy.

Reading the next window, the network's work on this one and the strategy's thoughts about the last one overlap. What was
looked at is kept for the report.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gigacount.density import Density, crop
from gigacount.geometry import Size, View, Window, fit, whole
from gigacount.image import GigaImage

if TYPE_CHECKING:
    from gigacount.predict import Found, Predictor

PREVIEW_WH = (2560, 1440)

UNDER_WAY = 3
"""Looks at a time: the network is at one, the next has been read, and one more is being read."""

REMEMBERED = 32
"""Last looks that are not taken anew: zooms that have met ask for the same views."""

Progress = Callable[[int, int], None]
"""Called with windows done and windows planned (an upper bound)."""


@dataclass(frozen=True)
class Looked:
    """One look that was made: the view, the people in its window, and heads in full-resolution pixels (N, 3).

    The heads are all that were seen, those in the view's context as well: see `points.gather`.
    """

    view: View
    count: float
    points: NDArray[np.float32] | None = None


@dataclass
class Looker:
    """Callable as a strategy's `look`.

    coarse_predictor looks at level 0 when given. locate: whether heads are located as well.
    """

    image: GigaImage
    predictor: Predictor
    coarse_predictor: Predictor | None = None
    locate: bool = False
    planned: int = 1
    progress: Progress | None = None
    looked: list[Looked] = field(default_factory=list)
    inferences: int = 0
    read_seconds: float = 0.0
    network_seconds: float = 0.0
    whole_picture: NDArray[np.uint8] | None = None
    _taken: OrderedDict[View, Future[Found]] = field(default_factory=OrderedDict)

    def __call__(self, views: Sequence[View]) -> Iterator[Density]:
        """People per cell of each view, in their order; `views` may grow meanwhile (see strategies.base.Look)."""
        with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "network") as network:
            looks: deque[Future[Found]] = deque()
            done = 0
            try:
                while done < len(views):
                    for view in views[done + len(looks) : done + UNDER_WAY]:
                        looks.append(self._take(view, reader, network))
                    found = looks.popleft().result()
                    self._report(views[done], found)
                    done += 1
                    yield found.density
            finally:
                for look in looks:
                    look.cancel()

    def _take(self, view: View, reader: ThreadPoolExecutor, network: ThreadPoolExecutor) -> Future[Found]:
        """Begin a look, unless it is among the last ones."""
        if view not in self._taken:
            self._taken[view] = network.submit(self._predict, view, reader.submit(self._read, view))
            if len(self._taken) > REMEMBERED:
                self._taken.popitem(last=False)
        return self._taken[view]

    def preview(self) -> NDArray[np.uint8]:
        """The whole picture at most 2560 x 1440 px large, uint8 (H, W, 3): a look's own pixels where there are some."""
        size = fit(self.image.size_wh, PREVIEW_WH)
        if self.whole_picture is None or self.whole_picture.shape[1::-1] != size:
            return self.image.read(whole(self.image.size_wh), size)
        return self.whole_picture

    def _read(self, view: View) -> NDArray[np.uint8]:
        start = time.perf_counter()
        picture = self.image.read(*self._seen(view))
        self.read_seconds += time.perf_counter() - start
        if view.window.size_wh == self.image.size_wh:
            self.whole_picture = picture
        return picture

    def _predict(self, view: View, reading: Future[NDArray[np.uint8]]) -> Found:
        picture = reading.result()
        start = time.perf_counter()
        predictor = self.coarse_predictor if view.level == 0 and self.coarse_predictor else self.predictor
        (found,) = predictor.predict([picture], self.locate)
        self.network_seconds += time.perf_counter() - start
        self.inferences += 1
        if view.context:
            outer, (width, height) = self._seen(view)
            stride = predictor.record.stride
            cell_wh = stride * outer.width / width, stride * outer.height / height
            found = replace(found, density=crop(found.density, outer, view.window, cell_wh))
        return found

    def _seen(self, view: View) -> tuple[Window, Size]:
        """What is read for a view: its window with the context, and the size."""
        seen = view.with_context(whole(self.image.size_wh))
        return seen.window, seen.size_wh

    def _report(self, view: View, found: Found) -> None:
        points = None
        if found.points is not None:
            window, (width, height) = self._seen(view)
            points = found.points.copy()
            points[:, 0] = window.left + points[:, 0] * (window.width / width)
            points[:, 1] = window.top + points[:, 1] * (window.height / height)
        self.looked.append(Looked(view, float(found.density.sum(dtype=np.float64)), points))
        if self.progress:
            self.progress(len(self.looked), max(self.planned, len(self.looked)))
