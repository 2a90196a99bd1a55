"""Which pixels of an image are ground: by masks, and by what the looks show of the image as a whole.

A mask is a page of a TIFF file (NewSubfileType 4) or a TIFF beside it (.msk). libvips reads none, so tifffile does.
Most have one bit a pixel and are small beside their images.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gigacount.geometry import Size, Window, whole
from gigacount.text import brief

from . import tags
from .codecs import MAX_SEGMENT_BYTES, ODD, Segments, decoded_bytes, open_file, page_of
from .levels import MemoryLevel, PyramidLevel
from .resample import resample
from .sidecar import find
from .tags import Directory
from .vips import VipsError

if TYPE_CHECKING:
    from .imagefile import ImageFile

KEPT_BYTES = 2**25  # of decoded segments of a mask that are remembered
BLACK, WHITE = 24, 231  # below and above these 8-bit values of all bands, a pixel is all but black, or white
NEARLY_ALL = 0.995  # share of the ground from which on it is odd that it is black, or white
EVERY = 4  # of so many pixels along each axis one is counted
REMEMBERED = 8  # last looks whose ground is kept, so that it is not read again

Ground = NDArray[np.uint8]  # how much of each pixel is ground, 0..255, (H, W)


def masks_beside(path: Path, size_wh: Size) -> tuple[tuple[Directory, ...], str | None]:
    """The masks of an image of this size, and of its smaller copies, in GDAL's file beside it; why there are none."""
    file = find(path, "mask")
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
        if not 0 < decoded_bytes(directory) <= MAX_SEGMENT_BYTES:
            raise VipsError(f"its mask has pieces of {directory.segment_wh[0]} x {directory.segment_wh[1]} pixels")
        try:
            page = page_of(open_file(directory), directory)
            self._segments = Segments(page, directory, Lock(), forgiving, KEPT_BYTES)
        except ODD as error:
            raise VipsError(f"its mask cannot be read: {brief(error)}") from error

    def pixels(self, left: int, top: int, size_wh: Size) -> NDArray[np.bool_]:
        """Which pixels of a rectangle are ground, (rows, cols). Raises VipsError."""
        try:
            numbers, damage = self._segments.rectangle(left, top, size_wh)
        except VipsError as error:
            raise VipsError(f"its mask is damaged: {error.reason}") from error
        ground: NDArray[np.bool_] = (numbers != 0).any(axis=2)
        for place, _ in damage:
            ground[place] = True
        return ground

    def rows(self, read: Callable[[int, int], NDArray[np.uint8]], width: int) -> Callable[[int, int], Any]:
        """Reads what `read` does, stored rows of the image from the first on, with their ground."""
        return lambda top, count: masked(read(top, count), self.pixels(0, top, (width, count)))

    def close(self) -> None:
        """Close the file."""
        self._segments.close()


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


def masked_level(level: PyramidLevel, mask: Directory | None, image: ImageFile) -> PyramidLevel:
    """A level with its mask, if it has one. Raises VipsError."""
    return level if mask is None else MaskedLevel(level, Mask(mask, image.options.allow_damaged))


class MaskedLevel(PyramidLevel):
    """A level of which a mask says where its ground is."""

    def __init__(self, level: PyramidLevel, mask: Mask) -> None:
        super().__init__(level.size_wh, level.factor_xy, level.bands + level.bands % 2)
        self._level, self._mask = level, mask

    def pixels(self, left: int, top: int, size_wh: Size) -> NDArray[np.uint8]:
        return masked(self._level.pixels(left, top, size_wh), self._mask.pixels(left, top, size_wh))

    def chunk_wh(self, width: int) -> Size:
        return self._level.chunk_wh(width)

    def missing(self, window: Window) -> float:
        return self._level.missing(window)

    def close(self) -> None:
        self._level.close()
        self._mask.close()


class GroundTally:
    """Adds up what the looks show of the whole image: how much is ground, black and white. From several threads.

    Of looks at more and less of the image, the widest decide: zooms dwell where people are.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._widest = self._pixels = self._ground = self._black = self._white = 0.0
        self._grounds: OrderedDict[tuple[Window, Size], Ground] = OrderedDict()

    def add(self, window: Window, pixels: NDArray[np.uint8], ground: Ground | None) -> None:
        """Add a look: upright pixels (H, W, 3), and their ground; None where all is."""
        some = pixels[::EVERY, ::EVERY]
        share = np.ones(some.shape[:2]) if ground is None else ground[::EVERY, ::EVERY] / 255
        black, white = share[some.max(axis=2) < BLACK].sum(), share[some.min(axis=2) > WHITE].sum()
        with self._lock:
            if ground is not None:
                height, width = ground.shape
                self._grounds[window, (width, height)] = ground
                if len(self._grounds) > REMEMBERED:
                    self._grounds.popitem(last=False)
            if window.pixels > self._widest:
                self._widest = window.pixels
                self._pixels = self._ground = self._black = self._white = 0.0
            if window.pixels == self._widest:
                self._pixels += share.size
                self._ground += float(share.sum())
                self._black += float(black)
                self._white += float(white)

    def ground(self, window: Window, size_wh: Size) -> Ground | None:
        """The ground of one of the last windows, (H, W); None for another window."""
        with self._lock:
            known = self._grounds.get((window, size_wh))
            if known is None:
                known = next((one for (seen, _), one in reversed(self._grounds.items()) if seen == window), None)
        if known is None or known.shape[::-1] == size_wh:
            return known
        rows, cols = known.shape
        return resample(MemoryLevel(known[:, :, None], 1), whole((cols, rows)), size_wh)[:, :, 0]

    @property
    def share(self) -> float | None:
        """The share of the image that is ground, 0..1, as far as looks have shown it; None before the first look."""
        return self._ground / self._pixels if self._pixels else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What speaks against a count of such an image, a line each."""
        share = self.share
        if share is None:
            return ()
        if self._ground == 0:
            return ("the whole image is transparent, masked or nodata, so nobody is counted; see --nodata",)
        notes = []
        if share < 0.9995:
            notes.append(f"{1 - share:.1%} of the image is transparent, masked or nodata: nobody is counted there")
        for what, amount in (("black", self._black), ("white", self._white)):
            if amount >= NEARLY_ALL * self._ground:
                notes.append(f"the image is nearly all {what}; if its values are misread, set them with --range")
        return tuple(notes)
