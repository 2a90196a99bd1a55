"""Windows, read sizes, placing and tiling."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gigacount.geometry import View, Window, fit, place, tile, whole

sides = st.integers(1, 60_000)


def test_fit_reads_the_papers_picture_at_the_papers_size() -> None:
    assert fit((26_908, 15_024), (2560, 1440)) == (2560, 1440)


def test_fit_leaves_small_pictures_alone() -> None:
    assert fit((1024, 768), (2560, 1440)) == (1024, 768)
    assert fit((1024, 768), (2560, 1440), enlarge=2) == (2048, 1536)


def test_fit_keeps_the_aspect_of_a_panorama_at_the_same_number_of_pixels() -> None:
    width, height = fit((50_000, 2_000), (2560, 1440))
    assert (width, height) == (9600, 384)


def test_fit_of_a_picture_one_pixel_wide_stays_within_padded_bounds() -> None:
    width, height = fit((1, 10_000_000), (2560, 1440))
    assert width == 1
    assert height * 32 <= 2560 * 1440


@given(sides, sides)
def test_fit_never_exceeds_the_budget_by_more_than_rounding(width: int, height: int) -> None:
    w, h = fit((width, height), (2560, 1440))
    assert 1 <= w <= max(width, 2560)
    assert 1 <= h <= max(height, 1440)
    assert w * h <= 2560 * 1440 + (w + h)


def test_view_scale_is_read_pixels_per_picture_pixel() -> None:
    assert View(Window(0, 0, 400, 200), (100, 50)).scale == 0.25


@given(sides, sides, st.data())
def test_place_is_on_the_grid_and_inside(width: int, height: int, data: st.DataObject) -> None:
    cell = data.draw(st.sampled_from([8, 16, 32]))
    center = data.draw(st.tuples(st.floats(-1000, 70_000), st.floats(-1000, 70_000)))
    wanted = data.draw(st.tuples(st.floats(1, 70_000), st.floats(1, 70_000)))
    window = place(center, wanted, whole((width, height)), cell)
    assert whole((width, height)).contains(window)
    assert window.left % cell == window.top % cell == 0
    assert window.right % cell == 0 or window.right == width
    assert window.bottom % cell == 0 or window.bottom == height


def test_place_centres_where_there_is_room() -> None:
    assert place((500, 400), (160, 80), Window(0, 0, 1000, 800), 8) == Window(416, 360, 160, 80)
    assert place((0, 800), (160, 80), Window(0, 0, 1000, 800), 8) == Window(0, 720, 160, 80)


def test_place_stays_inside_its_bounds() -> None:
    assert place((0, 0), (80, 80), Window(160, 240, 320, 320), 8) == Window(160, 240, 80, 80)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(8, 2000), st.integers(8, 2000))
def test_tiles_partition_the_picture(width: int, height: int, tile_w: int, tile_h: int) -> None:
    windows = list(tile((width, height), (tile_w, tile_h), 8))
    assert sum(window.pixels for window in windows) == width * height
    columns, rows = {(w.left, w.right) for w in windows}, {(w.top, w.bottom) for w in windows}
    assert len(windows) == len(columns) * len(rows)
    for spans, side in ((columns, width), (rows, height)):
        ordered = sorted(spans)
        assert ordered[0][0] == 0
        assert ordered[-1][1] == side
        assert all(end == start for (_, end), (start, _) in pairwise(ordered))
    assert all(w.width <= max(tile_w, 8) and w.height <= max(tile_h, 8) for w in windows)


def test_gigapixel_csrnet_makes_about_the_papers_number_of_windows() -> None:
    size, cell = (26_908, 15_024), 8
    counts = [len(list(tile(size, (1920 * n, 1200 * n), cell))) for n in (1, 4, 8)]
    assert counts == [15 * 13, 4 * 4, 2 * 2]
    assert 204 <= sum(counts) <= 220  # the paper reports 204 on average
    assert math.ceil(26_908 / 1920) == 15
