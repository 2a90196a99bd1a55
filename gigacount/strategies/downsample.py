"""One look at the whole picture, shrunk to what the network takes: how PromptMix and SASNet are used on gigapixels."""

from __future__ import annotations

from gigacount.density import DensityMap
from gigacount.geometry import Size, View, fit, whole
from gigacount.options import StrategyOptions
from gigacount.strategies.base import Look, PlannedLevel


def downsample(look: Look, size_wh: Size, options: StrategyOptions) -> DensityMap:
    everything = whole(size_wh)
    (density,) = look([View(everything, seen_whole(size_wh, options))])
    canvas = DensityMap.empty(size_wh)
    canvas.replace(everything, density)
    return canvas


def plan_downsample(size_wh: Size, options: StrategyOptions) -> list[PlannedLevel]:
    return [PlannedLevel(0, size_wh, seen_whole(size_wh, options), 1)]


def seen_whole(size_wh: Size, options: StrategyOptions) -> Size:
    """The size at which a whole picture is looked at: shrunk to what the network takes, or enlarged where asked."""
    return fit(size_wh, options.max_size, options.enlarge or 1.0)
