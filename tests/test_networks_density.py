"""How densities are taught: the likelihood of head counts by hand, and CSRNet with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gigacount.networks.csrnet import CSRNet
from gigacount.networks.density import LEAST, block_likelihood


@pytest.mark.parametrize("mean", [0.25, 3.0, 40.0])
def test_the_likelihood_is_best_at_the_mean_count(mean: float) -> None:
    """Two equal pictures, one with nobody, one with twice the mean: what is believed of both is the mean."""
    counts = torch.zeros(2, 8, 8)
    counts[1] = 2 * mean / 64
    believed = torch.full((2, 8, 8), mean / 64, requires_grad=True)
    (slope,) = torch.autograd.grad(block_likelihood(believed, counts), believed)
    assert abs(slope.sum()) < 1e-4 * slope.abs().sum()


def test_a_likelihood_by_hand() -> None:
    """One cell of 64 with one head, believed to be there with certainty: 1 - log 1 in its block of every size."""
    density = torch.full((1, 8, 8), 1e-12)
    density[..., 2, 3] = 1.0
    weight = 1 / (1 / 100 + 1 / 4)
    blocks32 = 4
    expected = weight * (0.25 + 0.5 + 1.0 + 1.0) * 1.0 / blocks32
    assert block_likelihood(density, density.round()).item() == pytest.approx(expected, rel=1e-4)


def test_blocks_that_reach_past_the_cells_count_what_is_inside() -> None:
    """One head in a single cell, alone in its block of every size: as in a grid of 8 x 8, but per its own area."""
    one, grid = torch.ones(1, 1, 1), torch.full((1, 8, 8), 1e-12)
    grid[0, 0, 0] = 1
    alone, among = block_likelihood(one, one), block_likelihood(grid, grid.round())
    assert alone.item() == pytest.approx(64 * among.item(), rel=1e-4)


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
    assert density.min() > LEAST
    with torch.no_grad():
        made.output_layer.bias.fill_(-10)  # softplus: 0.00005
        assert made.predict(images).density.eq(0).all()
