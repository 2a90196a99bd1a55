"""The whole image at working resolution, for those who want every head: windows that partition it, each with context.

A window is read with pixels around it that belong to its neighbours. They are seen, not counted, so the network's
edge effects fall where another window has the say. Memory does not grow with the image, beyond the canvas.
"""

from __future__ import annotations

import math
from dataclasses import replace

from gigacount.density import DensityMap
from gigacount.geometry import Size, View, whole
from gigacount.options import StrategyOptions
from gigacount.strategies.base import Look, PlannedLevel, paint
from gigacount.strategies.sliding import views_at


def full(look: Look, size_wh: Size, options: StrategyOptions) -> DensityMap:
    canvas = DensityMap.empty(size_wh)
    paint(canvas, look, views_with_context(max(options.scales), canvas, options))
    return canvas


def plan_full(size_wh: Size, options: StrategyOptions) -> list[PlannedLevel]:
    views = views_with_context(max(options.scales), DensityMap.empty(size_wh), options)
    seen = [view.with_context(whole(size_wh)).size_wh for view in views]
    return [PlannedLevel(0, views[0].window.size_wh, max(seen, key=math.prod), len(views))]


def views_with_context(scale: float, canvas: DensityMap, options: StrategyOptions, level: int = 0) -> list[View]:
    """Windows of at most `options.tile` read pixels that partition the image on the canvas's cells, with context."""
    context = context_at(scale, canvas, options)
    return [replace(view, context=context) for view in views_at(scale, level, canvas, options)]


def context_at(scale: float, canvas: DensityMap, options: StrategyOptions) -> int:
    """`options.context` in full-resolution pixels, in whole cells."""
    return math.ceil(options.context / scale / canvas.cell_px) * canvas.cell_px
