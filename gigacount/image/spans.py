"""Which values are black and white: by tags, by statistics, or by the pixels.

Numbers that need the whole of their type stay as they are, and so does floating point up to about 1, which is linear
light. Numbers that use a part of it (12-bit cameras, reflectance times 10,000, floating point up to 255) are stretched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigacount.geometry import Size

from . import tags
from .gdal import Stated
from .tags import Directory
from .vips import VipsError

Span = tuple[float, float]

LARGEST = {"uchar": 255, "char": 127, "ushort": 65535, "short": 32767, "uint": 2**32 - 1, "int": 2**31 - 1}
"""By libvips' names of types; floating point is 1 at its brightest."""

LINEAR_LIGHT = 0.25, 8.0
"""Between which the brightest floating point of a picture lies that holds linear light."""

TAILS = 0.1, 99.9
"""Percentiles of the pixels that are taken for black and white: a few hot pixels do not darken the rest."""

NEAR_TOP = 0.9
"""A picture whose brightest pixels come so close to a usual largest value is taken to have that one."""

USUAL = (*(float(2**bits - 1) for bits in range(8, 17)), 10_000.0)
"""Largest values: of 8 to 16 bits, and of reflectance in ten thousandths."""

BELOW_ZERO = 0.1
"""How far, as a share of the brightest, the darkest pixels may lie below zero where that is black all the same."""

NEAR_ZERO = 0.3
"""A picture whose darkest pixels lie below this share of the brightest has its black at 0: it may be hazy."""

SAMPLED_PIXELS = 2_000_000
"""About how many pixels of a picture are looked at for its range."""

PLACE = 192
"""Side in pixels of the places that are looked at where a file has tiles."""

DECODED_PIXELS = 2**26
"""About how many pixels are decoded for that, where tiles are large."""

ReadNumbers = Callable[[int, int, Size], NDArray[Any]]
"""A rectangle of the file's numbers by left, top and size: (rows, cols, bands). Raises VipsError."""


@dataclass(frozen=True)
class Kind:
    """format: libvips' name of the type of the numbers. bands: in the file. generic: grey, RGB or just bands."""

    format: str
    bands: int
    generic: bool

    @property
    def floating_point(self) -> bool:
        return self.format in ("float", "double")

    @property
    def largest(self) -> float:
        """The largest number of the type; 1 for floating point."""
        return LARGEST.get(self.format, 1)


def is_whole(span: Span, kind: Kind) -> bool:
    """Whether a span is the whole range of the type."""
    return span == (0, kind.largest)


def span_of_tags(kind: Kind, directory: Directory | None) -> Span | None:
    """What SMinSampleValue and SMaxSampleValue say, else MinSampleValue and MaxSampleValue.

    The whole range of an integer type says nothing: many writers put that down, whatever the pixels are.
    """
    if directory is None:
        return None
    pairs = (tags.S_MIN_SAMPLE, tags.S_MAX_SAMPLE), (tags.MIN_SAMPLE, tags.MAX_SAMPLE)
    for low_tag, high_tag in pairs:
        lows, highs = directory.numbers(low_tag), directory.numbers(high_tag)
        if not len(highs) or "S" in (lows.dtype.kind, highs.dtype.kind):
            continue
        low, high = float(lows.min()) if len(lows) else 0.0, float(highs.max())
        whole = not kind.floating_point and high >= kind.largest
        if math.isfinite(low) and math.isfinite(high) and low < high and not whole:
            return low, high
    return None


def span_of_statistics(stated: Stated, bands: Sequence[int]) -> Span | None:
    """From the least to the greatest value of all of these bands; None where one of them has no statistics."""
    if not bands or not all(band in stated.low and band in stated.high for band in bands):
        return None
    low, high = min(stated.low[band] for band in bands), max(stated.high[band] for band in bands)
    return (low, high) if low < high else None


def sample_of(read: ReadNumbers, size_wh: Size, bands: int, piece_wh: Size) -> NDArray[Any]:
    """Numbers of some pixels (N, bands), from places all over a picture that is decoded in pieces of `piece_wh`.

    Places that are damaged or left out are passed over: the damage is told when it is looked at.
    """
    decoded = max(piece_wh[0] * piece_wh[1], PLACE**2)
    most = min(max(math.isqrt(DECODED_PIXELS // decoded), 3), 8)
    places = [list(_spread(side, most)) for side in size_wh]
    place_wh = min(PLACE, size_wh[0]), min(PLACE, size_wh[1])
    found = [np.zeros((0, bands))]
    for top, left in product(places[1], places[0]):
        with suppress(VipsError):
            found.append(read(left, top, place_wh).reshape(-1, bands))
    return np.concatenate(found)


def _spread(side: int, most: int) -> Iterator[int]:
    """Where places begin along a side: from its start to its end, and no more than it takes to see all of it."""
    number = min(most, -(-side // PLACE))
    for place in range(number):
        yield max(side - PLACE, 0) * place // max(number - 1, 1)


def span_in(pixels: NDArray[Any]) -> Span | None:
    """The darkest and brightest values in a sample of pixels, but for a few; None where they are all alike.

    Zeros do not count, as they fill what was never seen, but where there is only one other value.
    """
    values = pixels[np.isfinite(pixels) & (pixels != 0)]
    if not len(values):
        return None
    low, high = (float(value) for value in np.percentile(values, TAILS))
    if low == high > 0 and len(values) < pixels.size:
        low = 0.0
    return (low, high) if low < high else None


def found_span(low: float, high: float, kind: Kind) -> Span | None:
    """What to stretch where the values of a picture lie between `low` and `high`; None where that is not needed."""
    if kind.floating_point:
        whole = LINEAR_LIGHT[0] <= high <= LINEAR_LIGHT[1]
    else:
        whole = high > kind.largest / 2 and high - low >= kind.largest / 4
    if whole and low >= -BELOW_ZERO * high:
        return None
    if abs(low) > NEAR_ZERO * abs(high):
        return low, high
    return 0.0, next((usual for usual in USUAL if NEAR_TOP * usual <= high <= usual), high)
