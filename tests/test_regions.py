"""Regions: people and points in polygons, GeoJSON of all shapes and faults, GeoTIFF coordinates."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from gigacount.density import DensityMap
from gigacount.errors import DataError, UsageError
from gigacount.options import RegionOptions
from gigacount.regions import Regions, read_georeference, read_regions
from gigacount.regions.inside import people_inside, points_inside

SIZE = (1003, 602)  # the last cells reach past the picture's edges


def rings(polygon: shapely.Polygon) -> list[np.ndarray]:
    turned = shapely.geometry.polygon.orient(polygon)
    return [np.array(ring.coords)[:-1] for ring in (turned.exterior, *turned.interiors)]


def even_map(size_wh: tuple[int, int] = SIZE, per_pixel: float = 0.01) -> DensityMap:
    """A map with as many people in every pixel of the picture."""
    density = DensityMap.empty(size_wh)
    sides = zip(density.cells.shape, size_wh[::-1], strict=True)
    height, width = (np.diff(np.minimum(np.arange(cells + 1) * 8, side)) for cells, side in sides)
    density.cells[:] = height[:, None] * width * per_pixel
    return density


def random_map(seed: int = 0) -> DensityMap:
    density = DensityMap.empty(SIZE)
    density.cells[:] = np.random.default_rng(seed).random(density.cells.shape)
    return density


def write(folder: Path, content: Any, name: str = "regions.geojson") -> RegionOptions:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return RegionOptions(path)


def feature(coordinates: Any, kind: str = "Polygon", **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": properties, "geometry": {"type": kind, "coordinates": coordinates}}


def collection(*features: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features), **members}


def square(left: float, top: float, side: float) -> list[list[float]]:
    right, bottom = left + side, top + side
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def read(folder: Path, content: Any, image: Path | None = None, size_wh: tuple[int, int] = SIZE) -> Regions:
    return read_regions(write(folder, content), image or folder / "no.tif", size_wh)


POLYGONS = st.lists(st.tuples(st.floats(0, 1003), st.floats(0, 602)), min_size=3, max_size=9).map(
    lambda vertices: shapely.convex_hull(shapely.MultiPoint(vertices))
)


@given(POLYGONS.filter(lambda hull: hull.geom_type == "Polygon" and hull.area > 1))
def test_people_of_an_even_crowd_are_the_area(polygon: shapely.Polygon) -> None:
    assert people_inside(rings(polygon), even_map()) == pytest.approx(polygon.area * 0.01, rel=1e-5, abs=1e-6)


def test_a_cut_cell_gives_its_share_by_hand() -> None:
    density = DensityMap.empty((16, 16))
    density.cells[:] = [[1, 2], [3, 4]]
    triangle = shapely.Polygon([(0, 0), (16, 0), (0, 16)])
    assert people_inside(rings(triangle), density) == pytest.approx(1 + 2 / 2 + 3 / 2)
    assert people_inside(rings(shapely.box(4, 2, 12, 6)), density) == pytest.approx(1 / 4 + 2 / 4)


def test_holes_are_left_out() -> None:
    ring = shapely.Polygon(square(8, 8, 400), [square(100, 100, 50), square(200.5, 200.5, 33)])
    assert people_inside(rings(ring), even_map()) == pytest.approx((400**2 - 50**2 - 33**2) * 0.01, rel=1e-5)


@pytest.mark.parametrize("band", [4_000_000, 500])
def test_parts_add_up_to_the_whole(band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gigacount.regions.inside.BAND_CELLS", band)
    density = random_map()
    xs, ys = [0, 333.3, 700.7, 1003], [0, 150.1, 602]
    parts = [shapely.box(a, c, b, d) for a, b in pairwise(xs) for c, d in pairwise(ys)]
    assert sum(people_inside(rings(part), density) for part in parts) == pytest.approx(density.count, rel=1e-6)
    assert people_inside(rings(shapely.box(0, 0, *SIZE)), density) == pytest.approx(density.count, rel=1e-6)


def test_a_point_on_a_shared_edge_is_in_one_part() -> None:
    fan = np.array([[0, 0], [1000, 0], [1000, 600], [600, 600], [0, 600]], float)
    middle = np.array([400.0, 300.0])
    parts = [np.array([middle, one, other]) for one, other in zip(fan, np.roll(fan, -1, axis=0), strict=True)]
    along = np.linspace(0, 1, 50, endpoint=False)[1:, None]
    edges = np.concatenate([middle + along * (vertex - middle) for vertex in fan])
    points = np.concatenate([edges, [middle], np.random.default_rng(0).uniform((0, 0), (1000, 600), (500, 2))])
    points = points.astype(np.float32)
    assert (np.sum([points_inside([part], points) for part in parts], axis=0) == 1).all()


def test_left_and_upper_edges_are_inside_right_and_lower_ones_are_not() -> None:
    box = rings(shapely.box(10, 20, 30, 40))
    points = np.array([[10, 20], [10, 30], [20, 20], [30, 30], [20, 40], [30, 40], [20, 30]], np.float32)
    assert points_inside(box, points).tolist() == [True, True, True, False, False, False, True]


@given(POLYGONS.filter(lambda hull: hull.geom_type == "Polygon" and hull.area > 1))
def test_points_agree_with_shapely(polygon: shapely.Polygon) -> None:
    points = np.random.default_rng(0).uniform((0, 0), SIZE, (200, 2)).astype(np.float32)
    far = shapely.distance(polygon.exterior, shapely.points(points)) > 1e-3
    found = points_inside(rings(polygon), points)
    assert (found == shapely.contains_xy(polygon, *points.T))[far].all()


def test_multipolygons_holes_names_and_the_shapes_a_file_may_have(tmp_path: Path) -> None:
    gate = feature([square(0, 0, 100), square(20, 20, 20)], name="Gate")
    stands = feature([[square(200, 0, 100)], [square(400, 0, 50)]], "MultiPolygon", classification={"name": "Stands"})
    bare = {**feature([square(0, 200, 10)]), "id": "a7"}
    regions = read(tmp_path, collection(gate, stands, bare, feature([square(0, 300, 10)])))
    assert [region.name for region in regions.regions] == ["Gate", "Stands", "a7", "4"]
    assert [region.area_px for region in regions.regions] == [100**2 - 20**2, 100**2 + 50**2, 100, 100]
    heads = np.array([[30, 30], [10, 10], [250, 50], [420, 20], [350, 20]], np.float32)
    counts = regions.measure(even_map(), heads)
    assert [count.points for count in counts] == [1, 2, 0, 0]
    assert [count.count for count in counts] == pytest.approx([96, 125, 1, 1], rel=1e-5)
    assert regions.measure(even_map())[0].points is None
    for content in ([gate], gate, gate["geometry"], collection(gate)):
        assert read(tmp_path, content).regions[0].area_px == 9600


def test_a_region_is_cut_at_the_edge_of_the_picture(tmp_path: Path) -> None:
    (region,) = read(tmp_path, collection(feature([square(-50, 552, 100)]))).regions
    assert region.area_px == 50 * 50


def test_people_per_square_metre(tmp_path: Path) -> None:
    file = write(tmp_path, collection(feature([square(0, 0, 100)]))).file
    regions = read_regions(RegionOptions(file, metres_per_pixel=0.1), tmp_path / "no.tif", SIZE)
    (count,) = regions.measure(even_map())
    assert count.region.area_m2 == pytest.approx(100)
    assert count.people_per_m2 == pytest.approx(1, rel=1e-5)
    assert read(tmp_path, collection(feature([square(0, 0, 100)]))).measure(even_map())[0].people_per_m2 is None
    with pytest.raises(UsageError, match="metres-per-pixel"):
        RegionOptions(file, metres_per_pixel=0)


BOW = [[0, 0], [100, 100], [100, 0], [0, 100], [0, 0]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "line 1: not JSON"),
        ("7", "not GeoJSON"),
        ({"type": "Topology"}, "region 1 is a Topology"),
        (collection(), "no regions"),
        (collection(feature([1, 2], "Point")), "region 1 is a Point; use Polygon or MultiPolygon"),
        (collection({"type": "Feature", "geometry": None}), "without geometry"),
        (collection(feature([BOW], name="Gate")), "region 1 'Gate': self-intersection at 50, 50"),
        (collection(feature([square(0, 0, 9), square(5, 5, 9)])), "redraw it"),
        (collection(feature([[square(0, 0, 9)], [square(5, 5, 9)]], "MultiPolygon")), "redraw it"),
        (collection(feature([[[0, 0], [1, 1], [0, 0]]])), "at least 4 positions"),
        (collection(feature([[["a", 0], [1, 1], [2, 0], ["a", 0]]])), "at least 4 positions"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1, NaN], [2, 0], [0, 0]]]}', "at least 4 positions"),
        (collection(feature([])), "at least 4 positions"),
        (collection(feature([square(5000, 0, 10)], name="Far")), "'Far' lies outside the picture of 1003 x 602"),
        (collection(feature([square(13.3, 52.5, 0.01)])), "smaller than a pixel"),
        (collection(feature([square(0, 0, 9)]), crs={"properties": {"name": "EPSG:25833"}}), "picture has none"),
        (collection(feature([square(0, 0, 9)]), crs={"properties": {"name": "Gauss"}}), "unknown coordinate system"),
    ],
)  # fmt: skip
def test_bad_files_are_told_in_one_line(content: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as told:
        read(tmp_path, content)
    message = str(told.value)
    assert words.lower() in message.lower()
    assert "regions.geojson" in message
    assert "\n" not in message


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_regions(RegionOptions(tmp_path / "gone.geojson"), tmp_path / "no.tif", SIZE)


# ---- GeoTIFF


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
    reference = read_georeference(geotiff(tmp_path / "a.tif", UTM, GRID, **options))
    assert reference is not None
    assert (reference.epsg, reference.name) == (32633, "EPSG:32633")
    np.testing.assert_allclose(
        reference.to_map(np.array([[0, 0], [1000, 600]])), [[390_000, 5_800_000], [390_100, 5_799_940]]
    )
    np.testing.assert_allclose(reference.to_pixels(np.array([[390_050.0, 5_799_990.0]])), [[500, 100]], atol=1e-6)
    assert reference.square_metres((500, 300)) == pytest.approx(0.01)


def test_pixel_is_point_and_the_transformation_matrix(tmp_path: Path) -> None:
    point = geo_keys(model=1, raster=2, projected=32633)
    reference = read_georeference(geotiff(tmp_path / "p.tif", point, GRID))
    assert reference is not None
    np.testing.assert_allclose(reference.to_map(np.array([[0.5, 0.5]])), [[390_000, 5_800_000]])
    turned = (0, 2.0, 0, 100, 2.0, 0, 0, 200, 0, 0, 0, 0, 0, 0, 0, 1)
    reference = read_georeference(
        geotiff(tmp_path / "m.tif", geo_keys(model=1, projected=32767, unit=9002), {"matrix": turned})
    )
    assert reference is not None
    assert reference.epsg is None
    np.testing.assert_allclose(reference.to_map(np.array([[1, 10]])), [[120, 202]])
    assert reference.square_metres((0, 0)) == pytest.approx((2 * 0.3048) ** 2)


def test_square_metres_of_degrees_and_web_mercator(tmp_path: Path) -> None:
    degrees = geotiff(
        tmp_path / "d.tif", geo_keys(model=2, geographic=4326), {"scale": (1e-6, 1e-6), "tie": (0, 0, 0, 13.4, 52.5, 0)}
    )
    reference = read_georeference(degrees)
    assert reference is not None
    # At 52.5 degrees a degree is 111,269 m north and 67,909 m east (WGS 84 tables).
    assert reference.square_metres((0, 0)) == pytest.approx(111_269e-6 * 67_909e-6, rel=1e-4)
    north = 6_378_137 * np.log(np.tan(np.pi / 4 + np.radians(52.5) / 2))
    mercator = geotiff(
        tmp_path / "w.tif", geo_keys(model=1, projected=3857), {"scale": (0.1, 0.1), "tie": (0, 0, 0, 1e6, north, 0)}
    )
    reference = read_georeference(mercator)
    assert reference is not None
    assert reference.square_metres((0, 0)) == pytest.approx(0.01 * np.cos(np.radians(52.5)) ** 2)


def test_files_without_a_georeference_have_none(tmp_path: Path) -> None:
    plain = tmp_path / "plain.tif"
    tifffile.imwrite(plain, np.zeros((4, 4), np.uint8))
    cut = tmp_path / "cut.tif"
    cut.write_bytes(geotiff(tmp_path / "g.tif", UTM, GRID).read_bytes()[:40])
    text = tmp_path / "text.tif"
    text.write_text("no picture")
    for path in (plain, cut, text, tmp_path / "gone.tif"):
        assert read_georeference(path) is None


def on_the_ground(left: float, top: float, side: float) -> list[list[float]]:
    return [[390_000 + x / 10, 5_800_000 - y / 10] for x, y in square(left, top, side)]


@pytest.mark.parametrize("crs", [None, "EPSG:32633", "urn:ogc:def:crs:EPSG::32633"])
def test_regions_in_the_pictures_own_coordinates(tmp_path: Path, crs: str | None) -> None:
    image = geotiff(tmp_path / "a.tif", UTM, GRID)
    members = {"crs": {"type": "name", "properties": {"name": crs}}} if crs else {}
    regions = read(tmp_path, collection(feature([on_the_ground(100, 50, 200)]), **members), image)
    (region,) = regions.regions
    assert regions.coordinates == "EPSG:32633"
    assert region.area_px == pytest.approx(200 * 200)
    assert region.area_m2 == pytest.approx(400)
    inside = points_inside(region.rings, np.array([[101, 51], [299, 249], [99, 51]], np.float32))
    assert inside.tolist() == [True, True, False]


def test_pixels_on_a_geotiff(tmp_path: Path) -> None:
    image = geotiff(tmp_path / "a.tif", UTM, GRID)
    regions = read(tmp_path, collection(feature([square(100, 50, 200)])), image)
    assert regions.coordinates == "pixels"
    assert regions.regions[0].area_m2 == pytest.approx(400)


def test_longitude_and_latitude_of_a_picture_in_degrees(tmp_path: Path) -> None:
    grid = {"scale": (1e-6, 1e-6), "tie": (0, 0, 0, 13.4, 52.5, 0)}
    image = geotiff(tmp_path / "d.tif", geo_keys(model=2, geographic=4326), grid)
    there = [[13.4001, 52.4999], [13.4002, 52.4999], [13.4002, 52.4998], [13.4001, 52.4998], [13.4001, 52.4999]]
    for members in ({}, {"crs": {"properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}}):
        regions = read(tmp_path, collection(feature([there]), **members), image)
        assert regions.coordinates == "EPSG:4326"
        assert regions.regions[0].area_px == pytest.approx(100 * 100, rel=1e-6)
    assert read(tmp_path, collection(feature([square(0, 0, 400)])), image).coordinates == "pixels"


def test_the_wrong_coordinate_system_is_told_with_the_remedy(tmp_path: Path) -> None:
    image = geotiff(tmp_path / "a.tif", UTM, GRID)
    wgs = [[13.4, 52.3], [13.5, 52.3], [13.5, 52.4], [13.4, 52.3]]
    declared = collection(feature([wgs]), crs={"properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}})
    with pytest.raises(DataError, match="EPSG:4326, but those of the picture EPSG:32633; convert"):
        read(tmp_path, declared, image)
    with pytest.raises(DataError, match=r"outside the picture both in pixels .* and in EPSG:32633"):
        read(tmp_path, collection(feature([wgs])), image)
