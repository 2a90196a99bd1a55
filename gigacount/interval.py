"""How sure a count is: its range, where that comes from, and what speaks against trusting it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from gigacount.appearance import Appearance
from gigacount.density import BAND_CELLS, DensityMap, spread_of
from gigacount.geometry import View, cells_of
from gigacount.points import Ownership
from gigacount.resolution import BLOCK_PX, FEW, SQUARE, Resolution
from gigacount.results import Interval, Looked

TOO_COARSE = 0.1
"""Share of the people from which it is told that they were seen too coarsely, or closer together than any measured."""


def interval_of(
    density: DensityMap, looked: Sequence[Looked], resolution_of: Callable[[View], Resolution | None]
) -> Interval:
    """The range that holds nine of ten counts, from what was measured with the networks of the looks.

    Two sources: how far places are off where people were seen with such a spacing, and how far images are off beyond
    that, of all kinds. The first hardly counts among many places that were seen well; the second does not cancel.
    """
    ownership = Ownership.of([look.view.window for look in looked], density.size_wh, density.cell_px)
    people = biases = squares = kinds = coarse = beyond = damaged = 0.0
    odd: defaultdict[str, float] = defaultdict(float)
    measured = True
    for number, look in enumerate(looked):
        area, before = float((ownership.owner == number).mean()), people
        damaged += look.missing * area
        resolution = resolution_of(look.view)
        measured &= resolution is not None
        resolution = resolution or Resolution()
        block = max(round(BLOCK_PX / look.view.scale / density.cell_px), 1)
        rows, cols = cells_of(look.view.window, ownership.cell_px)
        step = max(BAND_CELLS // (cols.stop - cols.start) // (block * SQUARE), 1) * block * SQUARE
        for first in range(rows.start, rows.stop, step):
            part = slice(first, min(first + step, rows.stop)), cols
            own, spacing = spread_of(density.cells[part] * (ownership.owner[part] == number), block)
            spacing *= block * density.cell_px * look.view.scale
            people += float(own.sum())
            bias, square = resolution.off_by(own, spacing)
            biases, squares = biases + bias, squares + square
            kinds += float(own.sum()) * resolution.kinds
            coarse += float(own[spacing < resolution.resolved_px].sum()) * (look.view.scale < 1)
            beyond += float(own[spacing < resolution.spacing_px[0]].sum())
        for name in oddities(look.appearance, resolution):
            odd[name] += people - before + FEW * area  # of an image without people, its area decides
    if people > 0:
        places, kinds = math.hypot(biases, math.sqrt(squares)) / people, kinds / people
    else:
        places, kinds = 0.0, (resolution_of(looked[0].view) or Resolution()).kinds
    factor = math.exp(math.hypot(places, kinds))
    low, high = ((max(density.count, 0.0) + FEW) * share - FEW for share in (1 / factor, factor))
    return Interval(
        low=max(low, 0.0),
        high=high,
        level=0.9,
        basis=f"{places:.0%} by how close people stand, {kinds:.0%} by the kind of image"
        + ("" if measured else ", not measured"),
        doubts=(
            *_doubts(density.count, coarse / max(people, 1), beyond / max(people, 1), damaged, measured),
            *_oddities({name: share / (people + FEW) for name, share in odd.items()}),
        ),
    )


def oddities(appearance: Appearance | None, resolution: Resolution) -> list[str]:
    """In what a look goes beyond all images with which the network was measured."""
    if appearance is None:
        return []
    (dark, bright), (soft, rough) = resolution.brightness, resolution.sharpness
    sharpness = soft if appearance.sharpness is None else appearance.sharpness
    beyond = {
        "darker": appearance.brightness < dark,
        "brighter": appearance.brightness > bright,
        "more blurred": sharpness < soft,
        "noisier": sharpness > rough,
    }
    return [name for name, is_so in beyond.items() if is_so]


def _oddities(shares: dict[str, float]) -> Iterator[str]:
    for name, share in shares.items():
        if share >= TOO_COARSE:
            where = "the image is" if share >= 0.5 else f"{share:.0%} of the people are where the image is"
            yield f"{where} {name} than any that the network was measured on"


def _doubts(count: float, coarse: float, beyond: float, damaged: float, measured: bool) -> list[str]:
    doubts = []
    if count < -0.5:  # a linear output may be slightly negative where nobody is
        doubts.append("fewer than nobody: the network was not trained for images like this")
    if damaged > 0:
        doubts.append(f"{max(damaged, 0.01):.0%} of the image is damaged, and people there are not counted")
    if coarse >= TOO_COARSE:
        doubts.append(f"{coarse:.0%} of the people were seen too coarsely to count well")
    if beyond >= TOO_COARSE:
        doubts.append(f"{beyond:.0%} stand closer together than any that the network was measured on")
    if not measured:
        doubts.append("how far off the network is was not measured; see gigacount networks calibrate")
    return doubts
