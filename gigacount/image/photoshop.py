"""The merged picture of Photoshop files, PSD and PSB, read some rows at a time (Adobe Photoshop File Formats).

Layers are not looked at: the file holds the picture that they make, if it was saved for compatibility. Its bands lie
one after the other, raw or packed row by row.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .formats import Form, NotReadError, ReadRows

BITMAP, GREY, INDEXED, RGB, CMYK, DUOTONE, LAB = 0, 1, 2, 3, 4, 8, 9
COLOURS = {BITMAP: 1, GREY: 1, INDEXED: 1, RGB: 3, CMYK: 4, DUOTONE: 1, LAB: 3}
PROFILE, VERSION_INFO = 1039, 1057
RAW, PACKED = 0, 1
MAX_RESOURCES = 2**28  # bytes of everything that is not pixels, such as previews and profiles


@dataclass(frozen=True)
class Layout:
    """bands: in the file, of which `seen` are read. bits: of a number. table: colours of an indexed picture, (256, 3).
    rows: where the packed rows of all bands lie, and how long they are, (bands, height); of raw ones None. start: of
    the pixels.
    """

    size_wh: tuple[int, int]
    mode: int
    bits: int
    seen: int
    profile: bytes
    table: NDArray[np.uint8]
    rows: tuple[NDArray[np.int64], NDArray[np.int64]] | None
    start: int

    @property
    def alpha(self) -> bool:
        return self.seen > COLOURS[self.mode]


def read_form(path: Path) -> Form:
    """Raises NotReadError, ValueError, OSError."""
    one = _layout(path)
    kind = {1: "uint8", 8: "uint8", 16: "uint16", 32: "float32"}[one.bits]
    bands = (3 if one.mode == INDEXED else COLOURS[one.mode]) + one.alpha
    if one.mode in (CMYK, LAB):
        kind = "float32" if one.mode == LAB else "uint8"
        return Form(one.size_wh, bands, kind, "lab" if one.mode == LAB else "cmyk", one.profile)
    coloured = bands > 2
    deep = {"uint8": ("b-w", "srgb"), "uint16": ("grey16", "rgb16"), "float32": ("b-w", "scrgb")}[kind]
    return Form(one.size_wh, bands, kind, deep[coloured], one.profile if kind != "float32" else b"")


def open_rows(path: Path) -> ReadRows:
    """Raises NotReadError, ValueError, OSError."""
    one = _layout(path)

    def read(top: int, count: int) -> NDArray[Any]:
        with path.open("rb") as file:
            bands = [_band_rows(file, one, band, top, count) for band in range(one.seen)]
        return _meaning(np.stack(bands, axis=2), one)

    return read


def _layout(path: Path) -> Layout:
    with path.open("rb") as file:
        version, bands, height, width, bits, mode = struct.unpack(">4xH6xHIIHH", _take(file, 26))
        large = version == 2
        if mode not in COLOURS or bits not in (1, 8, 16, 32) or bands < COLOURS[mode] or not width * height:
            raise NotReadError(
                f"with {bands} bands of the kind {mode} in {bits} bits is not supported here; save it as TIFF"
            )
        table = np.frombuffer(_block(file, 4), np.uint8)[:768]
        resources = _resources(_block(file, 4))
        if resources.get(VERSION_INFO, bytes(4) + b"\1")[4:5] == b"\0":
            raise NotReadError("without the picture of its layers; save it with 'Maximize Compatibility', or as TIFF")
        opaque = not _first_extra_band_is_opacity(file, large)
        seen = COLOURS[mode] + (bands > COLOURS[mode] and not opaque)
        (compression,) = struct.unpack(">H", _take(file, 2))
        start = file.tell()
        rows = None
        if compression == PACKED:
            counts = np.frombuffer(_take(file, bands * height * (4 if large else 2)), ">u4" if large else ">u2")
            lengths = counts.astype(np.int64)
            offsets = file.tell() + np.concatenate([[0], np.cumsum(lengths)[:-1]])
            rows = offsets.reshape(bands, height), lengths.reshape(bands, height)
        elif compression != RAW:
            raise NotReadError(f"with compression number {compression} is not supported here; save it as TIFF")
    colours = table.reshape(3, 256).T if mode == INDEXED and len(table) == 768 else np.zeros((256, 3), np.uint8)
    return Layout((width, height), mode, bits, seen, resources.get(PROFILE, b""), colours, rows, start)


def _first_extra_band_is_opacity(file: BinaryIO, large: bool) -> bool:
    """Whether the number of layers is negative, which says so; leaves the file where the pixels begin."""
    form = ">Q" if large else ">I"
    (length,) = struct.unpack(form, _take(file, struct.calcsize(form)))
    end = file.tell() + length
    negative = False
    if length >= struct.calcsize(form) + 2:
        (layers,) = struct.unpack(form, _take(file, struct.calcsize(form)))
        negative = layers >= 2 and struct.unpack(">h", _take(file, 2))[0] < 0
    file.seek(end)
    return negative


def _resources(data: bytes) -> dict[int, bytes]:
    """Blocks by number: signature, number, name padded to even, length, content padded to even."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 12 <= len(data):
        (number,) = struct.unpack_from(">H", data, at + 4)
        at += 6 + (data[at + 6] + 2) // 2 * 2
        if at + 4 > len(data):
            break
        (length,) = struct.unpack_from(">I", data, at)
        found.setdefault(number, data[at + 4 : at + 4 + length])
        at += 4 + length + length % 2
    return found


def _band_rows(file: BinaryIO, one: Layout, band: int, top: int, count: int) -> NDArray[Any]:
    """Rows of one band, (count, width), as numbers of the file."""
    width, height = one.size_wh
    row_bytes = -(-width // 8) if one.bits == 1 else width * one.bits // 8
    if one.rows is None:
        file.seek(one.start + (band * height + top) * row_bytes)
        data = _take(file, count * row_bytes)
    else:
        from tifffile import TIFF

        offsets, lengths = (part[band, top : top + count].tolist() for part in one.rows)
        file.seek(offsets[0])
        unpack, packed, parts, at = TIFF.DECOMPRESSORS[32773], _take(file, sum(lengths)), [], 0
        for length in lengths:
            parts.append(bytes(unpack(packed[at : at + length])))
            at += length
        if any(len(part) != row_bytes for part in parts):
            raise ValueError("a packed row has another length")
        data = b"".join(parts)
    if one.bits == 1:
        return np.unpackbits(np.frombuffer(data, np.uint8).reshape(count, -1), axis=1)[:, :width]
    kind = {8: "u1", 16: ">u2", 32: ">f4"}[one.bits]
    return np.frombuffer(data, kind).reshape(count, width)


def _meaning(numbers: NDArray[Any], one: Layout) -> NDArray[Any]:
    """The file's numbers (rows, cols, bands) as `read_form` says of them."""
    numbers = numbers.astype(numbers.dtype.newbyteorder("="), copy=False)
    if one.mode == BITMAP:
        return np.asarray((1 - numbers[:, :, :1]) * 255, np.uint8)  # 1 is black
    if one.mode == INDEXED:
        return np.concatenate([one.table[numbers[:, :, 0]], numbers[:, :, 1:]], axis=2)
    if one.mode in (CMYK, LAB) and one.bits == 16:
        numbers = (numbers >> 8).astype(np.uint8)
    if one.mode == CMYK:
        return np.concatenate([255 - numbers[:, :, :4], numbers[:, :, 4:]], axis=2)  # 0 is full ink
    if one.mode == LAB:
        lab = numbers.astype(np.float32)
        lab[:, :, 0] *= 100 / 255
        lab[:, :, 1:3] -= 128
        lab[:, :, 3:] /= 255
        return lab
    return numbers


def _block(file: BinaryIO, size: int) -> bytes:
    (length,) = struct.unpack(">I", _take(file, size))
    if length > MAX_RESOURCES:
        raise ValueError("a part of it is too long")
    return _take(file, length)


def _take(file: BinaryIO, count: int) -> bytes:
    # Nothing is allocated for more bytes than there are.
    data = file.read(count) if count <= os.fstat(file.fileno()).st_size else b""
    if len(data) < count:
        raise ValueError("the file ends too early")
    return data
