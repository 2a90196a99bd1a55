"""What an image's header tells, and EXIF orientation: between the image as stored and the upright image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gigacount.geometry import Size, Window

from .samples import Samples


@dataclass(frozen=True)
class Orientation:
    """From stored to upright: swap the axes, then mirror in x and in y."""

    swap: bool
    mirror_x: bool
    mirror_y: bool

    def size(self, size_wh: Size) -> Size:
        """The upright size of a stored one, and the stored size of an upright one."""
        return (size_wh[1], size_wh[0]) if self.swap else size_wh

    def stored(self, window: Window, size_wh: Size) -> Window:
        """Where a window of the upright image of `size_wh` lies as stored."""
        left = size_wh[0] - window.right if self.mirror_x else window.left
        top = size_wh[1] - window.bottom if self.mirror_y else window.top
        if self.swap:
            return Window(top, left, window.height, window.width)
        return Window(left, top, window.width, window.height)

    def upright(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Stored pixels (rows, cols, bands) turned upright."""
        if self.swap:
            pixels = pixels.swapaxes(0, 1)
        return pixels[:: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1]


ORIENTATIONS = {n: Orientation(n > 4, n in (2, 3, 6, 7), n in (3, 4, 7, 8)) for n in range(1, 9)}
"""By EXIF tag 274."""


@dataclass(frozen=True)
class ImageInfo:
    """An image's header.

    size_wh: upright, in pixels. level_sizes: upright sizes of all resolutions in the file, the full one first.
    tile_wh: of the full resolution, as stored; None when the file must be decoded from top to bottom.
    colour: "grey", "RGB", "CMYK", ... bands: with transparency. bits: per band, of integers or floating point.
    orientation: EXIF, 1..8, as stored. icc: whether a colour profile is embedded.
    progressive: whether the file's layout makes libvips hold the whole image while decoding.
    bands_seen: numbers from 1 of the bands shown as red, green and blue, or as grey; None: as the format has it.
    alpha: number from 1 of the band of opacity. nodata: value of pixels that are no ground. mask: whether one in the
    file or beside it says where its ground is. value_range: the values shown as black and white; None for the whole
    range of the type (linear light, if floating point). range_from: "--range", "tags", "statistics", "pixels" or
    "type"; "" until pixels are read.
    notes: what was assumed about the image and what is odd about it, a line each.
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
    """With what the numbers of the image mean, and without the notes that are to be forgotten."""
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
