"""The light network's own: its losses and targets by hand, and whom it counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gigacount.networks.base import stack_targets
from gigacount.networks.density_network import MIN_PEOPLE_PER_CELL
from gigacount.networks.light import MIN_HEAD_PROBABILITY, MIN_PEOPLE, Light, focal_loss, head_maps, in_sight

LOGIT = math.log(MIN_HEAD_PROBABILITY / (1 - MIN_HEAD_PROBABILITY))


def looking(density: Tensor, heat: Tensor) -> Light:
    """A network that sees these: density (H/8, W/8), logits of the heat map (H/4, W/4)."""
    light = Light()
    light.forward = lambda images: (density[None], heat[None])  # type: ignore[method-assign]
    return light


def test_traces_of_density_are_nobody() -> None:
    density = torch.full((8, 8), 0.9 * MIN_PEOPLE_PER_CELL)
    density[0, 0], density[0, 1] = 1.1 * MIN_PEOPLE_PER_CELL, 1.0
    seen = looking(density, torch.full((16, 16), LOGIT + 1)).predict(torch.zeros(1, 3, 64, 64)).density
    assert seen.sum().item() == pytest.approx(1 + 1.1 * MIN_PEOPLE_PER_CELL)


def test_people_are_counted_near_heads_only() -> None:
    """A head in the second square of 32 px from the left, of eight, is in sight in the first four."""
    density, heat = torch.full((4, 32), 0.1), torch.full((8, 64), LOGIT - 0.1)
    assert looking(density, heat).predict(torch.zeros(1, 3, 32, 256)).density.sum() == 0
    heat[5, 9] = LOGIT + 0.1
    seen = looking(density, heat).predict(torch.zeros(1, 3, 32, 250)).density
    assert seen.shape == (1, 4, 32)
    assert seen[0, :, :16].eq(0.1).all()
    assert seen[0, :, 16:].eq(0).all()


def test_people_are_counted_near_somebody_only() -> None:
    """A quarter of a person, spread over three squares of 32 px, is nobody; twice as much is somebody."""
    density, heat = torch.zeros(4, 64), torch.full((8, 128), LOGIT + 1)
    density[:, 20:32] = 0.25 / 48
    assert density.sum() < MIN_PEOPLE
    assert looking(density, heat).predict(torch.zeros(1, 3, 32, 512)).density.sum() == 0
    density *= 2
    assert looking(density, heat).predict(torch.zeros(1, 3, 32, 512)).density.equal(density[None])


def test_a_head_is_in_sight_from_all_sides_and_in_its_own_picture() -> None:
    heat, crowd = torch.full((2, 64, 64), -9.0), torch.ones(2, 32, 32)
    heat[1, 31, 31] = 9.0
    near = in_sight(heat, crowd)
    assert near.shape == (2, 32, 32)
    assert not near[0].any()
    rows, cols = near[1].nonzero(as_tuple=True)  # the square 3, 3 of 8 x 8, and two around it
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (4, 23, 4, 23)
    assert near[1].sum() == 20 * 20


def test_somebody_is_in_sight_from_all_sides_and_in_their_own_picture() -> None:
    heads, cells = torch.full((2, 64, 64), 9.0), torch.zeros(2, 32, 32)
    cells[1, 15, 15] = 1.0
    near = in_sight(heads, cells)
    assert not near[0].any()
    rows, cols = near[1].nonzero(as_tuple=True)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (4, 23, 4, 23)
    assert near[1].sum() == 20 * 20


def maps(size_wh: tuple[int, int], *crops: list[tuple[float, float]]) -> tuple[Tensor, Tensor]:
    targets = [Light.targets(Light, np.array(heads, float).reshape(-1, 2), size_wh) for heads in crops]  # type: ignore[arg-type]
    return head_maps(torch.from_numpy(stack_targets(targets)["heads"]), size_wh[::-1])


def test_a_head_is_a_summit_of_its_own_crop() -> None:
    counts, heat = maps((64, 63), [(18.0, 10.0), (40.5, 50.0)], [(63.9, 0.0)])
    assert counts.shape == (2, 8, 8)
    assert heat.shape == (2, 16, 16)
    assert counts.nonzero().tolist() == [[0, 1, 2], [0, 6, 5], [1, 0, 7]]
    assert (heat == 1).nonzero().tolist() == [[0, 2, 4], [0, 12, 10], [1, 0, 15]]
    assert heat[0, 12, 11] == pytest.approx(math.exp(-(5.5**2) / (2 * 6.0**2)))  # far apart: sigma of 1.5 cells


def test_a_crowd_of_heads_is_the_distance_to_the_nearest() -> None:
    """Against the definition, cell by cell; two share a place, some lie on the borders."""
    size_wh = (212, 150)
    heads = np.random.default_rng(0).uniform(0, size_wh, (120, 2))
    heads[0], heads[1], heads[2] = heads[3], (0, 0), np.nextafter(size_wh, 0)
    counts, heat = maps(size_wh, heads.tolist())
    assert counts.sum() == 120
    spacing = np.sort(np.hypot(*(heads[:, None] - heads).T), axis=0)[1]
    for row, col in np.ndindex(heat.shape[1:]):
        distance = np.hypot(*(heads - (np.array([col, row]) + 0.5) * 4).T)
        sigma = np.clip(spacing[distance.argmin()] / 4, 2, 6)
        holds = (heads // 4 == (col, row)).all(axis=1).any()
        wanted = 1 if holds else min(math.exp(-(distance.min() ** 2) / (2 * sigma**2)), 0.99)
        assert heat[0, row, col].item() == pytest.approx(wanted, abs=2e-5)


def test_nobody_is_nowhere() -> None:
    for crops in ([[]], [[], []], [[], [(5.0, 5.0)]]):
        counts, heat = maps((64, 32), *crops)
        assert heat.shape == (len(crops), 8, 16)
        assert not heat[0].any()
        assert not counts[0].any()


def test_heads_are_learnt_by_how_far_they_are_missed() -> None:
    """One head at 1/2, 15 cells of nobody at 1/4: the focal loss by hand, shared by 16 heads at least."""
    logits = torch.full((1, 4, 4), -math.log(3))
    logits[0, 1, 2] = 0.0
    heat = torch.zeros(1, 4, 4)
    heat[0, 1, 2] = 1.0
    hit, miss = 0.25 * math.log(2), 15 * 0.25**2 * -math.log(0.75)
    assert focal_loss(logits, heat).item() == pytest.approx((hit + miss) / 16)
