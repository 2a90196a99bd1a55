"""Metrics: worked values, laws, and the published scores of RAZ_loc on NWPU-Crowd's validation set."""

from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gigacount.density import DensityMap
from gigacount.errors import DataError
from gigacount.metrics import matching
from gigacount.metrics.counting import (
    ImageCount,
    bootstrap_interval,
    counting_metrics,
    game,
    grid_of_density,
    grid_of_points,
)
from gigacount.metrics.heads import PointPair, PredictedPoints, TruePoints, size_class
from gigacount.metrics.localization import fixed_radii, nwpu, qnrf
from gigacount.metrics.matching import UNMATCHED, augment, candidates, match, matched_within, maximum_matching
from gigacount.metrics.ranking import average_precision, nap, raz

Points = NDArray[np.float64]


def xy(*points: tuple[float, float]) -> Points:
    return np.array(points, np.float64).reshape(-1, 2)


def pair(heads: Points, found: Points, scores: list[float] | None = None, sigma: float = 5) -> PointPair:
    n = len(heads)
    truth = TruePoints(heads, np.full(n, sigma), np.full(n, sigma), np.zeros(n, np.int64))
    return PointPair("a", truth, PredictedPoints(found, None if scores is None else np.array(scores)))


class TestCounting:
    IMAGES = (ImageCount("a", 100, 110), ImageCount("b", 50, 45), ImageCount("c", 0, 3))

    def test_worked_values(self) -> None:
        metrics = counting_metrics(self.IMAGES)
        assert metrics.mae == pytest.approx((10 + 5 + 3) / 3)
        assert metrics.mse == pytest.approx((100 + 25 + 9) / 3)
        assert metrics.rmse == pytest.approx(math.sqrt(134 / 3))
        assert metrics.nae == pytest.approx((10 / 100 + 5 / 50) / 2)
        assert metrics.bias == pytest.approx((10 - 5 + 3) / 3)
        assert (metrics.truth_total, metrics.estimate_total) == (150, 158)

    @pytest.mark.parametrize(
        ("people", "level"), [(0, 0), (1, 1), (100, 1), (101, 2), (500, 2), (501, 3), (5000, 3), (5001, 4)]
    )
    def test_density_levels_end_where_nwpu_ends_them(self, people: int, level: int) -> None:
        assert ImageCount("a", people, 0).level == level

    def test_level_table(self) -> None:
        metrics = counting_metrics(self.IMAGES)
        nobody, few, *rest = metrics.levels
        assert (nobody.images, nobody.mae, nobody.nae) == (1, 3, None)
        assert (few.images, few.mae, few.rmse) == (2, 7.5, pytest.approx(math.sqrt(62.5)))
        assert [level.mae for level in rest] == [None] * 3
        assert metrics.level_mae == pytest.approx((3 + 7.5) / 2)
        assert any("S2, S3, S4" in note for note in metrics.notes)

    def test_nobody_anywhere_is_explained_and_never_nan(self) -> None:
        metrics = counting_metrics([ImageCount("a", 0, 2), ImageCount("b", 0, 0)])
        assert metrics.nae is None
        assert metrics.mae == 1
        assert any("they have no people" in note for note in metrics.notes)

    def test_one_picture_has_no_interval(self) -> None:
        metrics = counting_metrics([ImageCount("a", 10, 12)])
        assert metrics.mae_interval is None
        assert any("one image" in note for note in metrics.notes)

    def test_no_picture_and_no_number_are_refused(self) -> None:
        with pytest.raises(DataError, match="no image"):
            counting_metrics([])
        with pytest.raises(DataError, match=r"image 'x' has .* an estimate of nan"):
            counting_metrics([ImageCount("x", 1, math.nan)])

    def test_bootstrap_is_seeded_and_holds_the_mean(self) -> None:
        errors = np.random.default_rng(1).exponential(10, 400)
        interval = bootstrap_interval(errors)
        assert interval is not None
        assert interval == bootstrap_interval(errors)
        low, high = interval
        assert low < errors.mean() < high
        standard_error = errors.std() / math.sqrt(len(errors))
        assert high - low == pytest.approx(2 * 1.96 * standard_error, rel=0.1)  # the normal approximation

    def test_bootstrap_of_equal_errors_has_no_width(self) -> None:
        assert bootstrap_interval(np.full(5, 2.0)) == (2, 2)

    @given(st.lists(st.tuples(st.integers(0, 1000), st.floats(0, 1000)), min_size=1, max_size=20))
    def test_laws(self, counts: list[tuple[int, float]]) -> None:
        images = [ImageCount(str(i), g, p) for i, (g, p) in enumerate(counts)]
        metrics = counting_metrics(images)
        assert abs(metrics.bias) <= metrics.mae + 1e-9
        assert metrics.mae <= metrics.rmse + 1e-9
        assert metrics.mse == pytest.approx(metrics.rmse**2)
        assert sum(level.images for level in metrics.levels) == len(images)
        mirrored = counting_metrics([ImageCount(i.name, i.estimate, i.truth) for i in images])
        assert (mirrored.mae, mirrored.bias) == (metrics.mae, pytest.approx(-metrics.bias))


class TestGrid:
    def test_game_counts_misplaced_people_from_the_level_on_that_tells_them_apart(self) -> None:
        truth, estimate = np.zeros((8, 8)), np.zeros((8, 8))
        truth[0, 0], estimate[0, 3] = 10, 8  # the same quarter, other sixteenths
        assert game(truth, estimate) == (2, 2, 18, 18)

    def test_grid_error_is_the_finest_game_over_the_truth(self) -> None:
        truth, estimate = np.zeros((8, 8)), np.zeros((8, 8))
        truth[0, 0], estimate[7, 7] = 4, 4
        image = ImageCount("a", 4, 4, truth, estimate)
        assert image.grid_error == 2
        metrics = counting_metrics([image, ImageCount("b", 0, 0, np.zeros((8, 8)), np.zeros((8, 8)))])
        assert metrics.game == (0, 4, 4, 4)
        assert metrics.grid_error == 2  # the empty picture is left out
        assert metrics.mae == 0

    def test_one_estimate_without_grid_leaves_game_undefined(self) -> None:
        grid = np.zeros((8, 8))
        metrics = counting_metrics([ImageCount("a", 0, 0, grid, grid), ImageCount("b", 1, 1)])
        assert metrics.game is metrics.grid_error is None
        assert any("1 of 2 estimates have no density grid" in note for note in metrics.notes)

    @given(st.lists(st.integers(0, 9), min_size=64, max_size=64), st.lists(st.integers(0, 9), min_size=64, max_size=64))
    def test_game_never_falls_with_the_level_and_is_symmetric(self, a: list[int], b: list[int]) -> None:
        truth, estimate = (np.array(x, np.float64).reshape(8, 8) for x in (a, b))
        errors = game(truth, estimate)
        assert errors[0] == abs(sum(a) - sum(b))
        assert list(errors) == sorted(errors)
        assert errors == game(estimate, truth)

    def test_points_on_edges_and_outside_are_kept(self) -> None:
        grid = grid_of_points(xy((0, 0), (10, 0), (80, 40), (-3, 99)), (80, 40))
        assert grid[0, 0] == 1
        assert grid[0, 1] == 1  # x = 10 is where the second column begins
        assert grid[7, 7] == 1
        assert grid[7, 0] == 1
        assert grid.sum() == 4

    def test_density_cells_that_divide_go_whole(self) -> None:
        density = DensityMap.empty((128, 64), 8)
        density.cells[0, 0] = density.cells[0, 1] = 3  # 16 columns: two of them make one of the grid
        grid = grid_of_density(density)
        assert grid[0, 0] == 6
        assert grid.sum() == 6

    def test_density_cells_that_do_not_divide_are_shared_out_by_area(self) -> None:
        density = DensityMap.empty((20, 8), 8)  # columns of 8, 8 and 4 px; the grid's are 2.5 px
        density.cells[0] = (8, 0, 4)  # one person per px of width where there are any
        grid = grid_of_density(density)
        assert grid[0] * 8 == pytest.approx([2.5, 2.5, 2.5, 0.5, 0, 0, 1.5, 2.5])

    @given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([1, 8, 16]), st.integers(0, 2**32 - 1))
    def test_no_one_is_lost(self, width: int, height: int, cell_px: int, seed: int) -> None:
        density = DensityMap.empty((width, height), cell_px)
        density.cells[:] = np.random.default_rng(seed).random(density.cells.shape)
        assert grid_of_density(density).sum() == pytest.approx(density.count)

    def test_a_point_and_its_density_fall_into_the_same_cell(self) -> None:
        density = DensityMap.empty((803, 421), 1)
        points = np.random.default_rng(0).random((200, 2)) * (803, 421)
        for x, y in points.astype(int):
            density.cells[y, x] += 1
        difference = np.abs(grid_of_density(density) - grid_of_points(points.astype(int) + 0.5, (803, 421)))
        assert difference.max() < 1.5  # only pixels that straddle a line of the grid differ


def brute_force(near: NDArray[np.bool_]) -> int:
    """Size of the largest matching of a (heads, predictions) table, by trying everything."""
    if near.size == 0:
        return 0
    best = brute_force(near[1:])
    for j in np.flatnonzero(near[0]):
        best = max(best, 1 + brute_force(np.delete(near[1:], j, axis=1)))
    return best


cells = st.tuples(st.integers(0, 7), st.integers(0, 7))
few_points = st.lists(cells, max_size=6).map(lambda points: xy(*points))


class TestMatching:
    @given(few_points, few_points, st.integers(1, 5))
    def test_size_is_the_greatest_possible(self, heads: Points, found: Points, radius: int) -> None:
        near = np.hypot(*(heads[:, None] - found[None]).transpose(2, 0, 1)) <= radius
        best = brute_force(near)
        graph = candidates(heads, found, np.full(len(heads), float(radius)))
        mates = maximum_matching(graph)
        matched = mates[mates != UNMATCHED]
        assert len(matched) == len(set(matched)) == best
        assert all(near[i, j] for i, j in enumerate(mates) if j != UNMATCHED)
        mates, back = np.full(len(heads), UNMATCHED), np.full(len(found), UNMATCHED)
        augment(graph, mates, back)
        assert (mates != UNMATCHED).sum() == (back != UNMATCHED).sum() == best
        assert all(back[j] == i and near[i, j] for i, j in enumerate(mates) if j != UNMATCHED)

    @given(st.lists(st.tuples(few_points, few_points), max_size=4))
    def test_growing_radii_in_one_graph_match_as_each_alone(self, pictures: list[tuple[Points, Points]]) -> None:
        radii = [1, 2, 3, 5]
        alone = [
            sum(int((maximum_matching(candidates(h, p, np.full(len(h), float(r)))) >= 0).sum()) for h, p in pictures)
            for r in radii
        ]
        assert matched_within(pictures, radii) == alone

    def test_the_radius_itself_matches(self) -> None:
        assert matched_within([(xy((0, 0)), xy((3, 4)))], [4.99, 5]) == [0, 1]
        assert len(candidates(xy((0, 0)), xy((3, 4)), np.array([5.0])).predictions) == 1

    def test_points_in_the_same_place_match(self) -> None:
        assert matched_within([(xy((3, 3), (3, 3)), xy((3, 3), (3, 3)))], [1]) == [2]

    @pytest.mark.parametrize("spread", [0.0, 0.01, 2.0])
    def test_a_crowd_on_one_spot_is_matched_as_a_list_of_its_candidates_is(
        self, spread: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rng = np.random.default_rng(1)
        heads, found = rng.normal(0, spread, (300, 2)), rng.normal(0, 3, (280, 2))
        radii = rng.integers(1, 5, 300).astype(float)
        listed = (match(heads, found, radii) != UNMATCHED).sum(), matched_within([(heads, found)], (1, 2, 4, 8))
        monkeypatch.setattr(matching, "MOST_PAIRS", 100)
        mates = match(heads, found, radii)
        matched = np.flatnonzero(mates != UNMATCHED)
        assert len(set(mates[matched].tolist())) == len(matched)
        assert (np.hypot(*(heads[matched] - found[mates[matched]]).T) <= radii[matched]).all()
        assert (len(matched), matched_within([(heads, found)], (1, 2, 4, 8))) == listed

    @pytest.mark.parametrize("spread", [0.0, 2.0])
    @pytest.mark.timeout(300)
    def test_twenty_thousand_heads_on_one_spot_are_measured(self, spread: float) -> None:
        """Measured: 0.6 and 4 s of processor time; a list of their candidates would take 3 GB."""
        heads = np.full((20_000, 2), 100.0)
        found = heads + np.random.default_rng(0).normal(0, spread, heads.shape)
        pair = PointPair("a", TruePoints.from_boxes(heads, np.full(heads.shape, 12.0)), PredictedPoints(found))
        assert fixed_radii([pair], (30,))[0].score.f1 == 1
        assert nwpu([pair]).sigma_l.score.recall > 0.99
        for measure in (qnrf, nap, lambda pairs: raz(pairs, 20)):
            measure([pair])

    def test_an_augmenting_path_is_found_where_greed_fails(self) -> None:
        # Head 0 can have both predictions, head 1 only the first.
        graph = candidates(xy((0, 0), (-2, 0)), xy((-1, 0), (1, 0)), np.array([1.0, 1.0]))
        assert maximum_matching(graph).tolist() == [1, 0]

    def test_crowded_graphs_are_quick(self) -> None:
        """Where scipy's search takes minutes: each head has a dozen candidates and nearly all find one."""
        rng = np.random.default_rng(0)
        n = 20_000
        heads, found = rng.random((n, 2)) * 1414, rng.random((n * 98 // 100, 2)) * 1414
        graph = candidates(heads, found, np.full(n, 20.0))
        assert len(graph.predictions) > 8 * n
        assert (maximum_matching(graph) != UNMATCHED).sum() == 19373  # as scipy's maximum_flow finds it


class TestLocalization:
    def test_worked_values(self) -> None:
        score = nwpu([pair(xy((0, 0), (20, 0), (40, 0)), xy((3, 4), (20, 1), (60, 0), (80, 0)))]).sigma_l.score
        assert (score.true_positives, score.false_positives, score.false_negatives) == (2, 2, 1)
        assert (score.precision, score.recall) == (0.5, pytest.approx(2 / 3))
        assert score.f1 == pytest.approx(2 * 0.5 * (2 / 3) / (0.5 + 2 / 3))

    def test_pictures_are_pooled_before_dividing(self) -> None:
        pairs = [pair(xy((0, 0)), xy((0, 0))), pair(xy(), xy((1, 1), (2, 2))), pair(xy((9, 9)), xy())]
        score = nwpu(pairs).sigma_s.score
        assert (score.true_positives, score.false_positives, score.false_negatives) == (1, 2, 1)

    def test_each_head_has_its_own_radius(self) -> None:
        truth = TruePoints(xy((0, 0), (100, 0)), np.array([1.0, 1.0]), np.array([2.0, 10.0]), np.array([0, 3]))
        scores = nwpu([PointPair("a", truth, PredictedPoints(xy((5, 0), (105, 0))))])
        assert scores.sigma_l.classes is not None
        assert [c.recall for c in scores.sigma_l.classes] == [0, 0, 0, 1, 0, 0]
        assert scores.sigma_l.mean_class_recall == pytest.approx(1 / 6)
        assert scores.sigma_s.score.true_positives == 0

    def test_boxes_give_sigmas_and_class(self) -> None:
        truth = TruePoints.from_boxes(xy((0, 0), (9, 9)), np.array([[9.0, 12.0], [3.0, 3.0]]))
        assert truth.sigma_s is not None
        assert truth.sigma_l is not None
        assert truth.sigma_s.tolist() == [4, 1]
        assert truth.sigma_l.tolist() == [7, 2]  # half of 15, half of 4.24
        assert truth.size_class is not None
        assert truth.size_class.tolist() == [2, 0]
        assert len(TruePoints.from_boxes(xy(), np.zeros((0, 2)))) == 0

    def test_an_area_on_an_edge_falls_to_class_0_as_upstream(self) -> None:
        areas = np.array([1, 9.9, 10, 10.1, 100, 101, 1000, 9999, 10_000, 10_001, 100_000, 100_001], np.float64)
        assert size_class(areas).tolist() == [0, 0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5]

    def test_truth_without_sizes_is_refused_by_name(self) -> None:
        with pytest.raises(DataError, match="'b' has no head sizes"):
            nwpu([PointPair("b", TruePoints(xy((1, 1))), PredictedPoints(xy()))])
        assert nwpu([PointPair("b", TruePoints(xy()), PredictedPoints(xy()))]).sigma_l.score.recall == 0

    @pytest.mark.parametrize(("heads", "found"), [(0, 0), (0, 3), (3, 0)])
    def test_nothing_to_match_is_zero(self, heads: int, found: int) -> None:
        score = nwpu([pair(np.zeros((heads, 2)), np.zeros((found, 2)))]).sigma_l.score
        assert (score.precision, score.recall, score.f1) == (0, 0, 0)

    def test_fixed_radii_keep_their_order(self) -> None:
        scores = fixed_radii([pair(xy((0, 0), (50, 0)), xy((6, 0), (53, 0)))], (8, 4, 1))
        assert [(one.radius, one.score.recall) for one in scores] == [(8, 1), (4, 0.5), (1, 0)]

    def test_qnrf_averages_over_a_hundred_radii(self) -> None:
        score = qnrf([pair(xy((0, 0), (500, 0)), xy((41, 0)))])  # matched from radius 41 on: 60 of 100
        assert score.precision == pytest.approx(0.6)
        assert score.recall == pytest.approx(0.3)
        assert score.f1 == pytest.approx(2 * 0.6 * 0.3 / 0.9)

    @given(few_points, few_points)
    def test_swapping_truth_and_prediction_swaps_precision_and_recall(self, a: Points, b: Points) -> None:
        ((_, forth),) = ((one.radius, one.score) for one in fixed_radii([pair(a, b)], (3,)))
        ((_, back),) = ((one.radius, one.score) for one in fixed_radii([pair(b, a)], (3,)))
        assert (forth.precision, forth.recall, forth.f1) == (back.recall, back.precision, pytest.approx(back.f1))


class TestRanking:
    def test_average_precision_by_hand(self) -> None:
        # Precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1: recall 0 to .50 sees 1, .51 to 1 sees 2/3.
        ap, ar = average_precision(np.array([True, False, True]), np.array([0.9, 0.8, 0.7]), 2)
        assert ap == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
        assert ar == 1

    def test_equal_scores_are_one_operating_point(self) -> None:
        for hits in ([True, False], [False, True]):
            ap, ar = average_precision(np.array(hits), np.ones(2), 1)
            assert (ap, ar) == (pytest.approx(0.5), 1)

    def test_no_head_is_undefined_and_no_prediction_is_zero(self) -> None:
        assert average_precision(np.array([False]), np.ones(1), 0) == (None, None)
        assert average_precision(np.zeros(0, bool), np.zeros(0), 3) == (0, 0)
        score = raz([pair(xy(), xy((1, 1)))], 5)
        assert score.map is score.mar is score.ap_50 is None
        assert nap([pair(xy(), xy((1, 1)))]).nap is None

    def test_affinity_thresholds_are_distances(self) -> None:
        """exp(-d^2 / (2 sigma^2)) > 1/2 is d < 1.1774 sigma, > 3/4 is d < 0.7585 sigma."""
        sigma = 20
        for distance, found_50, found_75 in ((15.1, 1, 1), (15.2, 1, 0), (23.5, 1, 0), (23.6, 0, 0)):
            score = raz([pair(xy((0, 0)), xy((distance, 0)))], sigma)
            assert (score.ar_50, score.ar_75) == (found_50, found_75)

    def test_mean_over_ten_thresholds(self) -> None:
        distance = 20 * math.sqrt(2 * math.log(1 / 0.72))  # affinity .72: above .50, .55, .60, .65, .70
        score = raz([pair(xy((0, 0)), xy((distance, 0)))], 20)
        assert score.mar == score.map == pytest.approx(0.5)

    def test_a_second_point_on_a_head_is_a_false_positive(self) -> None:
        """It is not passed on to a free head further away: RAZ-Net's section 4.2 matches the nearest head only."""
        heads, found = xy((0, 0), (9, 0)), xy((0, 0), (1, 0))
        score = raz([pair(heads, found, [0.9, 0.8])], 20)
        assert score.ar_50 == 0.5
        assert score.ap_50 == pytest.approx(51 / 101)

    def test_the_higher_score_takes_the_head(self) -> None:
        heads, found = xy((0, 0)), xy((1, 0), (0, 0))
        assert raz([pair(heads, found, [0.9, 0.1])], 20).ap_50 == pytest.approx(1)

    def test_ranks_run_over_all_pictures(self) -> None:
        good, bad = pair(xy((0, 0)), xy((0, 0)), [0.5]), pair(xy(), xy((0, 0)), [0.9])
        assert raz([good, bad], 5).ap_50 == pytest.approx(0.5)
        assert raz([bad, good], 5).ap_50 == pytest.approx(0.5)

    def test_nap_radius_follows_the_spacing_of_heads(self) -> None:
        heads = xy((0, 0), (10, 0), (0, 10), (10, 10))  # mean of 10, 10, 14.14 to the three nearest: 11.38
        found = heads + np.array([2.5, 0])  # 0.2197 of it
        score = nap([pair(heads, found, [0.9, 0.8, 0.7, 0.6])])
        assert [ap for _, ap in score.at] == pytest.approx([0] * 4 + [1] * 6)
        assert score.nap == pytest.approx(0.6)

    def test_nap_gives_a_point_the_free_head_that_is_nearest(self) -> None:
        heads = xy((0, 0), (10, 0), (0, 10), (10, 10))
        found = xy((0, 0), (0.1, 0), (5, 0))  # the second finds its head taken and reaches no other
        score = nap([pair(heads, found, [0.9, 0.8, 0.7])])
        by_delta = dict(score.at)
        assert by_delta[0.05] == pytest.approx(26 / 101)  # one of four heads
        assert by_delta[0.45] == pytest.approx((26 + 25 * 2 / 3) / 101)  # the third has (10, 0)

    def test_nap_of_heads_alone_and_of_heads_in_one_place(self) -> None:
        assert nap([pair(xy((0, 0)), xy((500, 0)))]).nap == pytest.approx(1)
        assert nap([pair(xy((1, 1), (1, 1)), xy((1, 1)))]).nap == 0

    @given(few_points, few_points, st.integers(0, 2**32 - 1))
    def test_order_of_lines_changes_nothing(self, heads: Points, found: Points, seed: int) -> None:
        scores = [(i * 7 % 3) / 3 for i in range(len(found))]  # with ties
        order = np.random.default_rng(seed).permutation(len(found))
        shuffled = pair(heads, found[order], [scores[i] for i in order])
        assert raz([pair(heads, found, scores)], 3) == raz([shuffled], 3)

    @given(few_points, few_points)
    def test_values_are_shares(self, heads: Points, found: Points) -> None:
        scores = [1 / (i + 1) for i in range(len(found))]
        for value in (
            *astuple(raz([pair(heads, found, scores)], 3))[1:],
            nap([pair(heads, found)]).nap,
        ):
            assert value is None or 0 <= value <= 1 + 1e-12
