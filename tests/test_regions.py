"""Regions: people and points in polygons, GeoJSON of all shapes and faults, map coordinates, ground alone."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import Transformer

from gigacount.density import DensityMap
from gigacount.errors import DataError, UsageError
from gigacount.geometry import Window
from gigacount.image.georeference import Georeference
from gigacount.options import RegionOptions
from gigacount.regions import Regions, read_regions
from gigacount.regions.inside import people_inside, points_inside

SIZE = (1003, 602)  # the last cells reach past the picture's edges


def rings(polygon: shapely.Polygon) -> list[np.ndarray]:
    turned = shapely.geometry.polygon.orient(polygon)
    return [np.array(ring.coords)[:-1] for ring in (turned.exterior, *turned.interiors)]


def people_in(one: list[np.ndarray], density: DensityMap) -> float:
    return people_inside([one], density)[0]


def points_in(one: Sequence[np.ndarray], xy: np.ndarray) -> np.ndarray:
    return next(points_inside([one], xy))


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


def read(folder: Path, content: Any, reference: Georeference | None = None) -> Regions:
    return read_regions(write(folder, content), SIZE, reference)


POLYGONS = st.lists(st.tuples(st.floats(0, 1003), st.floats(0, 602)), min_size=3, max_size=9).map(
    lambda vertices: shapely.convex_hull(shapely.MultiPoint(vertices))
)


@given(POLYGONS.filter(lambda hull: hull.geom_type == "Polygon" and hull.area > 1))
def test_people_of_an_even_crowd_are_the_area(polygon: shapely.Polygon) -> None:
    assert people_in(rings(polygon), even_map()) == pytest.approx(polygon.area * 0.01, rel=1e-5, abs=1e-6)


def test_a_cut_cell_gives_its_share_by_hand() -> None:
    density = DensityMap.empty((16, 16))
    density.cells[:] = [[1, 2], [3, 4]]
    triangle = shapely.Polygon([(0, 0), (16, 0), (0, 16)])
    assert people_in(rings(triangle), density) == pytest.approx(1 + 2 / 2 + 3 / 2)
    assert people_in(rings(shapely.box(4, 2, 12, 6)), density) == pytest.approx(1 / 4 + 2 / 4)


def test_holes_are_left_out() -> None:
    ring = shapely.Polygon(square(8, 8, 400), [square(100, 100, 50), square(200.5, 200.5, 33)])
    assert people_in(rings(ring), even_map()) == pytest.approx((400**2 - 50**2 - 33**2) * 0.01, rel=1e-5)


@pytest.mark.parametrize("band", [4_000_000, 500])
def test_parts_add_up_to_the_whole(band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gigacount.regions.inside.BAND_CELLS", band)
    density = random_map()
    xs, ys = [0, 333.3, 700.7, 1003], [0, 150.1, 602]
    parts = [shapely.box(a, c, b, d) for a, b in pairwise(xs) for c, d in pairwise(ys)]
    assert sum(people_in(rings(part), density) for part in parts) == pytest.approx(density.count, rel=1e-6)
    assert people_in(rings(shapely.box(0, 0, *SIZE)), density) == pytest.approx(density.count, rel=1e-6)


def test_a_point_on_a_shared_edge_is_in_one_part() -> None:
    fan = np.array([[0, 0], [1000, 0], [1000, 600], [600, 600], [0, 600]], float)
    middle = np.array([400.0, 300.0])
    parts = [np.array([middle, one, other]) for one, other in zip(fan, np.roll(fan, -1, axis=0), strict=True)]
    along = np.linspace(0, 1, 50, endpoint=False)[1:, None]
    edges = np.concatenate([middle + along * (vertex - middle) for vertex in fan])
    points = np.concatenate([edges, [middle], np.random.default_rng(0).uniform((0, 0), (1000, 600), (500, 2))])
    points = points.astype(np.float32)
    assert (np.sum([points_in([part], points) for part in parts], axis=0) == 1).all()


def test_left_and_upper_edges_are_inside_right_and_lower_ones_are_not() -> None:
    box = rings(shapely.box(10, 20, 30, 40))
    points = np.array([[10, 20], [10, 30], [20, 20], [30, 30], [20, 40], [30, 40], [20, 30]], np.float32)
    assert points_in(box, points).tolist() == [True, True, True, False, False, False, True]


@given(POLYGONS.filter(lambda hull: hull.geom_type == "Polygon" and hull.area > 1))
def test_points_agree_with_shapely(polygon: shapely.Polygon) -> None:
    points = np.random.default_rng(0).uniform((0, 0), SIZE, (200, 2)).astype(np.float32)
    with np.errstate(all="ignore"):  # shapely divides by lengths that are too small for it
        far = shapely.distance(polygon.exterior, shapely.points(points)) > 1e-3
    found = points_in(rings(polygon), points)
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
    regions = read_regions(RegionOptions(file, metres_per_pixel=0.1), SIZE)
    (count,) = regions.measure(even_map())
    assert count.region.area_m2 == pytest.approx(100)
    assert count.people_per_m2 == pytest.approx(1, rel=1e-5)
    assert read(tmp_path, collection(feature([square(0, 0, 100)]))).measure(even_map())[0].people_per_m2 is None
    with pytest.raises(UsageError, match="metres-per-pixel"):
        RegionOptions(file, metres_per_pixel=0)


def test_names_are_one_printable_line(tmp_path: Path) -> None:
    odd = ["a\u0000b", "a\n\tb", "\x1b[31mred", "x" * 5000, "\ud800", "\u202eabc", "   ", 7, "漢字"]
    regions = read(tmp_path, collection(*(feature([square(0, 0, 9)], name=name) for name in odd))).regions
    names = [region.name for region in regions]
    assert names == ["a b", "a b", "[31mred", "x" * 200, "5", "abc", "7", "7", "漢字"]


BOW = [[0, 0], [100, 100], [100, 0], [0, 100], [0, 0]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "line 1: not JSON"),
        ("[" * 100_000, "not a GeoJSON file"),
        ('{"type": "Polygon", "coordinates": [[[' + "1" * 5000 + ", 2]]]}", "not a GeoJSON file"),
        (collection(feature([square(0, 0, 10**40)])), "at least 4 positions"),
        (collection(feature([square(0, 0, 9)]), crs={"properties": {"name": "EPSG:" + "9" * 5000}}), "unknown coord"),
        (collection({"type": "Feature", "geometry": {"type": "x" * 5000}}), "is a xxxx"),
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
        (collection(feature([square(13.3, 52.5, 0.01)])), "smaller than a pixel"),
        (collection(feature([square(0, 0, 9)]), crs={"properties": {"name": "EPSG:25833"}}), "has no georeference"),
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
        read_regions(RegionOptions(tmp_path / "gone.geojson"), SIZE)


# ---- map coordinates


UTM = Georeference((0.1, 0, 390_000, 0, -0.1, 5_800_000), "EPSG:32633", metres_per_unit=1)  # 10 cm pixels, north up
DEGREES = Georeference((1e-6, 0, 13.4, 0, -1e-6, 52.5), "EPSG:4326", geographic=True)


def on_the_ground(left: float, top: float, side: float) -> list[list[float]]:
    return [[390_000 + x / 10, 5_800_000 - y / 10] for x, y in square(left, top, side)]


@pytest.mark.parametrize("crs", [None, "EPSG:32633", "urn:ogc:def:crs:EPSG::32633"])
def test_regions_in_the_pictures_own_coordinates(tmp_path: Path, crs: str | None) -> None:
    members = {"crs": {"type": "name", "properties": {"name": crs}}} if crs else {}
    regions = read(tmp_path, collection(feature([on_the_ground(100, 50, 200)]), **members), UTM)
    (region,) = regions.regions
    assert regions.coordinates == "EPSG:32633"
    assert region.area_px == pytest.approx(200 * 200)
    assert region.area_m2 == pytest.approx(400)
    inside = points_in(region.rings, np.array([[101, 51], [299, 249], [99, 51]], np.float32))
    assert inside.tolist() == [True, True, False]


def test_pixels_on_a_geotiff(tmp_path: Path) -> None:
    regions = read(tmp_path, collection(feature([square(100, 50, 200)])), UTM)
    assert regions.coordinates == "pixels"
    assert regions.regions[0].area_m2 == pytest.approx(400)


def test_longitude_and_latitude_of_a_picture_in_degrees(tmp_path: Path) -> None:
    there = [[13.4001, 52.4999], [13.4002, 52.4999], [13.4002, 52.4998], [13.4001, 52.4998], [13.4001, 52.4999]]
    for members in ({}, {"crs": {"properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}}):
        regions = read(tmp_path, collection(feature([there]), **members), DEGREES)
        assert regions.coordinates == "EPSG:4326"
        assert regions.regions[0].area_px == pytest.approx(100 * 100, rel=1e-6)
    assert read(tmp_path, collection(feature([square(0, 0, 400)])), DEGREES).coordinates == "pixels"


def from_utm(epsg: int, *xs_ys: NDArray[np.float64]) -> tuple[list[float], list[float]]:
    xs, ys = Transformer.from_crs(32633, epsg, always_xy=True).transform(*xs_ys)
    return xs.tolist(), ys.tolist()


def lonlat(left: float, top: float, side: float) -> list[list[float]]:
    """A square of pixels of UTM, in longitude and latitude."""
    xs, ys = np.array(on_the_ground(left, top, side)).T
    return [list(vertex) for vertex in zip(*from_utm(4326, xs, ys), strict=True)]


@pytest.mark.parametrize("crs", [None, "urn:ogc:def:crs:OGC:1.3:CRS84", "EPSG:4326"])
def test_longitude_and_latitude_on_a_picture_in_utm(tmp_path: Path, crs: str | None) -> None:
    members = {"crs": {"properties": {"name": crs}}} if crs else {}
    regions = read(tmp_path, collection(feature([lonlat(100, 50, 200)]), **members), UTM)
    (region,) = regions.regions
    assert regions.coordinates == "EPSG:4326"
    assert region.area_px == pytest.approx(200 * 200, rel=1e-4)
    np.testing.assert_allclose(region.rings[0].min(axis=0), (100, 50), atol=0.05)
    np.testing.assert_allclose(region.rings[0].max(axis=0), (300, 250), atol=0.05)


def test_any_declared_system_is_converted(tmp_path: Path) -> None:
    xs, ys = from_utm(3857, *np.array(on_the_ground(100, 50, 200)).T)
    content = collection(feature([[*zip(xs, ys, strict=True)]]), crs={"properties": {"name": "EPSG:3857"}})
    regions = read(tmp_path, content, UTM)
    assert regions.coordinates == "EPSG:3857"
    assert regions.regions[0].area_px == pytest.approx(200 * 200, rel=1e-4)


def test_what_cannot_be_converted_is_told_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = [[13.4, 42.3], [13.5, 42.3], [13.5, 42.4], [13.4, 42.3]]
    for name, words in [("EPSG:999999", "cannot be converted"), ("EPSG:32633", "does not say what its own are")]:
        content = collection(feature([outside]), crs={"properties": {"name": name}})
        with pytest.raises(DataError, match=words):
            read(tmp_path, content, UTM if "999999" in name else replace(UTM, crs=None))
    monkeypatch.setattr("gigacount.image.georeference.find_spec", lambda name: None)
    declared = collection(feature([outside]), crs={"properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}})
    with pytest.raises(DataError, match=r"pip install 'gigacount\[geo\]'"):
        read(tmp_path, declared, UTM)
    (note,) = read(tmp_path, collection(feature([outside])), UTM).notes
    assert "need pyproj: gigacount[geo]" in note


def test_a_region_outside_the_image_has_nobody_and_a_note_names_it(tmp_path: Path) -> None:
    far = [feature([square(5000 + 20 * number, 0, 10)], name=f"Far {number}") for number in range(7)]
    regions = read(tmp_path, collection(feature([square(0, 0, 100)], name="Near"), *far))
    counts = regions.on_ground(lambda window, size_wh: np.ones(size_wh[::-1], np.float32), SIZE).measure(
        even_map(), np.array([[50, 50], [5005, 5]], np.float32)
    )
    assert [(count.region.area_px, round(count.count), count.points) for count in counts[:2]] == [
        (10_000, 100, 1),
        (0, 0, 0),
    ]
    (note,) = regions.notes
    assert note.endswith("7 of 8 regions outside the image: 'Far 0', 'Far 1', 'Far 2', 'Far 3', 'Far 4' and 2 more")
    assert read(tmp_path, collection(feature([square(0, 0, 100)]))).notes == ()


def test_regions_that_all_lie_outside_are_told_with_how_they_were_read(tmp_path: Path) -> None:
    outside = [[13.4, 42.3], [13.5, 42.3], [13.5, 42.4], [13.4, 42.3]]
    for reference, words in [(UTM, "read as pixels and as EPSG:32633 and as EPSG:4326;"), (None, "read as pixels;")]:
        ring = outside if reference else square(5000, 0, 10)
        regions = read(tmp_path, collection(feature([ring])), reference)
        assert [count.count for count in regions.measure(even_map())] == [0]
        assert regions.on_ground(lambda window, size_wh: None, SIZE) == regions
        (note,) = regions.notes
        assert "all regions lie outside the image of 1003 x 602 pixels" in note
        assert words in note


# ---- ground, excluded regions, outlines of any length


def test_area_is_of_ground_alone(tmp_path: Path) -> None:
    file = write(tmp_path, collection(feature([square(100, 100, 200)]), feature([square(0, 400, 50)]))).file
    regions = read_regions(RegionOptions(file, metres_per_pixel=0.1), SIZE)
    asked = []

    def valid(window: Window, size_wh: tuple[int, int]) -> NDArray[np.float32]:
        """Ground ends at x = 250."""
        asked.append((window, size_wh))
        x = window.left + (np.arange(size_wh[0]) + 0.5) * window.width / size_wh[0]
        return np.broadcast_to((x < 250).astype(np.float32), size_wh[::-1])

    cut, whole = regions.on_ground(valid, SIZE).regions
    assert asked == [(Window(0, 100, 300, 350), (300, 350))]  # once for all regions
    assert cut.area_px == pytest.approx(150 * 200)
    assert cut.area_m2 == pytest.approx(150 * 200 * 0.01)
    assert whole.area_px == 50 * 50
    assert regions.on_ground(lambda window, size_wh: None, SIZE) == regions
    nowhere = regions.on_ground(lambda window, size_wh: np.zeros(size_wh[::-1], np.float32), SIZE)
    assert nowhere.measure(even_map())[0].people_per_m2 is None


def test_ground_of_large_regions_is_read_coarsely(tmp_path: Path) -> None:
    file = write(tmp_path, collection(feature([square(0, 0, 50_000)]))).file
    regions = read_regions(RegionOptions(file), (50_000, 50_000))
    sizes = []

    def valid(window: Window, size_wh: tuple[int, int]) -> NDArray[np.float32]:
        sizes.append(size_wh)
        return np.full(size_wh[::-1], 0.25, np.float32)

    (region,) = regions.on_ground(valid, (50_000, 50_000)).regions
    assert region.area_px == pytest.approx(50_000**2 / 4)
    assert max(sizes[0]) <= 4096


def test_nobody_is_left_in_cleared_regions(tmp_path: Path) -> None:
    regions = read(tmp_path, collection(feature([square(4, 4, 200)]), feature([square(100, 100, 200)])))
    density = even_map()
    regions.clear(density)
    union = shapely.union_all([shapely.Polygon(square(4, 4, 200)), shapely.Polygon(square(100, 100, 200))]).area
    assert density.count == pytest.approx((SIZE[0] * SIZE[1] - union) * 0.01, rel=1e-4)
    assert density.cells[5:20, 5:20].max() == pytest.approx(0, abs=1e-6)
    points = np.array([[5, 5], [250, 250], [250, 50], [2, 2]], np.float32)
    assert regions.contain(points).tolist() == [True, True, False, False]


@pytest.mark.parametrize("level", [False, True])
def test_a_long_outline_takes_little_memory(level: bool) -> None:
    side, teeth = 8000, 2000
    xs = np.linspace(1, side - 1, 2 * teeth)
    zigzag = np.stack([xs, np.where(np.arange(2 * teeth) % 2, 1, side - 1.5)], axis=1)
    ring = np.concatenate([zigzag, [[side - 1, side], [1, side]]])
    ring = ring[:, ::-1].copy() if level else ring
    density = even_map((side, side))
    tracemalloc.start()
    people = people_in([ring], density)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert people == pytest.approx(shapely.Polygon(ring).area * 0.01, rel=1e-4)
    assert peak < 300e6
