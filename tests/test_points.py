"""Heads from looks made of known points: nobody lost and nobody twice, on seams and corners least of all."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gigacount.geometry import Size, View, Window, tile, whole
from gigacount.options import StrategyOptions
from gigacount.points import Heads, Ownership, Points, density_peaks, gather
from gigacount.strategies.gigazoom import level_sizes, view_at

SIZE = (1000, 600)
CELL = 8


def see(view: View, xy: NDArray[np.float64], size_wh: Size = SIZE, error: float = 0, seed: int = 0) -> Heads:
    """What a look with perfect eyes finds: everybody in its window and context, `error` read pixels astray at most."""
    outer = view.with_context(whole(size_wh)).window
    x, y = xy.T
    inside = (x >= outer.left) & (x < outer.right) & (y >= outer.top) & (y < outer.bottom)
    found = xy[inside]
    astray = np.random.default_rng(seed).uniform(-error, error, found.shape) / view.scale
    return np.column_stack([found + astray, np.full(len(found), 0.9)]).astype(np.float32)


def locate(views: list[View], xy: NDArray[np.float64], size_wh: Size = SIZE, error: float = 0) -> Points:
    heads = [see(view, xy, size_wh, error, seed) for seed, view in enumerate(views)]
    return gather(views, heads, Ownership.of([view.window for view in views], size_wh, CELL))


def tiles(context: int, side: int = 200) -> list[View]:
    return [View(window, window.size_wh, 0, context) for window in tile(SIZE, (side, side), CELL)]


def by_position(xy: NDArray[np.floating]) -> NDArray[np.floating]:
    return xy[np.lexsort((xy[:, 1], xy[:, 0]))]


SEAMS = np.array([(x, y) for x in (0, 199.5, 200, 200.5, 400, 999.99) for y in (0, 100, 200, 399.99, 400, 599.5)])


@pytest.mark.parametrize("context", [0, 40])
def test_heads_on_seams_corners_and_edges_are_there_once(context: int) -> None:
    apart = SEAMS[(SEAMS % 1 == 0).all(axis=1)]  # without context nobody sees that heads half a pixel apart are two
    truth = SEAMS if context else apart
    points = locate(tiles(context), truth)
    np.testing.assert_allclose(by_position(points.xy), by_position(truth.astype(np.float32)))


def test_a_point_belongs_to_the_half_open_window_that_holds_it() -> None:
    points = locate(tiles(40), np.array([[200.0, 200.0], [199.99, 200.0], [200.0, 199.99]]))
    owners = {tuple(xy): window for xy, window in zip(points.xy.tolist(), points.window.tolist(), strict=True)}
    assert owners[(200.0, 200.0)] == 6  # five windows a row: the second of the second row
    assert sorted(points.window.tolist()) == [1, 5, 6]


@given(st.lists(st.tuples(st.integers(0, 124), st.integers(0, 74)), max_size=60, unique=True), st.integers(0, 3))
def test_looks_that_disagree_by_a_pixel_lose_and_double_nobody(cells: list[tuple[int, int]], shift: int) -> None:
    """Heads 8 px apart, as the network's peaks are at the least; seams run at any phase through their grid."""
    truth = np.array(cells, float).reshape(-1, 2) * 8 + 2 * shift
    points = locate(tiles(40), truth, error=0.7)
    assert len(points) == len(truth)
    if len(truth):
        distance = np.linalg.norm(points.xy[:, None] - truth[None], axis=2).min(axis=0)
        assert distance.max() < 1.1


def test_without_the_settling_heads_on_a_seam_would_be_lost_or_doubled() -> None:
    """The disagreement that the test above is about does occur: plain ownership of single sightings gets it wrong."""
    truth = np.column_stack([np.full(70, 200.0), np.arange(70) * 8 + 4.0])
    views = tiles(40)
    seen = [see(view, truth, error=0.7, seed=number) for number, view in enumerate(views)]
    ownership = Ownership.of([view.window for view in views], SIZE, CELL)
    plain = sum(int((ownership.at(heads[:, :2]) == number).sum()) for number, heads in enumerate(seen))
    assert plain != 70
    assert len(gather(views, seen, ownership)) == 70


def test_a_head_that_each_look_places_on_the_others_side_is_kept() -> None:
    views = [View(Window(0, 0, 200, 600), (200, 600), 0, 40), View(Window(200, 0, 800, 600), (800, 600), 0, 40)]
    heads = [np.array([[200.4, 50, 0.9]], np.float32), np.array([[199.7, 50, 0.8]], np.float32)]
    points = gather(views, heads, Ownership.of([view.window for view in views], SIZE, CELL))
    assert points.xy.tolist() == [[np.float32(200.4), 50]]


def test_what_the_owner_did_not_see_is_not_there() -> None:
    views = [View(Window(0, 0, 200, 600), (200, 600), 0, 40), View(Window(200, 0, 800, 600), (800, 600), 0, 40)]
    heads = [np.array([[200.4, 50, 0.9], [220, 50, 0.9]], np.float32), np.zeros((0, 3), np.float32)]
    assert len(gather(views, heads, Ownership.of([view.window for view in views], SIZE, CELL))) == 0


def test_the_finest_look_has_the_say_and_coarse_points_stand_elsewhere() -> None:
    views = [View(whole(SIZE), (250, 150), 0), View(Window(200, 104, 400, 200), (400, 200), 1)]
    coarse = np.array([[100, 100, 0.5], [300, 200, 0.6], [599, 304, 0.7]], np.float32)
    fine = np.array([[303, 198, 0.9], [450, 250, 0.8]], np.float32)
    points = gather(views, [coarse, fine], Ownership.of([view.window for view in views], SIZE, CELL))
    assert by_position(points.xy).tolist() == [[100, 100], [303, 198], [450, 250], [599, 304]]
    assert dict(zip(points.xy[:, 0].tolist(), points.level.tolist(), strict=True)) == {
        100: 0, 599: 0, 303: 1, 450: 1,
    }  # fmt: skip


def test_a_coarse_sighting_across_the_seam_gives_way_to_the_fine_one() -> None:
    views = [View(whole(SIZE), (250, 150), 0), View(Window(200, 104, 400, 200), (400, 200), 1)]
    coarse, fine = np.array([[197, 200, 0.9]], np.float32), np.array([[202, 201, 0.5]], np.float32)
    points = gather(views, [coarse, fine], Ownership.of([view.window for view in views], SIZE, CELL))
    assert points.xy.tolist() == [[202, 201]]


def test_the_last_of_equal_looks_owns_what_both_saw() -> None:
    truth = np.random.default_rng(0).uniform((200, 104), (600, 304), (300, 2))
    fine = View(Window(200, 104, 400, 200), (400, 200), 1)
    points = locate([View(whole(SIZE), (250, 150), 0), fine, fine], truth)
    assert len(points) == 300
    assert set(points.window.tolist()) == {2}


def test_heads_placed_just_outside_the_picture_are_kept_inside() -> None:
    views = [View(whole(SIZE), SIZE)]
    heads = np.array([[-0.3, 5, 0.9], [1000.2, 600.4, 0.9]], np.float32)
    points = gather(views, [heads], Ownership.of([whole(SIZE)], SIZE, CELL))
    assert len(points) == 2
    assert (points.xy >= 0).all()
    assert (points.xy < SIZE).all()


def test_nobody_anywhere() -> None:
    assert len(locate(tiles(40), np.zeros((0, 2)))) == 0


def test_a_zoom_into_a_crowd_keeps_everybody() -> None:
    size = (8000, 4500)
    truth = np.random.default_rng(1).permutation(np.mgrid[4:8000:40, 4:4500:40].reshape(2, -1).T)[:20_000].astype(float)
    options = StrategyOptions(clusters=1, levels=4)
    views = [view_at(whole(size), 0, options)]
    for level, (width, height) in enumerate(level_sizes(size, options), start=1):
        window = Window(1600, 800, int(width) // 8 * 8, int(height) // 8 * 8)
        views.append(view_at(window, level, options))
    points = locate(views, truth, size, error=0.4)
    assert len(points) == len(truth)
    assert points.level.max() == 4


def test_200_000_points_take_seconds() -> None:
    size = (40_000, 20_000)
    truth = np.random.default_rng(0).uniform((0, 0), size, (200_000, 2))
    views = [View(window, window.size_wh, 0, 64) for window in tile(size, (1920, 1200), CELL)]
    heads = [see(view, truth, size, 0.5) for view in views]
    start = time.process_time()
    points = gather(views, heads, Ownership.of([view.window for view in views], size, CELL))
    assert time.process_time() - start < 10
    assert abs(len(points) - 200_000) < 40  # of random heads a few lie within SEAM_PX of each other


def test_density_peaks_find_lone_heads_by_their_mass() -> None:
    density = np.zeros((20, 30), np.float32)
    density[5, 7] = 0.9
    density[12, 20:22] = 0.5  # on the edge of two cells
    density[17, 3] = 0.2  # too faint
    peaks = by_position(density_peaks(density, 8))
    np.testing.assert_allclose(peaks, [[60, 44, 0.9], [168, 100, 1]], atol=1e-4)


def test_density_peaks_do_not_depend_on_the_stride() -> None:
    fine = np.zeros((80, 160), np.float32)
    fine[40:44, 80:84] = 1 / 16
    (peak,) = density_peaks(fine, 2)
    assert peak[2] == pytest.approx(1, abs=1e-4)
    assert np.hypot(peak[0] - 164, peak[1] - 84) <= 8 * 2**0.5 / 2


def test_density_peaks_survive_maps_smaller_than_their_neighbourhood() -> None:
    assert density_peaks(np.ones((1, 1), np.float32), 8).tolist() == [[4, 4, 1]]
    assert density_peaks(np.zeros((2, 2), np.float32), 8).shape == (0, 3)
