"""Locate people: own every head once, and tell where heads were seen too coarsely."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gigacount.density import BAND_CELLS, DensityMap, block_sums
from gigacount.geometry import View, cells_of
from gigacount.points import NOBODY, Ownership, Points, gather
from gigacount.results import Located, LocatedHeads, Looked

BLOCK_PX = 128
"""Side in read pixels of the squares in which people are compared with points: a few heads wide at the least."""

FOUND_SHARE = 0.75
"""A square with fewer points than this share of its people, and a person short at the least, was seen too coarsely."""


def locate(density: DensityMap, looked: Sequence[Looked], least_head: Callable[[View], float]) -> LocatedHeads:
    """The heads that the looks at an image saw, each once, beside the people of its density.

    least_head: the smallest head diameter, in read pixels, that the network of a look works on.
    """
    views = [look.view for look in looked]
    ownership = Ownership.of([view.window for view in views], density.size_wh, density.cell_px)
    points = gather(views, [NOBODY if look.points is None else look.points for look in looked], ownership)
    levels, too_coarse = judge(density, points, ownership, [(view, least_head(view)) for view in views])
    return LocatedHeads(points, levels, too_coarse)


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
        rows, cols = cells_of(view.window, ownership.cell_px)
        block = max(round(BLOCK_PX / view.scale / density.cell_px), 1)
        band = max(BAND_CELLS // (cols.stop - cols.start) // block, 1) * block  # whole blocks, at once
        sums = []
        for first in range(rows.start, rows.stop, band):
            part = slice(first, min(first + band, rows.stop)), cols
            mine = (ownership.owner[part] == number).astype(np.float64)
            sums.append([block_sums(mine, block), block_sums(mine * density.cells[part], block)])
        area, people = np.concatenate(sums, axis=1)
        own = points.xy[order[ends[number] : ends[number + 1]]]
        col, row = ((own // density.cell_px).astype(np.int64) - (cols.start, rows.start)).T // block
        heads = np.zeros_like(people)
        np.add.at(heads, (row, col), 1)
        yield np.stack([area, people, heads])
