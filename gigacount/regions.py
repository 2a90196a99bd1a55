"""Where a density map is dense: the densest window, and the centres of several dense regions (GigaZoom III)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gigacount.density import Density
from gigacount.options import PeakOptions

STARTS, LONGEST = 10, 300  # of k-means: runs, and steps of a run


def box_sums(density: Density, kernel_wh: tuple[int, int]) -> NDArray[np.float64]:
    """S_t: sums of `density` (rows, cols) under every position of an all-ones kernel of (width, height) cells.

    Entry (row, col) is the sum of the box whose top left cell is (row, col). By a summed-area table: the cost does
    not depend on the kernel. A kernel larger than the map is cut to it.
    """
    height, width = min(kernel_wh[1], density.shape[0]), min(kernel_wh[0], density.shape[1])
    table = np.zeros((density.shape[0] + 1, density.shape[1] + 1))
    np.cumsum(np.cumsum(density, axis=0, dtype=np.float64), axis=1, out=table[1:, 1:])
    sums: NDArray[np.float64] = (
        table[height:, width:] - table[:-height, width:] - table[height:, :-width] + table[:-height, :-width]
    )
    return sums


def densest_box(density: Density, kernel_wh: tuple[int, int]) -> tuple[int, int]:
    """(col, row) of the top left cell of the box with the most people.

    Where several boxes hold the most (up to rounding), the one nearest to their common middle: an empty map gives the
    middle of the map and a lone person stands in the middle of the box, instead of both ending in a corner.
    """
    sums = box_sums(density, kernel_wh)
    best = sums.max()
    ties = np.argwhere(sums >= best - 1e-9 * max(abs(best), 1.0))
    middle = (ties.min(axis=0) + ties.max(axis=0)) / 2
    row, col = ties[np.argmin(((ties - middle) ** 2).sum(axis=1))]
    return int(col), int(row)


def find_peaks(density: Density, options: PeakOptions) -> NDArray[np.float64]:
    """(N, 2) peaks of the smoothed map as (col, row) of cell centres, highest first; empty where nothing stands out."""
    from scipy import ndimage  # a quarter of a second, which those who only plan need not wait for

    smooth = ndimage.gaussian_filter(density.astype(np.float64), options.sigma, mode="constant", radius=options.radius)
    highest = smooth.max()
    floor = options.threshold * highest if options.relative else options.threshold
    is_peak = (smooth == ndimage.maximum_filter(smooth, size=3, mode="constant")) & (smooth > max(floor, 1e-12))
    labels, n = ndimage.label(is_peak, structure=np.ones((3, 3)))  # a plateau is one peak
    if n == 0:
        return np.zeros((0, 2))
    centres = np.array(ndimage.center_of_mass(is_peak, labels, range(1, n + 1)))
    heights = ndimage.maximum(smooth, labels, range(1, n + 1))
    order = np.argsort(-np.asarray(heights), kind="stable")
    return centres[order][:, ::-1] + 0.5


def zoom_centres(density: Density, clusters: int, options: PeakOptions) -> NDArray[np.float64]:
    """At most `clusters` centres (col, row) in cells: k-means over the peaks, as in the paper.

    With no more peaks than clusters every peak is a centre. Deterministic.
    """
    peaks = find_peaks(density, options)
    if len(peaks) <= clusters:
        return peaks
    return kmeans(peaks, clusters)


def kmeans(points: NDArray[np.float64], clusters: int) -> NDArray[np.float64]:
    """(clusters, 2) means of the clusters of (N, 2) points: Lloyd's algorithm, the best of ten k-means++ starts.

    Draws, stops and chooses as scikit-learn's KMeans with random_state 0, so it ends in the same centres (but for ties
    that are decided by rounding). Importing that costs as much as a look of the default network.
    """
    random = np.random.RandomState(0)
    middle = points.mean(axis=0)
    points = points - middle
    centres, labels = lloyd(points, seeds(points, clusters, random))
    for _ in range(STARTS - 1):
        others, other_labels = lloyd(points, seeds(points, clusters, random))
        renamed = len(np.unique(other_labels * clusters + labels)) == len(np.unique(other_labels))
        if not renamed and scatter(points, others, other_labels) < scatter(points, centres, labels):
            centres, labels = others, other_labels
    found: NDArray[np.float64] = centres + middle
    return found


def seeds(points: NDArray[np.float64], clusters: int, random: np.random.RandomState) -> NDArray[np.float64]:
    """Points to start from, each far from those before: the best of a few drawn by squared distance (k-means++)."""
    trials = 2 + int(np.log(clusters))
    chosen = points[[random.choice(len(points), p=np.full(len(points), 1 / len(points)))]]
    nearest = squares(points, chosen)[0]
    for _ in range(1, clusters):
        drawn = np.searchsorted(np.cumsum(nearest), random.uniform(size=trials) * nearest.sum())
        candidates = points[np.minimum(drawn, len(points) - 1)]
        left = np.minimum(nearest, squares(points, candidates))  # (trials, N)
        best = np.argmin(left.sum(axis=1))
        chosen, nearest = np.vstack([chosen, candidates[best]]), left[best]
    return chosen


def lloyd(points: NDArray[np.float64], centres: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Centres and the cluster of each point, once no point moves or the centres hardly do."""
    tolerance = 1e-4 * points.var(axis=0).mean()
    labels = np.full(len(points), -1)
    for _ in range(LONGEST):
        distances = squares(points, centres)
        before, labels = labels, distances.argmin(axis=0)
        if np.array_equal(labels, before):
            return centres, labels
        owners = labels.copy()
        empty = np.setdiff1d(np.arange(len(centres)), labels)  # each takes one of the points that are farthest off
        owners[np.argsort(-distances.min(axis=0), kind="stable")[: len(empty)]] = empty
        means = np.array([points[owners == cluster].mean(axis=0) for cluster in range(len(centres))])
        shift, centres = ((means - centres) ** 2).sum(), means
        if shift <= tolerance:
            break
    return centres, squares(points, centres).argmin(axis=0)


def squares(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """(centres, points) squared distances."""
    distances: NDArray[np.float64] = ((points - centres[:, None]) ** 2).sum(axis=2)
    return distances


def scatter(points: NDArray[np.float64], centres: NDArray[np.float64], labels: NDArray[np.intp]) -> float:
    """The sum of squared distances of points to their centres."""
    return float(((points - centres[labels]) ** 2).sum())
