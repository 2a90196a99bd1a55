"""TIFF images that libvips does not read, or reads wrongly, decoded segment by segment (tile or strip) with tifffile.

Bands one after the other, very large tiles, compressions that this libvips lacks (Zstandard, LZMA, LERC, ...), strips
that are left out, headers that libtiff refuses. Some compressions need imagecodecs, which is optional: without it such
files are refused by name.
"""

from __future__ import annotations

import math
import struct
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from logging import NullHandler, getLogger
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import ImageError
from gigacount.geometry import Size
from gigacount.text import brief

from . import pages, tags
from .colour import store
from .levels import CHUNK_BYTES, CHUNK_PIXELS, DAMAGED, LEFT_OUT, PyramidLevel, filler
from .pages import CMYK, GREY, GREY_INVERTED, PALETTE, RGB, YCBCR, Copy, TiffPlan
from .tags import Directory
from .vips import VipsError, VipsImage, field, from_array, header_only, to_array

if TYPE_CHECKING:
    from .imagefile import ImageFile

ODD = (ValueError, LookupError, ArithmeticError, TypeError, AttributeError, RuntimeError, OSError, struct.error)
"""What tifffile and imagecodecs raise for odd files."""

MAX_BANDS = 1024  # cameras of hundreds of wavelengths have less
MAX_SEGMENT_BYTES = 2**28  # of a decoded tile or strip, which is decoded whole

Damage = list[tuple[tuple[slice, slice], tuple[int, int]]]
"""Damaged parts of a rectangle: where in it, and where the segment begins in the image."""


def open_file(directory: Directory) -> Any:
    """The file of a directory by tifffile. Raises what ODD lists."""
    from tifffile import TiffFile

    getLogger("tifffile").addHandler(NullHandler())  # its complaints are ours to make
    getLogger("tifffile").propagate = False
    return TiffFile(directory.path)


def page_of(file: Any, directory: Directory) -> Any:
    """A directory as tifffile has it. Raises what ODD lists."""
    page = file.pages[directory.page]
    return page if directory.inner is None else page.pages[directory.inner]


def decoded_bytes(directory: Directory) -> int:
    """Bytes of a decoded segment."""
    width, height = directory.segment_wh
    return width * height * directory.samples * max(directory.bits // 8, 1)


class Segments:
    """The tiles or strips of one image of an opened file. lock: of the file, whose position all its images share.

    forgiving: report damaged segments by place instead of raising VipsError. kept_bytes: of decoded segments that are
    remembered.
    """

    def __init__(self, page: Any, directory: Directory, lock: Lock, forgiving: bool, kept_bytes: int = 0) -> None:
        self.directory = directory
        self.dtype: np.dtype[Any] = page.dtype
        self._page, self._lock, self._forgiving = page, lock, forgiving
        self._kept_bytes = kept_bytes
        self._kept: OrderedDict[int, NDArray[np.generic]] = OrderedDict()

    def rectangle(self, left: int, top: int, size_wh: Size) -> tuple[NDArray[Any], Damage]:
        """The file's own numbers, (rows, cols, bands), and where damage leaves none. Raises VipsError."""
        width, height = size_wh
        one = self.directory
        segment_w, segment_h = one.segment_wh
        across, down = (-(-side // part) for side, part in zip(one.size_wh, one.segment_wh, strict=True))
        numbers = np.empty((height, width, one.samples), self.dtype)
        damage: Damage = []
        for row in range(top // segment_h, -(-(top + height) // segment_h)):
            for col in range(left // segment_w, -(-(left + width) // segment_w)):
                x, y = col * segment_w - left, row * segment_h - top
                x0, y0 = max(x, 0), max(y, 0)
                x1, y1 = min(x + segment_w, width), min(y + segment_h, height)
                for plane in range(one.samples if one.separate else 1):
                    segment = self._segment((plane * down + row) * across + col)
                    bands = slice(plane, plane + 1) if one.separate else slice(None)
                    if segment is None:
                        damage.append(((slice(y0, y1), slice(x0, x1)), (col * segment_w, row * segment_h)))
                    else:
                        part = segment[y0 - y : y1 - y, x0 - x : x1 - x] if segment.ndim else segment
                        numbers[y0:y1, x0:x1, bands] = part
        return numbers, damage

    def close(self) -> None:
        """Close the file."""
        self._page.parent.close()

    def _segment(self, number: int) -> NDArray[np.generic] | None:
        """Decoded pixels (rows, cols, bands); one number where the segment is left out; None where it is damaged."""
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
        decoded = self._decoded(number)
        if decoded is not None and self._kept_bytes:
            with self._lock:
                self._kept[number] = decoded
                while len(self._kept) > 1 and sum(one.nbytes for one in self._kept.values()) > self._kept_bytes:
                    self._kept.popitem(last=False)
        return decoded

    def _decoded(self, number: int) -> NDArray[np.generic] | None:
        page, one = self._page, self.directory
        try:
            file, offset, size = page.parent.filehandle, page.dataoffsets[number], page.databytecounts[number]
            if not size:
                return np.array(LEFT_OUT, self.dtype)
            if offset + size > file.size:  # asked before reading, which takes the memory first
                raise ValueError("the file ends before it")
            with self._lock:
                file.seek(offset)
                data = file.read(size)
            tables = {"jpegtables": page.jpegtables} if page.jpegtables else {}
            decoded: NDArray[np.generic] = page.decode(data, number, **tables)[0][0]
            if decoded.ndim != 3 or decoded.shape[2] != (1 if one.separate else one.samples):
                raise ValueError(f"its pixels are {decoded.shape}")
        except ODD as error:
            if self._forgiving:
                return None
            raise VipsError(f"piece {number}: {brief(error)}") from error
        return decoded


def header_of(plan: TiffPlan, shown: str) -> VipsImage:
    """What libvips would say of the image's header. Raises ImageError for what cannot be decoded here."""
    main = plan.main
    try:
        with open_file(main) as file:
            page = page_of(file, main)
            reason = _refusal(page, main)
            dtype = page.dtype
            if reason is None and dtype is not None:
                bands = 3 if main.photometric == PALETTE else main.samples
                dtype = np.dtype(np.uint8) if main.photometric == PALETTE else dtype
                return header_only(main.size_wh, bands, dtype, _interpretation(main, dtype), _fields(main))
    except (VipsError, *ODD) as error:
        reason = f"damaged, or an unusual TIFF file ({brief(error)})"
        raise ImageError(f"{shown}: {reason}; copy or download it again") from error
    what = reason or plan.by_tifffile or "samples of this kind"
    more = "" if find_spec("imagecodecs") else "install more codecs (pip install 'gigacount[codecs]') or "
    raise ImageError(f"{shown}: TIFF with {what} is not supported here; {more}save it with deflate or JPEG compression")


def _refusal(page: Any, main: Directory) -> str | None:
    """What keeps this page from being decoded, in words."""
    from tifffile import TIFF

    try:
        TIFF.DECOMPRESSORS[main.compression]
        TIFF.UNPREDICTORS[main.number(tags.PREDICTOR, 1)]
    except KeyError:
        return f"{pages.compression_name(main)} compression"
    plain = (GREY_INVERTED, GREY, RGB, PALETTE, CMYK)
    if main.photometric not in plain and not (main.photometric == YCBCR and main.compression == 7):
        return f"colours of the kind {main.photometric}"
    if decoded_bytes(main) > MAX_SEGMENT_BYTES:
        return f"pieces of {main.segment_wh[0]} x {main.segment_wh[1]} pixels, too large to decode,"
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


class CodecLevel(PyramidLevel):
    """A page of a TIFF file, decoded by tifffile. Segments that are left out are black, damaged ones grey or errors."""

    def __init__(self, file: Any, copy: Copy, image: ImageFile, lock: Lock) -> None:
        assert copy.directory is not None
        super().__init__(copy.size_wh, copy.factor_xy, image.own_bands)
        page = page_of(file, copy.directory)
        self._segments = Segments(page, copy.directory, lock, image.options.allow_damaged)
        self._colormap = page.colormap
        self._samples = image.samples
        header = image.load()
        self._interpretation = header.interpretation
        self._profile = field(header, "icc-profile-data")

    def pixels(self, left: int, top: int, size_wh: Size) -> NDArray[np.uint8]:
        numbers, damage = self._segments.rectangle(left, top, size_wh)
        image = from_array(self._as_libvips(numbers), self._interpretation, self._profile)
        stored = to_array(store(image, self._samples))
        if damage:
            stored = stored.copy()
            for place, first_xy in damage:
                stored[place] = filler(DAMAGED, stored.shape[2])
                self.miss(first_xy, self.segment_wh)
        return stored

    @property
    def segment_wh(self) -> Size:
        """Pixels of a tile or strip, which is decoded whole."""
        return self._segments.directory.segment_wh

    def numbers(self, left: int, top: int, size_wh: Size) -> NDArray[Any]:
        """A rectangle of the file's own numbers, (rows, cols, bands). Raises VipsError."""
        return self._as_libvips(self._segments.rectangle(left, top, size_wh)[0])

    def chunk_wh(self, width: int) -> Size:
        one = self._segments.directory
        pixel_bytes = one.samples * self._segments.dtype.itemsize
        if one.tiled:
            side = CHUNK_PIXELS // max(1, math.isqrt(pixel_bytes // 4))
            return side, side
        return self.size_wh[0], max(CHUNK_BYTES // (self.size_wh[0] * pixel_bytes), one.segment_wh[1])

    def close(self) -> None:
        self._segments.close()

    def _as_libvips(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Grey rises with light, palettes are looked up, as in libvips."""
        one = self._segments.directory
        if one.photometric == GREY_INVERTED and numbers.dtype.kind == "u":
            return np.asarray((2**one.bits - 1) - numbers, numbers.dtype)
        if one.photometric == PALETTE:
            table = np.asarray(self._colormap).T  # (colours, 3), 16 bits
            return np.asarray(table[numbers[:, :, 0] % len(table)] >> 8, np.uint8)
        return numbers


def codec_levels(image: ImageFile, copies: Sequence[Copy]) -> list[CodecLevel]:
    """Copies in a TIFF file as levels. Raises VipsError."""
    lock, first = Lock(), copies[0].directory
    assert first is not None
    with ExitStack() as on_failure:
        try:
            file = on_failure.enter_context(open_file(first))
            levels = [CodecLevel(file, copy, image, lock) for copy in copies]
        except ODD as error:
            raise VipsError(brief(error)) from error
        on_failure.pop_all()
    return levels
