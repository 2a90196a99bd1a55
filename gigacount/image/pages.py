"""Which image of a TIFF file is counted, what smaller copies of it there are, and who decodes them.

Decided by tags, before anything is decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import ImageError
from gigacount.geometry import Size
from gigacount.text import plural

from . import tags
from .tags import Directory

VIPS_COMPRESSIONS = {1, 2, 3, 4, 5, 7, 8, 32773, 32946}
"""None, CCITT, LZW, JPEG, deflate and PackBits: what every libvips reads. Of others it must be tried."""

COMPRESSIONS = {6: "old-style JPEG", 7: "JPEG", 5: "LZW", **dict.fromkeys((33003, 33005, 34712), "JPEG 2000")}
COMPRESSIONS |= {34887: "LERC", 34892: "lossy DNG JPEG", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP"}
COMPRESSIONS |= dict.fromkeys((50002, 52546), "JPEG XL")

CAMERA_RAW = (32803, 34892)
GREY_INVERTED, GREY, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6

VIPS_TILE_SIDE = 5120  # the largest tile that libvips is given; it refuses those of 6,144 pixels and more
STRIPPED_COPY_PIXELS = 2**24  # up to which a smaller copy in the file is of use although it is not tiled
SINGLE_BLOCK = 50_000_000  # bytes that libtiff allocates for one segment unless it is told that there is no limit


@dataclass(frozen=True)
class Copy:
    """One resolution in the file: how to ask libvips for it, its stored size, and full-resolution pixels per pixel.

    directory, mask: of a TIFF.
    """

    options: tuple[tuple[str, int], ...]
    size_wh: Size
    factor_xy: tuple[float, float]
    directory: Directory | None = None
    mask: Directory | None = None


@dataclass(frozen=True)
class TiffPlan:
    """The image to read. copies: the full resolution first; others are candidates until their pixels are compared.

    by_tifffile: why libvips is not asked, in words; None where it is. notes: what was chosen, one line each.
    masks: pages that say where the image and its copies are ground.
    """

    main: Directory
    copies: tuple[Copy, ...]
    by_tifffile: str | None
    notes: tuple[str, ...] = ()
    masks: tuple[Directory, ...] = ()

    @property
    def needs_trial(self) -> bool:
        """Whether libvips may have the codec after all."""
        return self.main.compression not in VIPS_COMPRESSIONS and not self.main.separate


def mask_of(masks: Sequence[Directory], size_wh: Size) -> Directory | None:
    """The mask of an image, or of a copy of it, of this size."""
    return next((mask for mask in masks if mask.size_wh == size_wh), None)


def plan_tiff(path: Path, shown: str, page: int | None) -> TiffPlan | None:
    """Choose; `page` counts the file's main pages from 1. None where the file has no directory that can be read.

    Raises ImageError for a page that is not there; OSError.
    """
    directories = tags.read_directories(path)
    pages = 1 + max((one.page for one in directories), default=-1)
    if page is not None and directories:
        chosen = [one for one in directories if one.page == page - 1 and one.inner is None]
        if not chosen:
            raise ImageError(f"{shown}: has {plural(pages, 'page')}, no page {page}; choose another (--page)")
        main = chosen[0]
    else:
        found = tags.scenes(directories) or [one for one in directories if one.pixels > 0]
        if not found:
            return None
        main = max(found, key=lambda one: one.pixels)  # the first of the largest
    others = [one for one in directories if one is not main and not one.mask and one.pixels > 0]
    reason = why_not_libvips(main, pages)
    copies = [_copy(main, (1.0, 1.0))]
    for one in others:
        factor_xy = _copy_factor(main, one, copies[-1].size_wh)
        if factor_xy is not None and why_not_libvips(one, pages) == reason:
            copies.append(_copy(one, factor_xy))
    masks = tuple(one for one in directories if one.mask and one.samples == 1 and one.page > main.page)
    return TiffPlan(main, tuple(copies), reason, tuple(_notes(main, directories, copies, pages, page)), masks)


def _copy(one: Directory, factor_xy: tuple[float, float]) -> Copy:
    options = {"page": one.page} if one.page else {}
    options |= {} if one.inner is None else {"subifd": one.inner}
    options |= {"unlimited": True} if needs_unlimited(one) else {}
    return Copy(tuple(options.items()), one.size_wh, factor_xy, one)


def is_camera_raw(path: Path) -> bool:
    """Whether a TIFF file holds what a camera's sensor saw (DNG, NEF, ARW, ...), not an image. Raises OSError."""
    directories = tags.read_directories(path, 8)
    return any(one.photometric in CAMERA_RAW or (one.page == 0 and tags.DNG_VERSION in one.tags) for one in directories)


def compression_name(one: Directory) -> str:
    """`Zstandard`, or `number 12345` of one without a name."""
    return COMPRESSIONS.get(one.compression, f"number {one.compression}")


def why_not_libvips(one: Directory, pages: int) -> str | None:
    """Why libvips would fail, or return garbled pixels; None where it reads the image."""
    if pages > tags.MAX_PAGES:
        return f"more than {tags.MAX_PAGES} pages"
    if one.separate:
        return "bands one after the other"
    if one.compression not in VIPS_COMPRESSIONS:
        return f"{compression_name(one)} compression"
    if one.compression == 7 and one.bits != 8:
        return f"{one.bits}-bit JPEG"
    if one.tiled and max(one.segment_wh) > VIPS_TILE_SIDE:
        return f"tiles of {one.segment_wh[0]} x {one.segment_wh[1]} pixels"
    kind = one.number(tags.SAMPLE_FORMAT, 1)
    if one.bits not in (1, 2, 4, 8, 16, 32, 64) or (one.bits == 16 and kind == 3) or (one.bits == 8 and kind == 2):
        return f"{one.bits}-bit {'floating point' if kind == 3 else 'samples'}"
    if one.tiled:
        return None
    if not one.in_order or one.number(tags.ORIENTATION, 1) not in range(1, 9):
        return "unusual tags"  # of which libtiff complains with every strip, as if it were damaged
    return None if one.segment_bytes().all() else "strips that are left out"


def needs_unlimited(one: Directory) -> bool:
    """Whether a segment of the image takes more memory than libtiff allocates by default."""
    width, height = one.segment_wh
    decoded = width * height * max(1, one.samples * one.bits // 8)
    return max(decoded, int(one.segment_bytes().max(initial=0))) > SINGLE_BLOCK


def _copy_factor(main: Directory, one: Directory, last_wh: Size) -> tuple[float, float] | None:
    """How many times smaller a directory is, where its tags allow it to be a copy of the main one; None otherwise."""

    def kind(it: Directory) -> tuple[int, ...]:  # by photometric % 4, RGB and YCbCr are the same image
        return it.samples, it.bits, it.number(tags.SAMPLE_FORMAT, 1), it.photometric % 4

    quick = one.tiled or one.pixels <= STRIPPED_COPY_PIXELS
    smaller = one.size_wh[0] < last_wh[0] and one.size_wh[1] <= last_wh[1]
    outside = one.page != main.page and one.inner is not None  # a copy inside another page
    if outside or kind(one) != kind(main) or not (quick and smaller and main.tiled):
        return None
    return shrinking(main.size_wh, one.size_wh)


def shrinking(full_wh: Size, size_wh: Size) -> tuple[float, float] | None:
    """How many times smaller a copy is in x and y; None when it has another shape, so is another image.

    Whole numbers where the copy's sides are the rounded quotient by one: then its pixels are boxes of that many.
    """
    quotients = [full / side for full, side in zip(full_wh, size_wh, strict=True)]
    whole = round(max(quotients))
    if all(full // whole <= side <= -(-full // whole) for full, side in zip(full_wh, size_wh, strict=True)):
        return whole, whole
    # Rounding a copy's sides moves them by a pixel at most.
    x, y = quotients
    return (x, y) if abs(full_wh[0] / y - size_wh[0]) <= 1 + size_wh[0] / size_wh[1] else None


def _notes(
    main: Directory, directories: Sequence[Directory], copies: Sequence[Copy], pages: int, page: int | None
) -> list[str]:
    width, height = main.size_wh
    notes = []
    if page is None and (main.page, main.inner) != (0, None):
        where = f"page {main.page + 1}" + ("" if main.inner is None else f", inner image {main.inner + 1}")
        notes.append(f"the largest image of the file is read: {where}, {width} x {height} pixels")
    taken = {id(copy.directory) for copy in copies}
    scenes = [one for one in tags.scenes(directories) if id(one) not in taken and one.inner is None]
    if scenes and page is None:
        number = f"more than {tags.MAX_PAGES}" if pages > tags.MAX_PAGES else str(pages)
        notes.append(f"the file has {number} pages; page {main.page + 1} is read, choose another with --page")
    return notes


def left_out(one: Directory) -> NDArray[np.bool_] | None:
    """Which tiles have no bytes in the file (sparse TIFF), (rows, cols); None where all have some, or by strips."""
    if not one.tiled:
        return None
    (width, height), (tile_w, tile_h) = one.size_wh, one.segment_wh
    rows, cols = -(-height // tile_h), -(-width // tile_w)
    counts = one.segment_bytes()[: rows * cols]
    if len(counts) < rows * cols or counts.all():
        return None
    missing: NDArray[np.bool_] = (counts == 0).reshape(rows, cols)
    return missing
