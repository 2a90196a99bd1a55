"""Locating from end to end but for the network: known points instead, in pictures that need not exist."""

from __future__ import annotations

import csv
import json
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import pyvips
import torch
from command_line import gigacount
from numpy.typing import NDArray
from untrained import untrained, untrained_light

from gigacount.cli.count import localize_lines
from gigacount.count import Counter, count_image, localize_image
from gigacount.density import DensityMap, crop, points_to_density
from gigacount.errors import UsageError
from gigacount.geometry import Size, View, Window, cells_of, whole
from gigacount.key import RunKey, records_of
from gigacount.localize import judge
from gigacount.look import REMEMBERED, Locating, Looker
from gigacount.networks.peaks import summits
from gigacount.networks.record import NetworkRecord, read_record, write_record
from gigacount.options import CountOptions, RegionOptions, StrategyOptions
from gigacount.output.folder import ResultFolder
from gigacount.output.opened import Wanted
from gigacount.output.writers import write_result
from gigacount.points import NOBODY, Ownership, Points, gather, heads_in
from gigacount.predict import Found, Predictor, with_fusion, with_heads
from gigacount.results import CountResult, Located
from gigacount.strategies import find_strategy
from gigacount.strategies.base import under_way

SIZE = (5003, 3002)
RNG = np.random.default_rng(0)


class KnownPeople:
    """An image and a predictor in one: `read` remembers where, `predict` finds everybody there, blurred at edges.

    What lies within `blind` read pixels of the edge of what it sees counts half and is not located, as for a network
    that lacks the surroundings; the picture's own edges are no such edges.
    """

    def __init__(self, xy: NDArray[np.float64], size_wh: Size = SIZE, blind: int = 0) -> None:
        self.xy, self.size_wh, self.blind = xy, size_wh, blind
        self.locates, self.batch = True, 1
        self.record = NetworkRecord("known", "light", "", "")
        self.reads: list[tuple[Window, Size]] = []
        self._next: list[tuple[Window, Size]] = []

    def valid(self, window: Window, size_wh: Size) -> None:
        """Everywhere is ground."""

    def missing(self, window: Window) -> float:
        return 0.0

    def read(self, window: Window, size_wh: Size) -> NDArray[np.uint8]:
        assert whole(self.size_wh).contains(window)
        self.reads.append((window, size_wh))
        self._next.append((window, size_wh))
        return np.zeros((1, 1, 3), np.uint8)

    def predict(self, pictures: Sequence[NDArray[np.uint8]], locate: bool = False) -> list[Found]:
        assert len(pictures) == self.batch
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
    look = Looker(people, cast(Predictor, people), heads=Locating())
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
        painted[cells_of(view.window, ownership.cell_px)] += 1
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
        look = Looker(people, cast(Predictor, people))
        find_strategy("full").run(look, (side, side), StrategyOptions(tile=(1000, 1000)))
        peaks.append(tracemalloc.get_traced_memory()[1] - side**2 / 16)
        tracemalloc.stop()
    # How far reading runs ahead of the network is a matter of time; so many pictures is the most that it may. Of the
    # last looks, the densities are held.
    side = 1000 + 2 * StrategyOptions().context
    assert max(peaks) < 1.5 * (under_way(look) * 3 * side**2 + REMEMBERED * 4 * (side // 8) ** 2)


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


# ---- heads and fusion


FOUND = Found(np.full((8, 8), 0.5, np.float32), np.array([[4, 4, 0.9], [60, 60, 0.2]], np.float32))
KNOWN = NetworkRecord("known", "light", "", "")


def test_faint_heads_are_left_out() -> None:
    for found in (with_heads(FOUND, KNOWN, 0.5), with_heads(FOUND, replace(KNOWN, min_score=0.5))):
        assert found.points is not None
        assert found.points[:, :2].tolist() == [[4, 4]]


def test_density_peaks_where_a_network_only_counts() -> None:
    density = np.zeros((8, 8), np.float32)
    density[2, 5] = 1
    points = with_heads(Found(density, None), KNOWN).points
    assert points is not None
    np.testing.assert_allclose(points, [[44, 20, 1]], atol=1e-5)


def test_fusion_by_hand() -> None:
    """16 parts of 2 x 2 cells, 2 people each by density. The first part has one head, the mean of both is 1.5."""
    assert FOUND.points is not None
    found = Found(FOUND.density, FOUND.points[:1])
    assert with_fusion(found, KNOWN, (64, 64)).density.sum() == pytest.approx(1.5 + 15 * 1)
    theta = (1.6, 0.9, *[np.inf] * 14)  # the second part is dense: its density stands
    fused = with_fusion(found, replace(KNOWN, fusion_theta=theta), (64, 64))
    assert fused.density.sum() == pytest.approx(1.5 + 2 + 14 * 1)


def test_scores_outside_0_to_1_are_refused() -> None:
    with pytest.raises(UsageError, match="min-score"):
        CountOptions(min_score=1.5)


# ---- from end to end, with weights that have learned nothing


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_light(tmp_path_factory.mktemp("network"))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (200, 320, 3), np.uint8)
    path = tmp_path / "crowd.png"
    pyvips.Image.new_from_array(pixels).pngsave(str(path))
    return path


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(network: Path) -> Run:
    """The command line in this process: exit status, standard output, standard error."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        done = gigacount("localize", "--network", network, *arguments)
        return done.returncode, done.stdout, done.stderr

    return call


HALVES = {
    "type": "FeatureCollection",
    "features": [
        {"type": "Feature", "properties": {"name": name}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
        for name, ring in (
            ("left", [[0, 0], [163, 0], [163, 200], [0, 200], [0, 0]]),
            ("right", [[163, 0], [320, 0], [320, 200], [163, 200], [163, 0]]),
        )
    ],
}


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (["--max-size", "160x100"], "; --strategy full looks at everything from close by"),
        ([], "; --strategy full --scales 2 looks at everything enlarged"),
        (["--strategy", "full", "--scales", "2"], ""),
    ],
)
def test_what_was_seen_too_coarsely_can_be_seen_from_closer_by(
    run: Run, picture: Path, options: list[str], hint: str
) -> None:
    _, _, err = run(picture, *options, "--min-score", "1")  # all heads are left out, so all people are without
    assert err.strip().splitlines()[-1].endswith(f"where heads are too small or too close to tell apart{hint}")


def test_people_in_small_images_are_enlarged_as_the_record_says(network: Path, picture: Path) -> None:
    record = network.with_name("close.toml")
    write_record(replace(read_record(network), enlarge=1.5), record)

    def seen(enlarge: float | None = None) -> list[float]:
        options = CountOptions(network=str(record), looking=StrategyOptions(enlarge=enlarge))
        return [round(look.view.scale, 1) for look in localize_image(picture, options).looked]

    assert seen() == [1.0, 1.5]
    assert seen(enlarge=1.0) == [1.0]
    assert seen(enlarge=2.0) == [1.0, 2.0]
    assert len(count_image(picture, CountOptions(network=str(record))).looked) == 2


@pytest.mark.parametrize("name", ["light", "raz-net", "iim-vgg"])
def test_locating_counts_as_counting_does(name: str, tmp_path: Path, picture: Path) -> None:
    options = CountOptions(network=str(untrained(name, tmp_path)), precision="fp32")
    counted, located = count_image(picture, options), localize_image(picture, options)
    assert located.count == counted.count
    assert located.key == counted.key
    np.testing.assert_array_equal(located.density.cells, counted.density.cells)
    assert (counted.points is None, located.points is None) == (True, False)


def test_the_command_prints_how_many_and_writes_them(run: Run, picture: Path) -> None:
    status, out, err = run(picture)
    assert status == 0, err
    heads = (picture.parent / "crowd.png.points.csv").read_text().splitlines()
    assert int(out) == len(heads) - 1 > 10
    assert f"{int(out):,} heads located; the density map counts" in err
    assert run(picture)[0] == 2  # it stands already
    assert run(picture, "--overwrite", "-q")[::2] == (0, "")


def test_regions_add_up_to_the_whole(run: Run, picture: Path, tmp_path: Path) -> None:
    polygons = tmp_path / "halves.geojson"
    polygons.write_text(json.dumps(HALVES))
    out = tmp_path / "out" / "heads.geojson"
    status, said, err = run(
        picture, "--out", out, "--region", polygons, "--json", "--strategy", "full", "--tile", "64x64"
    )
    assert status == 0, err
    answer = json.loads(said)
    assert len(json.loads(out.read_text())["features"]) == answer["located"]
    assert sum(region["count"] for region in answer["regions"]) == pytest.approx(answer["count"], abs=0.01)
    assert sum(region["points"] for region in answer["regions"]) == answer["located"]
    with (tmp_path / "out" / "heads.regions.csv").open() as file:
        assert [row["region"] for row in csv.DictReader(file)] == ["left", "right"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--out", "heads.shp"], 2, "choose one of: .csv, .geojson, .gpkg, .json, .txt"),
        (["--metres-per-pixel", "0.1"], 2, "--metres-per-pixel needs --region"),
        (["--region", "bow.geojson"], 1, "region 1: self-intersection"),
        (["--region", "gone.geojson"], 2, "no such file"),
        (["--min-score", "7"], 2, "min-score must be between 0 and 1"),
        (["--context", "-1"], 2, "context must be between 0 and 1024"),
        (["--out", "/proc/heads.csv"], 1, "/proc/heads.csv"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_before_the_work(
    run: Run, picture: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], status: int, words: str
) -> None:
    monkeypatch.chdir(picture.parent)
    bow = [[0, 0], [100, 100], [100, 0], [0, 100], [0, 0]]
    (picture.parent / "bow.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [bow]}))
    before = sorted(picture.parent.iterdir())
    code, out, err = run(picture, *arguments)
    assert (code, out) == (status, "")
    assert words in err
    assert err.count("\n") == 1
    assert sorted(picture.parent.iterdir()) == before


def test_counting_reports_regions_too(network: Path, picture: Path, tmp_path: Path) -> None:
    polygons = tmp_path / "halves.geojson"
    polygons.write_text(json.dumps(HALVES))
    options = CountOptions(network=str(network), regions=RegionOptions(polygons, 0.5))
    folder = ResultFolder(tmp_path / "crowd.gigacount")
    content = write_result(Counter(options).count(picture), folder, ())
    left, right = content["regions"]
    assert left["count"] + right["count"] == pytest.approx(content["count"], abs=0.01)
    assert left["points"] is None
    assert (left["area_px"], left["area_m2"]) == (163 * 200, 163 * 200 / 4)
    assert (
        (folder.path / "regions.csv").read_text().startswith("region,count,points,area_px,area_m2,people_per_m2\nleft,")
    )
    assert Wanted(RunKey.of(options, records_of(options))).finished(folder, picture) == content
    polygons.write_text(json.dumps(HALVES).replace("163", "164"))
    obstacle = Wanted(RunKey.of(options, records_of(options))).obstacle(folder, picture)
    assert "(the file of --region has changed)" in obstacle


def test_fusing_changes_the_count_towards_the_heads(network: Path, picture: Path) -> None:
    plain = localize_image(picture, CountOptions(network=str(network)))
    assert plain.points is not None
    fused = Counter(CountOptions(network=str(network), settings=("fuse=true",))).count(picture)
    assert fused.count == pytest.approx((plain.count + len(plain.points)) / 2, rel=1e-3)


def test_equal_neighbours_in_a_heat_map_are_one_head() -> None:
    """bf16 has 8 bits: neighbouring cells of a head are often equal."""
    heat = torch.full((8, 8), 0.1)
    heat[3, 3:5] = 0.5
    heat[6, 1] = heat[7, 2] = 0.6
    (points,) = heads_in(summits(heat[None], torch.zeros(1, 3, 32, 32), 4).numpy())
    bright = points[points[:, 2] > 0.4]
    assert len(bright) == 2
    np.testing.assert_allclose(bright[0], [16, 14, 0.5], atol=1e-4)


@pytest.mark.parametrize(
    ("heads", "count", "surplus"), [(120, 100.0, "20"), (104, 100.0, ""), (3, 1.4, "2"), (2, 1.5, "")]
)
def test_more_heads_than_counted_people_are_said(heads: int, count: float, surplus: str) -> None:
    coarse = Located(0.0, 0.0, 0)
    found = SimpleNamespace(points=range(heads), too_coarse=coarse)
    lines = localize_lines(cast(CountResult, SimpleNamespace(heads=found, count=count, coarse_share=0.0)))
    assert lines[0] == f"{heads} heads located; the density map counts {count} people"
    assert [line.partition(" more heads")[0] for line in lines[1:]] == ([surplus] if surplus else [])
    assert all("--min-score" in line for line in lines[1:])
