# ruff: noqa: E501
"""Files as drones, cameras, GIS and paint programs write them: each is shown as its plain picture is, or refused in one
line. Kinds that other tests hold one by one, here with other values and together."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from image_files import Pixels, camera_raw, linear_light, openexr, photoshop, save, scene, vips_image
from numpy.typing import NDArray
from PIL import Image

from gigacount.errors import ImageError
from gigacount.geometry import whole
from gigacount.image import GigaImage, ReadOptions
from gigacount.key import image_identity

imagecodecs = pytest.importorskip("imagecodecs")
pillow_heif = pytest.importorskip("pillow_heif")
pytest.importorskip("OpenEXR")

WIDTH, HEIGHT = 168, 120
PICTURE = scene(WIDTH, HEIGHT)
PICTURE[:8, :8], PICTURE[-8:, -8:] = 1, 255  # so that it has the whole range of its type, but no zeros
GREY = PICTURE[:, :, 1]
LEFT = np.zeros((HEIGHT, WIDTH), np.bool_)
LEFT[:, : WIDTH // 2] = True
OPACITY = np.where(LEFT, 255, 0).astype(np.uint8)
DEEP = PICTURE.astype(np.uint16) * 257
TILES: dict[str, Any] = {"tile": (32, 32), "compression": "zlib"}


@dataclass(frozen=True)
class Case:
    """A file, and how it is read: `shows` within so many grey levels, where `ground` is; or `refused`. note: said."""

    name: str
    make: Callable[[Path], object]
    shows: NDArray[Any] = field(default_factory=lambda: PICTURE)
    within: float = 1
    ground: NDArray[np.bool_] | None = None
    note: str = ""
    refused: str = ""
    options: dict[str, Any] = field(default_factory=dict)


def tiff(array: NDArray[Any], **options: Any) -> Callable[[Path], object]:
    coloured = array.ndim == 3 and array.shape[-1] == 3
    options = {"photometric": "rgb" if coloured else "minisblack", "metadata": None} | options
    if array.ndim == 3 and "planarconfig" not in options:
        options["planarconfig"] = "contig"
    return lambda path: tifffile.imwrite(path, array, **options)


def planes(array: NDArray[Any], **options: Any) -> Callable[[Path], object]:
    return tiff(np.ascontiguousarray(array.transpose(2, 0, 1)), planarconfig="separate", **options)


def beside(make: Callable[[Path], object], **files: str | NDArray[Any]) -> Callable[[Path], object]:
    """With files beside the picture: text, or a mask. Names begin with the picture's."""

    def both(path: Path) -> None:
        make(path)
        for ending, content in files.items():
            file = path.with_name(f"{path.name}.{ending.replace('_', '.')}")
            if isinstance(content, str):
                file.write_text(content)
            else:
                tifffile.imwrite(file, content, compression="zlib", photometric="minisblack", metadata=None)

    return both


def aux(*bands: str) -> str:
    inside = "".join(f'<PAMRasterBand band="{n}">{text}</PAMRasterBand>' for n, text in enumerate(bands, 1))
    return f"<PAMDataset>{inside}</PAMDataset>"


def statistics(low: float, high: float) -> str:
    keys = {"STATISTICS_MINIMUM": low, "STATISTICS_MAXIMUM": high}
    return "<Metadata>" + "".join(f'<MDI key="{key}">{value}</MDI>' for key, value in keys.items()) + "</Metadata>"


def pillow(array: NDArray[Any], **options: Any) -> Callable[[Path], object]:
    return lambda path: Image.fromarray(array).save(path, **options)


def jxl(array: NDArray[Any]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(imagecodecs.jpegxl_encode(array, lossless=True))


def heic(*arrays: NDArray[Any]) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        file = pillow_heif.from_pillow(Image.fromarray(arrays[0]))
        for array in arrays[1:]:
            file.add_from_pillow(Image.fromarray(array))
        file.save(path, quality=100, chroma=444)

    return make


def pages(*levels: tuple[NDArray[Any], int]) -> Callable[[Path], object]:
    """Pages of a TIFF with their NewSubfileType."""

    def make(path: Path) -> None:
        with tifffile.TiffWriter(path) as file:
            for array, kind in levels:
                file.write(array, photometric="rgb", subfiletype=kind, metadata=None, **TILES)

    return make


def half(pixels: Pixels) -> Pixels:
    return pixels.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)


def psd(bands: NDArray[Any], mode: int = 3, **options: Any) -> Callable[[Path], object]:
    return lambda path: photoshop(path, bands, mode, **options)


def with_opacity(array: NDArray[Any] = PICTURE, opacity: NDArray[Any] = OPACITY) -> NDArray[Any]:
    return np.dstack([array, opacity])


def exr(**options: Any) -> Callable[[Path], object]:
    return lambda path: openexr(path, PICTURE, **options)


def depth_alone(path: Path) -> None:
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {"Z": np.ones((HEIGHT, WIDTH), np.float32)}) as file:
        file.write(str(path))


def layered(path: Path) -> None:
    """As Blender names the channels of its layers."""
    import OpenEXR

    shape, colours = (HEIGHT, WIDTH), {"R": 1, "G": 0.5, "B": 0}
    light = {f"View.Combined.{name}": np.full(shape, value, np.float16) for name, value in colours.items()}
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, light | {"View.Depth.Z": np.ones((HEIGHT, WIDTH), np.float32)}) as file:
        file.write(str(path))


def ties(*points: tuple[float, float, float, float], **keys: int) -> list[tuple[Any, ...]]:
    """GeoTIFF tags of ground control points: column, row, east, north; in UTM 33N."""
    values = [number for x, y, east, north in points for number in (x, y, 0.0, east, north, 0.0)]
    directory = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633)
    return [(33922, "d", len(values), tuple(values), True), (34735, "H", len(directory), directory, True)]


def grid(off: float = 0.0) -> list[tuple[float, float, float, float]]:
    """Control points of a picture of 5 cm pixels, of which the middle one lies so many pixels off."""
    found = [(x, y, 390_000 + 0.05 * x, 5_800_000 - 0.05 * y) for x in (0.0, 84.0, 168.0) for y in (0.0, 60.0, 120.0)]
    x, y, east, north = found[4]
    found[4] = x, y, east + 0.05 * off, north
    return found


NAMES = [f"<Description>{name}</Description>" for name in ("NIR", "Red", "Green", "Blue", "SWIR", "Thermal")]
SIX = np.dstack([DEEP[:, :, 0] // 3, DEEP, DEEP[:, :, 2] // 2, DEEP[:, :, 1] // 5])
MERGED = with_opacity()
PALETTE = np.arange(256, dtype=np.uint8)
TABLE = bytes(PALETTE) + bytes(PALETTE[::-1]) + bytes(256)  # red rises, green falls, no blue
LAB = np.dstack([GREY, np.full((HEIGHT, WIDTH, 2), 128, np.uint8)])
ONE_PAGE = r"has 1 page, no page 2; choose another \(--page\)"
SECOND = {"page": 2}

CASES = [
    Case("six bands named beside.tif", beside(planes(SIX, tile=(16, 16)), aux_xml=aux(*NAMES)), note="bands 2, 3, 4 are red"),
    Case("alpha last of five.tif", tiff(np.dstack([PICTURE, GREY, OPACITY]), photometric="rgb", extrasamples=(0, 2)), ground=LEFT),
    Case("one of four bands.tif", tiff(np.dstack([DEEP, DEEP[:, :, 0]])), GREY[:, :, None], options={"bands": (2,)}),
    Case("grey and opacity.png", pillow(np.dstack([GREY, OPACITY])), GREY[:, :, None], ground=LEFT),
    Case("11 bits by tag.tif", tiff(PICTURE.astype(np.uint16) * 8, extratags=[(281, "H", 3, (2040,) * 3, True)]), note="as its tags say"),
    Case("11 bits untagged.tif", tiff(PICTURE.astype(np.uint16) * 8, **TILES), within=2, note="from 0 to 2047"),
    Case("reflectance of 16 bits with sign.tif", tiff(PICTURE.astype(np.int16) * 39, rowsperstrip=5), within=2, note="are shown from black"),
    Case("32 bits up to 100000.tif", tiff(PICTURE.astype(np.uint32) * 390, tile=(48, 16)), within=2, note="are shown from black"),
    Case("doubles of 8 bits.tif", tiff(PICTURE.astype(np.float64)), note="from 0 to 255"),
    Case("statistics beside.tif", beside(tiff(PICTURE.astype(np.float32) * 3), aux_xml=aux(*[statistics(0, 765)] * 3)), note="as its statistics say"),
    Case("statistics beside.png", beside(lambda path: vips_image(DEEP // 16).pngsave(str(path)), aux_xml=aux(*[statistics(0, 4095)] * 3)), note="as its statistics say"),
    Case("asked for.tif", tiff(PICTURE.astype(np.uint16) * 4 + 100), options={"value_range": (100.0, 1120.0)}),
    Case("mask beside.jpg", beside(lambda path: save(PICTURE, path, Q=98), msk=OPACITY), within=12, ground=LEFT),
    Case("mask beside.png", beside(lambda path: save(PICTURE, path), msk=OPACITY), ground=LEFT),
    Case("mask beside.tif", beside(tiff(PICTURE, **TILES), msk=OPACITY // 255), ground=LEFT),
    Case("mask beside.psd", beside(psd(PICTURE), msk=OPACITY), ground=LEFT),
    Case("mask of another size.png", beside(lambda path: save(PICTURE, path), msk=OPACITY[::2]), note="has 168 x 60 pixels and is not used"),
    Case("nodata beside.png", beside(lambda path: save(np.where(LEFT[:, :, None], PICTURE, 0), path), aux_xml=aux(*["<NoDataValue>0</NoDataValue>"] * 3)), ground=LEFT),
    Case("nodata of -9999.tif", tiff(np.where(LEFT[:, :, None], linear_light(PICTURE), -9999).astype(np.float32), extratags=[(42113, "s", 0, "-9999", True)]), within=2, ground=LEFT),
    Case("nodata asked for.bmp", pillow(np.where(LEFT[:, :, None], PICTURE, 0)), ground=LEFT, options={"nodata": 0.0}),
    Case("opacity.webp", pillow(MERGED, lossless=True, exact=True), ground=LEFT),
    Case("opacity.jp2", pillow(MERGED), ground=LEFT),
    Case("opacity.jxl", jxl(MERGED), ground=LEFT),
    Case("opacity of 16 bits.jxl", jxl(with_opacity(DEEP, OPACITY.astype(np.uint16) * 257)), ground=LEFT),
    Case("grey and opacity.jxl", jxl(np.dstack([GREY, OPACITY])), GREY[:, :, None], ground=LEFT),
    Case("opacity.heic", heic(MERGED), within=12, ground=LEFT),
    Case("opacity.exr", exr(alpha=LEFT.astype(np.float32)), ground=LEFT),
    Case("layers of Blender.exr", layered, np.broadcast_to((255, 188, 0), PICTURE.shape), note=""),
    Case("depth alone.exr", depth_alone, refused="OpenEXR without channels R, G and B, or Y, is not supported here; it has Z"),
    Case("merged opacity.psd", psd(MERGED, layers=-3), ground=LEFT),
    Case("saved selection.psd", psd(MERGED, layers=3)),
    Case("no merged picture.psb", psd(PICTURE, compatible=False), refused="Photoshop without the image of its layers; save"),
    Case("grey of 16 bits.psb", psd(DEEP[:, :, 1:2], 1), GREY[:, :, None]),
    Case("palette.psd", psd(GREY[:, :, None], 2, table=TABLE), np.dstack([GREY, 255 - GREY, 0 * GREY])),
    Case("lab.psd", psd(LAB, 9, packed=False), np.repeat(LAB[:, :, :1], 3, axis=2), within=14),
    *[
        Case(f"second of one page.{ending}", make, refused=ONE_PAGE, options=SECOND)
        for ending, make in {
            "jpg": lambda path: save(PICTURE, path), "png": pillow(PICTURE), "webp": pillow(PICTURE), "gif": pillow(PICTURE),
            "bmp": pillow(PICTURE), "jp2": pillow(PICTURE), "jxl": jxl(PICTURE), "heic": heic(PICTURE), "psd": psd(PICTURE),
            "exr": exr(), "tif": tiff(PICTURE),
        }.items()
    ],
    Case("second picture.heic", heic(PICTURE[::-1].copy(), PICTURE), within=12, options=SECOND),
    Case("the last page is the largest.tif", pages((half(PICTURE), 0), (PICTURE[:64, :64], 0), (PICTURE, 0)), note="page 3"),
    Case("white overviews.tif", pages((PICTURE, 0), (np.full_like(half(PICTURE), 255), 1)), note=""),
    Case("tiny tiles of planes, big endian.tif", planes(DEEP, tile=(16, 32), byteorder=">", bigtiff=True, compression="lzw")),
    Case("strips of 7 rows, predictor.tif", tiff(linear_light(PICTURE).astype(np.float32), rowsperstrip=7, compression="zlib", predictor=3)),
    Case("16-bit planes of strips, packed.tif", planes(DEEP, rowsperstrip=11, compression="packbits")),
    Case("control points.tif", tiff(PICTURE, extratags=ties(*grid(0.5))), note="placed on the map by 9 ground control points"),
    Case("three control points.tif", tiff(PICTURE, extratags=ties(*grid()[:2], grid()[8])), note="without a fourth to check it"),
    Case("control points that are off.tif", tiff(PICTURE, extratags=ties(*grid(30))), note="pixels off any flat map; rectify it by gdalwarp; no georeference is used"),
    Case("control points on a line.tif", tiff(PICTURE, extratags=ties(*grid()[:3])), note="span no area"),
    Case("rational polynomials.tif", tiff(PICTURE, extratags=[(50844, "d", 92, (0.0,) * 92, True)]), note=r"only rational polynomials \(RPC\)"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_file(case: Case, tmp_path: Path) -> None:
    path = tmp_path / case.name
    case.make(path)
    if case.refused:
        with pytest.raises(ImageError, match=case.refused) as told, GigaImage.open(path, ReadOptions(**case.options)):
            pass
        assert "\n" not in str(told.value)
        return
    with GigaImage.open(path, ReadOptions(**case.options)) as image:
        assert image.size_wh == (WIDTH, HEIGHT)
        everything = whole(image.size_wh)
        read, valid, notes = image.read(everything, image.size_wh), image.valid(everything, image.size_wh), image.notes
    shown = np.ones_like(LEFT) if case.ground is None else case.ground
    assert np.abs(read.astype(int) - case.shows)[shown].max() <= case.within
    assert (read[~shown] == 255).all()
    if case.ground is not None:
        assert valid is not None
    if valid is not None:
        assert (valid == shown).all()
    assert not case.note or any(map(re_search(case.note), notes)), notes


def re_search(pattern: str) -> Callable[[str], object]:
    return lambda text: re.search(pattern, text)


def test_inks_are_as_in_a_tiff(tmp_path: Path) -> None:
    inks = np.dstack([255 - PICTURE, GREY // 4])
    tiff(inks, photometric="separated")(tmp_path / "inks.tif")
    photoshop(tmp_path / "inks.psd", 255 - inks, 4)  # 0 is full ink there
    looks = []
    for name in ("inks.tif", "inks.psd"):
        with GigaImage.open(tmp_path / name) as image:
            looks.append(image.read(whole(image.size_wh), image.size_wh))
    assert np.array_equal(*looks)


@pytest.mark.parametrize("size_wh", [(40_000, 3), (1, 5_000), (2, 2)])
@pytest.mark.parametrize("ending", ["tif", "png"])
def test_shapes(size_wh: tuple[int, int], ending: str, tmp_path: Path) -> None:
    path = save(scene(*size_wh), tmp_path / f"long.{ending}")
    with GigaImage.open(path) as image:
        assert image.size_wh == size_wh
        assert np.array_equal(image.read(whole(size_wh), size_wh), scene(*size_wh))


@pytest.mark.parametrize("name", ["a.png.msk", "a.png.aux.xml", "a.aux.xml", "a.pgw", "a.wld", "a.prj", "a.PGW"])
def test_what_lies_beside_a_picture_belongs_to_it(name: str, tmp_path: Path) -> None:
    path = save(PICTURE, tmp_path / "a.png")
    alone = image_identity(path)
    (tmp_path / name).write_text("1")
    with_it = image_identity(path)
    assert with_it != alone
    (tmp_path / name).write_text("12")
    assert image_identity(path) not in (alone, with_it)


@pytest.mark.parametrize(("ending", "module", "remedy"), [
    ("exr", "OpenEXR", "OpenEXR is not supported here; install OpenEXR (pip install 'gigacount[codecs]'), or convert"),
    ("dng", "rawpy", "camera raw is not supported here; install rawpy (pip install 'gigacount[raw]'), or develop it"),
    ("heic", "pillow_heif", "HEIC is not supported here; install pillow-heif (pip install 'gigacount[codecs]'), or convert"),
    ("jxl", "imagecodecs", "JPEG XL is not supported here; install imagecodecs (pip install 'gigacount[codecs]'), or convert"),
])  # fmt: skip
def test_without_the_extra(
    ending: str, module: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a.{ending}"
    makers = {"exr": exr(), "heic": heic(PICTURE), "jxl": jxl(PICTURE)}
    makers.get(ending, lambda where: camera_raw(where, PICTURE))(path)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImageError, match=re.escape(remedy)), GigaImage.open(path) as image:
        image.read(whole(image.size_wh), (8, 8))


@pytest.mark.parametrize("make", [psd(PICTURE), psd(PICTURE, packed=False), exr(), jxl(PICTURE), heic(PICTURE)])
@pytest.mark.parametrize("share", [0.02, 0.7])
def test_files_cut_short(make: Callable[[Path], object], share: float, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    make(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ImageError) as told, GigaImage.open(path) as image:
        image.read(whole(image.size_wh), image.size_wh)
    assert "damaged" in str(told.value) or "not an image" in str(told.value)
    assert "\n" not in str(told.value)


def test_impossible_sizes_are_told_before_anything_is_made(tmp_path: Path) -> None:
    path = photoshop(tmp_path / "a.psb", PICTURE, 3)
    content = bytearray(path.read_bytes())
    content[14:22] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"gigapixels, more than the limit|cannot be read|damaged"):
        GigaImage.open(path)
    path = photoshop(tmp_path / "raw.psb", PICTURE, 3, packed=False)
    content = bytearray(path.read_bytes())
    content[14:18] = b"\xff\0\0\0"
    path.write_bytes(content)
    with pytest.raises(ImageError, match="declares 168 x 4278190080 = "):
        GigaImage.open(path)
