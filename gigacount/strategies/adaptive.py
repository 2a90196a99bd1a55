"""Look closer where it pays: GigaZoom's zoom and replace, with the image to say where and how deep.

The whole image is seen at a base scale. Then, level by level, twice as close: a square is looked at again where its
people stand closer than the network resolves, and what is seen there replaces what was seen before. A few spots
elsewhere are looked at as well. Wherever a closer look changes what was thought, its neighbours are looked at, too: so
texture that looked like people from far loses them, and people too small for the base scale are found.

An image that one look holds is seen at its own size first, and again, enlarged, wherever there is more than one person.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gigacount.density import DensityMap, spread_of
from gigacount.geometry import Size, View, Window, whole
from gigacount.options import StrategyOptions
from gigacount.resolution import BLOCK_PX, SQUARE, Resolution
from gigacount.strategies.base import Look, PlannedLevel, paint
from gigacount.strategies.downsample import seen_whole, whole_view
from gigacount.strategies.full import context_at, views_with_context
from gigacount.strategies.packing import Packing, Squares

BASE = 1 / 4
"""The base scale of images of which one look at the whole would be coarser."""

PEOPLE = 2.0
"""A square with fewer people gains less by a closer look than the look costs. Small images are enlarged whatever the
spacing of their people: limits to it, from 14 to 60 px, gained nothing on 143 held-out photographs."""

SPOTS = 8
"""Squares checked, with their neighbours, among those that need no closer look."""


@dataclass(frozen=True)
class Level:
    """A scale, and what is judged of what is seen at it: squares of SQUARE x SQUARE blocks of `block` cells a side."""

    number: int
    scale: float
    block: int


def adaptive(look: Look, size_wh: Size, options: StrategyOptions) -> DensityMap:
    planned = sum(level.looks for level in plan_adaptive(size_wh, options))
    work = Work(DensityMap.empty(size_wh), look, options, planned, most_pixels(options))
    levels = levels_of(size_wh, options)
    work.paint(base_views(levels[0].scale, work.canvas, options))
    seen = np.ones(work.judge(levels[0])[0].shape, bool)
    for level, closer in pairwise(levels):
        seen = work.look_closer(seen, level, closer)
        rows, cols = work.judge(closer)[0].shape
        seen = seen.repeat(2, axis=0).repeat(2, axis=1)[:rows, :cols]
    return work.canvas


def plan_adaptive(size_wh: Size, options: StrategyOptions) -> list[PlannedLevel]:
    canvas = DensityMap.empty(size_wh)
    planned: list[PlannedLevel] = []
    for level in levels_of(size_wh, options):
        of_level = views_with_context if level.number else base_views
        views = [view.with_context(whole(size_wh)) for view in of_level(level.scale, canvas, options, level.number)]
        largest = max((view.size_wh for view in views), key=math.prod)
        left = (options.looks or math.inf) - sum(earlier.looks for earlier in planned)
        looks, certain = int(min(len(views), left)), level.number == 0
        planned.append(PlannedLevel(level.number, views[0].window.size_wh, largest, looks, certain))
    return planned


def levels_of(size_wh: Size, options: StrategyOptions) -> list[Level]:
    """The base scale, doubled until the image is seen 1:1, or enlarged where one look holds it at its own size.

    Squares of a level are four of the next.
    """
    canvas = DensityMap.empty(size_wh)
    scales = [base_scale(canvas, options)]
    finest = (options.enlarge or 1.0) if seen_whole(size_wh, options) == size_wh else 1.0
    while scales[-1] < finest:
        scales.append(min(2 * scales[-1], finest if scales[-1] >= 1 else 1.0))
    halvings = len(scales) - 1
    least = max(round(BLOCK_PX / scales[0] / canvas.cell_px / 2**halvings), 1)
    return [Level(number, scale, least * 2 ** (halvings - number)) for number, scale in enumerate(scales)]


def base_scale(canvas: DensityMap, options: StrategyOptions) -> float:
    """That of one look at the whole where it is fine enough, else BASE; coarser where the budget does not allow it."""
    at_once = seen_whole(canvas.size_wh, options)[0] / canvas.size_wh[0]
    scale = options.base or max(at_once, BASE)
    while scale > at_once:
        views = base_views(scale, canvas, options)
        if len(views) <= (options.looks or math.inf) and read_pixels(views, canvas.size_wh) <= most_pixels(options):
            break
        scale = max(scale / 2, at_once)
    return scale


def base_views(scale: float, canvas: DensityMap, options: StrategyOptions, level: int = 0) -> list[View]:
    """One look at the whole image where that is all it takes, else windows with context."""
    everything = whole_view(canvas.size_wh, options)
    if scale > everything.size_wh[0] / canvas.size_wh[0]:
        return views_with_context(scale, canvas, options, level)
    if options.base:
        width, height = (max(round(side * scale), 1) for side in canvas.size_wh)
        everything = replace(everything, size_wh=(width, height))
    return [everything]


def most_pixels(options: StrategyOptions) -> float:
    return (options.megapixels or math.inf) * 1e6


def read_pixels(views: list[View], size_wh: Size) -> int:
    return sum(math.prod(view.with_context(whole(size_wh)).size_wh) for view in views)


@dataclass
class Work:
    """One image under way.

    looks, pixels: that may still be looked at. settled: what squares that are not looked at again are off (`off_by`).
    """

    canvas: DensityMap
    look: Look
    options: StrategyOptions
    looks: float
    pixels: float
    settled: tuple[float, float] = (0.0, 0.0)

    @property
    def resolution(self) -> Resolution:
        return self.options.resolution or Resolution()

    def paint(self, views: list[View]) -> None:
        self.looks -= len(views)
        self.pixels -= read_pixels(views, self.canvas.size_wh)
        paint(self.canvas, self.look, views)

    def judge(self, level: Level) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """People in each square of a level, and their mean spacing in read pixels."""
        people, spacing = spread_of(self.canvas.cells, level.block)
        return people, spacing * (level.block * self.canvas.cell_px * level.scale)

    def look_closer(self, seen: Squares, level: Level, closer: Level) -> Squares:
        """Look again at those squares of `seen`, the ones seen at `level`, that ask for it; which were looked at."""
        people, spacing = self.judge(level)
        first, errors, done = people, people * self.resolution.error_at(spacing), np.zeros_like(seen)
        if self.good_enough(people[seen], spacing[seen]):
            return done
        wanted = seen & (people >= PEOPLE)
        if closer.scale <= 1:
            wanted &= spacing < self.resolution.resolved_px
        if closer.scale <= 1 and level.number == 0:
            wanted |= spots(people, seen & ~wanted)
        while wanted.any():
            squares = self.afford(self.packing(level, closer).pack(wanted), errors, level, closer)
            if not squares:
                break
            self.paint([self.view(window, level, closer) for window in squares])
            fresh = np.zeros_like(seen)
            for window in squares:
                fresh[window.top : window.bottom, window.left : window.right] = True
            before, (people, _) = people, self.judge(level)
            changed = fresh & (np.abs(people - before) >= np.maximum(PEOPLE, before / 2))
            done |= fresh
            wanted = around(changed) & seen & ~done
        left = seen & ~done
        bias, square = np.add(self.settled, self.resolution.off_by(first[left], spacing[left]))
        self.settled = float(bias), float(square)
        return done

    def good_enough(self, people: NDArray[np.float64], spacing: NDArray[np.float64]) -> bool:
        """Whether what these squares and those settled before are expected to be off is within what was asked for."""
        within = self.options.within
        bias, squares = np.add(self.settled, self.resolution.off_by(people, spacing))
        return within is not None and math.hypot(bias, math.sqrt(squares)) <= within / 100 * self.canvas.count

    def afford(self, windows: list[Window], errors: NDArray[np.float64], level: Level, closer: Level) -> list[Window]:
        """Those of `windows`, in squares, that looks and pixels suffice for: where most errors are expected first."""
        expected = [errors[w.top : w.bottom, w.left : w.right].sum() for w in windows]
        looks, pixels, chosen = self.looks, self.pixels, []
        for number in np.argsort(-np.array(expected), kind="stable"):
            cost = read_pixels([self.view(windows[number], level, closer)], self.canvas.size_wh)
            if looks >= 1 and cost <= pixels:
                looks, pixels = looks - 1, pixels - cost
                chosen.append(int(number))
        return [windows[number] for number in sorted(chosen)]

    def packing(self, level: Level, closer: Level) -> Packing:
        side = level.block * SQUARE * self.canvas.cell_px * closer.scale  # read pixels of a square seen closer
        width, height = (max(int(side_px / side), 1) for side_px in self.options.tile)
        return Packing((width, height), self.options.context / side)

    def view(self, squares: Window, level: Level, closer: Level) -> View:
        """The look at a window of squares."""
        side = level.block * SQUARE * self.canvas.cell_px
        left, top = squares.left * side, squares.top * side
        width, height = self.canvas.size_wh
        window = Window(left, top, min(squares.width * side, width - left), min(squares.height * side, height - top))
        read = max(round(window.width * closer.scale), 1), max(round(window.height * closer.scale), 1)
        return View(window, read, closer.number, context_at(closer.scale, self.canvas, self.options))


def spots(people: NDArray[np.float64], among: Squares) -> Squares:
    """SPOTS squares of `among`, evenly from those with fewest to those with most people, and the ones beside them."""
    rows, cols = np.nonzero(among)
    scattered = np.arange(len(rows)) * 0.618033988749895 % 1  # equals, such as empty ones, from all over the image
    order = np.lexsort((scattered, people[among]))
    picked = order[np.unique(np.linspace(0, len(order) - 1, SPOTS).round().astype(int))] if len(order) else order
    found = np.zeros_like(among)
    found[rows[picked], cols[picked]] = True
    found[1:] |= found[:-1].copy()
    found[:, 1:] |= found[:, :-1].copy()
    return found & among


def around(squares: Squares) -> Squares:
    """Squares, and those that touch them."""
    wide = np.pad(squares, 1)
    high = wide[:-2] | wide[1:-1] | wide[2:]
    return np.asarray(high[:, :-2] | high[:, 1:-1] | high[:, 2:])
