"""The canvas: replacement keeps sums, later wins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gigacount.density import DensityMap, between, cell_edges, choose_cell_px, points_to_density
from gigacount.geometry import Window, place, whole


def test_cell_side_doubles_until_the_canvas_is_small_enough() -> None:
    assert choose_cell_px((26_908, 15_024)) == 8
    assert choose_cell_px((100_000, 100_000)) == 16
    assert choose_cell_px((1, 1)) == 8


def test_people_of_parts_in_cells_by_hand() -> None:
    # Two parts of 6 px over three cells of 4 px: the first fills cell 0 and half of cell 1.
    expected = [[4 / 6, 0], [2 / 6, 2 / 6], [0, 4 / 6]]
    np.testing.assert_allclose(between(cell_edges(3, 4, 12), np.eye(2), 12), expected, atol=1e-15)


def test_a_last_cell_that_reaches_past_the_edge_gets_everything() -> None:
    np.testing.assert_allclose(between(cell_edges(1, 8, 5), np.eye(1), 5), [[1]])


def test_replace_by_hand() -> None:
    canvas = DensityMap.empty((32, 16))
    canvas.replace(whole((32, 16)), np.array([[8.0]], np.float32))
    np.testing.assert_allclose(canvas.cells, np.ones((2, 4)))
    canvas.replace(Window(8, 0, 16, 8), np.array([[1, 3]], np.float32))
    np.testing.assert_allclose(canvas.cells, [[1, 1, 3, 1], [1, 1, 1, 1]])


def test_later_wins() -> None:
    canvas = DensityMap.empty((64, 64))
    canvas.replace(Window(0, 0, 40, 40), np.full((5, 5), 2, np.float32))
    canvas.replace(Window(24, 24, 40, 40), np.full((5, 5), 7, np.float32))
    assert canvas.cells[4, 4] == 7
    assert canvas.cells[0, 0] == 2
    assert canvas.count == 5 * 5 * 7 + (25 - 4) * 2


def test_replace_refuses_a_window_off_the_grid_or_outside() -> None:
    canvas = DensityMap.empty((100, 100))
    density = np.ones((2, 2), np.float32)
    with pytest.raises(ValueError, match="grid"):
        canvas.replace(Window(3, 0, 16, 16), density)
    with pytest.raises(ValueError, match="grid"):
        canvas.replace(Window(0, 0, 20, 16), density)
    with pytest.raises(ValueError, match="inside"):
        canvas.replace(Window(96, 96, 8, 8), density)


@settings(max_examples=60)
@given(st.integers(1, 900), st.integers(1, 900), st.integers(1, 70), st.integers(1, 70), st.data())
def test_every_replacement_keeps_the_sum(width: int, height: int, rows: int, cols: int, data: st.DataObject) -> None:
    canvas = DensityMap.empty((width, height))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    canvas.replace(whole((width, height)), rng.random((3, 4), np.float32))
    before = canvas.count
    center = data.draw(st.tuples(st.floats(0, 900), st.floats(0, 900)))
    size = data.draw(st.tuples(st.floats(1, 900), st.floats(1, 900)))
    window = place(center, size, whole((width, height)), canvas.cell_px)
    old = canvas.sum_in(window)
    density = rng.random((rows, cols), np.float32) * 10
    canvas.replace(window, density)
    assert canvas.sum_in(window) == pytest.approx(float(density.sum()), rel=1e-5)
    assert canvas.count == pytest.approx(before - old + float(density.sum()), rel=1e-5)
    assert (canvas.cells >= 0).all()


def test_pooled_keeps_the_sum_and_the_limit() -> None:
    canvas = DensityMap.empty((8 * 103, 8 * 57))
    canvas.cells[:] = np.random.default_rng(0).random(canvas.cells.shape)
    pooled = canvas.pooled((20, 20))
    assert pooled.shape[0] <= 20
    assert pooled.shape[1] <= 20
    assert pooled.sum() == pytest.approx(canvas.count, rel=1e-5)


def test_points_to_density_counts_what_is_inside() -> None:
    points = np.array([[10.5, 10.5], [10.5, 10.5], [19.99, 0.0], [20.0, 5.0], [-1, 3]])
    density = points_to_density(points, Window(0, 0, 20, 20), (2, 2))
    np.testing.assert_array_equal(density, [[0, 1], [0, 2]])
