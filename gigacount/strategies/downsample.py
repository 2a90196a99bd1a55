"""One look at the whole image, shrunk to what the network takes: how PromptMix and SASNet are used on gigapixels."""

from __future__ import annotations

from gigacount.density import DensityMap
from gigacount.geometry import Size, View, fit, whole
from gigacount.options import StrategyOptions
from gigacount.strategies.base import Look, PlannedLevel


def downsample(look: Look, size_wh: Size, options: StrategyOptions) -> DensityMap:
    view = whole_view(size_wh, options)
    canvas = DensityMap.empty(size_wh)
    canvas.replace(view.window, look(view).result())
    return canvas


def plan_downsample(size_wh: Size, options: StrategyOptions) -> list[PlannedLevel]:
    return [PlannedLevel(0, size_wh, seen_whole(size_wh, options), 1)]


def whole_view(size_wh: Size, options: StrategyOptions) -> View:
    """The first look at a whole image, by the coarse network where there is one."""
    return View(whole(size_wh), seen_whole(size_wh, options), coarse=True)


def seen_whole(size_wh: Size, options: StrategyOptions) -> Size:
    """The size at which a whole image is looked at: shrunk to what the network takes, or its own."""
    return fit(size_wh, options.max_size)
