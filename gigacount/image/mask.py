"""Masks inside TIFF files: pages that say which pixels of the picture are ground (NewSubfileType 4).

libvips reads no masks, so tifffile does. Most have one bit a pixel and are small beside their pictures.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from logging import NullHandler, getLogger
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gigacount.geometry import Size, Window

from .levels import Level
from .tags import Directory
from .vips import VipsError

if TYPE_CHECKING:
    from .picture import Picture

ODD = (ValueError, LookupError, ArithmeticError, TypeError, AttributeError, RuntimeError, OSError, struct.error)
"""What tifffile raises for odd files."""

KEPT_BYTES = 2**25
"""Of decoded tiles or strips of a mask that are remembered."""

MAX_SEGMENT_PIXELS = 2**28
"""Of a tile or strip, which is decoded whole."""


class Mask:
    """One mask. forgiving: a damaged part of it is ground, rather than an error. Raises VipsError."""

    def __init__(self, directory: Directory, forgiving: bool) -> None:
        from tifffile import TiffFile

        getLogger("tifffile").addHandler(NullHandler())  # its complaints are ours to make
        self._forgiving = forgiving
        self._lock = Lock()
        self._kept: OrderedDict[int, NDArray[np.bool_]] = OrderedDict()
        try:
            self._file = TiffFile(directory.path)
            self._page: Any = self._file.pages[directory.page]
            width, height = self._segment_wh
        except ODD as error:
            raise VipsError(f"its mask cannot be read: {error}") from error
        if not 0 < width * height <= MAX_SEGMENT_PIXELS:
            raise VipsError(f"its mask has pieces of {width} x {height} pixels")

    @property
    def _segment_wh(self) -> Size:
        page = self._page
        return (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)

    def pixels(self, left: int, top: int, size_wh: Size) -> NDArray[np.bool_]:
        """Which pixels of a rectangle are ground, (rows, cols). Raises VipsError."""
        (width, height), (segment_w, segment_h) = size_wh, self._segment_wh
        across = -(-self._page.imagewidth // segment_w)
        ground = np.empty((height, width), np.bool_)
        for row in range(top // segment_h, -(-(top + height) // segment_h)):
            for col in range(left // segment_w, -(-(left + width) // segment_w)):
                x, y = col * segment_w - left, row * segment_h - top
                x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + segment_w, width), min(y + segment_h, height)
                segment = self._segment(row * across + col)
                ground[y0:y1, x0:x1] = segment[y0 - y : y1 - y, x0 - x : x1 - x] if segment.ndim else segment
        return ground

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _segment(self, number: int) -> NDArray[np.bool_]:
        """A tile or strip, (rows, cols), or one value for one that the file leaves out, which is no ground."""
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
            try:
                self._file.filehandle.seek(self._page.dataoffsets[number])
                data = self._file.filehandle.read(self._page.databytecounts[number])
                decoded = self._page.decode(data, number)[0][0, :, :, 0] != 0 if data else np.array(False)
            except ODD as error:
                if not self._forgiving:
                    raise VipsError(f"its mask is damaged: {error}") from error
                decoded = np.array(True)
            self._kept[number] = decoded
            while len(self._kept) > 1 and sum(one.nbytes for one in self._kept.values()) > KEPT_BYTES:
                self._kept.popitem(last=False)
            return decoded


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
