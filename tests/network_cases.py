"""The networks that count without locating, small enough to test, and pictures for them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from gigacount.networks.base import Network, stack_targets
from gigacount.networks.csrnet import CSRNet
from gigacount.networks.deepcount import DeepCount
from gigacount.networks.mcnn import MCNN
from gigacount.networks.sasnet import SASNet

Scene = tuple[Tensor, np.ndarray]
"""A picture (3, side, side) and its heads (N, 2)."""


@dataclass(frozen=True)
class Case:
    """make: the paper's network. small: the same with smaller tiles, where it has any. side: of what `small` takes.

    parameters: of the paper's network in use; training_only: those that only training needs.
    steps, lr: of Adam, until it knows four pictures by heart; crop: their side.
    """

    make: Callable[[], Network]
    parameters: int
    small: Callable[[], Network]
    side: int = 64
    training_only: int = 0
    crop: int = 32
    steps: int = 120
    lr: float = 1e-3


CASES = {
    "mcnn": Case(MCNN, 133_705, MCNN, crop=64, steps=250, lr=3e-3),
    "csrnet": Case(CSRNet, 16_263_489, CSRNet, steps=200, lr=1e-4),
    "sasnet": Case(SASNet, 38_898_698, SASNet),
    "deepcount": Case(
        DeepCount, 21_403_201, lambda: DeepCount(tile_wh=(128, 128)), 128, 36_706_565, crop=128, steps=100, lr=2e-4
    ),
}
NAMES = list(CASES)


@functools.cache
def network(name: str) -> Network:
    """One small instance of each, for the tests that only look through it."""
    torch.manual_seed(0)
    made = CASES[name].small().eval()
    if isinstance(made, DeepCount):
        nn.init.constant_(made.count[0].bias, 7)  # fresh, it counts 0 people give or take, and below 0 is nobody
    return made


@functools.cache
def published(name: str) -> Network:
    """The paper's network, where that is not the small one."""
    torch.manual_seed(0)
    return network(name) if CASES[name].make == CASES[name].small else CASES[name].make().eval()


def pictures(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def scene(heads: int, side: int, seed: int) -> Scene:
    """A picture (3, side, side) of blurred reddish spots on noise, and their centres (N, 2)."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(6, side - 6, (heads, 2))
    y, x = np.mgrid[:side, :side] + 0.5
    spots = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / 18) for px, py in points)
    picture = rng.normal(0, 0.3, (3, side, side)) + np.array([2.5, 1.5, -1.0])[:, None, None] * spots
    return torch.from_numpy(picture.astype(np.float32)), points


def batch(
    made: Network, side: int, heads: tuple[int, ...], paint: Callable[[int, int, int], Scene] = scene
) -> tuple[Tensor, dict[str, Tensor]]:
    """Painted pictures of so many heads each (B, 3, side, side), and the network's targets for them."""
    scenes = [paint(n, side, seed) for seed, n in enumerate(heads)]
    targets = [made.targets(points, (side, side)) for _, points in scenes]
    stacked = {key: torch.from_numpy(value) for key, value in stack_targets(targets).items()}
    return torch.stack([picture for picture, _ in scenes]), stacked


def density_of(made: Network, images: Tensor) -> Tensor:
    with torch.no_grad():
        return made.predict(images).density
