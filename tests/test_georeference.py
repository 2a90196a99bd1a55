"""Where pictures lie on the earth: GeoTIFF tags, world files, .aux.xml; as GDAL reads them, and damaged."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from gigacount.errors import DataError
from gigacount.geometry import whole
from gigacount.image import GigaImage
from gigacount.image.georeference import Georeference, transform
from gigacount.image.geotags import System, georeference_of, wkt_system

rasterio = pytest.importorskip("rasterio")
warp = pytest.importorskip("rasterio.warp")

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul", "ignore:Dataset has no geotransform")

SIZE = (1003, 602)


def read(path: Path, orientation: int = 1) -> Georeference:
    found = georeference_of(path, SIZE, orientation)
    assert found is not None
    return found


def geo_keys(**keys: int) -> tuple[int, ...]:
    numbers = {"model": 1024, "raster": 1025, "geographic": 2048, "projected": 3072, "unit": 3076}
    entries = [(numbers[name], 0, 1, value) for name, value in keys.items()]
    return (1, 1, 0, len(entries), *(value for entry in entries for value in entry))


def geotiff(path: Path, keys: tuple[int, ...], affine: dict[str, Any], **options: Any) -> Path:
    tags = [(34735, "H", len(keys), keys, True)]
    if "scale" in affine:
        tags += [(33550, "d", 3, (*affine["scale"], 0.0), True), (33922, "d", 6, affine["tie"], True)]
    else:
        tags += [(34264, "d", 16, affine["matrix"], True)]
    tifffile.imwrite(path, np.zeros((602, 1003), np.uint8), extratags=tags, **options)
    return path


UTM = geo_keys(model=1, raster=1, projected=32633, unit=9001)
GRID = {"scale": (0.1, 0.1), "tie": (0, 0, 0, 390_000.0, 5_800_000.0, 0)}  # 10 cm pixels, north up


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}, {"byteorder": ">", "bigtiff": True}])
def test_tie_point_and_scale_in_all_kinds_of_tiff(tmp_path: Path, options: dict[str, Any]) -> None:
    reference = read(geotiff(tmp_path / "a.tif", UTM, GRID, **options))
    assert reference.crs == reference.name == "EPSG:32633"
    np.testing.assert_allclose(
        reference.to_map(np.array([[0, 0], [1000, 600]])), [[390_000, 5_800_000], [390_100, 5_799_940]]
    )
    np.testing.assert_allclose(reference.to_pixels(np.array([[390_050.0, 5_799_990.0]])), [[500, 100]], atol=1e-6)
    assert reference.square_metres((500, 300)) == pytest.approx(0.01)
    assert reference.summary(SIZE) == "EPSG:32633; a pixel is 10 cm wide"


def test_pixel_is_point_and_the_transformation_matrix(tmp_path: Path) -> None:
    point = geo_keys(model=1, raster=2, projected=32633)
    reference = read(geotiff(tmp_path / "p.tif", point, GRID))
    np.testing.assert_allclose(reference.to_map(np.array([[0.5, 0.5]])), [[390_000, 5_800_000]])
    turned = (0, 2.0, 0, 100, 2.0, 0, 0, 200, 0, 0, 0, 0, 0, 0, 0, 1)
    reference = read(geotiff(tmp_path / "m.tif", geo_keys(model=1, projected=32767, unit=9002), {"matrix": turned}))
    assert reference.crs is None
    np.testing.assert_allclose(reference.to_map(np.array([[1, 10]])), [[120, 202]])
    assert reference.square_metres((0, 0)) == pytest.approx((2 * 0.3048) ** 2)


def test_square_metres_of_degrees_and_web_mercator(tmp_path: Path) -> None:
    grid = {"scale": (1e-6, 1e-6), "tie": (0, 0, 0, 13.4, 52.5, 0)}
    reference = read(geotiff(tmp_path / "d.tif", geo_keys(model=2, geographic=4326), grid))
    # At 52.5 degrees a degree is 111,269 m north and 67,909 m east (WGS 84 tables).
    assert reference.square_metres((0, 0)) == pytest.approx(111_269e-6 * 67_909e-6, rel=1e-4)
    north = 6_378_137 * np.log(np.tan(np.pi / 4 + np.radians(52.5) / 2))
    grid = {"scale": (0.1, 0.1), "tie": (0, 0, 0, 1e6, north, 0)}
    reference = read(geotiff(tmp_path / "w.tif", geo_keys(model=1, projected=3857), grid))
    assert reference.square_metres((0, 0)) == pytest.approx(0.01 * np.cos(np.radians(52.5)) ** 2)


def test_files_without_a_georeference_have_none(tmp_path: Path) -> None:
    plain = tmp_path / "plain.tif"
    tifffile.imwrite(plain, np.zeros((4, 4), np.uint8))
    cut = tmp_path / "cut.tif"
    cut.write_bytes(geotiff(tmp_path / "g.tif", UTM, GRID).read_bytes()[:40])
    text = tmp_path / "text.tif"
    text.write_text("no picture")
    for path in (plain, cut, text, tmp_path / "gone.tif", tmp_path / ("x" * 251 + ".tif")):
        assert georeference_of(path, SIZE) is None


# ---- as GDAL reads it


def by_gdal(path: Path) -> tuple[tuple[float, ...], Any]:
    with rasterio.open(path) as opened:
        return tuple(opened.transform)[:6], opened.crs


def picture(path: Path, **options: Any) -> Path:
    with rasterio.open(path, "w", width=SIZE[0], height=SIZE[1], count=1, dtype="uint8", **options):
        pass
    return path


PLACE = rasterio.Affine(0.1, 0, 390_000, 0, -0.1, 5_800_000)
DEGREES = rasterio.Affine(1e-6, 0, 13.4, 0, -1e-6, 52.5)


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "EPSG:3857", "EPSG:2056", "EPSG:27700", "EPSG:2263"])
def test_tags_that_gdal_writes(crs: str, tmp_path: Path) -> None:
    place = DEGREES if crs == "EPSG:4326" else PLACE
    path = picture(tmp_path / "a.tif", driver="GTiff", crs=crs, transform=place)
    reference = read(path)
    assert reference.crs == crs
    assert reference.affine == pytest.approx(by_gdal(path)[0], rel=1e-12)
    metres = {"EPSG:4326": None, "EPSG:2263": 1200 / 3937}.get(crs, 1.0)
    assert reference.metres_per_unit == (metres if metres is None else pytest.approx(metres, rel=1e-9))


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "EPSG:2263", "ESRI:102003", "+proj=laea +lat_0=10"])
def test_aux_xml_that_gdal_writes(crs: str, tmp_path: Path) -> None:
    place = DEGREES if crs == "EPSG:4326" else PLACE
    path = picture(tmp_path / "a.png", driver="PNG", crs=crs, transform=place)
    assert (tmp_path / "a.png.aux.xml").is_file()
    (tmp_path / "a.wld").unlink(missing_ok=True)
    reference = read(path)
    gdal_place, gdal_crs = by_gdal(path)
    assert reference.affine == pytest.approx(gdal_place, rel=1e-12)
    assert rasterio.crs.CRS.from_user_input(reference.crs) == gdal_crs
    assert reference.geographic == gdal_crs.is_geographic
    if not reference.geographic:
        assert reference.metres_per_unit == pytest.approx(gdal_crs.linear_units_factor[1], rel=1e-9)


@pytest.mark.parametrize(
    ("name", "world"),
    [("a.tif", "a.tfw"), ("a.tif", "a.TFW"), ("a.jpg", "a.jgw"), ("a.png", "a.pgw"), ("a.jpeg", "a.jpegw"),
     ("a.tif", "a.wld")],
)  # fmt: skip
def test_world_files(name: str, world: str, tmp_path: Path) -> None:
    path = picture(tmp_path / name, driver={"t": "GTiff", "p": "PNG", "j": "JPEG"}[name[2]])
    (tmp_path / world).write_text("0.1\n0.02\n0.03\n-0.1\n390000.05\n5799999.95\n")
    (tmp_path / "a.prj").write_text(rasterio.crs.CRS.from_epsg(32633).to_wkt(version="WKT1_ESRI"))
    reference = read(path)
    if world != "a.TFW":  # GDAL looks for that on Windows alone
        assert reference.affine == pytest.approx(by_gdal(path)[0], rel=1e-12)
    assert reference.affine == pytest.approx((0.1, 0.03, 389_999.985, 0.02, -0.1, 5_799_999.99), rel=1e-12)
    assert reference.metres_per_unit == 1
    assert rasterio.crs.CRS.from_user_input(reference.crs) == rasterio.crs.CRS.from_epsg(32633)


def test_web_mercator_as_esri_names_it(tmp_path: Path) -> None:
    wkt = rasterio.crs.CRS.from_epsg(3857).to_wkt(version="WKT1_ESRI")
    assert wkt_system(wkt) == System("EPSG:3857", metres_per_unit=1)


def test_what_stands_beside_a_picture_goes_before_its_tags(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.tif", driver="GTiff", crs="EPSG:32633", transform=PLACE)
    (tmp_path / "a.tfw").write_text("9\n0\n0\n-9\n0\n0\n")
    assert read(path).affine == pytest.approx(by_gdal(path)[0])
    aux = "<PAMDataset><GeoTransform>500, 2, 0, 600, 0, -2</GeoTransform></PAMDataset>"
    (tmp_path / "a.tif.aux.xml").write_text(aux)
    assert read(path).affine == by_gdal(path)[0] == (2, 0, 500, 0, -2, 600)
    assert read(path).crs == "EPSG:32633"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_that_is_turned_upright_keeps_its_place(orientation: int, tmp_path: Path) -> None:
    stored_wh = SIZE if orientation < 5 else SIZE[::-1]
    marks = np.zeros(stored_wh[::-1], np.uint8)
    marks[40:44, 10:14] = 255
    path = tmp_path / "a.tif"
    tags = [
        (33550, "d", 3, (0.1, 0.1, 0.0), True),
        (33922, "d", 6, GRID["tie"], True),
        (274, "H", 1, orientation, True),
    ]
    tifffile.imwrite(path, marks, extratags=[*tags, (34735, "H", len(UTM), UTM, True)], metadata=None)
    with GigaImage.open(path) as image:
        pixels = image.read(whole(image.size_wh), image.size_wh)
        reference = image.georeference
    y, x = np.argwhere(pixels[..., 0] > 128).mean(axis=0) + 0.5
    assert reference is not None
    np.testing.assert_allclose(reference.to_map(np.array([[x, y]])), [[390_001.2, 5_799_995.8]], atol=1e-6)


# ---- damage


def aux(content: str, encoding: str = "UTF-8") -> bytes:
    return f'<?xml version="1.0" encoding="{encoding}"?><PAMDataset>{content}</PAMDataset>'.encode()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.tfw", b"", "world file is damaged"),
        ("a.tfw", b"1 2 3", "world file is damaged"),
        ("a.tfw", b"a\nb\nc\nd\ne\nf", "world file is damaged"),
        ("a.tfw", b"\xff\xfe\x00", "world file is damaged"),
        ("a.tfw", b"1\n0\n0\n-1\nnan\n5", "not finite"),
        ("a.tfw", b"1\n0\n0\n-1\n1e400\n5", "not finite"),
        ("a.tfw", b"1e-40\n0\n0\n-1\n1\n5", "no size"),
        ("a.tfw", b"1\n1\n1\n1\n1\n5", "no size"),
        ("a.tfw", b"1\n0\n0\n-1\n1e10\n5", "not on the earth"),
        ("a.tfw", b"1e300\n0\n0\n-1e300\n1e300\n5", "."),
        ("a.tif.aux.xml", b"<PAMDataset", ".aux.xml is damaged"),
        ("a.tif.aux.xml", aux("", "utf-7"), ".aux.xml is damaged"),
        ("a.tif.aux.xml", aux("", "no-such-encoding"), ".aux.xml is damaged"),
        ("a.tif.aux.xml", aux("<GeoTransform>1,2</GeoTransform>"), ".aux.xml is damaged"),
        ("a.tif.aux.xml", aux("<GeoTransform>1,x,3,4,5,6</GeoTransform>"), ".aux.xml is damaged"),
        ("a.tif.aux.xml", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', ".aux.xml is damaged"),
        ("a.tif.aux.xml", b"<a>" * 100_000, ".aux.xml is damaged"),
    ],
)
def test_damage_beside_a_picture_is_our_error(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((602, 1003), np.uint8))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words) as told:
        georeference_of(path, SIZE)
    assert "\n" not in str(told.value)
    with GigaImage.open(path) as image:
        assert image.georeference is None
        assert "no georeference is used" in image.notes[-1]


@pytest.mark.parametrize(
    ("affine", "words"),
    [
        ({"scale": (math.nan, 0.1), "tie": GRID["tie"]}, "not finite"),
        ({"scale": (0.1, math.inf), "tie": GRID["tie"]}, "not finite"),
        ({"scale": (0.0, 0.1), "tie": GRID["tie"]}, "no size"),
        ({"scale": (0.1, 0.1), "tie": (0, 0, 0, 1e10, 1e10, 0)}, "not on the earth"),
        ({"scale": (0.1, 0.1), "tie": (1e300, -1e300, 0, 0, 0, 0)}, "."),
        ({"matrix": (math.nan,) * 16}, "not finite"),
    ],
)
def test_damaged_tags_are_our_error(affine: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", geo_keys(model=1, projected=3857), affine)
    with pytest.raises(DataError, match=words):
        georeference_of(path, SIZE)


def test_degrees_off_the_earth(tmp_path: Path) -> None:
    grid = {"scale": (1, 1), "tie": (0, 0, 0, 13, 52, 0)}
    with pytest.raises(DataError, match="not on the earth"):
        georeference_of(geotiff(tmp_path / "a.tif", geo_keys(model=2, geographic=4326), grid), SIZE)


@pytest.mark.parametrize("tag", [274, 33550, 33922, 34735])
def test_tags_without_values(tag: int, tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", UTM, GRID)
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack("<H", tag if tag != 274 else 34735), 8)
    data[at + 4 : at + 8] = bytes(4)
    path.write_bytes(data)
    found = georeference_of(path, SIZE)
    assert found is None or found.crs is None


def test_conversions_are_gdals() -> None:
    xy = np.array([[390_000.0, 5_800_000], [390_100, 5_799_940]])
    there = transform(xy, "EPSG:32633", "EPSG:4326")
    xs, ys = warp.transform("EPSG:32633", "EPSG:4326", *xy.T)
    np.testing.assert_allclose(there, np.stack([xs, ys], axis=1), rtol=1e-10)
    np.testing.assert_allclose(transform(there, "EPSG:4326", "EPSG:32633"), xy, atol=1e-4)
    with pytest.raises(DataError, match="no place"):
        transform(np.array([[0.0, 1e9]]), "EPSG:4326", "EPSG:32633")
    with pytest.raises(DataError, match="cannot be converted"):
        transform(xy, "EPSG:32633", "EPSG:1")
