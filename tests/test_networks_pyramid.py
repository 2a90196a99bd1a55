"""IIM's layers under other truths: crosses are counted by peaks, densities by their sum; their heads are found."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from gigacount.labels import gaussian_density
from gigacount.networks.pyramid import MAGNIFY, RADIUS, SIGMA, VGGPyramid, reconstruct
from gigacount.networks.raznet.branches import localization_loss


class Made(VGGPyramid):
    """Its output is made: the picture's first channel."""

    def __init__(self, truth: str) -> None:
        torch.nn.Module.__init__(self)
        self.truth = truth  # type: ignore[assignment]

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :1]


HEADS = np.array([[20.5, 30.5], [32.5, 30.5], [70.5, 20.5], [3.5, 60.5], [75.5, 34.5]])


def test_heads_are_the_kernels_of_which_a_density_is_the_sum() -> None:
    """Neighbours 12 px apart, three sigmas; one beside the border; two at one place."""
    heads = np.concatenate([HEADS, HEADS[:1]])
    density = gaussian_density(heads, (96, 80), SIGMA, radius=RADIUS)
    found = reconstruct(torch.from_numpy(density))
    assert len(found) == len(heads)
    distances = np.hypot(*(found[:, None, :2] - heads[None]).transpose(2, 0, 1))
    assert distances.min(axis=0).max() < 2.5
    assert (found[:, 2] > 0.4).all()
    assert len(reconstruct(torch.zeros(40, 40))) == 0


def test_a_density_is_counted_by_its_sum_and_crosses_by_their_peaks() -> None:
    images = torch.zeros(1, 3, 80, 96)
    images[0, 0] = MAGNIFY * torch.from_numpy(gaussian_density(HEADS, (96, 80), SIGMA, radius=RADIUS))
    seen = Made("density").predict(images, locate=True)
    assert seen.density.shape == (1, 10, 12)
    assert seen.density.sum().item() == pytest.approx(5, rel=1e-4)
    assert seen.points is not None
    assert len(seen.points[0]) == 5
    images[0, 0] = 20 * torch.from_numpy(Made("cross").targets(HEADS, (96, 80))["map"]) - 10
    seen = Made("cross").predict(images, locate=True)
    assert seen.density.sum() == 5
    assert seen.points is not None
    assert sorted(seen.points[0][:, :2].tolist()) == sorted(HEADS.tolist())


def test_losses_by_hand() -> None:
    logits, cross = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 16, 16)
    cross[:, 4, 5] = 1
    images = torch.zeros(2, 3, 16, 16)
    images[:, 0] = logits
    both = torch.stack([torch.zeros_like(logits), logits], dim=1)
    expected = localization_loss(both, cross)
    assert Made("cross").loss(images, {"map": cross}).item() == pytest.approx(expected.item(), rel=1e-5)
    squares = (logits - MAGNIFY * cross).square().mean()
    assert Made("density").loss(images, {"map": cross}).item() == pytest.approx(squares.item(), rel=1e-5)
