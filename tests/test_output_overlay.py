"""The picture of a result: colours, windows, regions, heads, count and legend, in any shape and script."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gigacount.density import DensityMap
from gigacount.errors import UsageError
from gigacount.geometry import Size, View, Window, whole
from gigacount.image.georeference import Georeference
from gigacount.options import CountOptions
from gigacount.output.overlay import ColourScale, Sheet, blend, draw_overlay, save_jpeg
from gigacount.points import Points
from gigacount.regions import Region, Regions
from gigacount.results import CountResult, Located, LocatedHeads, Looked

SIZE = (3001, 1999)


def result_of(people: float = 500, size_wh: Size = SIZE, preview_wh: Size = (1500, 1000)) -> CountResult:
    canvas = DensityMap.empty(size_wh)
    if size_wh == SIZE:
        canvas.cells[100:140, 200:280] = people / (40 * 80)
    else:
        canvas.cells[:] = people / canvas.cells.size
    zoom = View(Window(1600, 800, 640, 320), (640, 320), 1)
    return CountResult(
        image=Path("square.jpg"),
        density=canvas,
        looked=[Looked(View(whole(size_wh), (1500, 1000)), 480.0), *([Looked(zoom, 500.0)] if size_wh == SIZE else [])],
        networks={},
        options=CountOptions(),
        identity={},
        key="",
        inferences=2,
        device="cpu",
        precision="fp32",
        seconds={},
        preview=np.full((preview_wh[1], preview_wh[0], 3), 120, np.uint8),
    )


def located(result: CountResult, xy: NDArray[np.floating]) -> CountResult:
    n = len(xy)
    points = Points(xy.astype(np.float32), np.ones(n, np.float32), np.zeros(n, np.int32), np.zeros(n, np.int32))
    return replace(result, heads=LocatedHeads(points, {}, Located(0, 0, 0)))


def square(left: float, top: float, right: float, bottom: float) -> NDArray[np.float64]:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], float)


def named(name: str) -> Regions:
    return Regions((Region(name, (square(200, 1200, 1400, 1800),), 720_000),))


def letters(picture: NDArray[np.uint8]) -> int:
    """White pixels."""
    return int((picture > 240).all(axis=2).sum())


def test_overlay_shows_density_windows_and_count(tmp_path: Path) -> None:
    save_jpeg(result_of().overlay(), tmp_path / "o.jpg")
    with Image.open(tmp_path / "o.jpg") as opened:
        assert opened.format == "JPEG"
        picture = np.asarray(opened)
    assert picture.shape == (1000, 1500, 3)
    assert np.ptp(picture[480, 960].astype(int)) > 40  # coloured where the people are
    assert np.ptp(picture[700, 100].astype(int)) < 12  # grey where nobody is
    edge = picture[400:561, 799:803].astype(int).reshape(-1, 3)
    assert (edge[:, 2] > edge[:, 0] + 60).mean() > 0.2  # a bluish line at the window's left edge
    assert letters(picture[:40, :300]) > 100
    assert letters(picture[900:, :400]) > 100  # the legend


def test_a_result_without_a_preview_is_refused() -> None:
    with pytest.raises(UsageError, match="preview"):
        draw_overlay(replace(result_of(), preview=None))


def test_density_colours_follow_density() -> None:
    canvas = DensityMap.empty((800, 800))
    canvas.cells[20:40, 20:40] = 0.05
    canvas.cells[60:80, 60:80] = 0.5
    scale = ColourScale.of(canvas, (100, 100))
    picture = blend(np.zeros((100, 100, 3), np.uint8), scale.strength).astype(int).sum(axis=2)
    assert picture[70, 70] > picture[30, 30] > picture[5, 5]


def test_colours_by_hand() -> None:
    """60 % grey where nobody is; 85 % the last colour of the map where people stand thickest."""
    preview = np.full((100, 100, 3), (30, 90, 150), np.uint8)
    canvas = DensityMap.empty((800, 800))
    empty = blend(preview, ColourScale.of(canvas, (100, 100)).strength)
    assert empty[50, 50].tolist() == [0.6 * 90 + 0.4 * 30, 0.6 * 90 + 0.4 * 90, 0.6 * 90 + 0.4 * 150]
    canvas.cells[:] = 0.5
    full = blend(preview, ColourScale.of(canvas, (100, 100)).strength)[50, 50]
    expected = 0.15 * empty[50, 50].astype(float) + 0.85 * np.array([0xFC, 0xFF, 0xA4])
    np.testing.assert_allclose(full, expected, atol=1)


@pytest.mark.parametrize("preview_wh", [(100, 100), (50, 50)])
def test_the_scale_is_by_area(preview_wh: Size) -> None:
    canvas = DensityMap.empty((800, 800))
    canvas.cells[:] = 0.64  # of 8 x 8 px: a hundredth a pixel
    scale = ColourScale.of(canvas, preview_wh)
    assert scale.label(None) == "1e+02 people per 100 × 100 px"
    assert scale.label(0.01) == "1 people per m²"
    assert ColourScale.of(DensityMap.empty((800, 800)), preview_wh).label(None) is None


def test_a_georeferenced_picture_has_people_per_square_metre(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []
    monkeypatch.setattr(Sheet, "add_legend", lambda self, label: seen.append(label))
    place = Georeference((0.1, 0, 390_000, 0, -0.1, 5_800_000), "EPSG:32633", metres_per_unit=1)
    draw_overlay(replace(result_of(), georeference=place))
    draw_overlay(result_of())
    assert str(seen[0]).endswith("per m²")
    assert str(seen[1]).endswith("px")


@pytest.mark.parametrize("people", [-1234.5, -0.4, 0.0, 1.0, 1e9])
def test_any_count_is_written(people: float) -> None:
    assert letters(draw_overlay(result_of(people))[:40, :300]) > 50


def test_counts_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(Sheet, "write_caption", lambda self, text: said.append(text))
    for people in (-1234.4, -0.4, 1.2, 12345.6):
        draw_overlay(result_of(people))
    draw_overlay(located(result_of(), np.zeros((1200, 2))))
    assert said == ["-1,234 people", "0 people", "1 person", "12,346 people", "1,200 located"]


@pytest.mark.parametrize("name", ["Gate", "Größe Ω Привет", "漢字", "🙂", "مرحبا", "a" * 200, "-", "\u0301", ""])
def test_regions_are_drawn_with_any_name(name: str) -> None:
    picture = draw_overlay(replace(result_of(), regions=named(name))).astype(int)
    edge = picture[600:900, 100]
    assert (edge[:, 1] > edge[:, 0] + 60).mean() > 0.8  # a green line at the left
    assert letters(picture[700:800, 300:500]) > 10


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1), (33, 7)])
def test_overlay_of_odd_shapes(size: Size, tmp_path: Path) -> None:
    for result in (result_of(9, size, size), located(result_of(9, size, size), np.array([[0.5, 0.5]]))):
        save_jpeg(
            draw_overlay(replace(result, regions=Regions((Region("a", (square(0, 0, *size),), 1),)))),
            tmp_path / "o.jpg",
        )
        with Image.open(tmp_path / "o.jpg") as opened:
            assert opened.size == size


@pytest.mark.parametrize(
    ("size", "preview", "drawn"),
    [
        ((120_000, 96), (67_882, 54), (65_000, 52)),
        ((96, 120_000), (54, 67_882), (52, 65_000)),
        ((90_000, 768), (20_782, 177), (20_782, 177)),
    ],
)
def test_strips_keep_within_the_limits_of_jpeg(size: Size, preview: Size, drawn: Size, tmp_path: Path) -> None:
    for result in (result_of(9000, size, preview), located(result_of(9, size, preview), np.array([size]) - 0.5)):
        picture = draw_overlay(result)
        save_jpeg(picture, tmp_path / "o.jpg")
        with Image.open(tmp_path / "o.jpg") as opened:
            assert opened.size == drawn
        short = min(drawn)
        corner = (picture[: short // 2, :200] if drawn[0] > drawn[1] else picture[:40, :]) > 240
        assert corner.any()  # the count, in no more than a part of the strip
        lit = (picture > 240).all(axis=2)
        assert lit.sum() < 2000


def test_lines_are_in_proportion_to_the_short_side() -> None:
    assert [Sheet(Image.new("RGB", size), size).line for size in [(2560, 1440), (20_782, 177), (65_000, 52)]] == [
        3,
        1,
        1,
    ]


def test_heads_are_dots_with_rims() -> None:
    picture = draw_overlay(located(result_of(), np.array([[1500.5, 1000.5], [-5.0, 99_999]]))).astype(int)
    assert picture[500, 750].tolist() == [255, 220, 40]
    assert picture[500, 753].tolist() == [40, 20, 0]
    assert picture[500, 760].tolist() == [120, 120, 120]


def test_a_disk_that_is_full_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file") as told:
        save_jpeg(np.zeros((9, 9, 3), np.uint8), tmp_path / "gone" / "o.jpg")
    assert told.value.errno is not None


def test_the_count_keeps_out_of_the_crowds_way() -> None:
    result = result_of()
    result.density.cells[:30, :120] = 0.5  # in the top left corner
    picture = draw_overlay(result)
    assert letters(picture[:40, :300]) == 0
    assert letters(picture[:40, -300:]) > 100
