"""The light network's own: its losses and targets by hand, and whom it counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gigacount.networks.density_network import MIN_PEOPLE_PER_CELL
from gigacount.networks.light import MIN_HEAD_PROBABILITY, MIN_PEOPLE, Light, focal_loss, heat_map, in_sight

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


def test_a_head_is_a_summit() -> None:
    heat = heat_map(np.array([[18.0, 10.0], [40.5, 50.0]]), (64, 63))
    assert heat.shape == (16, 16)
    assert np.argwhere(heat == 1).tolist() == [[2, 4], [12, 10]]
    assert heat[12, 11] == pytest.approx(math.exp(-(5.5**2) / (2 * 6.0**2)))  # far apart: sigma of 1.5 cells


def test_nobody_is_nowhere() -> None:
    heat = heat_map(np.empty((0, 2)), (64, 32))
    assert heat.shape == (8, 16)
    assert not heat.any()


def test_heads_are_learnt_by_how_far_they_are_missed() -> None:
    """One head at 1/2, 15 cells of nobody at 1/4: the focal loss by hand, shared by 16 heads at least."""
    logits = torch.full((1, 4, 4), -math.log(3))
    logits[0, 1, 2] = 0.0
    heat = torch.zeros(1, 4, 4)
    heat[0, 1, 2] = 1.0
    hit, miss = 0.25 * math.log(2), 15 * 0.25**2 * -math.log(0.75)
    assert focal_loss(logits, heat).item() == pytest.approx((hit + miss) / 16)
