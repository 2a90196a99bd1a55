"""Two-stream fusion for counting: where the crowd is dense, the density alone; elsewhere the mean of both (eq. 4)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

GRID = 4  # sub-images a side
NO_THETA = 1e9  # people, more than any picture holds: the mean of both streams everywhere. Finite, as weights must be


def sub_images(rows: int, cols: int) -> Iterator[tuple[slice, slice]]:
    """The 4 x 4 sub-images of a map, row by row; some are empty where it has fewer than 4 rows or columns."""
    edges = [[side * i // GRID for i in range(GRID + 1)] for side in (rows, cols)]
    for top, bottom in pairwise(edges[0]):
        for left, right in pairwise(edges[1]):
            yield slice(top, bottom), slice(left, right)


def sub_counts(cells: Tensor) -> Tensor:
    """People in each sub-image of (rows, cols) cells: (16,)."""
    return torch.stack([cells[place].sum() for place in sub_images(*cells.shape)])


def fuse(density: Tensor, located: Tensor, theta: Tensor) -> Tensor:
    """Eq. 4 on people per cell (rows, cols), so that the sum is C_fused; theta (16,) is theta_f of each sub-image.

    From theta people on a sub-image keeps its density (alpha = 0), below it gets the mean of both (alpha = 0.5).
    """
    dense = (sub_counts(density) + sub_counts(located)) / 2 >= theta
    fused = (density + located) / 2
    for place, is_dense in zip(sub_images(*density.shape), dense.tolist(), strict=True):
        if is_dense:
            fused[place] = density[place]
    return fused


def fit_theta(density: Tensor, located: Tensor, truth: Tensor) -> Tensor:
    """theta_f (16,) with the least absolute error of C_fused over the N pictures; counts are (N, 16), theirs and true.

    The paper estimates it "for each grid from all training data". Only N + 1 values of theta differ in effect: each
    picture's mean count, and `NO_THETA`. Of equally good ones the largest is taken, which trusts both streams.
    """
    mean, order = ((density + located) / 2).sort(dim=0)
    density, truth = density.gather(0, order), truth.gather(0, order)
    nothing = torch.zeros_like(mean[:1])
    below = torch.cat([nothing, (mean - truth).abs().cumsum(0)])  # (N + 1, 16): the error of the first n pictures
    dense = (density - truth).abs()
    above = torch.cat([dense.flip(0).cumsum(0).flip(0), nothing])  # and that of the others
    candidates = torch.cat([mean, torch.full_like(nothing, NO_THETA)])
    # Pictures of equal mean fall on the same side: only the first of them may be the threshold.
    repeated = torch.cat([nothing.bool(), candidates[1:] == candidates[:-1]])
    error = (below + above).masked_fill(repeated, torch.inf)
    best = len(error) - 1 - error.flip(0).argmin(0, keepdim=True)
    return candidates.gather(0, best)[0]
