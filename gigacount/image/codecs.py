"""TIFF pictures that libvips does not read, or reads wrongly, decoded piece by piece with tifffile.

Bands one after the other, very large tiles, compressions that this libvips lacks (Zstandard, LZMA, LERC, ...), strips
that are left out, headers that libtiff refuses. Some compressions need imagecodecs, which is optional: without it such
files are refused by name.
"""

from __future__ import annotations

import math
import struct
from contextlib import ExitStack
from importlib.util import find_spec
from logging import NullHandler, getLogger
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import ImageError

from . import pages, tags
from .colour import store
from .levels import CHUNK_BYTES, CHUNK_PIXELS, DAMAGED, LEFT_OUT, Level, standing_in
from .pages import CMYK, GREY, GREY_INVERTED, PALETTE, RGB, YCBCR, TiffCopy, TiffPlan
from .tags import Directory
from .vips import VipsError, VipsImage, field, from_pixels, stand_in, to_array

if TYPE_CHECKING:
    from .picture import Picture

ODD = (ValueError, LookupError, ArithmeticError, TypeError, AttributeError, RuntimeError, OSError, struct.error)
"""What tifffile and imagecodecs raise for odd files."""

MAX_BANDS = 1024
"""Bands of a picture; cameras of hundreds of wavelengths have less."""

MAX_SEGMENT_BYTES = 2**28
"""Bytes of a decoded tile or strip, which is decoded whole."""


def header_of(plan: TiffPlan, shown: str) -> VipsImage:
    """What libvips would say of the picture's header. Raises ImageError for what cannot be decoded here."""
    main = plan.main
    try:
        with _open(main) as file:
            page = _page(file, main)
            reason = _refusal(page, main)
            dtype = page.dtype
            if reason is None and dtype is not None:
                bands = 3 if main.photometric == PALETTE else main.samples
                dtype = np.dtype(np.uint8) if main.photometric == PALETTE else dtype
                return stand_in(main.size_wh, bands, dtype, _interpretation(main, dtype), _fields(main))
    except (VipsError, *ODD) as error:
        raise ImageError(f"{shown}: damaged, or a TIFF file of an odd kind ({_brief(error)}); get it anew") from error
    what = reason or plan.by_tifffile or "samples of this kind"
    more = "" if find_spec("imagecodecs") else "install more codecs (pip install 'gigacount[codecs]') or "
    raise ImageError(f"{shown}: TIFF with {what} is not supported here; {more}save it with deflate or JPEG compression")


def codec_levels(picture: Picture) -> list[Level]:
    """The copies in a TIFF file, the full one first. Raises VipsError."""
    lock, plan = Lock(), picture.plan
    assert plan is not None
    with ExitStack() as on_failure:
        try:
            file = on_failure.enter_context(_open(plan.main))
            levels: list[Level] = [CodecLevel(_page(file, copy.directory), copy, picture, lock) for copy in plan.copies]
        except ODD as error:
            raise VipsError(_brief(error)) from error
        on_failure.pop_all()
    return levels


def _open(directory: Directory) -> Any:
    from tifffile import TiffFile

    getLogger("tifffile").addHandler(NullHandler())  # its complaints are ours to make
    getLogger("tifffile").propagate = False
    return TiffFile(directory.path)


def _page(file: Any, directory: Directory) -> Any:
    page = file.pages[directory.page]
    return page if directory.inner is None else page.pages[directory.inner]


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _refusal(page: Any, main: Directory) -> str | None:
    """What keeps this page from being decoded, in words."""
    from tifffile import TIFF

    compression = pages.COMPRESSIONS.get(main.compression, f"number {main.compression}")
    try:
        TIFF.DECOMPRESSORS[main.compression]
        TIFF.UNPREDICTORS[main.number(tags.PREDICTOR, 1)]
    except KeyError:
        return f"{compression} compression"
    plain = (GREY_INVERTED, GREY, RGB, PALETTE, CMYK)
    if main.photometric not in plain and not (main.photometric == YCBCR and main.compression == 7):
        return f"colours of the kind {main.photometric}"
    width, height = main.segment_wh
    if width * height * main.samples * max(main.bits // 8, 1) > MAX_SEGMENT_BYTES:
        return f"pieces of {width} x {height} pixels, too large to decode,"
    if main.samples > MAX_BANDS:
        return f"{main.samples} bands"
    if (page.imagewidth, page.imagelength, page.samplesperpixel) != (*main.size_wh, main.samples):
        return "contradicting tags"
    return None


def _interpretation(main: Directory, dtype: Any) -> str:
    """Of the bands, as libvips' TIFF loader has it."""
    if main.photometric == CMYK:
        return "cmyk"
    coloured = main.photometric in (RGB, YCBCR, PALETTE)
    if dtype.kind == "f":
        return "scrgb" if coloured else "b-w"
    if dtype.itemsize == 1:
        return "srgb" if coloured else "b-w"
    return "rgb16" if coloured else "grey16"


def _fields(main: Directory) -> dict[str, int | bytes]:
    fields: dict[str, int | bytes] = {"bits-per-sample": main.bits, "orientation": main.number(tags.ORIENTATION, 1)}
    if main.tiled:
        fields |= {"tile-width": main.segment_wh[0], "tile-height": main.segment_wh[1]}
    profile = main.numbers(tags.ICC_PROFILE).tobytes()
    return fields | ({"icc-profile-data": profile} if profile else {})


class CodecLevel(Level):
    """A page of a TIFF file, decoded by tifffile. Pieces that are left out are black, damaged ones grey if forgiven."""

    def __init__(self, page: Any, copy: TiffCopy, picture: Picture, lock: Lock) -> None:
        by_mask = picture.mask is not None and not picture.samples.has_nodata
        super().__init__(copy.directory.size_wh, copy.factor_xy, picture.bands - by_mask)
        self._page = page
        self._directory = copy.directory
        self._file = page.parent
        self._lock = lock  # of the file, whose position all levels share
        self._forgiving = picture.options.allow_damaged
        self._samples = picture.samples
        header = picture.load()
        self._interpretation = header.interpretation
        self._profile = field(header, "icc-profile-data")

    def pixels(self, left: int, top: int, size_wh: tuple[int, int]) -> NDArray[np.uint8]:
        numbers, damaged = self._numbers(left, top, size_wh)
        stored = to_array(store(from_pixels(numbers, self._interpretation, self._profile), self._samples))
        if damaged:
            stored = stored.copy()
            for place in damaged:
                stored[place] = standing_in(DAMAGED, stored.shape[2])
        return stored

    @property
    def segment_wh(self) -> tuple[int, int]:
        """Pixels of a tile or strip, which is decoded whole."""
        return self._directory.segment_wh

    def numbers(self, left: int, top: int, size_wh: tuple[int, int]) -> NDArray[Any]:
        """A rectangle of the file's own numbers, (rows, cols, bands). Raises VipsError."""
        return self._numbers(left, top, size_wh)[0]

    def _numbers(self, left: int, top: int, size_wh: tuple[int, int]) -> tuple[NDArray[Any], list[tuple[slice, slice]]]:
        """The file's own numbers, and where damage leaves none."""
        width, height = size_wh
        one = self._directory
        segment_w, segment_h = one.segment_wh
        across, down = (-(-side // part) for side, part in zip(self.size_wh, one.segment_wh, strict=True))
        numbers = np.empty((height, width, one.samples), self._page.dtype)
        damaged = []
        for row in range(top // segment_h, -(-(top + height) // segment_h)):
            for col in range(left // segment_w, -(-(left + width) // segment_w)):
                x, y = col * segment_w - left, row * segment_h - top
                x0, y0 = max(x, 0), max(y, 0)
                x1, y1 = min(x + segment_w, width), min(y + segment_h, height)
                for plane in range(one.samples if one.separate else 1):
                    segment = self._segment((plane * down + row) * across + col)
                    bands = slice(plane, plane + 1) if one.separate else slice(None)
                    if segment is None:
                        damaged.append((slice(y0, y1), slice(x0, x1)))
                        self.miss((col * segment_w, row * segment_h), one.segment_wh)
                    elif segment.ndim:
                        numbers[y0:y1, x0:x1, bands] = segment[y0 - y : y1 - y, x0 - x : x1 - x]
                    else:
                        numbers[y0:y1, x0:x1, bands] = segment
        return self._as_libvips(numbers), damaged

    def chunk_wh(self, width: int) -> tuple[int, int]:
        if self._directory.tiled:
            pixel_bytes = self._directory.samples * self._page.dtype.itemsize
            side = CHUNK_PIXELS // max(1, math.isqrt(pixel_bytes // 4))
            return side, side
        row_bytes = self.size_wh[0] * self._directory.samples * self._page.dtype.itemsize
        return self.size_wh[0], max(CHUNK_BYTES // row_bytes, self._directory.segment_wh[1])

    def close(self) -> None:
        self._file.close()

    def _segment(self, number: int) -> NDArray[np.generic] | None:
        """Decoded pixels (rows, cols, bands), one number where the piece is left out; None where it is damaged."""
        try:
            with self._lock:
                self._file.filehandle.seek(self._page.dataoffsets[number])
                data = self._file.filehandle.read(self._page.databytecounts[number])
            if not self._page.databytecounts[number]:
                return np.array(LEFT_OUT, self._page.dtype)
            if len(data) < self._page.databytecounts[number]:
                raise ValueError("the file ends before it")
            tables = {"jpegtables": self._page.jpegtables} if self._page.jpegtables else {}
            decoded: NDArray[np.generic] = self._page.decode(data, number, **tables)[0][0]
            if decoded.ndim != 3 or decoded.shape[2] != (1 if self._directory.separate else self._directory.samples):
                raise ValueError(f"its pixels are {decoded.shape}")
        except ODD as error:
            if self._forgiving:
                return None
            raise VipsError(f"piece {number}: {_brief(error)}") from error
        return decoded

    def _as_libvips(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Grey rises with light, palettes are looked up, as in libvips."""
        if self._directory.photometric == GREY_INVERTED and numbers.dtype.kind == "u":
            return np.asarray((2**self._directory.bits - 1) - numbers, numbers.dtype)
        if self._directory.photometric == PALETTE:
            table = np.asarray(self._page.colormap).T  # (colours, 3), 16 bits
            return np.asarray(table[numbers[:, :, 0] % len(table)] >> 8, np.uint8)
        return numbers
