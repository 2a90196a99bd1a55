"""Small pictures in many formats, made on the spot."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
import tifffile
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


def photoshop(
    path: Path,
    bands: NDArray[np.generic],
    mode: int,
    *,
    packed: bool = True,
    layers: int = 0,
    compatible: bool = True,
    table: bytes = b"",
) -> Path:
    """A PSD file, or PSB by its ending, of bands (rows, cols, bands); `layers` is what it says of their number."""
    large = path.suffix == ".psb"
    rows, cols, count = bands.shape
    numbers = bands.astype(bands.dtype.newbyteorder(">"))
    resource = struct.pack(">4sH2sI", b"8BIM", 1057, b"\0\0", 17) + struct.pack(">IBIIIx", 1, compatible, 0, 0, 1)
    long = ">Q" if large else ">I"
    info = struct.pack(long, 2) + struct.pack(">h", layers) if layers else b""
    with path.open("wb") as file:
        file.write(struct.pack(">4sH6xHIIHH", b"8BPS", 1 + large, count, rows, cols, bands.dtype.itemsize * 8, mode))
        file.write(struct.pack(">I", len(table)) + table + struct.pack(">I", len(resource)) + resource)
        file.write(struct.pack(long, len(info)) + info + struct.pack(">H", packed))
        lines = [numbers[row, :, band].tobytes() for band in range(count) for row in range(rows)]
        if packed:
            lines = [_packed(line) for line in lines]
            file.write(np.array([len(line) for line in lines], ">u4" if large else ">u2").tobytes())
        file.write(b"".join(lines))
    return path


def _packed(line: bytes) -> bytes:
    """PackBits of literal runs alone, but for the first pixels, which repeat."""
    repeated = len(line) - len(line.lstrip(line[:1]))
    start = struct.pack("bB", 1 - repeated, line[0]) if 2 <= repeated <= 128 else b""
    rest = line[repeated:] if start else line
    parts = (rest[i : i + 128] for i in range(0, len(rest), 128))
    return start + b"".join(bytes([len(part) - 1]) + part for part in parts)


def linear_light(pixels: Pixels) -> NDArray[np.float64]:
    """What sRGB stands for, 0..1 (IEC 61966-2-1)."""
    return np.where(pixels <= 10, pixels / 255 / 12.92, ((pixels / 255 + 0.055) / 1.055) ** 2.4)


def camera_raw(path: Path, pixels: Pixels) -> Path:
    """A DNG of what a sensor with red, green and blue pixels sees of a picture of even sides, and a small preview."""
    light = linear_light(pixels)
    sensor = light[:, :, 1].copy()
    sensor[::2, ::2], sensor[1::2, 1::2] = light[::2, ::2, 0], light[1::2, 1::2, 2]
    matrix = [3.2405, -1.5371, -0.4985, -0.9693, 1.8760, 0.0416, 0.0556, -0.2040, 1.0572]  # of a camera that sees sRGB
    byte, text, short, long, rational, signed = 1, 2, 3, 4, 5, 10
    camera = [(50706, byte, 4, bytes([1, 4, 0, 0]), True), (50708, text, 0, "Test Camera", True)]
    camera += [(271, text, 0, "Test", True), (272, text, 0, "Camera", True)]
    tags = [(33421, short, 2, (2, 2), True), (33422, byte, 4, bytes([0, 1, 1, 2]), True), (50717, long, 1, 16383, True)]
    tags += [(50721, signed, 9, [part for x in matrix for part in (round(x * 10_000), 10_000)], True)]
    tags += [(50728, rational, 3, [1] * 6, True), (50778, short, 1, 21, True)]
    with tifffile.TiffWriter(path) as file:
        preview = {"photometric": "rgb", "subfiletype": 1, "subifds": 1, "metadata": None, "extratags": camera}
        file.write(pixels[::4, ::4], **preview)
        file.write((sensor * 16383).round().astype(np.uint16), photometric=32803, metadata=None, extratags=tags)
    return path


def openexr(
    path: Path, pixels: Pixels, kind: str = "float16", alpha: NDArray[Any] | None = None, **header: Any
) -> Path:
    """Linear light, of which opacity 0..1 is a part, if it is given."""
    import OpenEXR

    light = linear_light(pixels).astype(kind)
    bands = light if alpha is None else np.dstack([light * alpha[:, :, None], alpha]).astype(kind)
    name = "RGB" if alpha is None else "RGBA"
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage} | header
    with OpenEXR.File(header, {name: bands}) as file:
        file.write(str(path))
    return path
