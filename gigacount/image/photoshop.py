"""The merged image of Photoshop files, PSD and PSB, read some rows at a time (Adobe Photoshop File Formats).

Layers are left aside: the file holds the image that they make, if it was saved for compatibility. Its bands lie one
after the other, raw or packed row by row.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .formats import Form, NotReadError, Opened

BITMAP, GREY, INDEXED, RGB, CMYK, DUOTONE, LAB = 0, 1, 2, 3, 4, 8, 9
COLOURS = {BITMAP: 1, GREY: 1, INDEXED: 1, RGB: 3, CMYK: 4, DUOTONE: 1, LAB: 3}
KINDS = {1: "u1", 8: "u1", 16: ">u2", 32: ">f4"}  # of numbers, by their bits
MEANINGS = {"uint8": ("b-w", "srgb"), "uint16": ("grey16", "rgb16"), "float32": ("b-w", "scrgb")}
PROFILE, VERSION_INFO = 1039, 1057  # image resources
RAW, PACKED, PACK_BITS = 0, 1, 32773  # compressions of Photoshop, and of TIFF
MAX_RESOURCES = 2**28  # bytes of everything that is not pixels, such as previews and profiles


@dataclass(frozen=True)
class Layout:
    """bits: of a number. bands: that are read, of those in the file. table: colours of an indexed image, (256, 3).

    rows: where the packed rows of all bands lie, and how long they are, (bands, height); of raw ones None. start: of
    the pixels.
    """

    size_wh: tuple[int, int]
    mode: int
    bits: int
    bands: int
    profile: bytes
    table: NDArray[np.uint8]
    rows: tuple[NDArray[np.int64], NDArray[np.int64]] | None
    start: int


def open_image(path: Path) -> Opened:
    """Raises NotReadError, ValueError, OSError."""
    one = _layout(path)

    def read(top: int, count: int) -> NDArray[Any]:
        with path.open("rb") as file:
            bands = [_band_rows(file, one, band, top, count) for band in range(one.bands)]
        return _meaning(np.stack(bands, axis=2), one)

    return _form(one), lambda: read


def _form(one: Layout) -> Form:
    bands = one.bands + (2 if one.mode == INDEXED else 0)
    if one.mode in (CMYK, LAB):
        return Form(one.size_wh, bands, *(("float32", "lab") if one.mode == LAB else ("uint8", "cmyk")), one.profile)
    kind = np.dtype(KINDS[one.bits]).newbyteorder("=").name
    return Form(one.size_wh, bands, kind, MEANINGS[kind][bands > 2], one.profile if kind != "float32" else b"")


def _layout(path: Path) -> Layout:
    with path.open("rb") as file:
        version, bands, height, width, bits, mode = struct.unpack(">4xH6xHIIHH", _take(file, 26))
        large = version == 2
        if mode not in COLOURS or bits not in KINDS or bands < COLOURS[mode] or not width * height:
            raise NotReadError(
                f"with {bands} bands of the kind {mode} in {bits} bits is not supported here; save it as TIFF"
            )
        table = np.frombuffer(_block(file), np.uint8)[:768]
        resources = _resources(_block(file))
        if resources.get(VERSION_INFO, bytes(4) + b"\1")[4:5] == b"\0":
            raise NotReadError("without the image of its layers; save it with 'Maximize Compatibility', or as TIFF")
        alpha = _first_extra_band_is_opacity(file, large)
        (compression,) = struct.unpack(">H", _take(file, 2))
        rows, start = None, file.tell()
        if compression == PACKED:
            counts = np.frombuffer(_take(file, bands * height * (4 if large else 2)), ">u4" if large else ">u2")
            lengths = counts.astype(np.int64)
            offsets = file.tell() + np.concatenate([[0], np.cumsum(lengths)[:-1]])
            rows = offsets.reshape(bands, height), lengths.reshape(bands, height)
        elif compression != RAW:
            raise NotReadError(f"with compression number {compression} is not supported here; save it as TIFF")
    colours = table.reshape(3, 256).T if mode == INDEXED and len(table) == 768 else np.zeros((256, 3), np.uint8)
    bands = COLOURS[mode] + (bands > COLOURS[mode] and alpha)
    return Layout((width, height), mode, bits, bands, resources.get(PROFILE, b""), colours, rows, start)


def _first_extra_band_is_opacity(file: BinaryIO, large: bool) -> bool:
    """Whether the number of layers is negative, which says so; leaves the file where the pixels begin."""
    form = ">Q" if large else ">I"
    size = struct.calcsize(form)
    (length,) = struct.unpack(form, _take(file, size))
    end = file.tell() + length
    negative = False
    if length >= size + 2:
        (layers,) = struct.unpack(form, _take(file, size))
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
        packed, ends = _take(file, sum(lengths)), np.cumsum(lengths).tolist()
        parts = [
            bytes(TIFF.DECOMPRESSORS[PACK_BITS](packed[end - length : end]))
            for end, length in zip(ends, lengths, strict=True)
        ]
        if any(len(part) != row_bytes for part in parts):
            raise ValueError("a packed row has another length")
        data = b"".join(parts)
    if one.bits == 1:
        return np.unpackbits(np.frombuffer(data, np.uint8).reshape(count, -1), axis=1)[:, :width]
    return np.frombuffer(data, KINDS[one.bits]).reshape(count, width)


def _meaning(numbers: NDArray[Any], one: Layout) -> NDArray[Any]:
    """The file's numbers (rows, cols, bands) as `_form` says of them."""
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
        zero, unit = np.array([[0, 128, 128, 0], [100 / 255, 1, 1, 1 / 255]], np.float32)[:, : one.bands]
        return np.asarray((numbers - zero) * unit, np.float32)
    return numbers


def _block(file: BinaryIO) -> bytes:
    (length,) = struct.unpack(">I", _take(file, 4))
    if length > MAX_RESOURCES:
        raise ValueError("a part of it is too long")
    return _take(file, length)


def _take(file: BinaryIO, count: int) -> bytes:
    # Nothing is allocated for more bytes than there are.
    data = file.read(count) if count <= os.fstat(file.fileno()).st_size else b""
    if len(data) < count:
        raise ValueError("the file ends too early")
    return data
