"""Small pictures in many formats, made on the spot."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyvips
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def scene(width: int, height: int) -> Pixels:
    """A smooth picture without symmetry, (height, width, 3): slopes, waves, and a few round blobs."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    blobs = sum(
        np.exp(-((x - fx * width) ** 2 + (y - fy * height) ** 2) / (2 * (0.03 * width) ** 2))
        for fx, fy in ((0.2, 0.3), (0.7, 0.2), (0.55, 0.8))
    )
    red = 40 + 120 * x / width + 60 * blobs
    green = 60 + 100 * y / height + 40 * np.sin(x / 23)
    blue = 200 - 90 * x / width + 40 * np.cos((x + 2 * y) / 31)
    return np.stack([red, green, blue], axis=2).clip(0, 255).astype(np.uint8)


def vips_image(pixels: NDArray[np.generic]) -> pyvips.Image:
    image = pyvips.Image.new_from_array(pixels)
    return image.copy(interpretation="srgb") if pixels.dtype == np.uint8 and image.bands >= 3 else image


def save(pixels: NDArray[np.generic], path: Path, orientation: int = 1, **options: object) -> Path:
    image = vips_image(pixels).copy()
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    image.write_to_file(str(path), **options)
    return path


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


def shared_tiles(
    path: Path, size_wh: tuple[int, int], tiles: list[Pixels], which: Callable[[Pixels, Pixels], NDArray[np.intp]]
) -> Path:
    """A deflated BigTIFF whose tiles share their bytes, so that a huge picture is a small file.

    `which(col, row)` gives the number of each tile; the number after the last stands for a tile that is left out.
    """
    side = tiles[0].shape[0]
    cols, rows = (-(-length // side) for length in size_wh)
    row, col = np.mgrid[0:rows, 0:cols]
    with path.open("wb") as file:
        file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0))
        places = []
        for tile in tiles:
            data = zlib.compress(tile.tobytes())
            places.append((file.tell(), len(data)))
            file.write(data)
        table = np.array([*places, (0, 0)], np.uint64)[which(col, row).ravel()]
        offsets_at = file.tell()
        file.write(table[:, 0].astype("<u8").tobytes())
        counts_at = file.tell()
        file.write(table[:, 1].astype("<u8").tobytes())
        directory_at = file.tell()
        short, long, long8 = 3, 4, 16
        tags = [
            (256, long, 1, size_wh[0]),
            (257, long, 1, size_wh[1]),
            (258, short, 3, 8 | 8 << 16 | 8 << 32),
            (259, short, 1, 8),
            (262, short, 1, 2),
            (277, short, 1, 3),
            (284, short, 1, 1),
            (322, long, 1, side),
            (323, long, 1, side),
            (324, long8, cols * rows, offsets_at),
            (325, long8, cols * rows, counts_at),
        ]
        file.write(struct.pack("<Q", len(tags)))
        for tag in tags:
            file.write(struct.pack("<HHQQ", *tag))
        file.write(struct.pack("<Q", 0))
        file.seek(8)
        file.write(struct.pack("<Q", directory_at))
    return path
