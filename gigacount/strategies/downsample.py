"""One look at the whole picture, shrunk to what the network takes: how PromptMix and SASNet are used on gigapixels."""

from __future__ import annotations

from gigacount.density import DensityMap
from gigacount.geometry import Size, View, fit, whole
from gigacount.options import StrategyOptions
from gigacount.strategies.base import Look, PlannedLevel


def downsample(look: Look, size_wh: Size, options: StrategyOptions) -> DensityMap:
    everything = whole(size_wh)
    (density,) = look([View(everything, fit(size_wh, options.max_size))])
    canvas = DensityMap.empty(size_wh)
    canvas.replace(everything, density)
    return canvas


def plan_downsample(size_wh: Size, options: StrategyOptions) -> list[PlannedLevel]:
    return [PlannedLevel(0, size_wh, fit(size_wh, options.max_size), 1)]
