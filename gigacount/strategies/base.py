"""What all strategies share: the seam to the pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gigacount.density import Density, DensityMap
from gigacount.geometry import Size, View
from gigacount.options import StrategyOptions

Look = Callable[[Sequence[View]], Iterator[Density]]
"""Looks at views one after the other: people per cell, float32 (rows, cols), for each of them in the same order.

Whoever goes through the densities may append views to the list meanwhile, chosen by what was seen so far. Those that
stand there already are taken while earlier ones are waited for: reading, network and strategy overlap."""


def paint(canvas: DensityMap, look: Look, views: Sequence[View]) -> None:
    """Look at all `views` and paint what is seen."""
    for view, density in zip(views, look(views), strict=True):
        canvas.replace(view.window, density)


@dataclass(frozen=True)
class PlannedLevel:
    """Looks of one zoom level before any is made: window and read size (width, height), and at most how many."""

    level: int
    window_wh: Size
    size_wh: Size
    looks: int


@dataclass(frozen=True)
class Strategy:
    """One strategy: how it runs, and what it plans to look at (an upper bound) from the picture's size alone.

    libraries: modules that it imports between looks, which take long: best imported while the picture is decoded.
    """

    run: Callable[[Look, Size, StrategyOptions], DensityMap]
    plan: Callable[[Size, StrategyOptions], list[PlannedLevel]]
    libraries: tuple[str, ...] = ()
