"""What the numbers of a picture mean: which bands are seen, which values are black and white, what is no ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import ImageError
from gigacount.options import ReadOptions

from . import tags
from .gdal import Stated
from .spans import Kind, Span, found_span, is_whole, span_in, span_of_statistics, span_of_tags
from .vips import VipsImage

TRANSPARENT = (1, 2)
"""ExtraSamples that are opacity, associated or not; 0 is data of another kind, such as near infrared."""

DEVICE = ("b-w", "srgb", "rgb", "multiband")
"""Interpretations whose 8-bit values are kept as they are until a look is finished."""

GENERIC = (*DEVICE, "grey16", "rgb16", "scrgb")
"""Interpretations of which any band can be seen as grey, red, green or blue."""

FULL_DEPTH = {"Rad", "Openexr", "Uhdr", "Heif", "Jxl", "DcRaw"}
FULL_DEPTH |= {"12-bit JPEG", "lossless JPEG", "JPEG XL", "HEIC", "OpenEXR", "Photoshop", "camera raw"}
"""Formats, by libvips' names or ours, whose numbers use the whole range of their type, or are linear light."""

NODATA_TOLERANCE = 2e-6
"""How far, in parts, floating point may lie from a nodata value that was written with few digits."""


@dataclass(frozen=True)
class Samples:
    """How the bands of a file are read.

    colours: numbers from 0 of the bands that are seen as RGB or grey; None: as the format has it (CMYK, Lab, ...).
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
    def of(cls, name: str, loader: str, image: VipsImage, stated: Stated, options: ReadOptions) -> Samples:
        """Decide by an opened picture and what its file says. Raises ImageError, which begins with `name`."""
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
        if span is None or is_whole(span, self.kind):
            return replace(self, span=None, span_from=said_by)
        words = {"tags": "as its tags say", "statistics": "as its statistics say", "pixels": "as found in its pixels"}
        note = f"values from {span[0]:g} to {span[1]:g} are shown from black to white"
        if said_by in words:
            note += f", {words[said_by]}; choose others with --range"
        top = self.alpha_full if self.kind.floating_point else min(self.alpha_full, span[1])
        return replace(self, span=span, span_from=said_by, alpha_full=top, notes=(*self.notes, note))

    @property
    def seen(self) -> list[int]:
        """Numbers from 0 of the bands that are seen."""
        return list(self.colours) if self.colours is not None else list(range(self.kind.bands))


def _alpha(kind: Kind, colours: int, stated: Stated) -> int | None:
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
    """The bands that are seen, and what was assumed about them."""
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
