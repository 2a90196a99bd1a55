"""Training targets: sums equal head counts, shapes cover the picture, distances and masks worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label

from gigacount.density import block_sums
from gigacount.errors import DataError
from gigacount.labels import (
    MASK_RECIPES,
    MaskRecipe,
    adaptive_sigmas,
    attention_map,
    box_density,
    boxes_from_points,
    cross_map,
    dot_mask,
    gaussian_density,
    iknn_map,
    instance_mask,
)

Floats = NDArray[np.float64]

sides = st.tuples(st.integers(1, 70), st.integers(1, 70))
strides = st.sampled_from([1, 2, 3, 4, 8])
law = settings(max_examples=40, deadline=None)


@st.composite
def crowds(draw: st.DrawFn) -> tuple[Floats, tuple[int, int]]:
    """Heads anywhere in a small picture: borders, corners, whole pixels and repeated positions are all likely."""
    width, height = draw(sides)
    x = st.floats(0, width) | st.integers(0, width)
    y = st.floats(0, height) | st.integers(0, height)
    points = draw(st.lists(st.tuples(x, y), max_size=12))
    repeated = draw(st.lists(st.sampled_from(points), max_size=5)) if points else []
    return np.array([*points, *repeated], np.float64).reshape(-1, 2), (width, height)


def total(density: NDArray[np.float32]) -> float:
    return float(density.sum(dtype=np.float64))


# --- densities ---------------------------------------------------------------------------------------------------


@law
@given(crowds(), st.floats(0, 40), strides, st.none() | st.integers(0, 30))
def test_gaussian_density_sums_to_the_head_count(crowd, sigma, stride, radius):
    points, (width, height) = crowd
    density = gaussian_density(points, (width, height), sigma, stride, radius)
    assert density.dtype == np.float32
    assert density.shape == (math.ceil(height / stride), math.ceil(width / stride))
    assert density.min(initial=0) >= 0
    assert total(density) == pytest.approx(len(points), rel=1e-6, abs=0)


@law
@given(crowds(), strides)
def test_adaptive_density_sums_to_the_head_count(crowd, stride):
    points, size_wh = crowd
    density = gaussian_density(points, size_wh, adaptive_sigmas(points, size_wh), stride)
    assert total(density) == pytest.approx(len(points), rel=1e-6, abs=0)


@law
@given(crowds(), st.floats(0, 20), st.sampled_from([2, 4, 8]))
def test_coarse_density_is_the_sum_pooled_fine_one(crowd, sigma, stride):
    points, size_wh = crowd
    fine = gaussian_density(points, size_wh, sigma)
    np.testing.assert_allclose(gaussian_density(points, size_wh, sigma, stride), block_sums(fine, stride), atol=1e-5)


@law
@given(crowds(), st.floats(0, 20))
def test_density_of_a_mirrored_picture_is_mirrored(crowd, sigma):
    points, size_wh = crowd
    points = np.floor(points) + 0.25  # a head on the line between two pixels belongs to the right one, so not there
    points = np.minimum(points, np.array(size_wh) - 0.75)
    mirrored = gaussian_density([size_wh[0], 0] + points * [-1, 1], size_wh, sigma)
    np.testing.assert_allclose(mirrored[:, ::-1], gaussian_density(points, size_wh, sigma), atol=1e-5)


def test_gaussian_density_matches_scipy_away_from_borders():
    impulse = np.zeros((61, 81))
    impulse[30, 40] = 1
    for sigma, radius in ((4, 7), (3, None), (2.5, 24)):
        expected = gaussian_filter(impulse, sigma, mode="constant", radius=radius)
        density = gaussian_density([[40.5, 30.5]], (81, 61), sigma, radius=radius)
        np.testing.assert_allclose(density, expected, atol=1e-7)


@pytest.mark.parametrize(("radius", "side"), [(7, 15), (24, 49)])
def test_fixed_kernel_sizes(radius, side):
    density = gaussian_density([[60.5, 60.5]], (121, 121), 10, radius=radius)
    rows, cols = np.nonzero(density)
    assert (np.ptp(rows) + 1, np.ptp(cols) + 1) == (side, side)


def test_density_at_a_corner_keeps_what_scipy_loses():
    impulse = np.zeros((20, 20))
    impulse[0, 0] = 1
    lost = gaussian_filter(impulse, 4, mode="constant")
    assert lost.sum() < 0.5
    density = gaussian_density([[0.5, 0.5]], (20, 20), 4)
    np.testing.assert_allclose(density, lost / lost.sum(), atol=1e-7)


def test_two_heads_on_one_pixel_count_twice():
    density = gaussian_density([[5.5, 5.5], [5.5, 5.5]], (11, 11), 0)
    assert density[5, 5] == 2
    assert total(density) == 2


def test_a_head_on_the_far_edge_lies_in_the_last_pixel():
    density = gaussian_density([[8, 4]], (8, 4), 0)
    assert density[3, 7] == 1


def test_density_follows_the_position_inside_a_pixel():
    left, right = gaussian_density([[10.1, 5.5]], (20, 11), 2), gaussian_density([[10.9, 5.5]], (20, 11), 2)
    columns = np.arange(20) + 0.5
    assert (left.sum(axis=0) * columns).sum() == pytest.approx(10.1, abs=0.05)
    assert (right.sum(axis=0) * columns).sum() == pytest.approx(10.9, abs=0.05)


def test_density_of_nobody_is_zero():
    assert not gaussian_density(np.zeros((0, 2)), (30, 17), 4, 8).any()
    assert gaussian_density([], (30, 17), 4, 8).shape == (3, 4)


def test_block_sums_keep_ragged_edges():
    density = np.arange(15, dtype=np.float32).reshape(3, 5)
    np.testing.assert_array_equal(block_sums(density, 2), [[12, 20, 13], [21, 25, 14]])


@law
@given(crowds(), st.lists(st.tuples(st.floats(0, 30), st.floats(0, 30)), min_size=17, max_size=17), strides)
def test_box_density_sums_to_the_head_count(crowd, halves, stride):
    points, size_wh = crowd
    half = np.array(halves)[: len(points)]
    density = box_density(np.hstack([points - half, points + half]), size_wh, stride=stride)
    assert total(density) == pytest.approx(len(points), rel=1e-6, abs=0)


def test_box_density_stays_in_its_box():
    density = box_density([[10, 20, 14, 30]], (40, 50))
    rows, cols = np.nonzero(density)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (20, 29, 10, 13)
    column, row = (np.exp(-((np.arange(n) + 0.5 - n / 2) ** 2) / (2 * 4**2)) for n in (10, 4))
    expected = np.outer(column / column.sum(), row / row.sum())
    np.testing.assert_allclose(density[20:30, 10:14], expected, rtol=1e-5)


def test_box_density_of_a_box_thinner_than_a_pixel():
    assert box_density([[3.2, 5.1, 3.3, 5.2]], (9, 9))[5, 3] == 1


# --- adaptive sigmas ---------------------------------------------------------------------------------------------


def test_adaptive_sigmas_by_hand():
    # From (0, 0): 3, 4 and 5 px to the others of a 3-4-5 rectangle; the fifth head is the fourth nearest.
    points = [[0, 0], [3, 0], [0, 4], [3, 4], [90, 90]]
    sigmas = adaptive_sigmas(points, (100, 100))
    np.testing.assert_allclose(sigmas[:4], 0.3 * 4)
    np.testing.assert_allclose(adaptive_sigmas(points[:3], (100, 100))[0], 0.3 * 3.5)
    np.testing.assert_allclose(adaptive_sigmas(points, (100, 100), beta=0.1, neighbours=1)[:4], 0.1 * 3)


def test_adaptive_sigma_of_a_lone_head_and_of_nobody():
    assert adaptive_sigmas([[10, 10]], (300, 100)).tolist() == [50]
    assert adaptive_sigmas([], (300, 100)).shape == (0,)


# --- distance maps -----------------------------------------------------------------------------------------------


@law
@given(crowds(), st.integers(1, 5))
def test_iknn_map_matches_all_distances(crowd, k):
    points, (width, height) = crowd
    iknn = iknn_map(points, (width, height), k)
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    distances = np.hypot(x[None, :, None] - points[:, 0], y[:, None, None] - points[:, 1])
    if len(points) == 0:
        assert not iknn.any()
        return
    mean = np.sort(distances, axis=2)[..., :k].mean(axis=2)
    np.testing.assert_allclose(iknn, 1 / (mean + 1), rtol=1e-5)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("spread", [0, 3, 40])
def test_iknn_map_of_more_heads_than_a_block_has_candidates(k, spread):
    points = np.clip(np.random.default_rng(0).normal((70, 30), spread, (200, 2)), 0, (150, 90))
    x, y = np.arange(150) + 0.5, np.arange(90) + 0.5
    distances = np.hypot(x[None, :, None] - points[:, 0], y[:, None, None] - points[:, 1])
    expected = 1 / (np.sort(distances, axis=2)[..., :k].mean(axis=2) + 1)
    np.testing.assert_allclose(iknn_map(points, (150, 90), k), expected, rtol=1e-5)


def test_iknn_map_by_hand():
    iknn = iknn_map([[2.5, 1.5]], (6, 3))
    assert iknn[1, 2] == 1
    assert iknn[1, 5] == 0.25
    assert iknn[0, 3] == pytest.approx(1 / (math.sqrt(2) + 1))


@law
@given(crowds(), st.integers(1, 4), st.sampled_from([1.0, 3.0, 10.0]))
def test_attention_map_matches_all_distances(crowd, neighbours, sigma):
    points, (width, height) = crowd
    attention = attention_map(points, (width, height), neighbours, sigma)
    if len(points) < neighbours:
        assert not attention.any()
        return
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    distances = np.hypot(x[None, :, None] - points[:, 0], y[:, None, None] - points[:, 1])
    mean = np.sort(distances, axis=2)[..., :neighbours].mean(axis=2)
    np.testing.assert_allclose(attention, np.exp(-(mean**2) / (2 * sigma**2)), atol=1e-6)


def test_cross_map_by_hand():
    cross = cross_map([[2.5, 1.5], [2.1, 1.9], [0.5, 0.5], [5, 4]], (5, 4))
    expected = [
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [0, 0, 1, 0, 1],
        [0, 0, 0, 1, 1],
    ]
    np.testing.assert_array_equal(cross, expected)


# --- instance masks ----------------------------------------------------------------------------------------------


def test_a_lone_box_is_painted_whole_up_to_the_cap():
    mask = instance_mask([[10, 20, 30, 60]], (100, 100), MaskRecipe(largest=25))
    rows, cols = np.nonzero(mask)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (20, 59, 10, 29)
    assert mask.sum() == 20 * 40
    assert instance_mask([[0, 0, 90, 90]], (100, 100), MaskRecipe(largest=15)).sum() == 30 * 30


def test_tiny_boxes_are_painted_at_least_six_pixels_wide():
    assert instance_mask([[50, 50, 51, 51]], (100, 100)).sum() == 6 * 6


def test_overlapping_boxes_are_parted():
    # Half sides 10, centres 15 apart. ShanghaiTech A's recipe: the gap to keep is 10 / 2 = 5. Shrinking by 0.9, to
    # whole pixels, the larger first and the head itself on a tie: 10 10, 9 10, 9 9, 8 9, 8 8, 7 8, 7 7, 6 7, 6 6,
    # 5 6, 5 5: the first pair at least 5 apart leaves 15 - 5 - 5 = 5.
    boxes = [[20, 20, 40, 40], [35, 20, 55, 40]]
    mask = instance_mask(boxes, (80, 60), MASK_RECIPES["shanghaitech-a"])
    assert np.nonzero(mask[30])[0].tolist() == [*range(25, 35), *range(40, 50)]
    # The other sets take half of the overlap of 5 off both first: (10 - 2.5) / 2 is a gap of 3. 6 6 leaves 3.
    eased = instance_mask(boxes, (80, 60), MASK_RECIPES["shanghaitech-b"])
    assert np.nonzero(eased[30])[0].tolist() == [*range(24, 36), *range(39, 51)]


def test_masks_of_a_crowd_stay_apart():
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(10), np.arange(8)), -1).reshape(-1, 2) * 14 + 20.5
    points = grid + rng.uniform(-2, 2, grid.shape)
    size_wh = (180, 150)
    for recipe in MASK_RECIPES.values():
        mask = instance_mask(boxes_from_points(points, size_wh, 50), size_wh, recipe)
        components, count = label(mask)
        assert count == len(points)
        assert set(np.unique(mask)) == {0, 1}
        pixels = points.astype(int)
        assert len(set(components[pixels[:, 1], pixels[:, 0]])) == count


def test_masks_at_the_border_and_of_nobody():
    assert instance_mask([[-8, -8, 8, 8]], (20, 20)).sum() == 8 * 8
    assert not instance_mask(np.zeros((0, 4)), (20, 20)).any()


@law
@given(crowds())
def test_instance_mask_takes_any_crowd(crowd):
    points, size_wh = crowd
    for recipe in MASK_RECIPES.values():
        mask = instance_mask(boxes_from_points(points, size_wh), size_wh, recipe)
        assert mask.shape == (size_wh[1], size_wh[0])
        assert mask.any() == (len(points) > 0)


def test_boxes_from_points_are_centred_squares():
    np.testing.assert_array_equal(boxes_from_points([[10, 20]], (40, 40), 50), [[-15, -5, 35, 45]])


# --- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [[-0.1, 3], [3, 10.5], [math.nan, 3], [3, math.inf]])
@pytest.mark.parametrize("make", [lambda p, s: gaussian_density(p, s, 2), adaptive_sigmas, iknn_map, cross_map])
def test_heads_outside_are_refused(make, bad):
    with pytest.raises(DataError, match="1 of 2 heads lie outside the 20 x 10 image, the first at"):
        make([[5, 5], bad], (20, 10))


@pytest.mark.parametrize("bad", [[5, 5, 4, 6], [30, 5, 40, 9], [1, 2, math.nan, 4]])
@pytest.mark.parametrize("make", [box_density, instance_mask])
def test_boxes_outside_are_refused(make, bad):
    with pytest.raises(DataError, match="1 of 1 head boxes"):
        make([bad], (20, 10))


# --- speed -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_five_thousand_heads_on_six_megapixels_take_under_a_second():
    from time import process_time

    size_wh = (3000, 2000)
    points = np.random.default_rng(0).random((5000, 2)) * size_wh
    began = process_time()
    density = gaussian_density(points, size_wh, adaptive_sigmas(points, size_wh))
    assert process_time() - began < 1
    assert total(density) == pytest.approx(5000, rel=1e-6)


# ---- IIM's dots


def test_a_lone_dot_is_31_px_across() -> None:
    mask = dot_mask([[50.5, 40.5]], (100, 80))
    row, col = mask.nonzero()
    assert (row.min(), row.max(), col.min(), col.max()) == (25, 55, 35, 65)
    assert mask.sum() == pytest.approx(math.pi * 15.5**2, rel=0.03)
    assert dot_mask(np.zeros((0, 2)), (10, 10)).sum() == 0


@pytest.mark.parametrize("spacing", [4, 5, 6, 9, 40])
def test_dots_of_a_dense_crowd_stand_apart(spacing: int) -> None:
    """Squares of 50 px, shrunk by the public code's rules, merge half of the heads at 4 to 6 px."""
    y, x = np.mgrid[0:6, 0:6]
    points = (np.stack([x.ravel(), y.ravel()], axis=1) + 1) * float(spacing)
    size_wh = (8 * spacing, 8 * spacing)
    mask = dot_mask(points, size_wh)
    labels, parts = label(mask)
    assert parts == 36
    assert np.bincount(labels.ravel())[1:].min() >= 3  # or IIM would drop them
    if spacing == 4:
        squares = instance_mask(boxes_from_points(points, size_wh), size_wh)
        assert label(squares)[1] <= 18


@given(st.lists(st.tuples(st.integers(0, 59), st.integers(0, 49)), min_size=1, max_size=30, unique=True))
def test_a_dot_holds_its_own_head_and_never_touches_another(heads: list[tuple[int, int]]) -> None:
    points = np.array(heads) + 0.5
    mask = dot_mask(points, (60, 50))
    labels, _ = label(mask)
    col, row = np.array(heads).T
    assert (mask[row, col] == 1).all()
    nearest = [min((abs(a - x) + abs(b - y) for a, b in heads if (a, b) != (x, y)), default=9) for x, y in heads]
    apart = [n for n, near in enumerate(nearest) if near > 1]  # beside one another no two dots can stand apart
    assert len({labels[row[n], col[n]] for n in apart}) == len(apart)
