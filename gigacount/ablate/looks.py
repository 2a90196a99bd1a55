"""Looks at one picture that several rows of a table share: each is taken once, while memory allows."""

from __future__ import annotations

import time
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from gigacount.density import Density
from gigacount.geometry import View, whole
from gigacount.look import Looker


@dataclass(frozen=True)
class Taken:
    """What a look saw, and the seconds of reading and network that it took."""

    density: Density
    seconds: float


class SharedLooks:
    """The looks at one picture by one network; the longest unused ones are forgotten beyond `limit_bytes`.

    Two looks are the same where window, size, context and network are.
    """

    def __init__(self, looker: Looker, limit_bytes: int) -> None:
        self._looker = looker
        self._limit_bytes = limit_bytes
        self._held: OrderedDict[View, Taken] = OrderedDict()
        self._held_bytes = 0

    @property
    def computed(self) -> int:
        """How many looks the network has taken, those that were forgotten and taken again included."""
        return self._looker.inferences

    def take(self, view: View) -> Taken:
        """The look at a view, from memory where it is there."""
        key = replace(view, level=0, coarse=view.coarse and self._looker.coarse_predictor is not None)
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        start = time.perf_counter()
        density = self._looker(key).result()
        taken = Taken(density, time.perf_counter() - start)
        self._held[key] = taken
        self._held_bytes += density.nbytes
        while self._held_bytes > self._limit_bytes and self._held:
            _, forgotten = self._held.popitem(last=False)
            self._held_bytes -= forgotten.density.nbytes
        return taken

    def pixels(self, view: View) -> int:
        """Pixels that the network is shown for a view, its context included."""
        width, height = view.with_context(whole(self._looker.image.size_wh)).size_wh
        return width * height


@dataclass
class Account:
    """A strategy's `look` that keeps account of one row's looks, whoever took them first.

    waited: seconds that the strategy really spent in it.
    """

    shared: SharedLooks
    seconds: dict[View, float] = field(default_factory=dict)
    waited: float = 0.0

    def __call__(self, view: View) -> Future[Density]:
        start = time.perf_counter()
        taken = self.shared.take(view)
        self.seconds[view] = taken.seconds
        self.waited += time.perf_counter() - start
        done: Future[Density] = Future()
        done.set_result(taken.density)
        return done

    @property
    def views(self) -> list[View]:
        """The views in the order in which they were first asked for."""
        return list(self.seconds)

    @property
    def pixels(self) -> int:
        return sum(map(self.shared.pixels, self.seconds))
