"""The adaptive strategy against a `look` made from known points: where it looks again, and where it stops."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from test_strategies import PANDA, TWO_CROWDS, PointLook, crowd

from gigacount.density import Density
from gigacount.errors import UsageError
from gigacount.geometry import View, Window, whole
from gigacount.options import StrategyOptions
from gigacount.resolution import Resolution
from gigacount.strategies.adaptive import adaptive, levels_of, plan_adaptive
from gigacount.strategies.packing import Packing

OPTIONS = StrategyOptions(enlarge=1.0)


class FromAfar(PointLook):
    """Sees people that are not there at scales below 0.3, a person every 40 px, and nobody from closer."""

    def density(self, view: View) -> Density:
        return super().density(view) * np.float32(view.scale < 0.3)


class ShortSighted(PointLook):
    """Sees nobody at scales below 0.3."""

    def density(self, view: View) -> Density:
        return super().density(view) * np.float32(view.scale > 0.3)


def lattice(area: Window, step: float) -> NDArray[np.float64]:
    xs, ys = np.arange(area.left, area.right, step), np.arange(area.top, area.bottom, step)
    return np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2) + step / 2


def megapixels(look: PointLook) -> float:
    return sum(math.prod(view.with_context(whole(PANDA)).size_wh) for view in look.views) / 1e6


def scale_at(look: PointLook, point: tuple[float, float]) -> float:
    """The scale of the last look at a point."""
    over = [v for v in look.views if v.window.contains(Window(int(point[0]), int(point[1]), 1, 1))]
    return over[-1].scale


def test_a_small_picture_is_one_look_and_the_coarse_networks() -> None:
    look = PointLook(crowd((500, 400), 300, 30))
    assert adaptive(look, (1000, 800), OPTIONS).count == pytest.approx(300, abs=1)
    assert [(view.size_wh, view.coarse) for view in look.views] == [((1000, 800), True)]


@pytest.mark.parametrize("enlarge", [1.5, 2.0])
def test_people_in_a_small_image_are_seen_again_enlarged_and_no_empty_place_is(enlarge: float) -> None:
    look = PointLook(crowd((250, 200), 100, 60))
    options = StrategyOptions(enlarge=enlarge)
    assert adaptive(look, (1000, 800), options).count == pytest.approx(100, abs=1)
    whole_image, again = look.views
    assert (whole_image.size_wh, whole_image.coarse) == ((1000, 800), True)
    assert (again.scale, again.coarse) == (pytest.approx(enlarge, rel=0.01), False)
    assert again.window.right <= 512
    plan = plan_adaptive((1000, 800), options)
    assert [(level.level, level.certain) for level in plan] == [(0, True), (1, False)]


def test_one_person_in_a_small_image_is_seen_once() -> None:
    look = PointLook(np.array([[300.0, 200.0], [800.0, 600.0]]))
    adaptive(look, (1000, 800), StrategyOptions(enlarge=2.0))
    assert len(look.views) == 1


def test_nothing_that_one_look_does_not_hold_is_enlarged() -> None:
    assert plan_adaptive(PANDA, StrategyOptions(enlarge=2.0)) == plan_adaptive(PANDA, StrategyOptions())


def test_people_who_stand_too_close_are_seen_closer_and_no_others() -> None:
    near, far = crowd((6_000, 10_000), 300, 1200), crowd((21_000, 4_000), 900, 200)  # 70 and 12 px apart
    look = PointLook(np.concatenate([near, far]))
    assert adaptive(look, PANDA, OPTIONS).count == pytest.approx(1200, abs=1)
    assert scale_at(look, (21_000, 4_000)) == 1
    assert scale_at(look, (6_000, 13_000)) == 0.25
    assert scale_at(look, (13_000, 1_000)) == 0.25
    assert not any(view.coarse for view in look.views)
    assert megapixels(look) < 50


def test_looks_of_a_level_do_not_overlap_and_lie_in_the_picture() -> None:
    look = PointLook(TWO_CROWDS)
    adaptive(look, PANDA, OPTIONS)
    base = [view.window for view in look.views if view.level == 0]
    assert sum(window.pixels for window in base) == PANDA[0] * PANDA[1]
    assert all(whole(PANDA).contains(view.window) for view in look.views)
    closest = [view.window for view in look.views if view.level == 2]
    painted = np.zeros((PANDA[1] // 8, PANDA[0] // 8), int)
    for window in closest:
        painted[window.top // 8 : window.bottom // 8, window.left // 8 : window.right // 8] += 1
    assert painted.max() == 1


def test_what_looked_like_people_from_afar_is_looked_at_again() -> None:
    hall = FromAfar(lattice(Window(2_000, 2_000, 5_000, 3_000), 40))
    assert adaptive(hall, (10_000, 6_500), OPTIONS).count < 1


def test_people_too_small_for_the_base_scale_are_found_by_spots_and_followed() -> None:
    far = lattice(Window(0, 1_000, 26_000, 6_000), 150)
    look = ShortSighted(far)
    assert adaptive(look, PANDA, OPTIONS).count > 0.9 * len(far)
    assert scale_at(look, (13_000, 14_500)) == 0.25
    assert adaptive(look, PANDA, StrategyOptions(base=1 / 2)).count == pytest.approx(len(far), abs=1)


def test_an_empty_picture_costs_a_few_looks_beyond_the_base() -> None:
    look = PointLook(np.zeros((0, 2)))
    adaptive(look, PANDA, OPTIONS)
    closer = [view for view in look.views if view.level]
    assert 0 < len(closer) <= 8
    assert sum(view.window.pixels for view in closer) < 0.03 * PANDA[0] * PANDA[1]


def test_budgets_bound_the_work_and_the_densest_places_come_first() -> None:
    look = PointLook(TWO_CROWDS)
    adaptive(look, PANDA, StrategyOptions(looks=19))
    assert len(look.views) == 19
    assert scale_at(look, (6_000, 9_000)) >= 0.5  # three thousand people
    look = PointLook(TWO_CROWDS)
    adaptive(look, PANDA, StrategyOptions(megapixels=38))
    assert 34 < megapixels(look) <= 38
    look = PointLook(TWO_CROWDS)
    adaptive(look, PANDA, StrategyOptions(looks=1))
    assert [view.window for view in look.views] == [whole(PANDA)]


def test_it_stops_where_the_count_is_expected_to_be_good_enough() -> None:
    rough = Resolution((4.0, 8.0), (-0.4, 0.0), (0.4, 0.1), resolved_px=18)
    look = PointLook(TWO_CROWDS)
    adaptive(look, PANDA, StrategyOptions(within=50, resolution=rough))
    assert {view.level for view in look.views} == {0}
    look = PointLook(TWO_CROWDS)
    adaptive(look, PANDA, StrategyOptions(within=20, resolution=rough))
    assert {view.level for view in look.views} == {0, 1}


def test_the_networks_resolution_decides_how_close() -> None:
    sharp = Resolution((10.0,), (0.0,), (0.1,), resolved_px=2)
    look = PointLook(TWO_CROWDS)
    adaptive(look, PANDA, StrategyOptions(resolution=sharp))
    assert len([view for view in look.views if view.level]) <= 8
    assert {view.level for view in look.views} == {0, 1}


@pytest.mark.parametrize("size_wh", [(1, 1), (700, 5_000), (3_000, 2_000), (10_000, 6_500), PANDA, (50_000, 2_000)])
@pytest.mark.parametrize("options", [OPTIONS, StrategyOptions(looks=5), StrategyOptions(base=1 / 16)])
def test_the_plan_bounds_the_looks(size_wh: tuple[int, int], options: StrategyOptions) -> None:
    points = np.random.default_rng(1).uniform((0, 0), size_wh, (20_000, 2))
    look = PointLook(points)
    assert adaptive(look, size_wh, options).count == pytest.approx(len(points), rel=1e-3)
    plan = plan_adaptive(size_wh, options)
    assert len(look.views) <= sum(level.looks for level in plan)
    largest = {level.level: math.prod(level.size_wh) for level in plan}
    assert all(
        math.prod(view.with_context(whole(size_wh)).size_wh) <= largest[view.level] * 1.01 for view in look.views
    )


def test_equal_pictures_are_looked_at_equally() -> None:
    looks = [PointLook(TWO_CROWDS), PointLook(TWO_CROWDS)]
    for look in looks:
        adaptive(look, PANDA, OPTIONS)
    assert looks[0].views == looks[1].views


@given(st.tuples(st.integers(1, 60_000), st.integers(1, 60_000)), st.sampled_from([None, 1 / 2, 1 / 8, 0.3]))
def test_squares_of_a_level_are_four_of_the_next(size_wh: tuple[int, int], base: float | None) -> None:
    levels = levels_of(size_wh, StrategyOptions(base=base))
    assert [level.block for level in levels[:-1]] == [2 * level.block for level in levels[1:]]
    assert levels[-1].scale >= 1 or len(levels) == 1
    assert all(a.scale < b.scale <= 2 * a.scale for a, b in pairwise(levels))


def test_two_places_far_apart_become_two_windows() -> None:
    wanted = np.zeros((10, 20), bool)
    wanted[1:3, 1:3] = wanted[8, 18] = True
    windows = Packing((7, 4), 0.5).pack(wanted)
    assert sorted(windows) == [Window(1, 1, 2, 2), Window(18, 8, 1, 1)]
    beside = np.zeros((4, 4), bool)
    beside[1, 0] = beside[1, 2] = True
    assert Packing((7, 4), 0.5).pack(beside) == [Window(0, 1, 3, 1)]  # one gap costs less than context twice


@given(
    arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.booleans()),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.floats(0, 2),
)
def test_windows_hold_all_that_is_wanted_once(
    wanted: NDArray[np.bool_], most_wh: tuple[int, int], context: float
) -> None:
    packing = Packing(most_wh, context)
    windows = packing.pack(wanted)
    covered = np.zeros(wanted.shape, int)
    for w in windows:
        assert w.width <= most_wh[0]
        assert w.height <= most_wh[1]
        covered[w.top : w.bottom, w.left : w.right] += 1
    assert covered.max() <= 1
    assert (covered[wanted] == 1).all()
    cost = sum(float(packing.pixels(np.array(w.height), np.array(w.width))) for w in windows)
    assert cost <= float(packing.pixels(*np.array(wanted.shape))) + 1e-6


@pytest.mark.parametrize("bad", [{"base": 0}, {"looks": 0}, {"megapixels": 0.0}, {"within": -1.0}, {"base": math.nan}])
def test_budgets_that_make_no_sense_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        StrategyOptions(**bad)  # type: ignore[arg-type]
