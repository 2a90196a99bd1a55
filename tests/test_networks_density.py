"""How densities are taught: the likelihood of head counts by hand, and CSRNet with it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gigacount.networks.csrnet import CSRNet
from gigacount.networks.density_network import MIN_PEOPLE_PER_CELL, block_likelihood


@pytest.mark.parametrize("mean", [0.25, 3.0, 40.0])
def test_the_likelihood_is_best_at_the_mean_count(mean: float) -> None:
    """Two equal pictures, one with nobody, one with twice the mean: what is believed of both is the mean."""
    counts = torch.zeros(2, 8, 8)
    counts[1] = 2 * mean / 64
    believed = torch.full((2, 8, 8), mean / 64, requires_grad=True)
    (slope,) = torch.autograd.grad(block_likelihood(believed, counts), believed)
    assert abs(slope.sum()) < 1e-3 * slope.abs().sum()


def test_a_likelihood_by_hand() -> None:
    """One cell of 64 with one head, where two are believed: 2 - log 2 - 1 in its block of every size."""
    counts = torch.zeros(1, 8, 8)
    counts[..., 2, 3] = 1.0
    likelihood, weight = 4 * (2 - math.log(2) - 1), 1 / (2 / 100 + 1 / 4)
    assert block_likelihood(2 * counts, counts).item() == pytest.approx(likelihood * weight / 60, rel=1e-4)
    assert block_likelihood(counts, counts).item() == pytest.approx(0, abs=1e-6)


def test_blocks_that_reach_past_the_cells_count_what_is_inside() -> None:
    """Half a head in a single cell is as far from one as in a grid of 8 x 8 with nobody else."""
    one, grid = torch.ones(1, 1, 1), torch.zeros(1, 8, 8)
    grid[0, 0, 0] = 1
    alone, among = block_likelihood(one / 2, one), block_likelihood(grid / 2, grid)
    assert alone.item() == pytest.approx(among.item(), rel=1e-4)


def test_csrnet_by_likelihood_learns_head_counts_and_sees_nobody_in_traces() -> None:
    torch.manual_seed(0)
    made = CSRNet(loss="likelihood").eval()
    targets = made.targets(np.array([[3.0, 5.0], [4.0, 6.0], [40.0, 25.0]]), (44, 28))
    assert targets["counts"].shape == (4, 6)
    assert targets["counts"][0, 0] == 2
    assert targets["counts"][3, 5] == 1
    images = torch.rand(2, 3, 28, 44)
    loss = made.loss(images, {"counts": torch.from_numpy(np.stack([targets["counts"]] * 2))})
    loss.backward()
    assert made.output_layer.weight.grad.abs().sum() > 0
    density = made.predict(images).density
    assert density.shape == (2, 4, 6)
    assert density.min() > MIN_PEOPLE_PER_CELL
    with torch.no_grad():
        made.output_layer.bias.fill_(-10)  # softplus: 0.00005
        assert made.predict(images).density.eq(0).all()
