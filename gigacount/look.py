"""`look`: the one place where windows become densities, for every strategy.

Reading the next window overlaps with the network's work on this one. What was looked at is kept for the report.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    _known: dict[View, Found] = field(default_factory=dict)

    def __call__(self, views: Sequence[View]) -> list[Density]:
        """People per cell of each view; identical views of one call or of the last (zooms that met) are seen once."""
        found = {view: self._known[view] for view in views if view in self._known}
        with ThreadPoolExecutor(1, "read") as reader:
            pixels = {view: reader.submit(self._read, view) for view in dict.fromkeys(views) if view not in found}
            try:
                for view in views:
                    if view not in found:
                        found[view] = self._predict(view, pixels.pop(view).result())
                    self._report(view, found[view])
            finally:
                for picture in pixels.values():
                    picture.cancel()
        self._known = found
        return [found[view].density for view in views]

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

    def _predict(self, view: View, picture: NDArray[np.uint8]) -> Found:
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
