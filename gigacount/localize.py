"""Locate the people of one picture: look as for counting, own every head once, say what was seen too coarsely."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gigacount.count import Counter
from gigacount.density import BAND_CELLS, DensityMap
from gigacount.geometry import View
from gigacount.look import Progress
from gigacount.networks import find_record
from gigacount.options import LocalizeOptions
from gigacount.points import NOBODY, Ownership, Points, gather
from gigacount.results import LocalizeResult, Located

if TYPE_CHECKING:
    from gigacount.predict import Predictor

__all__ = ["LocalizeOptions", "LocalizeResult", "Localizer", "localize_image"]

BLOCK_PX = 128
"""Side in read pixels of the squares in which people are compared with points: a few heads wide at the least."""

FOUND_SHARE = 0.75
"""A square with fewer points than this share of its people, and a person short at the least, was seen too coarsely."""


class Localizer(Counter):
    """Locates people in pictures with networks that are loaded once."""

    def __init__(self, options: LocalizeOptions, notify: Callable[[str], None] = lambda line: None) -> None:
        self.min_score = options.min_score
        super().__init__(options.counting, notify)
        if self.looking.enlarge is None:
            first = find_record(self.options.coarse_network or self.options.network)
            self.looking = replace(self.looking, enlarge=first.enlarge)

    def predictor_for(self, network: str) -> Predictor:
        from gigacount.predict import Locator

        return Locator(self.options, network, self.min_score)

    def localize(self, path: Path, progress: Progress | None = None) -> LocalizeResult:
        """Locate the people in the picture at `path`; raises as `count` does."""
        counted, looked = self.survey(path, progress)
        views = [look.view for look in looked]
        ownership = Ownership.of([view.window for view in views], counted.size_wh, counted.density.cell_px)
        points = gather(views, [NOBODY if look.points is None else look.points for look in looked], ownership)
        looks = [(view, self._least_head(view)) for view in views]
        levels, too_coarse = judge(counted.density, points, ownership, looks)
        return LocalizeResult(counted, points, levels, too_coarse)

    def _least_head(self, view: View) -> float:
        """The smallest head diameter in read pixels that the network of a look works on."""
        predictor = self.coarse if view.level == 0 and self.coarse else self.predictor
        return predictor.record.head_px[0]


def localize_image(
    path: Path, options: LocalizeOptions | None = None, progress: Progress | None = None
) -> LocalizeResult:
    """Locate people in one picture. For several, make one `Localizer`: it loads the network once."""
    return Localizer(options or LocalizeOptions()).localize(path, progress)


def judge(
    density: DensityMap, points: Points, ownership: Ownership, looks: Sequence[tuple[View, float]]
) -> tuple[dict[int, Located], Located]:
    """What the looks of each level own, and all that was seen too coarsely to locate people.

    `looks` are the views in order, each with the smallest head diameter, in read pixels, of its network. Nobody
    measures heads here; they are known to be too small by what they do. A square of BLOCK_PX was seen too coarsely
    where its people stand closer than that diameter on average (heads are no wider than their spacing), or where its
    points fall short of its people (FOUND_SHARE). Heads missed for another reason are among the latter.
    """
    total = np.zeros(3)
    levels = {view.level: np.zeros(3) for view, _ in looks}
    for (view, least_head), blocks in zip(looks, _owned_blocks(density, points, ownership, looks), strict=True):
        levels[view.level] += blocks.sum(axis=(1, 2))
        area, people, heads = blocks
        side = density.cell_px * view.scale
        too_close = area * side**2 < people * least_head**2
        too_few = (people - heads >= 1) & (heads < FOUND_SHARE * people)
        total += blocks[:, (people >= 1) & (too_close | too_few)].sum(axis=1)
    cells = density.cells.size
    by_level = {level: _located(sums, cells) for level, sums in levels.items()}
    return by_level, _located(total, cells)


def _located(sums: NDArray[np.float64], cells: int) -> Located:
    return Located(float(sums[0] / cells), float(sums[1]), round(sums[2]))


def _owned_blocks(
    density: DensityMap, points: Points, ownership: Ownership, looks: Sequence[tuple[View, float]]
) -> Iterator[NDArray[np.float64]]:
    """For each look (3, rows, cols): cells, people and heads that it owns, in squares of BLOCK_PX read pixels."""
    owners = ownership.at(points.xy)
    order = np.argsort(owners, kind="stable")
    ends = np.searchsorted(owners[order], np.arange(len(looks) + 1))
    for number, (view, _) in enumerate(looks):
        rows, cols = ownership.cells_of(view.window)
        block = max(round(BLOCK_PX / view.scale / density.cell_px), 1)
        band = max(BAND_CELLS // (cols.stop - cols.start) // block, 1) * block  # whole blocks, at once
        sums = []
        for first in range(rows.start, rows.stop, band):
            part = slice(first, min(first + band, rows.stop)), cols
            mine = (ownership.owner[part] == number).astype(np.float64)
            sums.append([_block_sums(mine, block), _block_sums(mine * density.cells[part], block)])
        area, people = np.concatenate(sums, axis=1)
        own = points.xy[order[ends[number] : ends[number + 1]]]
        col, row = ((own // density.cell_px).astype(np.int64) - (cols.start, rows.start)).T // block
        heads = np.zeros_like(people)
        np.add.at(heads, (row, col), 1)
        yield np.stack([area, people, heads])


def _block_sums(cells: NDArray[np.float64], block: int) -> NDArray[np.float64]:
    rows, cols = (np.arange(0, side, block) for side in cells.shape)
    return np.add.reduceat(np.add.reduceat(cells, rows, axis=0), cols, axis=1)
