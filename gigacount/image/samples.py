"""What the numbers of an image mean: which bands are shown, which values are black and white, what is no ground.

Numbers that need the whole of their type stay as they are, and so does floating point up to about 1, which is linear
light. Numbers that use a part of it (12-bit cameras, reflectance times 10,000, floating point up to 255) are stretched:
by what tags say, by statistics, or by the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import ImageError
from gigacount.geometry import Size
from gigacount.options import ReadOptions

from . import tags
from .sidecar import BandMetadata
from .tags import Directory
from .vips import VipsError, VipsImage

Span = tuple[float, float]

LARGEST = {"uchar": 255, "char": 127, "ushort": 65535, "short": 32767, "uint": 2**32 - 1, "int": 2**31 - 1}
"""By libvips' names of types; floating point is 1 at its brightest."""

LINEAR_LIGHT = 0.25, 8.0  # between which the brightest floating point of an image lies that holds linear light
TAILS = 0.1, 99.9  # percentiles of the pixels taken for black and white: a few hot pixels do not darken the rest
NEAR_TOP = 0.9  # an image whose brightest pixels come so close to a usual largest value is taken to have that one
USUAL = (*(float(2**bits - 1) for bits in range(8, 17)), 10_000.0)  # largest values; of reflectance in ten thousandths
BELOW_ZERO = 0.1  # how far, as a share of the brightest, the darkest pixels may lie below zero where that is black
NEAR_ZERO = 0.3  # an image with darkest pixels below this share of the brightest has its black at 0: it may be hazy
SAMPLED_PIXELS = 2_000_000  # about how many pixels of an image are read for its range
PLACE = 192  # side in pixels of the places that are read where a file has tiles
DECODED_PIXELS = 2**26  # about how many pixels are decoded for that, where tiles are large
TRANSPARENT = 1, 2  # ExtraSamples that are opacity, associated or not; 0 is other data, such as near infrared
NODATA_TOLERANCE = 2e-6  # how far, in parts, floats may lie from a nodata value that was written with few digits

DEVICE = ("b-w", "srgb", "rgb", "multiband")
"""Interpretations whose 8-bit values are kept as they are until a look is finished."""

GENERIC = (*DEVICE, "grey16", "rgb16", "scrgb")
"""Interpretations of which any band can be shown as grey, red, green or blue."""

FULL_DEPTH = {"Rad", "Openexr", "Uhdr", "Heif", "Jxl", "DcRaw"}
FULL_DEPTH |= {"12-bit JPEG", "lossless JPEG", "JPEG XL", "HEIC", "OpenEXR", "Photoshop", "camera raw"}
"""Formats, by libvips' names or ours, whose numbers use the whole range of their type, or are linear light."""

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


def span_of_statistics(stated: BandMetadata, bands: Sequence[int]) -> Span | None:
    """From the least to the greatest value of all of these bands; None where one of them has no statistics."""
    if not bands or not all(band in stated.low and band in stated.high for band in bands):
        return None
    low, high = min(stated.low[band] for band in bands), max(stated.high[band] for band in bands)
    return (low, high) if low < high else None


def sample_of(read: ReadNumbers, size_wh: Size, bands: int, piece_wh: Size) -> NDArray[Any]:
    """Numbers of some pixels (N, bands), from places all over an image that is decoded in pieces of `piece_wh`.

    Places that are damaged or left out are skipped: damage is reported when it is read.
    """
    decoded = max(piece_wh[0] * piece_wh[1], PLACE**2)
    most = min(max(math.isqrt(DECODED_PIXELS // decoded), 3), 8)
    place_wh = min(PLACE, size_wh[0]), min(PLACE, size_wh[1])
    # From the start of a side to its end, and no more places than it takes to see all of it.
    numbers = [min(most, -(-side // PLACE)) for side in size_wh]
    places = [
        [max(side - PLACE, 0) * place // max(number - 1, 1) for place in range(number)]
        for side, number in zip(size_wh, numbers, strict=True)
    ]
    found = [np.zeros((0, bands))]
    for top, left in product(places[1], places[0]):
        with suppress(VipsError):
            found.append(read(left, top, place_wh).reshape(-1, bands))
    return np.concatenate(found)


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
    """What to stretch where the values of an image lie between `low` and `high`; None where that is not needed."""
    if kind.floating_point:
        whole = LINEAR_LIGHT[0] <= high <= LINEAR_LIGHT[1]
    else:
        whole = high > kind.largest / 2 and high - low >= kind.largest / 4
    if whole and low >= -BELOW_ZERO * high:
        return None
    if abs(low) > NEAR_ZERO * abs(high):
        return low, high
    return 0.0, next((usual for usual in USUAL if NEAR_TOP * usual <= high <= usual), high)


@dataclass(frozen=True)
class Samples:
    """How the bands of a file are read.

    colours: numbers from 0 of the bands that are shown as RGB or grey; None: as the format has it (CMYK, Lab, ...).
    alpha: number from 0 of the band of opacity, alpha_full: its value for opaque. nodata: value of pixels that are no
    ground. span: the values shown as black and white; None for the whole range of the type, or linear light.
    span_from: who says so; "" while the span is still to be found in the pixels. notes: what was assumed.
    """

    kind: Kind
    colours: tuple[int, ...] | None
    alpha: int | None = None
    alpha_full: float = 255
    nodata: float | None = None
    span: Span | None = None
    span_from: str = "type"
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, loader: str, image: VipsImage, stated: BandMetadata, options: ReadOptions) -> Samples:
        """Decide by an opened image and what its file says. Raises ImageError, which begins with `name`."""
        generic = image.coding == "none" and image.interpretation in GENERIC
        kind = Kind(image.format, image.bands, generic)
        count = 4 if image.interpretation == "cmyk" else 1 if image.bands < 3 else 3
        alpha = _alpha(kind, count, stated) if image.coding == "none" else None
        colours, notes = _colours(name, kind, count, alpha, stated.names, options)
        nodata = options.nodata if options.nodata is not None else stated.nodata if generic else None
        samples = cls(kind, colours, alpha, kind.largest, nodata, notes=notes)
        if colours is None and (options.value_range is not None or options.nodata is not None):
            raise ImageError(
                f"{name}: --range and --nodata are for grey, RGB and bands, not for {image.interpretation}"
            )
        if options.value_range is not None:
            return samples._spanned(options.value_range, "--range")
        if kind.format == "uchar" or not generic or loader in FULL_DEPTH:
            return samples
        span = span_of_tags(kind, stated.directory)
        if span is not None:
            return samples._spanned(span, "tags")
        span = span_of_statistics(stated, colours or ())
        if span is not None:
            return samples._spanned(found_span(*span, kind), "statistics")
        return replace(samples, span_from="")

    @property
    def open(self) -> bool:
        """Whether the span is still to be found in the pixels."""
        return not self.span_from

    @property
    def has_nodata(self) -> bool:
        """Whether pixels may say that they are no ground: floating point that is not a number does."""
        return self.alpha is not None or self.nodata is not None or self.kind.floating_point

    def settled(self, pixels: NDArray[Any]) -> Samples:
        """With the span that some pixels (N, bands) of the file have."""
        ground = pixels
        if self.nodata is not None:
            ground = ground[~np.isclose(ground[:, self.seen], self.nodata, rtol=NODATA_TOLERANCE, atol=0).all(axis=1)]
        top = self.alpha_full
        if self.alpha is not None and len(pixels):
            highest = float(np.nanmax(pixels[:, self.alpha]))
            top = highest if 0 < highest < self.kind.largest / 2 else self.kind.largest
            ground = ground[ground[:, self.alpha] > 0]
        found = span_in(ground[:, self.seen])
        samples = self._spanned(found_span(*found, self.kind) if found else None, "pixels")
        return replace(samples, alpha_full=top)

    def _spanned(self, span: Span | None, said_by: str) -> Samples:
        if span is None or span == (0, self.kind.largest):  # the whole range of the type
            return replace(self, span=None, span_from=said_by)
        words = {"tags": "as its tags say", "statistics": "as its statistics say", "pixels": "as found in its pixels"}
        note = f"values from {span[0]:g} to {span[1]:g} are shown from black to white"
        if said_by in words:
            note += f", {words[said_by]}; choose others with --range"
        top = self.alpha_full if self.kind.floating_point else min(self.alpha_full, span[1])
        return replace(self, span=span, span_from=said_by, alpha_full=top, notes=(*self.notes, note))

    @property
    def seen(self) -> list[int]:
        """Numbers from 0 of the bands that are shown."""
        return list(self.colours) if self.colours is not None else list(range(self.kind.bands))


def _alpha(kind: Kind, colours: int, stated: BandMetadata) -> int | None:
    """The band of opacity: in TIFF the one that says so, elsewhere the one after the colours."""
    if stated.directory is None:
        return colours if kind.bands == colours + 1 else None
    extra = stated.directory.numbers(tags.EXTRA_SAMPLES)
    said = [kind.bands - len(extra) + place for place, value in enumerate(extra) if value in TRANSPARENT]
    said += [band for band, name in stated.names.items() if name == "alpha"]
    return next((band for band in said if 0 < band < kind.bands), None)


def _colours(
    name: str, kind: Kind, count: int, alpha: int | None, names: dict[int, str], options: ReadOptions
) -> tuple[tuple[int, ...] | None, tuple[str, ...]]:
    """The bands that are shown, and what was assumed about them."""
    if options.bands is not None:
        if max(options.bands) > kind.bands:
            raise ImageError(f"{name}: has {kind.bands} bands, no band {max(options.bands)}; choose others (--bands)")
        return tuple(band - 1 for band in options.bands), ()
    if not kind.generic:
        return None, ()
    first = tuple(band for band in range(kind.bands) if band != alpha)[:count]
    named = {label: band for band, label in sorted(names.items(), reverse=True) if band < kind.bands}
    colours = tuple(named.get(label, -1) for label in ("red", "green", "blue"))
    if -1 in colours:
        colours = first
    others = [band for band in range(kind.bands) if band not in (*colours, alpha)]
    if not others and colours == first:
        return colours, ()
    what = (
        f"bands {listed(colours)} are red, green and blue" if len(colours) == 3 else f"band {listed(colours)} is grey"
    )
    by_name = ", as their names say" if colours != first else ""
    rest = f"; {'bands' if len(others) > 1 else 'band'} {listed(others)} not looked at" if others else ""
    return colours, (f"{what}{by_name}{rest}; choose others with --bands",)


def listed(bands: Sequence[int]) -> str:
    """Bands numbered from 0 as users number them: `1, 2, 3`; of many the first and the last."""
    numbers = [str(band + 1) for band in bands]
    return ", ".join(numbers) if len(numbers) <= 6 else f"{numbers[0]} to {numbers[-1]}"
