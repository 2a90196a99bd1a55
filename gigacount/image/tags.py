"""The directories of a TIFF file: its tags, read without libtiff: decisions rest on what the file says.

Understands classic TIFF and BigTIFF of either byte order (TIFF 6.0, section 2). Odd but readable files are read: tags
that are unsorted or occur twice (the first counts), of unknown types, or longer than the file (as if they were absent).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES, MIN_SAMPLE, MAX_SAMPLE = 274, 277, 278, 279, 280, 281
PLANES, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILE_BYTES, SUB_IFDS = 284, 317, 322, 323, 325, 330
EXTRA_SAMPLES, SAMPLE_FORMAT, S_MIN_SAMPLE, S_MAX_SAMPLE = 338, 339, 340, 341
ICC_PROFILE, GDAL_METADATA, GDAL_NODATA, DNG_VERSION = 34675, 42112, 42113, 50706

REDUCED, MASK = 1, 4  # bits of NewSubfileType: a smaller copy of another image; a mask of another image

MAX_PAGES = 1000
"""Directories of one chain that are read; beyond, a file is no image, and libtiff takes ever longer over it."""

MAX_TAGS = 4096  # tags of one directory; the standard has a few hundred
INLINE_BYTES = 65_536  # values up to this length are read with their directory; longer ones when they are asked for
MAX_BYTES = 2**31  # the longest value that is read at all

_KINDS = {1: "u1", 2: "S1", 3: "u2", 4: "u4", 5: "u4", 6: "i1", 7: "u1", 8: "i2", 9: "i4", 10: "i4", 11: "f4"}
_KINDS |= {12: "f8", 13: "u4", 16: "u8", 17: "i8", 18: "u8"}
_RATIONAL = (5, 10)


@dataclass(frozen=True)
class Tag:
    """Where a value lies in the file: NumPy type, number of values, offset."""

    kind: str
    count: int
    offset: int

    @property
    def nbytes(self) -> int:
        return self.count * np.dtype(self.kind).itemsize


def _first(tag: int, default: int) -> Any:
    """A property: the first value of a tag, or `default`."""
    return property(lambda directory: directory.number(tag, default))


@dataclass(frozen=True)
class Directory:
    """One image of a TIFF file. page: its place in the main chain; inner: among that page's SubIFDs, or None.

    in_order: whether each tag occurs once and they are sorted, as they should be.
    """

    path: Path
    page: int
    inner: int | None
    tags: dict[int, Tag] = field(repr=False)
    small: dict[int, NDArray[Any]] = field(repr=False)
    in_order: bool = True

    def numbers(self, tag: int) -> NDArray[Any]:
        """All values of a tag; an empty array when it is absent or not in the file. Rationals are pairs."""
        if tag in self.small:
            return self.small[tag]
        found = self.tags.get(tag)
        if found is None:
            return np.empty(0, np.int64)
        try:
            with self.path.open("rb") as file:
                return _read(file, found)
        except OSError:
            return np.empty(0, np.int64)

    def whole_numbers(self, tag: int) -> NDArray[np.int64]:
        """The same, where whole numbers are meant: from 0 to 2^63 - 1, and what is none (-3, 1e300, nan) as 0."""
        values = self.numbers(tag)
        if values.dtype.kind not in "iuf":
            return np.zeros(len(values), np.int64)
        fine = (values >= 0) & (values < 2.0**63)  # nan is neither
        return np.where(fine, values, 0).astype(np.int64)

    def number(self, tag: int, default: int = 0) -> int:
        """The first value of a tag as a whole number; `default` when there is none."""
        values = self.small.get(tag)
        if values is None or not len(values) or values.dtype.kind not in "iuf" or not np.isfinite(values[0]):
            return default
        return int(values[0])

    def text(self, tag: int) -> str | None:
        """A tag of text, up to its NUL if it has one; bytes that are no UTF-8 are replaced. None when it is absent."""
        if tag not in self.tags:
            return None
        return self.numbers(tag).tobytes().split(b"\0")[0].decode("utf-8", "replace")

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.number(WIDTH), self.number(HEIGHT)

    @property
    def pixels(self) -> int:
        return self.size_wh[0] * self.size_wh[1]

    samples: ClassVar[int] = _first(SAMPLES, 1)
    bits: ClassVar[int] = _first(BITS, 1)
    compression: ClassVar[int] = _first(COMPRESSION, 1)
    photometric: ClassVar[int] = _first(PHOTOMETRIC, 1)

    @property
    def separate(self) -> bool:
        """Whether the bands lie one after the other."""
        return self.number(PLANES, 1) == 2 and self.samples > 1

    @property
    def tiled(self) -> bool:
        return self.number(TILE_WIDTH) > 0 and self.number(TILE_HEIGHT) > 0

    @property
    def segment_wh(self) -> tuple[int, int]:
        """Width and height of the segments in which the image is compressed: tiles or strips."""
        if self.tiled:
            return self.number(TILE_WIDTH), self.number(TILE_HEIGHT)
        width, height = self.size_wh
        return width, min(self.number(ROWS_PER_STRIP, height) or height, height)

    @property
    def reduced(self) -> bool:
        """Whether the file says that this is a smaller copy of another image."""
        return bool(self.number(SUBFILE_TYPE) & REDUCED)

    @property
    def mask(self) -> bool:
        """Whether the file says that this is a mask."""
        return bool(self.number(SUBFILE_TYPE) & MASK) or self.photometric == 4

    def segment_bytes(self) -> NDArray[np.int64]:
        """Compressed bytes of all tiles or strips, in the file's order."""
        return self.whole_numbers(TILE_BYTES if self.tiled else STRIP_BYTES)


def directories(path: Path) -> list[Directory]:
    """The first 64 pages of a TIFF file, without SubIFDs; none of a file that cannot be read."""
    try:
        return [one for one in read_directories(path, 63) if one.inner is None]
    except OSError:
        return []


def read_directories(path: Path, most: int = MAX_PAGES) -> list[Directory]:
    """The images of a TIFF file in the file's order, each page followed by its SubIFDs; none for another file.

    At most `most` + 1 pages, so that a file with more than MAX_PAGES is recognised. Raises OSError.
    """
    found: list[Directory] = []
    with path.open("rb") as file:
        form = _form(file)
        if form is None:
            return found
        order, big = form
        seen: set[int] = set()
        file.seek(8 if big else 4)
        (offset,) = struct.unpack(
            order + ("Q" if big else "I"), file.read(8 if big else 4).ljust(8 if big else 4, b"\0")
        )
        page = 0
        while offset and offset not in seen and page <= most:
            seen.add(offset)
            tags, following, in_order = _tags(file, offset, order, big)
            if not tags:
                break
            directory = _directory(path, file, page, None, tags, in_order)
            found.append(directory)
            places = directory.whole_numbers(SUB_IFDS) if SUB_IFDS in directory.small else ()
            for inner, place in enumerate(map(int, places[:MAX_PAGES])):
                inside, _, in_order = _tags(file, place, order, big)
                if inside and place not in seen:
                    seen.add(place)
                    found.append(_directory(path, file, page, inner, inside, in_order))
            page, offset = page + 1, following
    return found


def _form(file: BinaryIO) -> tuple[str, bool] | None:
    """Byte order and whether it is a BigTIFF; None for what is no TIFF."""
    start = file.read(4)
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    if order is None or len(start) < 4:
        return None
    version = struct.unpack(order + "H", start[2:])[0]
    return (order, version == 43) if version in (42, 43) else None


def _tags(file: BinaryIO, offset: int, order: str, big: bool) -> tuple[dict[int, Tag], int, bool]:
    """Tags of the directory at `offset`, the place of the next one, whether they are in order; none where none is."""
    if offset >= os.fstat(file.fileno()).st_size:
        return {}, 0, True
    file.seek(offset)
    head, entry, word = (8, 20, "Q") if big else (2, 12, "I")
    start = file.read(head)
    if len(start) < head:
        return {}, 0, True
    (count,) = struct.unpack(order + ("Q" if big else "H"), start)
    if not 0 < count <= MAX_TAGS:
        return {}, 0, True
    data = file.read(count * entry + struct.calcsize(word))
    tags: dict[int, Tag] = {}
    last, in_order = -1, True
    size = struct.calcsize(word)
    for number in range(min(count, len(data) // entry)):
        tag, kind, length, value = struct.unpack_from(f"{order}HH{word}{word}", data, number * entry)
        last, in_order = tag, in_order and tag > last
        if kind not in _KINDS or tag in tags:
            continue
        dtype = np.dtype(order + _KINDS[kind]).str if _KINDS[kind] != "S1" else "u1"
        length *= 2 if kind in _RATIONAL else 1
        inline = offset + head + number * entry + 4 + size
        tags[tag] = Tag(dtype, length, inline if length * np.dtype(dtype).itemsize <= size else value)
    rest = data[count * entry :]
    following = struct.unpack(order + word, rest)[0] if len(rest) == size else 0
    return tags, following, in_order


def _directory(
    path: Path, file: BinaryIO, page: int, inner: int | None, tags: dict[int, Tag], in_order: bool
) -> Directory:
    small = {number: _read(file, tag) for number, tag in tags.items() if tag.nbytes <= INLINE_BYTES}
    return Directory(path, page, inner, tags, small, in_order)


def _read(file: BinaryIO, tag: Tag) -> NDArray[Any]:
    """A tag's values; an empty array where the file is too short for them."""
    if tag.nbytes > MAX_BYTES or tag.offset + tag.nbytes > os.fstat(file.fileno()).st_size:
        return np.empty(0, tag.kind)
    file.seek(tag.offset)
    data = file.read(tag.nbytes)
    return np.frombuffer(data if len(data) == tag.nbytes else b"", tag.kind)


def scenes(directories: Sequence[Directory]) -> list[Directory]:
    """The images that are neither masks nor said to be smaller copies of others."""
    return [one for one in directories if not (one.reduced or one.mask) and one.pixels > 0]
