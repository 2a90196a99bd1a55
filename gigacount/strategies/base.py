"""What all strategies share: the seam to the pixels."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from gigacount.density import Density, DensityMap
from gigacount.geometry import Size, View
from gigacount.options import StrategyOptions


class Pending(Protocol):
    """A look under way, such as a `concurrent.futures.Future`."""

    def result(self) -> Density:
        """People per cell of the view, float32 (rows, cols); waits for them."""


Look = Callable[[View], Pending]
"""Begins a look at a view and returns at once: reading, network and strategy overlap. Looks that cover the same ground
are begun in the order in which they are painted."""


def under_way(look: Look) -> int:
    """How many looks are begun before one is waited for: a batch at the network, one that has been read, one more.

    A `look` has a `batch` where its network takes several windows at once.
    """
    batch: int = getattr(look, "batch", 1)
    return 2 * batch + 1


def look_at_all(look: Look, views: Iterable[View]) -> Iterator[tuple[View, Density]]:
    """Each view with its density, in order; only a few looks are under way at a time."""
    begun: deque[tuple[View, Pending]] = deque()
    most = under_way(look)
    for view in views:
        begun.append((view, look(view)))
        if len(begun) == most:
            first, pending = begun.popleft()
            yield first, pending.result()
    for view, pending in begun:
        yield view, pending.result()


def paint(canvas: DensityMap, look: Look, views: Iterable[View]) -> None:
    """Look at all `views` and paint what is seen."""
    for view, density in look_at_all(look, views):
        canvas.replace(view.window, density)


@dataclass(frozen=True)
class PlannedLevel:
    """Looks of one zoom level before any is made: window and read size (width, height), and at most how many.

    certain: whether they are taken whatever the image shows.
    """

    level: int
    window_wh: Size
    size_wh: Size
    looks: int
    certain: bool = True


@dataclass(frozen=True)
class Strategy:
    """One strategy: how it runs, and what it plans to look at (an upper bound) from the image's size alone.

    libraries: modules that it imports between looks, which take long: best imported while the image is decoded.
    """

    run: Callable[[Look, Size, StrategyOptions], DensityMap]
    plan: Callable[[Size, StrategyOptions], list[PlannedLevel]]
    libraries: tuple[str, ...] = ()
