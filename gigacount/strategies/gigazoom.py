"""GigaZoom (Bakhtiarnia, Zhang, Iosifidis 2023, arXiv 2305.09271): zoom into the densest regions, refine on the way.

Forward pass: look at the whole image, find k dense regions, and zoom into each, L times, always into the densest
window of the last look. Backward pass: painting the looks on one canvas from coarse to fine, the later replacing the
earlier, leaves what the paper's replacement from fine to coarse leaves.

The k zooms go in step, level by level. They are independent: while one waits for its look, the next window of another
is read. And where zooms meet, "the latest result" (III-B) is then never coarser than what it replaces.
"""

from __future__ import annotations

import math

from gigacount.density import Density, DensityMap
from gigacount.geometry import Size, View, Window, fit, place, whole
from gigacount.options import StrategyOptions
from gigacount.strategies.base import Look, Pending, PlannedLevel
from gigacount.strategies.downsample import seen_whole, whole_view
from gigacount.strategies.zoom_centres import densest_box, zoom_centres


def gigazoom(look: Look, size_wh: Size, options: StrategyOptions) -> DensityMap:
    canvas = DensityMap.empty(size_wh)
    everything = whole_view(size_wh, options)
    coarse = look(everything).result()  # D_0
    canvas.replace(everything.window, coarse)

    sizes = level_sizes(size_wh, options)  # of levels t = start .. L
    windows = first_windows(coarse, canvas, sizes[0], options) if sizes else []
    zooms = [begin(look, window, options.start, options) for window in windows]
    for level, following in enumerate([*sizes[1:], None], start=options.start + 1):
        for zoom, (window, pending) in enumerate(zooms):
            density = pending.result()  # D_t of one zoom after the other
            canvas.replace(window, density)
            if following is not None:
                inner = densest_window(window, density, following, canvas.cell_px)
                zooms[zoom] = begin(look, inner, level, options)
    return canvas


def begin(look: Look, window: Window, level: int, options: StrategyOptions) -> tuple[Window, Pending]:
    """A window with the look at it."""
    return window, look(view_at(window, level, options))


def plan_gigazoom(size_wh: Size, options: StrategyOptions) -> list[PlannedLevel]:
    sizes = level_sizes(size_wh, options)
    levels = [PlannedLevel(0, size_wh, seen_whole(size_wh, options), 1)]
    for level, (width, height) in enumerate(sizes, start=options.start):
        window = Window(0, 0, max(round(width), 1), max(round(height), 1))
        read_wh = view_at(window, level, options).size_wh
        levels.append(PlannedLevel(level, window.size_wh, read_wh, max(options.clusters, 1)))
    return levels


def level_sizes(size_wh: Size, options: StrategyOptions) -> list[tuple[float, float]]:
    """(w_t, h_t) for t = start .. L by eq. 1 (linear) or eq. 2 (exponential), then the overzoom levels.

    Overzoom goes on at the last ratio w_L / w_(L-1), which for eq. 2 is eq. 2 continued. A side of the image that
    is shorter than the network's is not zoomed. Empty where the network takes the whole image at 1:1.
    """
    if fit(size_wh, options.max_size) == size_wh:
        return []
    ends = [min(side, largest) for side, largest in zip(size_wh, options.max_size, strict=True)]

    def side_at(t: int, axis: int) -> float:
        start, end = size_wh[axis], ends[axis]
        if options.zoom == "linear":
            return start - (start - end) / options.levels * t
        return float(start * (end / start) ** (t / options.levels))

    sizes = [(side_at(t, 0), side_at(t, 1)) for t in range(options.levels + 1)]
    (w1, h1), (w2, h2) = sizes[-2:]
    sizes += [(w2 * (w2 / w1) ** n, h2 * (h2 / h1) ** n) for n in range(1, options.overzoom + 1)]
    return sizes[options.start :]


def view_at(window: Window, level: int, options: StrategyOptions) -> View:
    """The window as the network sees it: shrunk to `max_size`, and enlarged to it on overzoom levels alone."""
    enlarge = math.inf if level > options.levels else 1.0
    return View(window, fit(window.size_wh, options.max_size, enlarge), level)


def first_windows(
    coarse: Density, canvas: DensityMap, window_wh: tuple[float, float], options: StrategyOptions
) -> list[Window]:
    """The first window of every zoom: centred on the k centres of the clustered density peaks (III-B).

    Without clustering the densest window, as inside any other look (III-A).
    """
    bounds = whole(canvas.size_wh)
    if options.clusters == 0:
        return [densest_window(bounds, coarse, window_wh, canvas.cell_px)]
    scale_x, scale_y = bounds.width / coarse.shape[1], bounds.height / coarse.shape[0]
    return [
        place((col * scale_x, row * scale_y), window_wh, bounds, canvas.cell_px)
        for col, row in zoom_centres(coarse, options.clusters, options.peaks)
    ]


def densest_window(window: Window, density: Density, following: tuple[float, float], cell_px: int) -> Window:
    """I_(t+1) inside I_t: the maximum of the box sum over D_t, kernel by eq. 3, placed by eq. 4."""
    rows, cols = density.shape
    scale_x, scale_y = window.width / cols, window.height / rows
    kernel = max(round(following[0] / scale_x), 1), max(round(following[1] / scale_y), 1)  # eq. 3
    col, row = densest_box(density, kernel)
    left, top = window.left + col * scale_x, window.top + row * scale_y  # eq. 4
    return place((left + following[0] / 2, top + following[1] / 2), following, window, cell_px)
