"""Gigapixel CSRNet (Cao et al. 2019, as GigaZoom II-A describes it): windows over the image at several scales.

Windows do not overlap. At each scale they cover the whole image; the maps of all scales are averaged. One scale
makes it plain tiling.
"""

from __future__ import annotations

from gigacount.density import DensityMap
from gigacount.geometry import Size, View, tile
from gigacount.options import StrategyOptions
from gigacount.strategies.base import Look, PlannedLevel, paint


def sliding(look: Look, size_wh: Size, options: StrategyOptions) -> DensityMap:
    total = DensityMap.empty(size_wh)
    for level, scale in enumerate(sorted(options.scales)):
        canvas = DensityMap.empty(size_wh) if level else total
        paint(canvas, look, views_at(scale, level, canvas, options))
        if level:
            total.cells[:] += canvas.cells
    total.cells[:] /= len(options.scales)
    return total


def plan_sliding(size_wh: Size, options: StrategyOptions) -> list[PlannedLevel]:
    canvas = DensityMap.empty(size_wh)
    levels = []
    for level, scale in enumerate(sorted(options.scales)):
        views = views_at(scale, level, canvas, options)
        levels.append(PlannedLevel(level, views[0].window.size_wh, views[0].size_wh, len(views)))
    return levels


def views_at(scale: float, level: int, canvas: DensityMap, options: StrategyOptions) -> list[View]:
    """Windows that partition the image, each read at `scale` and at most `options.tile` large."""
    tile_wh = round(options.tile[0] / scale), round(options.tile[1] / scale)
    return [
        View(window, (max(round(window.width * scale), 1), max(round(window.height * scale), 1)), level)
        for window in tile(canvas.size_wh, tile_wh, canvas.cell_px)
    ]
