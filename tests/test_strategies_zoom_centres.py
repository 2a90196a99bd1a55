"""Peaks, zoom centres and the densest box."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gigacount.options import PeakOptions
from gigacount.strategies.zoom_centres import box_sums, densest_box, find_peaks, zoom_centres


@settings(max_examples=50)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 14), st.integers(1, 14), st.integers(0, 99))
def test_box_sums_equal_the_slow_convolution(rows: int, cols: int, kw: int, kh: int, seed: int) -> None:
    density = np.random.default_rng(seed).random((rows, cols), np.float32)
    sums = box_sums(density, (kw, kh))
    kw, kh = min(kw, cols), min(kh, rows)
    assert sums.shape == (rows - kh + 1, cols - kw + 1)
    for row in range(sums.shape[0]):
        for col in range(sums.shape[1]):
            assert sums[row, col] == pytest.approx(density[row : row + kh, col : col + kw].sum(), rel=1e-5)


def test_densest_box_by_hand() -> None:
    density = np.zeros((6, 8), np.float32)
    density[1:3, 5:7] = 1
    density[4, 0] = 3.5
    assert densest_box(density, (2, 2)) == (5, 1)  # four together beat 3.5 in one cell


def test_densest_box_has_a_lone_person_in_its_middle() -> None:
    density = np.zeros((30, 30), np.float32)
    density[15, 20] = 1
    assert densest_box(density, (5, 5)) == (18, 13)


def test_densest_box_of_an_empty_map_is_its_middle() -> None:
    assert densest_box(np.zeros((10, 20), np.float32), (4, 4)) == (8, 3)


def blob(shape: tuple[int, int], *spots: tuple[int, int, float]) -> np.ndarray:
    density = np.zeros(shape, np.float32)
    for col, row, people in spots:
        density[row, col] = people
    return density


def test_peaks_are_cell_centres_highest_first() -> None:
    density = blob((60, 100), (20, 30, 1.0), (70, 15, 2.0))
    np.testing.assert_allclose(find_peaks(density, PeakOptions()), [[70.5, 15.5], [20.5, 30.5]])


def test_threshold_relative_and_absolute() -> None:
    density = blob((60, 100), (20, 30, 1.0), (70, 15, 2.0), (90, 50, 0.1))
    assert len(find_peaks(density, PeakOptions(threshold=0.1))) == 2  # 0.1 is below a tenth of 2.0
    assert len(find_peaks(density, PeakOptions(threshold=0.01))) == 3
    # Smoothed with sigma 4, 2 people in one cell stand about 2 / (2 pi 16) = 0.02 high.
    assert len(find_peaks(density, PeakOptions(threshold=0.015, relative=False))) == 1
    assert len(find_peaks(density, PeakOptions(threshold=0.1, relative=False))) == 0


def test_an_empty_map_has_no_peak_and_no_centre() -> None:
    assert find_peaks(np.zeros((9, 9), np.float32), PeakOptions()).shape == (0, 2)
    assert len(zoom_centres(np.zeros((9, 9), np.float32), 2, PeakOptions())) == 0


def test_a_plateau_is_one_peak() -> None:
    peaks = find_peaks(np.ones((40, 40), np.float32), PeakOptions())
    assert len(peaks) == 1
    np.testing.assert_allclose(peaks[0], [20, 20], atol=0.6)


def test_kmeans_groups_peaks() -> None:
    density = blob((100, 200), (20, 20, 1), (40, 20, 1), (20, 40, 1), (160, 80, 1), (180, 80, 1))
    centres = zoom_centres(density, 2, PeakOptions())
    np.testing.assert_allclose(sorted(centres.tolist()), [[26.67 + 0.5, 26.67 + 0.5], [170.5, 80.5]], atol=0.1)


def test_no_more_centres_than_peaks() -> None:
    assert len(zoom_centres(blob((50, 50), (25, 25, 1)), 5, PeakOptions())) == 1
