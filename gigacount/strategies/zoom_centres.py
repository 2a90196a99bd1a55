"""Where a density map is dense: the densest window, and the centres of several dense regions (GigaZoom III)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gigacount.density import Density
from gigacount.options import PeakOptions


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
    from sklearn.cluster import KMeans  # a second of import, needed only here

    centres: NDArray[np.float64] = KMeans(clusters, n_init=10, random_state=0).fit(peaks).cluster_centers_
    return centres
