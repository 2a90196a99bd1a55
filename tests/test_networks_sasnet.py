"""SASNet: selection among levels, and the loss that walks down a pyramid of regions."""

from __future__ import annotations

import pytest
import torch
from network_cases import network, pictures
from torch.nn import functional as F

from gigacount.networks.sasnet import HARD_WEIGHT, SASNet, hard_pixels, pyramid_region_loss


def test_sasnets_coarse_density_is_the_sum_of_its_pixels() -> None:
    made, images = network("sasnet"), pictures(1, 64, 96)
    with torch.no_grad():
        pixels, cells = made(images), made(images, stride=8)
    assert pixels.shape == (1, 64, 96)
    torch.testing.assert_close(64 * F.avg_pool2d(pixels, 8), cells, rtol=1e-5, atol=1e-7)


def test_sasnets_pixels_are_the_levels_repeated_and_weighed() -> None:
    made, images = network("sasnet"), pictures(1, 64, 64)
    with torch.no_grad():
        densities, shares = made.levels(images)
        pixels = made(images)
    assert [tuple(d.shape[2:]) for d in densities] == [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]
    assert shares.shape == (1, 5, 2, 2)
    torch.testing.assert_close(shares.sum(1), torch.ones(1, 2, 2))
    row, col = 45, 13
    expected = sum(
        densities[level][0, 0, row >> level, col >> level] * shares[0, level, row // 32, col // 32] / 1000
        for level in range(5)
    )
    assert pixels[0, row, col].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_pyramid_walk_follows_regions_not_pixels() -> None:
    """Top left has the highest pixel but is under-estimated in all; bottom right is over by 2, and 1.1 of it here."""
    error = torch.zeros(1, 32, 64)
    error[0, 3, 3] = 3.0
    error[0, 9, 9] = -4.0
    error[0, 20, 20] = 1.1
    error[0, 30, 30] = 0.9
    error[0, :, 32:] = -1.0  # the second patch: all under-estimated, least of all here
    error[0, 17, 50] = -0.25
    expected = torch.zeros(1, 32, 64)
    expected[0, 20, 20] = expected[0, 17, 50] = 1
    assert torch.equal(hard_pixels(error), expected)


def test_the_pyramid_region_loss_by_hand() -> None:
    target = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0))
    density = target.clone()
    density[0, 3, 3] += 3
    density[0, 9, 9] -= 4
    density[0, 20, 20] += 2
    density.requires_grad_()
    loss = pyramid_region_loss(density, target)
    assert loss.item() == pytest.approx((9 + 16 + 4 + HARD_WEIGHT * 4) / 1024, rel=1e-5)
    loss.backward()
    assert density.grad is not None
    assert density.grad[0, 20, 20].item() == pytest.approx((1 + HARD_WEIGHT) * 2 * 2 / 1024, rel=1e-5)


def test_all_of_sasnets_levels_start_alive() -> None:
    with torch.no_grad():
        densities, _ = network("sasnet").levels(pictures(1, 64, 64))
    assert all(density.min() > 0 for density in densities)


def test_sasnets_published_names_are_understood() -> None:
    """The authors' 226 names, as they come from their module tree."""
    parts = {1: (0, 3), 2: (1, 4), 3: (1, 4, 7), 4: (1, 4, 7), 5: (1, 4, 7)}
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = []
    for level, convs in parts.items():
        for conv in convs:
            names += [f"features{level}.{conv}.{leaf}" for leaf in ("weight", "bias")]
            names += [f"features{level}.{conv + 1}.{leaf}" for leaf in norm]
        for index in (0, 1):
            names += [f"de_pred{level}.{index}.conv.{leaf}" for leaf in ("weight", "bias")]
            names += [f"confidence_head{level}.{index}.conv.{leaf}" for leaf in ("weight", "bias")]
        for branch in ("1x1", "1x1_1", "3x3_1", "3x3_2", "3x3dbl_1", "3x3dbl_2"):
            names.append(f"density_head{level}.0.branch{branch}.conv.weight")
            names += [f"density_head{level}.0.branch{branch}.bn.{leaf}" for leaf in norm]
        names += [f"density_head{level}.1.conv.{leaf}" for leaf in ("weight", "bias")]
    renamed = SASNet.rename_published({name: torch.empty(0) for name in names})
    assert len(renamed) == len(names)
    assert set(renamed) == set(network("sasnet").state_dict())
    ours = "density_heads.4.0.branches.2.3.weight"
    assert list(SASNet.rename_published({"density_head5.0.branch3x3dbl_2.conv.weight": torch.empty(0)})) == [ours]
    assert network("sasnet").state_dict()[ours].shape == (512, 256, 5, 5)
