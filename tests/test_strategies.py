"""Strategies against a `look` made from known points: no torch, no files."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import Future
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from gigacount.density import Density, DensityMap, points_to_density
from gigacount.errors import UnknownNameError, UsageError
from gigacount.geometry import Size, View, Window, whole
from gigacount.options import StrategyOptions
from gigacount.strategies import STRATEGIES, find_strategy
from gigacount.strategies.downsample import downsample
from gigacount.strategies.gigazoom import densest_window, gigazoom, level_sizes
from gigacount.strategies.sliding import sliding
from gigacount.strategies.zoom_centres import box_sums

PANDA = (26_908, 15_024)


class PointLook:
    """A `look` that sees known points perfectly, in cells of 8 read pixels, and remembers its views."""

    def __init__(self, points_xy: NDArray[np.float64]) -> None:
        self.points_xy = points_xy
        self.views: list[View] = []

    def __call__(self, view: View) -> Future[Density]:
        self.views.append(view)
        done: Future[Density] = Future()
        done.set_result(self.density(view))
        return done

    def density(self, view: View) -> Density:
        shape = -(-view.size_wh[1] // 8), -(-view.size_wh[0] // 8)
        return points_to_density(self.points_xy, view.window, shape)


class Blurred(PointLook):
    """Sees better the closer it looks: at scale s it misses a share of (1 - s) of the people."""

    def density(self, view: View) -> Density:
        return super().density(view) * np.float32(view.scale)


def crowd(center: tuple[float, float], people: int, spread: float, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(center, spread, (people, 2))


TWO_CROWDS = np.concatenate([crowd((6_000, 9_000), 3_000, 300), crowd((21_000, 4_000), 1_000, 200, 1)])


def test_equation_2_by_hand() -> None:
    sizes = level_sizes(PANDA, StrategyOptions(levels=10))
    assert len(sizes) == 10
    ratio_w, ratio_h = (2560 / 26_908) ** 0.1, (1440 / 15_024) ** 0.1  # 0.7904, 0.7910
    assert ratio_w == pytest.approx(0.79040, abs=5e-5)
    for t, (width, height) in enumerate(sizes, start=1):
        assert width == pytest.approx(26_908 * ratio_w**t)
        assert height == pytest.approx(15_024 * ratio_h**t)
    assert sizes[-1] == (pytest.approx(2560), pytest.approx(1440))


def test_equation_1_by_hand() -> None:
    sizes = level_sizes(PANDA, StrategyOptions(levels=10, zoom="linear"))
    assert sizes[0] == (pytest.approx(26_908 - 2_434.8), pytest.approx(15_024 - 1_358.4))
    assert sizes[4] == (pytest.approx(14_734), pytest.approx(8_232))
    assert sizes[-1] == (2560, 1440)


def test_overzoom_goes_on_at_the_last_ratio() -> None:
    sizes = level_sizes(PANDA, StrategyOptions(levels=10, overzoom=2))
    assert len(sizes) == 12
    assert sizes[11][0] == pytest.approx(26_908 * (2560 / 26_908) ** 1.2)
    linear = level_sizes(PANDA, StrategyOptions(zoom="linear", overzoom=1))
    assert linear[10][0] == pytest.approx(2560 * 2560 / linear[8][0])


@pytest.mark.parametrize(("levels", "clusters"), [(10, 2), (5, 1), (3, 2)])
def test_one_plus_k_times_l_looks(levels: int, clusters: int) -> None:
    look = PointLook(TWO_CROWDS)
    gigazoom(look, PANDA, StrategyOptions(levels=levels, clusters=clusters))
    assert len(look.views) == 1 + clusters * levels
    assert [view.level for view in look.views] == [0] + [t for t in range(1, levels + 1) for _ in range(clusters)]


def test_a_zoom_chooses_its_next_window_before_the_other_zoom_is_heard_of() -> None:
    """So that it can be read meanwhile; painting goes level by level all the same."""

    begun: list[int] = []  # looks begun when each density is asked for

    class Told(PointLook):
        def __call__(self, view: View) -> Future[Density]:
            outer = self

            class Asked(Future[Density]):
                def result(self, timeout: float | None = None) -> Density:
                    begun.append(len(outer.views))
                    return super().result(timeout)

            done = Asked()
            done.set_result(super().__call__(view).result())
            return done

    look = Told(TWO_CROWDS)
    gigazoom(look, PANDA, StrategyOptions(levels=3, clusters=2))
    assert begun == [1, 3, 4, 5, 6, 7, 7]  # the first look; then two under way, and one more after each that was heard
    assert [view.level for view in look.views] == [0, 1, 1, 2, 2, 3, 3]
    for zoom in (look.views[1::2], look.views[2::2]):
        assert all(outer.window.contains(inner.window) for outer, inner in pairwise(zoom))


def test_without_clustering_one_zoom_starts_in_the_densest_window() -> None:
    look, options = PointLook(TWO_CROWDS), StrategyOptions(levels=4, clusters=0)
    gigazoom(look, PANDA, options)
    assert [view.level for view in look.views] == [0, 1, 2, 3, 4]
    coarse, first = look.density(look.views[0]), look.views[1].window
    kernel = round(first.width * coarse.shape[1] / PANDA[0]), round(first.height * coarse.shape[0] / PANDA[1])
    held = points_to_density(TWO_CROWDS, first, (1, 1)).sum()
    assert held == box_sums(coarse, kernel).max() == 3_000  # the larger crowd; both do not fit


def test_a_later_start_skips_the_first_levels() -> None:
    look, options = PointLook(TWO_CROWDS), StrategyOptions(levels=10, clusters=2, start=6)
    gigazoom(look, PANDA, options)
    assert [view.level for view in look.views] == [0] + [t for t in range(6, 11) for _ in range(2)]
    sixth = level_sizes(PANDA, StrategyOptions(levels=10))[5]
    for view in look.views[1:3]:
        assert abs(view.window.width - sixth[0]) <= 8
    assert sum(level.looks for level in find_strategy("gigazoom").plan(PANDA, options)) == len(look.views)
    middles = sorted(view.window.left + view.window.width / 2 for view in look.views[1:3])
    assert middles[0] == pytest.approx(6_000, abs=300)
    assert middles[1] == pytest.approx(21_000, abs=300)


def test_it_finds_the_densest_region() -> None:
    look = PointLook(TWO_CROWDS)
    gigazoom(look, PANDA, StrategyOptions(clusters=1))
    last = look.views[-1].window
    assert last.size_wh == (2560, 1440)
    assert look.views[-1].scale == 1
    assert last.left < 6_000 < last.right
    assert last.top < 9_000 < last.bottom


def test_windows_have_the_papers_sizes_nest_and_shrink() -> None:
    look = PointLook(TWO_CROWDS)
    options = StrategyOptions(clusters=1)
    gigazoom(look, PANDA, options)
    for view, (width, height) in zip(look.views[1:], level_sizes(PANDA, options), strict=True):
        assert abs(view.window.width - width) <= 8
        assert abs(view.window.height - height) <= 8
        assert view.size_wh == (2560, 1440)
    for outer, inner in zip(look.views, look.views[1:], strict=False):
        assert outer.window.contains(inner.window)


def test_the_next_window_is_the_maximum_of_the_box_sum() -> None:
    window = Window(800, 1600, 8000, 4000)
    density = points_to_density(crowd((3_000, 3_000), 500, 150), window, (100, 200))
    found = densest_window(window, density, (4000, 2000), 8)
    assert found.size_wh == (4000, 2000)
    col, row = (found.left - 800) / 40, (found.top - 1600) / 40  # eq. 4
    best = box_sums(density, (100, 50)).max()  # eq. 3: half the window is half the cells
    assert density[round(row) : round(row) + 50, round(col) : round(col) + 100].sum() == best


def test_a_perfect_look_gives_the_exact_count_everywhere() -> None:
    for strategy in STRATEGIES.values():
        canvas = strategy.run(PointLook(TWO_CROWDS), PANDA, StrategyOptions())
        assert canvas.count == pytest.approx(4_000, rel=2e-3)


def literal_backward_pass(views: list[View], densities: list[Density]) -> float:
    """The paper's backward pass, word for word, as a test oracle: returns the count of D'_0.

    From the finest map on: resize D'_(t+1) to the cells of D_t that correspond to it, keeping its sum, and put it in
    their place. The corresponding region is the window's, rounded to whole cells of D_t.
    """
    finer = densities[-1]
    for t in range(len(views) - 2, -1, -1):
        outer, inner, coarse = views[t].window, views[t + 1].window, densities[t].copy()
        rows, cols = coarse.shape
        left = round((inner.left - outer.left) / outer.width * cols)
        top = round((inner.top - outer.top) / outer.height * rows)
        width = max(round(inner.width / outer.width * cols), 1)
        height = max(round(inner.height / outer.height * rows), 1)
        region = coarse[top : top + height, left : left + width]
        resized = np.zeros_like(region)
        y = np.arange(finer.shape[0]) * region.shape[0] // finer.shape[0]
        x = np.arange(finer.shape[1]) * region.shape[1] // finer.shape[1]
        np.add.at(resized, (y[:, None], x[None, :]), finer)
        coarse[top : top + height, left : left + width] = resized
        finer = coarse
    return float(finer.sum())


@pytest.mark.parametrize("zoom", ["exponential", "linear"])
def test_painting_equals_the_papers_backward_pass(zoom: str) -> None:
    scattered = np.random.default_rng(3).uniform((0, 0), PANDA, (2_000, 2))
    look = Blurred(np.concatenate([scattered, TWO_CROWDS]))
    canvas = gigazoom(look, PANDA, StrategyOptions(clusters=1, zoom=zoom))
    expected = literal_backward_pass(look.views, [look.density(view) for view in look.views])
    coarse = look.density(look.views[0]).sum()
    assert expected > 2 * coarse  # refinement matters here, so agreement is no accident
    assert canvas.count == pytest.approx(expected, rel=5e-3)


def test_the_finest_result_stands_where_zooms_meet() -> None:
    look = Blurred(TWO_CROWDS)
    canvas = gigazoom(look, PANDA, StrategyOptions(clusters=2))
    finest = look.views[-2:]
    for view in finest:
        assert canvas.sum_in(view.window) >= 0.99 * look.density(view).sum()


@pytest.mark.parametrize("size", [(1024, 768), (1, 1), (1, 5000), (2560, 1440), (7, 3)])
def test_small_pictures_take_one_look_at_full_size(size: Size) -> None:
    look = PointLook(np.array([[0.5, 0.5]]))
    canvas = gigazoom(look, size, StrategyOptions())
    assert [view.size_wh for view in look.views] == [size]
    assert canvas.count == 1


@pytest.mark.parametrize("name", ["gigazoom", "downsample", "full"])
@pytest.mark.parametrize("size", [(1024, 768), (2560, 1440), (1, 1)])
def test_small_images_are_seen_at_their_size(name: str, size: Size) -> None:
    look = PointLook(np.array([[0.5, 0.5]]))
    strategy = STRATEGIES[name]
    options = StrategyOptions(enlarge=1.5, tile=(2560, 1600))
    canvas = strategy.run(look, size, options)
    assert [view.size_wh for view in look.views] == [size]
    assert [level.size_wh for level in strategy.plan(size, options)] == [size]
    assert canvas.count == pytest.approx(1)


def test_a_panorama_is_not_squeezed() -> None:
    look = PointLook(crowd((40_000, 1_000), 300, 100))
    canvas = gigazoom(look, (50_000, 2_000), StrategyOptions())
    for view in look.views:
        x, y = view.size_wh[0] / view.window.width, view.size_wh[1] / view.window.height
        assert x == pytest.approx(y, rel=0.06)
        assert view.size_wh[0] * view.size_wh[1] <= 2560 * 1440 * 1.01
    assert look.views[-1].scale == pytest.approx(1)
    assert canvas.count == pytest.approx(300, rel=1e-3)


def test_an_empty_scene_takes_one_look_and_counts_nobody() -> None:
    look = PointLook(np.zeros((0, 2)))
    canvas = gigazoom(look, PANDA, StrategyOptions())
    assert len(look.views) == 1
    assert canvas.count == 0


def test_overzoom_enlarges() -> None:
    look = PointLook(TWO_CROWDS)
    gigazoom(look, PANDA, StrategyOptions(clusters=1, overzoom=1))
    assert look.views[-1].size_wh == (2560, 1440)
    assert look.views[-1].scale > 1.2
    assert look.views[-2].scale == 1


def test_downsample_looks_once() -> None:
    look = PointLook(TWO_CROWDS)
    downsample(look, PANDA, StrategyOptions())
    assert look.views == [View(whole(PANDA), (2560, 1440), coarse=True)]


def test_sliding_averages_its_scales() -> None:
    class Counts(PointLook):
        def density(self, view: View) -> Density:  # everybody once at full size, twice at 1/4, three times at 1/8
            return super().density(view) * {1.0: 1, 0.25: 2, 0.125: 3}[round(view.scale, 3)]

    look = Counts(np.random.default_rng(0).uniform((0, 0), (7_680, 4_800), (500, 2)))
    canvas = sliding(look, (7_680, 4_800), StrategyOptions())
    assert canvas.count == pytest.approx(500 * 2, rel=1e-3)
    assert len(look.views) == 16 + 1 + 1


def test_sliding_with_one_scale_is_plain_tiling() -> None:
    look = PointLook(TWO_CROWDS)
    canvas = sliding(look, PANDA, StrategyOptions(scales=(0.25,)))
    assert sum(view.window.pixels for view in look.views) == PANDA[0] * PANDA[1]
    assert canvas.count == pytest.approx(4_000, rel=1e-5)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("size", [PANDA, (3000, 2000), (50_000, 2_000), (1, 9), (800, 600)])
def test_the_plan_is_an_upper_bound(name: str, size: Size) -> None:
    look = PointLook(np.random.default_rng(0).uniform((0, 0), size, (300, 2)))
    options = StrategyOptions(levels=4)
    strategy = STRATEGIES[name]
    canvas = strategy.run(look, size, options)
    plan = strategy.plan(size, options)
    assert isinstance(canvas, DensityMap)
    for level in plan:
        made = [view for view in look.views if view.level == level.level]
        assert len(made) <= level.looks
        assert all(view.size_wh[0] <= level.size_wh[0] * 1.02 + 2 for view in made)
    assert len(look.views) <= sum(level.looks for level in plan)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"levels": 0}, "levels"),
        ({"clusters": -1}, "clusters"),
        ({"start": 0}, "start"),
        ({"levels": 5, "start": 6}, "start"),
        ({"overzoom": -1}, "overzoom"),
        ({"max_size": (63, 900)}, "max-size"),
        ({"zoom": "cubic"}, "exponential or linear"),
        ({"scales": ()}, "scales"),
    ],
)
def test_absurd_options_are_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        StrategyOptions(**wrong)  # type: ignore[arg-type]


def test_an_unknown_strategy_lists_the_choices() -> None:
    with pytest.raises(UnknownNameError, match="gigazoom, downsample, sliding"):
        find_strategy("gigazom")


def test_what_clustering_imports_is_named_beforehand() -> None:
    """Else the import, most of a second, is waited for after the first look."""
    code = (
        "import sys; import numpy as np; from importlib import import_module;"
        "from gigacount.options import PeakOptions; from gigacount.strategies.zoom_centres import zoom_centres;"
        "from gigacount.strategies import find_strategy;"
        "[import_module(name) for name in find_strategy('gigazoom').libraries]; before = set(sys.modules);"
        "centres = zoom_centres(np.random.default_rng(0).random((60, 90)).astype('f4') ** 8, 2, PeakOptions());"
        "print(len(centres), [name for name in set(sys.modules) - before if name.startswith('sklearn')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split(maxsplit=1) == ["2", "[]\n"]
