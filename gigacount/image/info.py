"""What can be told about a picture from its header."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gigacount.geometry import Size

from .samples import Samples


@dataclass(frozen=True)
class ImageInfo:
    """A picture's header.

    size_wh: upright, in pixels. level_sizes: upright sizes of all resolutions in the file, the full one first.
    tile_wh: of the full resolution, as stored; None when the file must be decoded from top to bottom.
    colour: "grey", "RGB", "CMYK", ... bands: with transparency. bits: per band, of integers or floating point.
    orientation: EXIF, 1..8, as stored. icc: whether a colour profile is embedded.
    progressive: whether the file's layout makes libvips hold the whole picture while decoding.
    bands_seen: numbers from 1 of the bands shown as red, green and blue, or as grey; None: as the format has it.
    alpha: number from 1 of the band of opacity. nodata: value of pixels that are no ground. mask: whether one in the
    file or beside it says where its ground is. value_range: the values shown as black and white; None for the whole
    range of the type (linear light, if floating point). range_from: "--range", "tags", "statistics", "pixels" or
    "type"; "" until pixels are read.
    notes: what was assumed about the picture and what is odd about it, a line each.
    """

    path: Path
    format: str
    size_wh: Size
    level_sizes: tuple[Size, ...]
    tile_wh: Size | None
    colour: str
    bands: int
    bits: int
    floating_point: bool
    orientation: int
    icc: bool
    progressive: bool
    file_bytes: int
    bands_seen: tuple[int, ...] | None = None
    alpha: int | None = None
    nodata: float | None = None
    mask: bool = False
    value_range: tuple[float, float] | None = None
    range_from: str = "type"
    notes: tuple[str, ...] = ()


def with_samples(info: ImageInfo, samples: Samples, mask: bool, forget: Sequence[str] = ()) -> ImageInfo:
    """With what the numbers of the picture mean, and without the notes that are to be forgotten."""
    return replace(
        info,
        bands_seen=None if samples.colours is None else tuple(band + 1 for band in samples.colours),
        alpha=None if samples.alpha is None else samples.alpha + 1,
        nodata=samples.nodata,
        mask=mask,
        value_range=samples.span,
        range_from=samples.span_from,
        notes=(*(note for note in info.notes if note not in forget), *samples.notes),
    )
