"""Located heads as files: every format, a million heads, and nothing lost when something goes wrong."""

from __future__ import annotations

import csv
import json
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import pyvips
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from gigacount.datasets import read
from gigacount.density import DensityMap
from gigacount.errors import DataError, OutputError, UnknownNameError, UsageError
from gigacount.geometry import Size, View, Window
from gigacount.image.georeference import Georeference
from gigacount.options import CountOptions, RegionOptions
from gigacount.output.head_files import (
    POINT_WRITERS,
    coordinates_note,
    find_writer,
    heads_geojson,
    require_coordinates,
    rows,
    write_points,
)
from gigacount.output.tables import regions_file, regions_json, regions_table, write_regions
from gigacount.output.writers import LooseFiles
from gigacount.points import Ownership, Points, gather, scaled
from gigacount.regions import Region, RegionCount, read_regions
from gigacount.results import CountResult, Located, LocatedHeads

RNG = np.random.default_rng(0)


def result_of(
    xy: NDArray[np.floating], image: Path = Path("crowd photo.jpg"), size_wh: Size = (40_000, 20_000)
) -> CountResult:
    n = len(xy)
    points = Points(
        xy.astype(np.float32),
        np.linspace(0, 1, n, dtype=np.float32),
        np.full(n, 3, np.int32),
        np.arange(n, dtype=np.int32),
    )
    density = DensityMap.empty(size_wh, 64)
    return CountResult(
        image=image,
        density=density,
        looked=[],
        preview=np.full((180, 360, 3), 90, np.uint8),
        networks={},
        options=CountOptions(),
        identity={},
        inferences=1,
        device="cpu",
        precision="fp32",
        seconds={},
        key="",
        heads=LocatedHeads(points, {0: Located(1, 0, n)}, Located(0, 0, 0)),
    )


THREE = np.array([[10.25, 20.5], [0, 0], [39_999.75, 19_999.5]])


def test_csv_by_hand(tmp_path: Path) -> None:
    write_points(result_of(THREE), tmp_path / "heads.csv")
    assert (tmp_path / "heads.csv").read_text() == (
        "x,y,score,level,window\n10.25,20.50,0.000,3,0\n0.00,0.00,0.500,3,1\n39999.75,19999.50,1.000,3,2\n"
    )


def test_nwpu_by_hand(tmp_path: Path) -> None:
    write_points(result_of(THREE), tmp_path / "heads.txt")
    assert (tmp_path / "heads.txt").read_text() == "crowd_photo 3 10 20 0 0 39999 19999\n"


def check_geojson(content: Any) -> None:
    """The structure that RFC 7946 demands of a FeatureCollection of points."""
    assert content["type"] == "FeatureCollection"
    assert "coordinates" not in content
    assert isinstance(content["features"], list)
    for feature in content["features"]:
        assert feature["type"] == "Feature"
        assert isinstance(feature["properties"], dict)
        assert set(feature["geometry"]) == {"type", "coordinates"}
        assert feature["geometry"]["type"] == "Point"
        x, y = feature["geometry"]["coordinates"]
        assert all(isinstance(value, int | float) for value in (x, y))


def test_geojson_is_valid_and_what_qupath_imports(tmp_path: Path) -> None:
    write_points(result_of(THREE, Path('odd "name" 100%.jpg')), tmp_path / "heads.geojson")
    content = json.loads((tmp_path / "heads.geojson").read_text())
    check_geojson(content)
    assert content["image"] == {"file": 'odd "name" 100%.jpg', "width": 40_000, "height": 20_000}
    first = content["features"][0]
    assert first["geometry"]["coordinates"] == [10.25, 20.5]
    assert first["properties"] == {
        "objectType": "detection",
        "classification": {"name": "Person", "color": [230, 60, 40]},
        "measurements": {"score": 0.0, "level": 3, "window": 0},
    }


UTM = Georeference((0.1, 0, 390_000, 0, -0.1, 5_800_000), "EPSG:32633", metres_per_unit=1)
DEGREES = Georeference((1e-6, 0, 13.4, 0, -1e-6, 52.5), "EPSG:4326", geographic=True)


def on_map(place: Georeference | None, coordinates: str = "auto", xy: NDArray[np.floating] = THREE) -> CountResult:
    return replace(result_of(xy), georeference=place, options=CountOptions(coordinates=coordinates))


def geojson(result: CountResult) -> Any:
    content = json.loads("".join(heads_geojson(result)))
    check_geojson(content)
    return content


def lonlat(*map_xy: float) -> tuple[float, float]:
    x, y = Transformer.from_crs(32633, 4326, always_xy=True).transform(*map_xy)
    return x, y


def test_csv_has_map_coordinates_beside_pixels(tmp_path: Path) -> None:
    write_points(on_map(UTM), tmp_path / "heads.csv")
    lines = (tmp_path / "heads.csv").read_text().splitlines()
    assert lines[0] == "x,y,score,level,window,map_x,map_y"
    assert lines[1] == "10.25,20.50,0.000,3,0,390001.025,5799997.950"
    write_points(on_map(UTM, "wgs84"), tmp_path / "lonlat.csv")
    *_, x, y = (tmp_path / "lonlat.csv").read_text().splitlines()[1].split(",")
    assert (float(x), float(y)) == pytest.approx(lonlat(390_001.025, 5_799_997.95), abs=1e-7)
    write_points(on_map(UTM, "pixel"), tmp_path / "pixel.csv")
    assert (tmp_path / "pixel.csv").read_text().startswith("x,y,score,level,window\n10.25,20.50,")


@pytest.mark.parametrize("place", [UTM, DEGREES])
def test_geojson_of_a_map_is_in_longitude_and_latitude(place: Georeference) -> None:
    content = geojson(on_map(place))
    assert "crs" not in content
    first = content["features"][0]
    there = lonlat(390_001.025, 5_799_997.95) if place is UTM else (13.4 + 10.25e-6, 52.5 - 20.5e-6)
    assert first["geometry"]["coordinates"] == pytest.approx(there, abs=1e-7)
    assert first["properties"]["pixel"] == [10.25, 20.5]
    assert first["properties"]["objectType"] == "detection"


def test_geojson_in_the_coordinates_that_are_asked_for() -> None:
    content = geojson(on_map(UTM, "map"))
    assert content["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32633"
    assert content["features"][0]["geometry"]["coordinates"] == [390_001.025, 5_799_997.95]
    assert geojson(on_map(UTM, "pixel")) == geojson(result_of(THREE))


def test_map_coordinates_without_pyproj(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gigacount.image.georeference.find_spec", lambda name: None)
    assert geojson(on_map(UTM)) == geojson(result_of(THREE))
    assert "gigacount[geo]" in str(coordinates_note(on_map(UTM), ".geojson"))
    for result in (on_map(UTM, "pixel"), on_map(DEGREES), on_map(None)):
        assert coordinates_note(result, ".geojson") is None
    assert geojson(on_map(DEGREES))["features"][1]["geometry"]["coordinates"] == [13.4, 52.5]
    with pytest.raises(DataError, match=r"gigacount\[geo\]"):
        require_coordinates("wgs84", UTM)
    require_coordinates("wgs84", DEGREES)


@pytest.mark.parametrize("crs", ['PROJCS["Nowhere"]', "EPSG:999999", 'PROJCS["a\0b"]', "\ud800"])
def test_coordinates_of_a_system_that_nobody_knows(crs: str, tmp_path: Path) -> None:
    """A .prj may say anything: the heads are not lost for it."""
    place = replace(UTM, crs=crs)
    assert geojson(on_map(place)) == geojson(result_of(THREE))
    assert "pyproj does not know" in str(coordinates_note(on_map(place), ".geojson"))
    with pytest.raises(DataError, match="cannot be converted"):
        require_coordinates("wgs84", place)
    with pytest.raises(DataError, match="which GDAL does not know; choose another format"):
        write_points(on_map(place), tmp_path / "heads.gpkg")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wanted", ["map", "wgs84"])
def test_coordinates_that_a_picture_does_not_have_are_refused(wanted: str) -> None:
    with pytest.raises(DataError, match="needs a georeferenced image"):
        require_coordinates(wanted, None)
    require_coordinates("map", replace(UTM, crs=None))
    with pytest.raises(DataError, match="names its coordinate system"):
        require_coordinates("wgs84", replace(UTM, crs=None))
    with pytest.raises(UsageError, match="coordinates must be one of"):
        CountOptions(coordinates="gps")


@pytest.mark.parametrize("place", [None, UTM, replace(UTM, crs=None)])
def test_geopackage_is_what_gdal_reads(place: Georeference | None, tmp_path: Path) -> None:
    write_points(on_map(place), tmp_path / "heads.gpkg")
    meta, _, geometry, fields = pyogrio.raw.read(tmp_path / "heads.gpkg", layer="heads")
    assert list(meta["fields"]) == ["x", "y", "score", "level", "window"]
    there = np.array([[point.x, point.y] for point in shapely.from_wkb(geometry)])
    np.testing.assert_allclose(there, THREE if place is None else place.to_map(THREE), atol=1e-6)
    assert (meta["crs"] == "EPSG:32633") == (place is UTM)
    np.testing.assert_allclose(fields[0], THREE[:, 0])


def test_geopackage_without_pyogrio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gigacount.output.head_files.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="gigacount"):
        find_writer(Path("heads.gpkg"))


def test_boxes_and_areas_are_written_where_the_network_gives_them(tmp_path: Path) -> None:
    """IIM's instances, two of three; the other look gave a head alone."""
    boxed = np.array([[10, 20, 0.5, 6, 14, 14, 26, 80], [30, 40, 0.75, 28, 36, 32, 44, 30]], np.float32)
    views = [View(Window(0, 0, 64, 80), (64, 80)), View(Window(64, 0, 64, 80), (64, 80))]
    alone = np.array([[100, 9, 0.25]], np.float32)
    points = gather(views, [boxed, alone], Ownership.of([view.window for view in views], (128, 80), 8))
    located = LocatedHeads(points, {0: Located(1, 0, 3)}, Located(0, 0, 0))
    result = replace(result_of(THREE, size_wh=(128, 80)), heads=located)
    write_points(result, tmp_path / "heads.csv")
    first, *lines = (tmp_path / "heads.csv").read_text().splitlines()
    assert first == "x,y,score,level,window,left,top,right,bottom,area"
    assert lines[0] == "10.00,20.00,0.500,0,0,6.00,14.00,14.00,26.00,80.00"
    assert lines[2] == "100.00,9.00,0.250,0,1,100.00,9.00,100.00,9.00,0.00"
    write_points(result, tmp_path / "heads.json")
    annotations = json.loads((tmp_path / "heads.json").read_text())["annotations"]
    assert [(one["bbox"], one["area"]) for one in annotations] == [
        ([6, 14, 8, 12], 80), ([28, 36, 4, 8], 30), ([100, 9, 0, 0], 0)
    ]  # fmt: skip
    halved = scaled(boxed, (2, 4), (100, 200))
    assert halved[0].tolist() == [120, 280, 0.5, 112, 256, 128, 304, 640]


def test_coco_is_read_back_as_a_data_set(tmp_path: Path) -> None:
    pyvips.Image.black(100, 80).jpegsave(str(tmp_path / "crowd.jpg"))
    xy = np.array([[10.25, 20.5], [99, 79]])
    write_points(result_of(xy, tmp_path / "crowd.jpg", (100, 80)), tmp_path / "heads.json")
    (sample,) = read(f"coco:{tmp_path / 'heads.json'}", "all")
    assert sample.points_xy.tolist() == xy.tolist()


@pytest.mark.parametrize("suffix", POINT_WRITERS)
def test_nobody_is_a_file_too(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"heads{suffix}"
    write_points(result_of(np.zeros((0, 2))), path)
    if suffix == ".gpkg":
        assert len(pyogrio.raw.read(path)[2]) == 0
        return
    if suffix in (".json", ".geojson"):
        json.loads(path.read_text())
    assert path.read_text().endswith("\n")


def test_rows_of_several_fillings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gigacount.output.head_files.ROWS", 2)
    assert "".join(rows("%d", [np.arange(5)], between=",")) == "0,1,2,3,4"


@pytest.mark.parametrize("suffix", POINT_WRITERS)
@pytest.mark.parametrize("heads", [50_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_many_points_take_seconds_and_little_memory(heads: int, suffix: str, tmp_path: Path) -> None:
    result = result_of(RNG.uniform(0, 20_000, (heads, 2)))
    start = time.process_time()
    write_points(result, tmp_path / f"heads{suffix}")
    seconds = time.process_time() - start
    assert seconds < 15 * max(heads / 1e6, 0.1)
    tracemalloc.start()
    for _ in POINT_WRITERS[suffix](result):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000 or suffix == ".gpkg"  # which is made in memory


def test_unknown_extensions_list_the_choices(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"'\.shp'; choose one of: \.csv, \.geojson, \.gpkg, \.json"):
        LooseFiles(tmp_path / "heads.shp").require_free()
    with pytest.raises(UnknownNameError, match="'heads'"):
        LooseFiles(tmp_path / "heads").require_free()


def test_files_that_stand_are_kept_unless_told_otherwise(tmp_path: Path) -> None:
    standing = tmp_path / "heads.csv"
    standing.write_text("precious")
    for attempt in (LooseFiles(standing).require_free, lambda: write_points(result_of(THREE), standing)):
        with pytest.raises(OutputError, match=r"exists already; use --overwrite"):
            attempt()
    assert standing.read_text() == "precious"
    write_points(result_of(THREE), standing, overwrite=True)
    assert standing.read_text().startswith("x,y,")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        LooseFiles(tmp_path / "folder.csv").require_free()


def test_a_failure_while_writing_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(result: CountResult) -> Any:
        yield "half"
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(POINT_WRITERS, ".csv", fail)
    standing = tmp_path / "heads.csv"
    standing.write_text("precious")
    with pytest.raises(OutputError, match="no space left"):
        write_points(result_of(THREE), standing, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["heads.csv"]
    assert standing.read_text() == "precious"


def test_all_files_of_a_picture(tmp_path: Path) -> None:
    square = [[0, 0], [100, 0], [100, 100], [0, 100], [0, 0]]
    polygons = tmp_path / "gate.geojson"
    polygons.write_text(json.dumps({"type": "Polygon", "coordinates": [square]}))
    result = result_of(THREE)
    regions = read_regions(RegionOptions(polygons, 0.5), result.size_wh)
    result.density.cells[0, 0] = 4.096
    result = replace(result, regions=regions)
    files = LooseFiles(tmp_path / "new" / "heads.csv", tmp_path / "new" / "heads.jpg", with_regions=True)
    files.require_free()
    answer = files.write(result)
    assert answer["located"] == 3
    with (tmp_path / "new" / "heads.regions.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row == {
        "region": "1",
        "count": "4.096",
        "points": "2",
        "area_px": "10000.0",
        "area_m2": "2500.0",
        "people_per_m2": "0.0016384",
    }
    assert answer["regions"][0]["points"] == 2
    picture = pyvips.Image.new_from_file(str(tmp_path / "new" / "heads.jpg"))
    assert (picture.width, picture.height) == (360, 180)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["heads.csv", "heads.jpg", "heads.regions.csv"]


def test_the_table_of_regions_is_named_after_the_heads(tmp_path: Path) -> None:
    assert regions_file(tmp_path / "a.csv") != regions_file(tmp_path / "b.csv")
    assert regions_file(tmp_path / "square.csv") == tmp_path / "square.regions.csv"


def test_the_table_of_regions_for_a_terminal() -> None:
    ring = np.array([[0, 0], [9, 0], [9, 9.0]])
    gate, other = Region("Gate", (ring,), 40.5, 1234.5), Region("a", (ring,), 40.5)
    text = regions_table(regions_json([RegionCount(gate, 1234.56, 7), RegionCount(other, -0.5, 0)]))
    assert text.splitlines() == [
        "region   people  located       m2  people per m2",
        "Gate    1,234.6        7  1,234.5              1",
        "a          -0.5        0                        ",
    ]
    assert regions_table(regions_json([RegionCount(other, 2, None)])).splitlines() == [
        "region  people",
        "a          2.0",
    ]


def test_a_region_that_is_called_like_a_formula_is_text_in_a_spreadsheet(tmp_path: Path) -> None:
    ring = np.array([[0, 0], [9, 0], [9, 9.0]])
    write_regions([RegionCount(Region("=cmd()", (ring,), 40.5), 2, None)], tmp_path / "regions.csv")
    assert (tmp_path / "regions.csv").read_text().splitlines()[1].startswith("'=cmd()")
