"""What is read and what is refused: every kind of file in the table of docs/guide/formats.md is made and read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
from image_files import Pixels, camera_raw, openexr, photoshop, save, scene

from gigacount.errors import ImageError
from gigacount.geometry import whole
from gigacount.image import GigaImage

OpenEXR = pytest.importorskip("OpenEXR")
pytest.importorskip("rawpy")
imagecodecs = pytest.importorskip("imagecodecs")
Image = pytest.importorskip("PIL.Image")

PAGE = Path(__file__).parent.parent / "docs" / "guide" / "formats.md"
WIDTH, HEIGHT = 320, 256
READ = "read"

Make = Callable[[Path, Pixels], object]


def _bits(pixels: Pixels, kind: str) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    if kind == "16":
        return pixels.astype(np.uint16) * 257
    if kind == "float":
        return (pixels / np.float32(255)) ** np.float32(2.2)
    return pixels


def tiff(kind: str, layout: str, compression: str | None) -> Make:
    """A TIFF of 8, 16 or floating point bits, in tiles, strips, or planes of either."""

    def make(path: Path, pixels: Pixels) -> None:
        stored = _bits(pixels, kind)
        options: dict[str, object] = {"tile": (64, 64)} if "tiles" in layout else {"rowsperstrip": 32}
        if "planes" in layout:
            stored, options = np.ascontiguousarray(stored.transpose(2, 0, 1)), options | {"planarconfig": "separate"}
        if compression in ("jpegxl", "jpeg2000"):
            options["compressionargs"] = {"lossless": True} if compression == "jpegxl" else {"reversible": True}
        tifffile.imwrite(path, stored, photometric="rgb", compression=compression, metadata=None, **options)

    return make


def _large_tiles(path: Path, pixels: Pixels) -> None:
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(6144, 6144), compression="zlib", metadata=None)


def _psd(kind: str, packed: bool = True, mode: int = 3) -> Make:
    def make(path: Path, pixels: Pixels) -> None:
        photoshop(path, pixels if kind == "8" else _bits(pixels, kind), mode, packed=packed)

    return make


def _exr(kind: str, **header: object) -> Make:
    return lambda path, pixels: openexr(path, pixels, kind, **header)


def _jpeg12(path: Path, pixels: Pixels) -> None:
    path.write_bytes(imagecodecs.jpeg8_encode(pixels.astype(np.uint16) * 16, level=100, bitspersample=12))


def _jpeg12_in_tiff(path: Path, pixels: Pixels) -> None:
    tifffile.imwrite(
        path, pixels.astype(np.uint16) * 16, photometric="rgb", tile=(64, 64), metadata=None,
        compression="jpeg", compressionargs={"bitspersample": 12, "level": 100},
    )  # fmt: skip


def _pillow(**options: object) -> Make:
    return lambda path, pixels: Image.fromarray(pixels).save(path, **options)


def _vips(**options: object) -> Make:
    return lambda path, pixels: save(pixels, path, **options)


def _bytes(start: bytes) -> Make:
    return lambda path, pixels: path.write_bytes(start + bytes(200))


def _heic(path: Path, pixels: Pixels) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(path, quality=95)


Case = tuple[str, str, Make]

ROWS: dict[str, list[Case]] = {
    "JPEG: 8 bits, 12 bits, progressive, lossless": [
        ("JPEG, 8 bits", "a.jpg", _vips(Q=95)),
        ("JPEG, progressive", "b.jpg", _vips(Q=95, interlace=True)),
        ("JPEG, 12 bits", "c.jpg", _jpeg12),
        ("JPEG, lossless", "d.jpg", lambda p, a: p.write_bytes(imagecodecs.jpeg8_encode(a, lossless=True))),
    ],
    "PNG: 8 bits, 16 bits, interlaced": [
        ("PNG, 8 bits", "a.png", _vips()),
        ("PNG, 16 bits", "b.png", lambda p, a: pyvips.Image.new_from_array(_bits(a, "16")).pngsave(str(p))),
        ("PNG, interlaced", "c.png", _vips(interlace=True)),
    ],
    "WebP, GIF, AVIF, HEIC, BMP": [
        ("WebP", "a.webp", _vips(Q=95, effort=0)),
        ("GIF", "a.gif", _pillow()),
        ("AVIF", "a.avif", _vips(Q=90, effort=0)),
        ("HEIC", "a.heic", _heic),
        ("BMP", "a.bmp", _pillow()),
    ],
    "JPEG 2000: files, codestreams": [
        ("JPEG 2000", "a.jp2", _pillow()),
        ("JPEG 2000, codestream", "a.j2k", _pillow()),
    ],
    "JPEG XL: 8 bits, 16 bits": [
        ("JPEG XL", "a.jxl", lambda p, a: p.write_bytes(imagecodecs.jpegxl_encode(a, lossless=True))),
        (
            "JPEG XL, 16 bits", "b.jxl",
            lambda p, a: p.write_bytes(imagecodecs.jpegxl_encode(_bits(a, "16"), lossless=True)),
        ),
    ],
    "TIFF: 8 bits, 16 bits, 32-bit float; strips, tiles, planes of either; uncompressed, zlib, LZW, Zstandard": [
        (f"TIFF, {kind} bits, {layout}, {compression or 'uncompressed'}".replace("float bits", "32-bit float"),
         f"{kind}-{layout}-{compression}.tif".replace(" ", "-"), tiff(kind, layout, compression))
        for kind in ("8", "16", "float")
        for layout in ("strips", "tiles", "planes in strips", "planes in tiles")
        for compression in (None, "zlib", "lzw", "zstd")
    ],
    "TIFF: 8 bits; strips, tiles; JPEG, PackBits, LZMA, LERC, JPEG 2000, JPEG XL, WebP": [
        (f"TIFF, 8 bits, {layout}, {compression}", f"{layout}-{compression}.tif", tiff("8", layout, compression))
        for layout in ("strips", "tiles")
        for compression in ("jpeg", "packbits", "lzma", "lerc", "jpeg2000", "jpegxl", "webp")
    ],
    "TIFF: 12-bit JPEG; tiles of 6,144 pixels": [
        ("TIFF, 12-bit JPEG", "jpeg12.tif", _jpeg12_in_tiff),
        ("TIFF, tiles of 6,144 pixels", "large.tif", _large_tiles),
    ],
    "PSD, PSB: 8 bits packed or raw, 16 bits, 32-bit float": [
        ("PSD, 8 bits, packed", "a.psd", _psd("8")),
        ("PSD, 8 bits, raw", "b.psd", _psd("8", packed=False)),
        ("PSD, 16 bits", "c.psd", _psd("16")),
        ("PSD, 32-bit float", "d.psd", _psd("float", packed=False)),
        ("PSB, 8 bits, packed", "a.psb", _psd("8")),
        ("PSB, 16 bits", "b.psb", _psd("16", packed=False)),
    ],
    "OpenEXR: 16-bit float, 32-bit float, tiles": [
        ("OpenEXR, 16-bit float", "a.exr", _exr("float16")),
        ("OpenEXR, 32-bit float", "b.exr", _exr("float32", compression=OpenEXR.PIZ_COMPRESSION)),
        ("OpenEXR, tiles", "c.exr", _exr("float16", type=OpenEXR.tiledimage, tiles=OpenEXR.TileDescription())),
    ],
    "camera raw: DNG; CR2, CR3, NEF, ARW, RAF, ORF, RW2 as far as LibRaw knows the camera": [
        ("camera raw", "a.dng", camera_raw),
    ],
    "camera raw that LibRaw does not know": [
        ("camera raw, unknown", "a.raf", _bytes(b"FUJIFILMCCD-RAW ")),
    ],
}  # fmt: skip
"""The table's rows, and the files that stand for each: name, file, and how it is made."""


def outcome(make: Make, path: Path, pixels: Pixels) -> str:
    """What happens to a file: read as the picture that it holds, or the refusal."""
    make(path, pixels)
    try:
        with GigaImage.open(path) as image:
            assert image.size_wh == (WIDTH, HEIGHT)
            read = image.read(whole(image.size_wh), image.size_wh)
    except ImageError as error:
        return str(error).removeprefix(f"{path}: ")
    assert np.abs(read.astype(int) - pixels).mean() < (14 if path.suffix in (".gif", ".dng") else 6), path.name
    return READ


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return scene(WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("row", "case"), [(row, case) for row, cases in ROWS.items() for case in cases], ids=lambda value: value[0]
)
def test_formats_are_as_the_page_says(tmp_path: Path, pixels: Pixels, row: str, case: Case) -> None:
    _, file, make = case
    assert f"| {row} | {outcome(make, tmp_path / file, pixels)} |" in PAGE.read_text().splitlines()


def test_the_table_has_no_other_rows() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines] == list(ROWS)
