"""Windows inside one input, peaks and cells: what the locating networks share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gigacount.networks.peaks import find_peaks, points_to_cells
from gigacount.networks.windows import Tiling, mean_over_windows, starts, whole_or_tiled


@pytest.mark.parametrize(
    ("length", "window", "step", "expected"),
    [
        (224, 224, 128, [0]),
        (200, 224, 128, [0]),
        (300, 224, 128, [0, 76]),
        (352, 224, 128, [0, 128]),
        (500, 224, 128, [0, 128, 256, 276]),
        (1100, 512, 512, [0, 512, 588]),
    ],
)
def test_the_last_window_is_flush_with_the_end(length: int, window: int, step: int, expected: list[int]) -> None:
    assert starts(length, window, step) == expected


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    window=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    shrink=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    batch=st.integers(1, 5),
)
def test_windows_that_return_their_own_pixels_give_the_picture_back(
    size: tuple[int, int], window: tuple[int, int], shrink: tuple[int, int], batch: int
) -> None:
    step = (max(window[0] // shrink[0], 1), max(window[1] // shrink[1], 1))
    picture = torch.arange(2 * 3 * size[0] * size[1], dtype=torch.float32).reshape(2, 3, *size)
    seen = mean_over_windows(picture, lambda x: x[:, :2] + 1, Tiling(window, step, batch))
    torch.testing.assert_close(seen, picture[:, :2] + 1)


def test_overlapping_windows_are_averaged() -> None:
    # Windows at 0 and 2 of a row of 6: the columns 2 and 3 are in both.
    values = iter([1.0, 3.0])
    seen = mean_over_windows(
        torch.zeros(1, 1, 1, 6), lambda x: torch.full_like(x, next(values)), Tiling((1, 4), (1, 2), batch=1)
    )
    assert seen.flatten().tolist() == [1, 1, 2, 2, 3, 3]


def test_small_pictures_are_seen_at_once_and_large_ones_in_tiles() -> None:
    tiling = Tiling((8, 8), (8, 8), multiple=4, from_pixels=200)
    shapes: list[tuple[int, ...]] = []

    def run(x: Tensor) -> Tensor:
        shapes.append(tuple(x.shape))
        return x

    small, large = torch.rand(1, 1, 9, 10), torch.rand(1, 1, 13, 17)
    assert torch.equal(whole_or_tiled(small, run, tiling), small)
    assert shapes == [(1, 1, 12, 12)]
    shapes.clear()
    torch.testing.assert_close(whole_or_tiled(large, run, tiling), large)
    assert shapes == [(4, 1, 8, 8), (2, 1, 8, 8)]  # 16 x 20: two rows of tiles at 0, 8 and three columns at 0, 8, 12


def test_peaks_by_hand() -> None:
    heat = torch.tensor(
        [
            [0.9, 0.1, 0.0, 0.0, 0.0],
            [0.1, 0.1, 0.0, 0.6, 0.6],
            [0.0, 0.0, 0.0, 0.1, 0.1],
            [0.3, 0.0, 0.0, 0.0, 0.0],
            [0.0, 0.0, 0.5, 0.0, 0.0],
        ]
    )
    found = find_peaks(heat, threshold=0.4)
    # The two equal neighbours are one plateau; 0.3 is a peak below the threshold.
    expected = np.array([[0.5, 0.5, 0.9], [4.0, 1.5, 0.6], [2.5, 4.5, 0.5]], np.float32)
    np.testing.assert_allclose(found, expected)


def test_a_flat_map_has_one_peak_and_a_map_below_the_threshold_none() -> None:
    np.testing.assert_allclose(find_peaks(torch.full((3, 5), 2.0), 0.5), [[2.5, 1.5, 1.0]])  # scores end at 1
    assert find_peaks(torch.zeros(3, 5), 0.5).shape == (0, 3)


def test_points_fall_into_cells_and_the_far_edge_belongs_to_the_last() -> None:
    points = np.array([[0.5, 0.5, 1], [7.9, 0.1, 1], [8.0, 0.0, 1], [10.0, 9.0, 1]], np.float32)
    assert points_to_cells(points, (9, 10), 8).tolist() == [[2, 1], [0, 1]]
    assert points_to_cells(np.zeros((0, 3), np.float32), (9, 10), 8).tolist() == [[0, 0], [0, 0]]
