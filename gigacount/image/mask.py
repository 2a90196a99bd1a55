"""Masks of pictures: which pixels are ground, by pages of a TIFF file (NewSubfileType 4) or a TIFF beside it (.msk).

libvips reads no masks, so tifffile does. Most have one bit a pixel and are small beside their pictures.
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gigacount.geometry import Size, Window

from . import tags
from .beside import find, mask_names
from .levels import Level
from .pieces import MAX_SEGMENT_BYTES, ODD, Pieces, brief, open_file, page_of
from .tags import Directory
from .vips import VipsError

if TYPE_CHECKING:
    from .picture import Picture

KEPT_BYTES = 2**25
"""Of decoded tiles or strips of a mask that are remembered."""


def masks_beside(path: Path, size_wh: Size) -> tuple[tuple[Directory, ...], str | None]:
    """The masks of a picture of this size, and of smaller copies, in GDAL's file beside it; why there are none."""
    file = find(path, mask_names(path))
    if file is None:
        return (), None
    found = tuple(one for one in tags.directories(file) if one.pixels and one.bits <= 16)
    if any(one.size_wh == size_wh for one in found):
        return found, None
    sizes = ", ".join(f"{width} x {height} pixels" for width, height in (one.size_wh for one in found[:1]))
    return (), f"the mask beside it ({file.name}) {f'has {sizes}' if sizes else 'cannot be read'} and is not used"


class Mask:
    """One mask. forgiving: a damaged part of it is ground, rather than an error. Raises VipsError."""

    def __init__(self, directory: Directory, forgiving: bool) -> None:
        width, height = directory.segment_wh
        if not 0 < width * height * directory.samples * max(directory.bits // 8, 1) <= MAX_SEGMENT_BYTES:
            raise VipsError(f"its mask has pieces of {width} x {height} pixels")
        try:
            page = page_of(open_file(directory), directory)
            self._pieces = Pieces(page, directory, Lock(), forgiving, KEPT_BYTES)
        except ODD as error:
            raise VipsError(f"its mask cannot be read: {brief(error)}") from error

    def pixels(self, left: int, top: int, size_wh: Size) -> NDArray[np.bool_]:
        """Which pixels of a rectangle are ground, (rows, cols). Raises VipsError."""
        try:
            numbers, damage = self._pieces.rectangle(left, top, size_wh)
        except VipsError as error:
            raise VipsError(f"its mask is damaged: {error.reason}") from error
        ground: NDArray[np.bool_] = (numbers != 0).any(axis=2)
        for place, _ in damage:
            ground[place] = True
        return ground

    def close(self) -> None:
        """Close the file."""
        self._pieces.close()


def masked(pixels: NDArray[np.uint8], ground: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Stored pixels (rows, cols, bands) with white where there is no ground, and a last band that says so."""
    rows, cols, bands = pixels.shape
    colours = bands - (bands + 1) % 2  # with a band for the ground already, bands are even
    result = np.empty((rows, cols, colours + 1), np.uint8)
    result[:, :, :bands] = pixels
    if bands == colours:
        result[:, :, colours] = 255
    result[~ground] = (*(255,) * colours, 0)
    return result


def masked_level(level: Level, mask: Directory | None, picture: Picture) -> Level:
    """A level with its mask, if it has one. Raises VipsError."""
    return level if mask is None else MaskedLevel(level, Mask(mask, picture.options.allow_damaged))


class MaskedLevel(Level):
    """A level of which a mask says where its ground is."""

    def __init__(self, level: Level, mask: Mask) -> None:
        super().__init__(level.size_wh, level.factor_xy, level.bands + level.bands % 2)
        self._level, self._mask = level, mask

    def pixels(self, left: int, top: int, size_wh: Size) -> NDArray[np.uint8]:
        return masked(self._level.pixels(left, top, size_wh), self._mask.pixels(left, top, size_wh))

    def missing(self, window: Window) -> float:
        return self._level.missing(window)

    def chunk_wh(self, width: int) -> Size:
        return self._level.chunk_wh(width)

    def close(self) -> None:
        self._level.close()
        self._mask.close()
