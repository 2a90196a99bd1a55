"""An audit: a person counts some patches of the image, and an unbiased total with its interval follows.

After DISCount (Perez, Maji, Sheldon, AAAI 2024): patches are drawn with a chance that grows with what the machine
predicts there, and what the person finds corrects the machine's total. Three things are done otherwise, to learn more
from the same work. Patches halve the people, not the area, so that few of them are nearly empty. They are drawn within
strata, runs of neighbours, as the machine's errors resemble each other there. And no patch is drawn twice: the total of
draws without replacement is Des Raj's (1956), whose draws are uncorrelated, each unbiased for the total.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from gigacount.density import DensityMap
from gigacount.geometry import Window
from gigacount.regions import Region, Regions
from gigacount.text import plural

Floats = NDArray[np.float64]

HEADS = 20  # predicted people in a patch at the most: a person counts them in seconds
LONGEST_PX = 2048  # the longest side of a patch, so that one without predicted people can be looked over, too

STRATA = 8
DRAWS = 4  # draws that a stratum has, on average, before its own variance is estimated
LEAST_IN_STRATUM = 4  # patches that a stratum has at the least, on average; small images have fewer strata

PRIOR = 0.25
"""Added to what is predicted, so that a patch in which the machine sees nobody may be drawn, too (DISCount)."""

LEAST_NOISE = 0.05
"""Variance of the machine's error in a patch by predicted people: no interval is narrower than with this. Without it
five empty patches would prove an image empty."""

LEVEL = 0.95


@dataclass(frozen=True)
class Plan:
    """Which patches are counted, in which order: all of them in the end.

    windows: the patches, a partition of the image, neighbours after each other. predicted: (N,) people in each by
    the machine. stratum: (N,) numbers from 0. order: (N,) patches as they are to be counted.
    """

    windows: tuple[Window, ...]
    predicted: Floats
    stratum: NDArray[np.int64]
    order: NDArray[np.int64]

    @property
    def total(self) -> float:
        return float(self.predicted.sum())


@dataclass(frozen=True)
class Estimate:
    """People by an audit, `LEVEL` sure to be from low to high. patches: counted so far, with so many heads in them.

    low and high are None as long as too few patches are counted to tell: two are needed.
    """

    people: float
    low: float | None
    high: float | None
    patches: int
    heads: float

    @property
    def half_width(self) -> float | None:
        """Half the interval as a share of the people."""
        if self.low is None or self.high is None or self.people <= 0:
            return None
        return (self.high - self.low) / 2 / self.people

    def __str__(self) -> str:
        if self.patches == 0:
            return f"{self.people:,.0f} people by the machine alone: no patch is counted yet"
        if self.low is None or self.high is None:
            return f"{self.people:,.0f} people by {plural(self.patches, 'patch')}, too few for an interval"
        half = f", {self.half_width:.1%} either way" if self.half_width is not None else ""
        return (
            f"{self.people:,.0f} people ({self.low:,.0f} to {self.high:,.0f}, {LEVEL:.0%} sure{half})"
            f" by {plural(self.patches, 'patch')} with {plural(round(self.heads), 'head')}"
        )


def split(density: DensityMap, heads: float = HEADS) -> list[Window]:
    """Patches on the cell grid that partition the image, neighbours after each other.

    A patch with more than `heads` people, or longer than LONGEST_PX, is cut across its longer side, into halves of as
    many people or, where it holds few, of as much area.
    """
    cells, cell = np.maximum(density.cells, 0), density.cell_px
    sums = np.zeros((cells.shape[0] + 1, cells.shape[1] + 1))
    sums[1:, 1:] = cells.cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
    longest = max(LONGEST_PX // cell, 1)
    patches, waiting = [], [(0, 0, *cells.shape)]
    while waiting:
        top, left, bottom, right = waiting.pop()
        height, width = bottom - top, right - left
        corners = sums[[top, top, bottom, bottom], [left, right, left, right]]
        people = corners[3] - corners[2] - corners[1] + corners[0]
        if (people <= heads and max(height, width) <= longest) or max(height, width) < 4:
            patches.append((top, left, bottom, right))
        elif width >= height:
            at = _cut(sums[bottom, left : right + 1] - sums[top, left : right + 1], people > heads)
            waiting += [(top, left + at, bottom, right), (top, left, bottom, left + at)]
        else:
            at = _cut(sums[top : bottom + 1, right] - sums[top : bottom + 1, left], people > heads)
            waiting += [(top + at, left, bottom, right), (top, left, top + at, right)]
    width, height = density.size_wh
    return [
        Window(left * cell, top * cell, min(right * cell, width) - left * cell, min(bottom * cell, height) - top * cell)
        for top, left, bottom, right in patches
    ]


def _cut(people: Floats, halve_people: bool) -> int:
    """Where to cut a side, in cells, from the running sum of people along it; at a quarter of it at the least."""
    cells = len(people) - 1
    if not halve_people:
        return cells // 2
    margin = max(cells // 4, 1)
    half = (people[0] + people[-1]) / 2
    return margin + int(np.abs(people[margin : cells - margin + 1] - half).argmin())


def make_plan(density: DensityMap, seed: int, heads: float = HEADS) -> Plan:
    """The patches of an audit and their order; the same seed and density give the same plan."""
    windows = split(density, heads)
    return draw(tuple(windows), _people_in(windows, density), seed)


def draw(windows: tuple[Window, ...], predicted: Floats, seed: int) -> Plan:
    """Draw the order of patches in which the machine predicts so many people each.

    A stratum is a run of neighbours with its share of sqrt(predicted + PRIOR), by which patches are drawn: with errors
    whose variance grows with the people, as many draws from each are Neyman's allocation. Draws go round the strata,
    each round in another order.
    """
    size = np.sqrt(predicted + PRIOR)
    strata = min(max(len(windows) // LEAST_IN_STRATUM, 1), STRATA)
    stratum = np.minimum(((size.cumsum() - size / 2) / size.sum() * strata).astype(np.int64), strata - 1)
    stratum = np.unique(stratum, return_inverse=True)[1].astype(np.int64)
    rng = np.random.default_rng(seed)
    # Exponential waiting times at rates `size`, the shortest first, are draws one by one, each by its chance.
    waits = rng.exponential(size=len(windows)) / size
    number = np.zeros(len(windows), np.int64)
    for one in range(stratum.max() + 1):
        drawn = np.flatnonzero(stratum == one)
        number[drawn[waits[drawn].argsort()]] = np.arange(len(drawn))
    turn = rng.random((number.max() + 1, stratum.max() + 1))[number, stratum]
    return Plan(windows, predicted, stratum, np.lexsort((turn, number)))


def predicted_in(plan: Plan, density: DensityMap, region: Region) -> Floats:
    """(N,) people of a region in each patch, by the machine."""
    outside = DensityMap(density.cells.copy(), density.size_wh, density.cell_px)
    Regions((region,)).clear(outside)
    return plan.predicted - _people_in(plan.windows, outside)


def _people_in(windows: Sequence[Window], density: DensityMap) -> Floats:
    positive = DensityMap(np.maximum(density.cells, 0), density.size_wh, density.cell_px)
    return np.array([positive.sum_in(window) for window in windows])


def estimate(plan: Plan, found: Sequence[float], predicted: Floats | None = None) -> Estimate:
    """The total after the patches order[0], order[1], ... were found to hold so many people.

    predicted: (N,) what the machine says of each patch, where only the people of a region are meant, here and in
    `found`. Unbiased after every patch, except that it is never less than the heads found, which a small region's could
    be, even negative. The interval is by Student's t, with the degrees of freedom of Satterthwaite.
    """
    predicted = plan.predicted if predicted is None else predicted
    size = np.sqrt(plan.predicted + PRIOR)
    counted, heads, total = plan.order[: len(found)], float(np.sum(found)), float(predicted.sum())
    errors = np.zeros(len(predicted))
    errors[counted] = np.asarray(found, np.float64) - predicted[counted]
    strata = [
        _draws(counted[plan.stratum[counted] == one], np.flatnonzero(plan.stratum == one), size, errors)
        for one in range(plan.stratum.max() + 1)
    ]
    means = [draws.mean() for draws in strata if len(draws)]
    # As long as not all strata were visited, those that were, drawn at random, stand for all.
    unbiased = total + len(strata) * float(np.mean(means)) if means else total
    people = max(unbiased, heads)
    if len(found) == len(predicted):
        return Estimate(people, people, people, len(found), heads)
    if len(found) < 2:
        return Estimate(people, None, None, len(found), heads)
    variance, freedom = _variance(strata)
    least = LEAST_NOISE * size.sum() ** 2 / len(found) * (1 - size[counted].sum() / size.sum())
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * math.sqrt(max(variance, least))
    return Estimate(people, max(unbiased - half, heads), max(unbiased + half, heads), len(found), heads)


def _draws(drawn: NDArray[np.int64], members: NDArray[np.int64], size: Floats, errors: Floats) -> Floats:
    """The total error of a stratum's members by each draw (Des Raj); all exact once every member was drawn."""
    if len(drawn) == len(members):
        return np.full(len(drawn), errors[drawn].sum())
    chance = size[drawn] / size[members].sum()
    before = chance.cumsum() - chance
    totals: Floats = errors[drawn].cumsum() - errors[drawn] + errors[drawn] * (1 - before) / chance
    return totals


def _variance(strata: Sequence[Floats]) -> tuple[float, float]:
    """Of the sum of the strata's means, and its degrees of freedom.

    Neighbouring strata are taken for one as long as they have too few draws to tell how these vary: that makes the
    variance no less, and of few degrees of freedom more.
    """
    many = sum(map(len, strata))
    groups = max(group for group in range(1, len(strata) + 1) if group == 1 or group * DRAWS <= many)
    while True:
        runs = [strata[run[0] : run[-1] + 1] for run in np.array_split(np.arange(len(strata)), groups)]
        draws = [len(run) * np.concatenate(run) for run in runs]
        if groups == 1 or min(map(len, draws)) > 1:
            break
        groups -= 1
    parts = np.array([one.var(ddof=1) / len(one) for one in draws])
    spare = np.array([len(one) - 1 for one in draws])
    squares = float((parts**2 / spare).sum())
    return float(parts.sum()), float(parts.sum()) ** 2 / squares if squares > 0 else float(spare.sum())
