"""Locating from end to end but for the network: known points instead, in pictures that need not exist."""

from __future__ import annotations

import csv
import json
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from gigacount.datasets import DATASETS
from gigacount.density import DensityMap, crop, points_to_density
from gigacount.errors import OutputError, UnknownNameError, UsageError
from gigacount.geometry import Size, View, Window, whole
from gigacount.image import GigaImage
from gigacount.localize import judge
from gigacount.look import Looker
from gigacount.networks.record import NetworkRecord
from gigacount.options import CountOptions, LocalizeOptions, RegionOptions, StrategyOptions
from gigacount.output.located import LocatedFiles
from gigacount.output.points import POINT_WRITERS, geojson_text, rows, write_points
from gigacount.points import NOBODY, Ownership, Points, gather
from gigacount.polygons import read_regions
from gigacount.predict import Found, Locator, Predictor
from gigacount.results import CountResult, LocalizeResult, Located
from gigacount.strategies import find_strategy

SIZE = (5003, 3002)
RNG = np.random.default_rng(0)


class KnownPeople:
    """An image and a predictor in one: `read` remembers where, `predict` finds everybody there, blurred at edges.

    What lies within `blind` read pixels of the edge of what it sees counts half and is not located, as for a network
    that lacks the surroundings; the picture's own edges are no such edges.
    """

    def __init__(self, xy: NDArray[np.float64], size_wh: Size = SIZE, blind: int = 0) -> None:
        self.xy, self.size_wh, self.blind = xy, size_wh, blind
        self.record = NetworkRecord("known", "light", "", "")
        self.reads: list[tuple[Window, Size]] = []
        self._next: list[tuple[Window, Size]] = []

    def read(self, window: Window, size_wh: Size) -> NDArray[np.uint8]:
        assert whole(self.size_wh).contains(window)
        self.reads.append((window, size_wh))
        self._next.append((window, size_wh))
        return np.zeros((1, 1, 3), np.uint8)

    def predict(self, pictures: Sequence[NDArray[np.uint8]], locate: bool = False) -> list[Found]:
        window, size_wh = self._next.pop(0)
        scale = size_wh[0] / window.width, size_wh[1] / window.height
        x, y = ((self.xy - (window.left, window.top)) * scale).T
        inside = (x >= 0) & (y >= 0) & (x < size_wh[0]) & (y < size_wh[1])
        xy = np.column_stack([x, y])[inside]
        seen = self.clearly(xy, window, size_wh)
        shape = -(-size_wh[1] // 8), -(-size_wh[0] // 8)
        grid = Window(0, 0, shape[1] * 8, shape[0] * 8)
        density = points_to_density(xy[seen], grid, shape) + points_to_density(xy[~seen], grid, shape) / 2
        points = np.column_stack([xy[seen], np.full(seen.sum(), 0.9)]).astype(np.float32)
        return [Found(density.astype(np.float32), points)]

    def clearly(self, xy: NDArray[np.float64], window: Window, size_wh: Size) -> NDArray[np.bool_]:
        clear = np.ones(len(xy), bool)
        everything, far = whole(self.size_wh), np.array(size_wh) - self.blind
        clear &= (xy[:, 0] >= self.blind) | (window.left == 0)
        clear &= (xy[:, 1] >= self.blind) | (window.top == 0)
        clear &= (xy[:, 0] < far[0]) | (window.right == everything.right)
        clear &= (xy[:, 1] < far[1]) | (window.bottom == everything.bottom)
        return clear


def survey(
    people: KnownPeople, options: StrategyOptions, strategy: str = "full"
) -> tuple[DensityMap, Points, list[View], Ownership]:
    look = Looker(cast(GigaImage, people), cast(Predictor, people), locate=True)
    density = find_strategy(strategy).run(look, people.size_wh, options)
    views = [looked.view for looked in look.looked]
    ownership = Ownership.of([view.window for view in views], density.size_wh, density.cell_px)
    heads = [NOBODY if looked.points is None else looked.points for looked in look.looked]
    return density, gather(views, heads, ownership), views, ownership


# ---- the full strategy

EVERYWHERE = np.concatenate(
    [
        RNG.permutation(np.mgrid[2:5003:10, 1:3002:10].reshape(2, -1).T)[:3_000].astype(float),  # 10 px apart
        [(0, 0), (5002.9, 3001.9), (960, 600), (960, 605), (1920, 1200), (1919.9, 1210), (965, 1199.99)],
    ]
)


@pytest.mark.parametrize("tile", [(960, 600), (1000, 700), (64, 3100)])
def test_full_write_areas_partition_the_picture(tile: Size) -> None:
    people = KnownPeople(EVERYWHERE)
    density, _, views, ownership = survey(people, StrategyOptions(tile=tile))
    painted = np.zeros(density.cells.shape, int)
    for view in views:
        painted[ownership.cells_of(view.window)] += 1
    assert (painted == 1).all()
    assert sum(view.window.pixels for view in views) == SIZE[0] * SIZE[1]


@pytest.mark.parametrize("scales", [(1.0, 0.25), (0.5,), (2.0,), (0.3,)])
def test_full_loses_and_doubles_nobody(scales: tuple[float, ...]) -> None:
    people = KnownPeople(EVERYWHERE)
    density, points, views, _ = survey(people, StrategyOptions(tile=(960, 600), scales=scales))
    assert {round(view.scale, 2) for view in views} == {max(scales)}
    assert len(points) == len(EVERYWHERE)
    distance = np.abs(np.sort(points.xy[:, 0]) - np.sort(EVERYWHERE[:, 0]))
    assert distance.max() < 0.01
    assert density.count == pytest.approx(len(EVERYWHERE), rel=1e-5 if max(scales) >= 1 else 3e-3)


def test_context_spares_what_the_edge_of_a_look_spoils() -> None:
    """A network that is half blind for 100 px at its edges sees everybody once the context is wider than that."""
    with_context = KnownPeople(EVERYWHERE, blind=100)
    density, points, _, _ = survey(with_context, StrategyOptions(tile=(960, 600), context=104))
    assert (len(points), density.count) == (len(EVERYWHERE), pytest.approx(len(EVERYWHERE), rel=1e-5))
    without = KnownPeople(EVERYWHERE, blind=100)
    density, points, _, _ = survey(without, StrategyOptions(tile=(960, 600), context=0))
    assert len(points) < 0.8 * len(EVERYWHERE)
    assert density.count < 0.9 * len(EVERYWHERE)


def test_windows_are_read_with_their_context_and_no_further_than_the_picture() -> None:
    people = KnownPeople(EVERYWHERE)
    survey(people, StrategyOptions(tile=(960, 600), context=64, scales=(0.5,)))
    assert people.reads[0] == (Window(0, 0, 1920 + 128, 1200 + 128), (960 + 64, 600 + 64))
    assert people.reads[4] == (Window(1920 - 128, 1200 - 128, 1920 + 256, 1200 + 256), (960 + 128, 600 + 128))
    assert people.reads[-1][0].right == SIZE[0]


def test_a_crop_takes_the_share_of_cells_that_its_edge_cuts() -> None:
    density = np.ones((4, 5), np.float32)
    outer = Window(0, 0, 40, 32)
    assert crop(density, outer, Window(8, 8, 16, 24), (8, 8)).tolist() == [[1, 1]] * 3
    np.testing.assert_allclose(crop(density, outer, Window(4, 8, 16, 8), (8, 8)), [[0.5, 1, 0.5]])
    # Cells that reach past the picture's edge belong wholly to the window that ends there.
    np.testing.assert_allclose(crop(density, Window(0, 0, 37, 32), Window(32, 0, 5, 32), (8, 8)), [[1]] * 4)


def test_full_holds_a_few_looks_at_a_time() -> None:
    """Nine times the picture, hardly more memory but the canvas, which is a sixteenth of a byte a pixel."""

    class Nobody(KnownPeople):
        def read(self, window: Window, size_wh: Size) -> NDArray[np.uint8]:
            super().read(window, size_wh)
            return np.zeros((size_wh[1], size_wh[0], 3), np.uint8)

    peaks = []
    for side in (4_000, 12_000):
        people = Nobody(np.zeros((0, 2)), (side, side))
        tracemalloc.start()
        find_strategy("full").run(
            Looker(cast(GigaImage, people), cast(Predictor, people)), (side, side), StrategyOptions(tile=(1000, 1000))
        )
        peaks.append(tracemalloc.get_traced_memory()[1] - side**2 / 16)
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


# ---- what is trusted


def test_levels_and_what_was_seen_too_coarsely() -> None:
    """900 people crowd where only a coarse look went: it finds 300 of them. 500 stand where a fine look found all."""
    size = (8000, 4000)
    canvas = DensityMap.empty(size)
    coarse, fine = View(whole(size), (2000, 1000), 0), View(Window(4000, 0, 2000, 1000), (2000, 1000), 1)
    crowd = RNG.uniform((1000, 1000), (1400, 1400), (900, 2))
    few = RNG.uniform((4000, 0), (6000, 1000), (500, 2))
    canvas.replace(coarse.window, points_to_density(crowd, coarse.window, (125, 250)))
    canvas.replace(fine.window, points_to_density(few, fine.window, (125, 250)))
    heads = [np.column_stack([xy, np.ones(len(xy))]).astype(np.float32) for xy in (crowd[:300], few)]
    ownership = Ownership.of([coarse.window, fine.window], size, 8)
    points = gather([coarse, fine], heads, ownership)
    levels, too_coarse = judge(canvas, points, ownership, [(coarse, 4.0), (fine, 4.0)])
    assert levels[0] == Located(pytest.approx(15 / 16), pytest.approx(900, rel=1e-4), 300)
    assert levels[1] == Located(pytest.approx(1 / 16), pytest.approx(500, rel=1e-4), 500)
    assert (too_coarse.people, too_coarse.heads) == (pytest.approx(900, rel=1e-4), 300)
    assert too_coarse.area == pytest.approx(4 * 512**2 / (8000 * 4000))  # the squares that the crowd touches


def test_people_closer_than_the_smallest_head_are_too_coarse_whatever_the_points_say() -> None:
    size = (1024, 1024)
    canvas = DensityMap.empty(size)
    canvas.cells[:16, :16] = 5  # 5 people in 8 x 8 px: 3.6 px apart
    xy = RNG.uniform(0, 128, (1280, 2)).astype(np.float32)
    view = View(whole(size), size)
    zeros = np.zeros(1280, np.int32)
    points, ownership = Points(xy, zeros.astype(np.float32), zeros, zeros), Ownership.of([whole(size)], size, 8)
    assert judge(canvas, points, ownership, [(view, 4.0)])[1].people == 1280
    assert judge(canvas, points, ownership, [(view, 3.0)])[1].people == 0


def test_banding_does_not_change_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    size = (3000, 2000)
    canvas = DensityMap.empty(size)
    canvas.cells[:] = RNG.random(canvas.cells.shape) / 20
    view = View(whole(size), (1500, 1000))
    ownership = Ownership.of([whole(size)], size, 8)
    points = gather([view], [NOBODY], ownership)
    once = judge(canvas, points, ownership, [(view, 4.0)])
    monkeypatch.setattr("gigacount.localize.BAND_CELLS", 2_000)
    banded = judge(canvas, points, ownership, [(view, 4.0)])
    assert banded[1].people == pytest.approx(once[1].people)
    assert banded[0][0].people == pytest.approx(canvas.count)


# ---- the locator


class Told(Locator):
    """A locator around a network that answers with what it was given."""

    def __init__(self, found: Found, theta: tuple[float, ...] | None = None, **settings: Any) -> None:
        self.record = NetworkRecord("told", settings.get("network", "light"), "", "", fusion_theta=theta)
        self.min_score = settings.get("min_score", 0.0)
        self.fuse = settings.get("fuse", False)
        self.found = found


def located(told: Told) -> Found:
    return told._located(told.found, (64, 64))


FOUND = Found(np.full((8, 8), 0.5, np.float32), np.array([[4, 4, 0.9], [60, 60, 0.2]], np.float32))


def test_faint_heads_are_left_out() -> None:
    points = located(Told(FOUND, min_score=0.5)).points
    assert points is not None
    assert points[:, :2].tolist() == [[4, 4]]


def test_density_peaks_where_a_network_only_counts() -> None:
    density = np.zeros((8, 8), np.float32)
    density[2, 5] = 1
    points = located(Told(Found(density, None))).points
    assert points is not None
    np.testing.assert_allclose(points, [[44, 20, 1]], atol=1e-5)


def test_fusion_by_hand() -> None:
    """16 parts of 2 x 2 cells, 2 people each by density. The first part has one head, the mean of both is 1.5."""
    found = Found(FOUND.density, FOUND.points[:1])
    assert located(Told(found)).density.sum() == 32
    assert located(Told(found, fuse=True)).density.sum() == pytest.approx(1.5 + 15 * 1)
    theta = (1.6, 0.9, *[np.inf] * 14)  # the second part is dense: its density stands
    assert located(Told(found, theta, fuse=True)).density.sum() == pytest.approx(1.5 + 2 + 14 * 1)


def test_scores_outside_0_to_1_are_refused() -> None:
    with pytest.raises(UsageError, match="min-score"):
        LocalizeOptions(min_score=1.5)


# ---- files


def result_of(
    xy: NDArray[np.floating], image: Path = Path("crowd photo.jpg"), size_wh: Size = (40_000, 20_000)
) -> LocalizeResult:
    n = len(xy)
    points = Points(
        xy.astype(np.float32),
        np.linspace(0, 1, n, dtype=np.float32),
        np.full(n, 3, np.int32),
        np.arange(n, dtype=np.int32),
    )
    density = DensityMap.empty(size_wh, 64)
    counted = CountResult(
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
    )
    return LocalizeResult(counted, points, {0: Located(1, 0, n)}, Located(0, 0, 0))


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


def test_geojson_has_map_coordinates_of_a_geotiff(tmp_path: Path) -> None:
    import tifffile

    image = tmp_path / "map.tif"
    keys = (1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 32633)
    tags = [
        (34735, "H", len(keys), keys, True),
        (33550, "d", 3, (0.1, 0.1, 0.0), True),
        (33922, "d", 6, (0, 0, 0, 390_000.0, 5_800_000.0, 0), True),
    ]
    tifffile.imwrite(image, np.zeros((4, 4), np.uint8), extratags=tags)
    content = json.loads("".join(geojson_text(result_of(THREE, image))))
    check_geojson(content)
    assert content["map_crs"] == "EPSG:32633"
    first = content["features"][0]
    assert first["geometry"]["coordinates"] == [10.25, 20.5]
    assert first["properties"]["map"] == pytest.approx([390_001.025, 5_799_997.95], abs=1e-3)


def test_coco_is_read_back_as_a_data_set(tmp_path: Path) -> None:
    import pyvips

    pyvips.Image.black(100, 80).jpegsave(str(tmp_path / "crowd.jpg"))
    xy = np.array([[10.25, 20.5], [99, 79]])
    write_points(result_of(xy, tmp_path / "crowd.jpg", (100, 80)), tmp_path / "heads.json")
    (sample,) = DATASETS["coco"](tmp_path / "heads.json", "all")
    assert sample.points_xy.tolist() == xy.tolist()


@pytest.mark.parametrize("suffix", POINT_WRITERS)
def test_nobody_is_a_file_too(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"heads{suffix}"
    write_points(result_of(np.zeros((0, 2))), path)
    if suffix in (".json", ".geojson"):
        json.loads(path.read_text())
    assert path.read_text().endswith("\n")


def test_rows_of_several_fillings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gigacount.output.points.ROWS", 2)
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
    assert peak < 20_000_000


def test_unknown_extensions_list_the_choices(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"'\.shp'; choose one of: \.csv, \.geojson, \.json, \.txt"):
        LocatedFiles(tmp_path / "heads.shp").demand_free()
    with pytest.raises(UnknownNameError, match="'heads'"):
        LocatedFiles(tmp_path / "heads").demand_free()


def test_files_that_stand_are_kept_unless_told_otherwise(tmp_path: Path) -> None:
    standing = tmp_path / "heads.csv"
    standing.write_text("precious")
    for attempt in (LocatedFiles(standing).demand_free, lambda: write_points(result_of(THREE), standing)):
        with pytest.raises(OutputError, match=r"exists already; use --overwrite"):
            attempt()
    assert standing.read_text() == "precious"
    write_points(result_of(THREE), standing, overwrite=True)
    assert standing.read_text().startswith("x,y,")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        LocatedFiles(tmp_path / "folder.csv").demand_free()


def test_a_failure_while_writing_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(result: LocalizeResult) -> Any:
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
    import pyvips

    square = [[0, 0], [100, 0], [100, 100], [0, 100], [0, 0]]
    polygons = tmp_path / "gate.geojson"
    polygons.write_text(json.dumps({"type": "Polygon", "coordinates": [square]}))
    result = result_of(THREE)
    regions = read_regions(RegionOptions(polygons, 0.5), tmp_path / "no.tif", result.counted.size_wh)
    result.counted.density.cells[0, 0] = 4.096
    result = LocalizeResult(
        CountResult(**{**vars(result.counted), "regions": regions}), result.points, result.levels, result.too_coarse
    )
    files = LocatedFiles(tmp_path / "new" / "heads.csv", tmp_path / "new" / "heads.jpg", with_regions=True)
    files.demand_free()
    answer = files.write(result)
    assert answer["located"] == 3
    with (tmp_path / "new" / "regions.csv").open() as file:
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
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["heads.csv", "heads.jpg", "regions.csv"]
