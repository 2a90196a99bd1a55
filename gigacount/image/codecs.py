"""TIFF files whose compression this build of libvips lacks (Zstandard, LZMA, LERC, ...), read with tifffile.

libvips reads the header and decides everything; only the compressed bytes go another way. tifffile and imagecodecs are
optional: without them such files are refused.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import ExitStack
from logging import NullHandler, getLogger
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigacount.geometry import Size

from .colour import store
from .levels import CHUNK_BYTES, CHUNK_PIXELS, DAMAGED, LEFT_OUT, Level
from .picture import Copy, Picture
from .vips import VipsError, field, from_pixels, to_array

ODD = (ValueError, LookupError, ArithmeticError, TypeError, AttributeError, RuntimeError, OSError, struct.error)
"""What tifffile and imagecodecs raise for odd files."""

MAX_SEGMENT_PIXELS = 2**26
"""Pixels of a tile or strip, which is decoded whole."""


def codec_levels(picture: Picture) -> Sequence[Level] | None:
    """The copies in a TIFF file, the full one first; None when tifffile and imagecodecs are missing, or no help."""
    if picture.info.format != "TIFF":
        return None
    try:
        import imagecodecs  # noqa: F401  tifffile needs it for these codecs
        from tifffile import TiffFile, TiffFileError
    except ImportError:
        return None
    getLogger("tifffile").addHandler(NullHandler())  # its complaints are ours to make
    copies = picture.copies or (Copy((), picture.size_wh, (1, 1)),)
    lock = Lock()
    with ExitStack() as on_failure:
        try:
            file = on_failure.enter_context(TiffFile(picture.path))
            pages = [_page(file, dict(copy.options)) for copy in copies]
            if not all(_is_plain(page, copy.size_wh) for page, copy in zip(pages, copies, strict=True)):
                return None
        except (TiffFileError, *ODD):
            return None
        on_failure.pop_all()
    return [CodecLevel(page, copy, picture, lock) for page, copy in zip(pages, copies, strict=True)]


def _page(file: Any, options: dict[str, int]) -> Any:
    page = file.pages[options.get("page", 0)]
    return page.pages[options["subifd"]] if "subifd" in options else page


def _is_plain(page: Any, size_wh: Size) -> bool:
    """Grey or RGB of the size that libvips sees, all bands of a pixel together, in segments that fit into memory."""
    width, height = _segment_wh(page)
    alike = (page.imagewidth, page.imagelength) == size_wh
    together = page.planarconfig == 1 or page.samplesperpixel == 1
    return alike and together and page.photometric in (1, 2) and 0 < width * height <= MAX_SEGMENT_PIXELS


def _segment_wh(page: Any) -> Size:
    """Width and height of the pieces in which a page is compressed: tiles or strips."""
    if page.is_tiled:
        return page.tilewidth, page.tilelength
    return page.imagewidth, min(page.rowsperstrip, page.imagelength)


class CodecLevel(Level):
    """A page of a TIFF file, decoded by imagecodecs."""

    def __init__(self, page: Any, copy: Copy, picture: Picture, lock: Lock) -> None:
        super().__init__(copy.size_wh, copy.factor_xy, picture.bands)
        self._page = page
        self._file = page.parent
        self._lock = lock  # of the file, whose position all levels share
        self._forgiving = picture.options.allow_damaged
        header = picture.load()
        self._interpretation = header.interpretation
        self._profile = field(header, "icc-profile-data")

    def pixels(self, left: int, top: int, size_wh: Size) -> NDArray[np.uint8]:
        width, height = size_wh
        segment_w, segment_h = _segment_wh(self._page)
        across = -(-self.size_wh[0] // segment_w)
        numbers = np.empty((height, width, self._page.samplesperpixel), self._page.dtype)
        for row in range(top // segment_h, -(-(top + height) // segment_h)):
            for col in range(left // segment_w, -(-(left + width) // segment_w)):
                segment = self._segment(row * across + col)
                x, y = col * segment_w - left, row * segment_h - top
                x0, y0 = max(x, 0), max(y, 0)
                x1, y1 = min(x + segment_w, width), min(y + segment_h, height)
                part = segment[y0 - y : y1 - y, x0 - x : x1 - x] if segment.ndim else segment
                numbers[y0:y1, x0:x1] = part
        return to_array(store(from_pixels(numbers, self._interpretation, self._profile)))

    def chunk_wh(self, width: int) -> Size:
        if self._page.is_tiled:
            return CHUNK_PIXELS, CHUNK_PIXELS
        return self.size_wh[0], max(CHUNK_BYTES // (self.size_wh[0] * self.bands), _segment_wh(self._page)[1])

    def close(self) -> None:
        self._file.close()

    def _segment(self, number: int) -> NDArray[np.generic]:
        """Decoded pixels (rows, cols, bands), or one number in place of a segment that is left out or damaged."""
        try:
            with self._lock:
                self._file.filehandle.seek(self._page.dataoffsets[number])
                data = self._file.filehandle.read(self._page.databytecounts[number])
            if not data:
                return np.array(LEFT_OUT, self._page.dtype)
            decoded: NDArray[np.generic] = self._page.decode(data, number)[0][0]
        except ODD as error:
            if self._forgiving:
                return np.array(DAMAGED, self._page.dtype)
            raise VipsError(f"segment {number}: {error}") from error
        return decoded
