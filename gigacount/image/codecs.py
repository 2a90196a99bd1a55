"""TIFF pictures that libvips does not read, or reads wrongly, decoded piece by piece with tifffile.

Bands one after the other, very large tiles, compressions that this libvips lacks (Zstandard, LZMA, LERC, ...), strips
that are left out, headers that libtiff refuses. Some compressions need imagecodecs, which is optional: without it such
files are refused by name.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import ImageError

from . import pages, tags
from .colour import store
from .levels import CHUNK_BYTES, CHUNK_PIXELS, DAMAGED, Level, standing_in
from .pages import CMYK, GREY, GREY_INVERTED, PALETTE, RGB, YCBCR, TiffPlan
from .pieces import MAX_SEGMENT_BYTES, ODD, Pieces, brief, open_file, page_of
from .tags import Directory
from .vips import VipsError, VipsImage, field, from_pixels, stand_in, to_array

if TYPE_CHECKING:
    from .picture import Picture

MAX_BANDS = 1024
"""Bands of a picture; cameras of hundreds of wavelengths have less."""


def header_of(plan: TiffPlan, shown: str) -> VipsImage:
    """What libvips would say of the picture's header. Raises ImageError for what cannot be decoded here."""
    main = plan.main
    try:
        with open_file(main) as file:
            page = page_of(file, main)
            reason = _refusal(page, main)
            dtype = page.dtype
            if reason is None and dtype is not None:
                bands = 3 if main.photometric == PALETTE else main.samples
                dtype = np.dtype(np.uint8) if main.photometric == PALETTE else dtype
                return stand_in(main.size_wh, bands, dtype, _interpretation(main, dtype), _fields(main))
    except (VipsError, *ODD) as error:
        raise ImageError(f"{shown}: damaged, or a TIFF file of an odd kind ({brief(error)}); get it anew") from error
    what = reason or plan.by_tifffile or "samples of this kind"
    more = "" if find_spec("imagecodecs") else "install more codecs (pip install 'gigacount[codecs]') or "
    raise ImageError(f"{shown}: TIFF with {what} is not supported here; {more}save it with deflate or JPEG compression")


def codec_levels(picture: Picture) -> list[Level]:
    """The copies in a TIFF file, the full one first. Raises VipsError."""
    lock, plan = Lock(), picture.plan
    assert plan is not None
    with ExitStack() as on_failure:
        try:
            file = on_failure.enter_context(open_file(plan.main))
            levels: list[Level] = []
            for copy in picture.copies or plan.copies:
                assert copy.directory is not None
                page = page_of(file, copy.directory)
                levels.append(CodecLevel(page, copy.directory, copy.factor_xy, picture, lock))
        except ODD as error:
            raise VipsError(brief(error)) from error
        on_failure.pop_all()
    return levels


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

    def __init__(
        self, page: Any, directory: Directory, factor_xy: tuple[float, float], picture: Picture, lock: Lock
    ) -> None:
        super().__init__(directory.size_wh, factor_xy, picture.own_bands)
        self._pieces = Pieces(page, directory, lock, picture.options.allow_damaged)
        self._colormap = page.colormap
        self._samples = picture.samples
        header = picture.load()
        self._interpretation = header.interpretation
        self._profile = field(header, "icc-profile-data")

    def pixels(self, left: int, top: int, size_wh: tuple[int, int]) -> NDArray[np.uint8]:
        numbers, damage = self._pieces.rectangle(left, top, size_wh)
        numbers = self._as_libvips(numbers)
        stored = to_array(store(from_pixels(numbers, self._interpretation, self._profile), self._samples))
        if damage:
            stored = stored.copy()
            for place, first_xy in damage:
                stored[place] = standing_in(DAMAGED, stored.shape[2])
                self.miss(first_xy, self.segment_wh)
        return stored

    @property
    def segment_wh(self) -> tuple[int, int]:
        """Pixels of a tile or strip, which is decoded whole."""
        return self._pieces.directory.segment_wh

    def numbers(self, left: int, top: int, size_wh: tuple[int, int]) -> NDArray[Any]:
        """A rectangle of the file's own numbers, (rows, cols, bands). Raises VipsError."""
        return self._as_libvips(self._pieces.rectangle(left, top, size_wh)[0])

    def chunk_wh(self, width: int) -> tuple[int, int]:
        one = self._pieces.directory
        pixel_bytes = one.samples * self._pieces.dtype.itemsize
        if one.tiled:
            side = CHUNK_PIXELS // max(1, math.isqrt(pixel_bytes // 4))
            return side, side
        return self.size_wh[0], max(CHUNK_BYTES // (self.size_wh[0] * pixel_bytes), one.segment_wh[1])

    def close(self) -> None:
        self._pieces.close()

    def _as_libvips(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Grey rises with light, palettes are looked up, as in libvips."""
        one = self._pieces.directory
        if one.photometric == GREY_INVERTED and numbers.dtype.kind == "u":
            return np.asarray((2**one.bits - 1) - numbers, numbers.dtype)
        if one.photometric == PALETTE:
            table = np.asarray(self._colormap).T  # (colours, 3), 16 bits
            return np.asarray(table[numbers[:, :, 0] % len(table)] >> 8, np.uint8)
        return numbers
