"""What all strategies share: the seam to the pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gigacount.density import Density, DensityMap
from gigacount.geometry import Size, View
from gigacount.options import StrategyOptions

Look = Callable[[Sequence[View]], list[Density]]
"""Looks at views and returns people per cell, float32 (rows, cols), one array per view in the same order.

A batch that a strategy asks for at once is independent, so reading and computing may overlap."""

CHUNK = 16  # windows asked for at once: enough to overlap reading and computing, few enough to hold


def paint(canvas: DensityMap, look: Look, views: Sequence[View]) -> None:
    """Look at all `views` and paint what is seen, holding only a few at a time."""
    for first in range(0, len(views), CHUNK):
        chunk = views[first : first + CHUNK]
        for view, density in zip(chunk, look(chunk), strict=True):
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
    """One strategy: how it runs, and what it plans to look at (an upper bound) from the picture's size alone."""

    run: Callable[[Look, Size, StrategyOptions], DensityMap]
    plan: Callable[[Size, StrategyOptions], list[PlannedLevel]]
