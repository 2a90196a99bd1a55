"""The tags of a TIFF or BigTIFF file, read without libvips, which hands out few of them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

SUBFILE_TYPE, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANES = 254, 258, 259, 262, 277, 284
MIN_SAMPLE, MAX_SAMPLE, EXTRA_SAMPLES, SAMPLE_FORMAT, S_MIN_SAMPLE, S_MAX_SAMPLE = 280, 281, 338, 339, 340, 341
GDAL_METADATA, GDAL_NODATA = 42112, 42113

KINDS = {1: "u1", 2: "S1", 3: "u2", 4: "u4", 5: "u4", 6: "i1", 7: "u1", 8: "i2", 9: "i4", 10: "i4", 11: "f4", 12: "f8"}
KINDS |= {13: "u4", 16: "u8", 17: "i8", 18: "u8"}
"""TIFF type -> NumPy type, without byte order; the rationals 5 and 10 are pairs."""

MAX_DIRECTORIES = 64
MAX_ENTRIES = 4096
MAX_BYTES = 2**26
"""Of one value; more is damage, or no value that decides anything."""


@dataclass(frozen=True)
class Directory:
    """The tags of one page: tag -> (type, number of values, the bytes of the entry's last field).

    order: "<" or ">". Values are read when they are asked for; one that is damaged counts as left out.
    """

    path: Path
    order: str
    big: bool
    entries: dict[int, tuple[int, int, bytes]]

    def numbers(self, tag: int) -> NDArray[Any]:
        """All values of a tag; empty when there is none."""
        kind, count, inline = self.entries.get(tag, (1, 0, b""))
        if kind not in KINDS:
            return np.empty(0)
        dtype = np.dtype(self.order + KINDS[kind])
        size = count * dtype.itemsize * (2 if kind in (5, 10) else 1)
        if size > MAX_BYTES:
            return np.empty(0)
        data = inline[:size] if size <= len(inline) else self._far(inline, size)
        return np.frombuffer(data, dtype) if len(data) == size else np.empty(0)

    def number(self, tag: int, default: int) -> int:
        """The first value of a tag of whole numbers."""
        values = self.numbers(tag)
        return int(values[0]) if len(values) and values.dtype.kind in "ui" else default

    def text(self, tag: int) -> str | None:
        """A tag of text, up to its NUL; bytes that are no UTF-8 are replaced."""
        if tag not in self.entries:
            return None
        return self.numbers(tag).tobytes().split(b"\0")[0].decode("utf-8", "replace")

    def _far(self, inline: bytes, size: int) -> bytes:
        (offset,) = struct.unpack(self.order + ("Q" if self.big else "I"), inline)
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                return file.read(size)
        except (OSError, OverflowError, ValueError):
            return b""


def directories(path: Path, most: int = MAX_DIRECTORIES) -> list[Directory]:
    """The directories of a TIFF file's pages, in order, at most `most`; none of a file that is no TIFF or damaged."""
    try:
        with path.open("rb") as file:
            return list(_directories(path, file, most))
    except OSError:
        return []


def _directories(path: Path, file: BinaryIO, most: int) -> Iterator[Directory]:
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    version = struct.unpack(f"{order}H", head[2:4])[0] if order and len(head) == 16 else 0
    if order is None or version not in (42, 43):
        return
    big = version == 43
    (offset,) = struct.unpack(order + ("Q" if big else "I"), head[8:16] if big else head[4:8])
    seen: set[int] = set()
    while offset and offset not in seen and len(seen) < most:
        seen.add(offset)
        try:
            file.seek(offset)
            (count,) = struct.unpack(order + ("Q" if big else "H"), file.read(8 if big else 2))
            if count > MAX_ENTRIES:
                return
            form = order + ("HHQ8s" if big else "HHI4s")
            entries: dict[int, tuple[int, int, bytes]] = {}
            for tag, kind, length, inline in struct.iter_unpack(form, file.read(count * struct.calcsize(form))):
                entries.setdefault(tag, (kind, length, inline))  # of two of a kind, libtiff takes the first as well
            yield Directory(path, order, big, entries)
            (offset,) = struct.unpack(order + ("Q" if big else "I"), file.read(8 if big else 4))
        except (OSError, OverflowError, ValueError, struct.error):
            return
