"""MCNN: three columns of small convolutions, one for each size of heads (Zhang et al., CVPR 2016).

    large heads    9x9 16  pool  7x7 32  pool  7x7 16  7x7 8  \\
    medium heads   7x7 20  pool  5x5 40  pool  5x5 20  5x5 10  > 1x1 -> density at stride 4
    small heads    5x5 24  pool  3x3 48  pool  3x3 24  3x3 12 /

Every convolution but the last has a ReLU. The last is linear, as section 2.3 of the paper has it (some later code puts
a ReLU there, which can stay shut for good), so a cell may be slightly negative.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, cat, nn

from gigacount.geometry import Size
from gigacount.labels import adaptive_sigmas, gaussian_density
from gigacount.networks.base import Augmentation, Network, Prediction, Recipe, crop_cells, pad_to_multiple, renamed
from gigacount.networks.vgg import initialise

STRIDE = 4

# (first kernel, other kernels, channels of the four convolutions)
COLUMNS = ((9, 7, (16, 32, 16, 8)), (7, 5, (20, 40, 20, 10)), (5, 3, (24, 48, 24, 12)))

# The paper cuts nine patches of a quarter of each picture (of 1024 x 768 here) and trains each column alone before all
# together; it states no rates. Adam at 1e-4 in one go is what later reproductions settled on (C-3-Framework).
RECIPE = Recipe(lr=1e-4, crop_wh=(512, 384), batch=8, crops=9, epochs=400, augmentation=Augmentation(flip=0.5))


class GaussianDensity(Network):
    """A network whose forward pass is a density, taught by one Gaussian per head: MCNN, and CSRNet after it.

    sigma: of the Gaussians, in pixels; None adapts it to the distance of the nearest heads.
    """

    def __init__(self, sigma: float | None = None) -> None:
        super().__init__()
        self.sigma = sigma

    def predict(self, images: Tensor, locate: bool = False) -> Prediction:
        return Prediction(crop_cells(self(pad_to_multiple(images, self.stride)), images, self.stride))

    def targets(self, points_xy: NDArray[np.float64], size_wh: Size) -> dict[str, NDArray[np.float32]]:
        """`density` (ceil(H / stride), ceil(W / stride)): people per cell, summed from full resolution."""
        return {"density": adaptive_density(points_xy, size_wh, self.stride, self.sigma)}

    def loss(self, images: Tensor, targets: dict[str, Tensor]) -> Tensor:
        """1 / (2 B) times the sum of squared differences over all cells (section 2.3)."""
        return (self.predict(images).density - targets["density"]).square().sum() / (2 * len(images))


class MCNN(GaussianDensity):
    """Multi-column network: 133,705 parameters. sigma: see GaussianDensity."""

    stride = STRIDE
    recipe = RECIPE

    def __init__(self, sigma: float | None = None) -> None:
        super().__init__(sigma)
        self.columns = nn.ModuleList(column(*sizes) for sizes in COLUMNS)
        self.density = nn.Conv2d(sum(channels[-1] for _, _, channels in COLUMNS), 1, 1)
        nn.init.normal_(self.density.weight, std=0.01)
        nn.init.zeros_(self.density.get_parameter("bias"))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), sides multiples of 4 -> people per cell (B, H/4, W/4) float32."""
        features = cat([column(images) for column in self.columns], 1)  # (B, 8 + 10 + 12, H/4, W/4)
        density: Tensor = self.density(features)
        return density[:, 0].float()

    @classmethod
    def rename_published(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The usual reproductions (C-3-Framework) have `branch1` to `branch3` and `fuse`, and count ReLUs within convs.

        Theirs end in a ReLU, so they never go below 0, and some have one input channel, which does not fit.
        """
        names = {f"branch{n}.{theirs}.conv.": f"columns.{n - 1}.{ours}." for n in (1, 2, 3) for theirs, ours in LAYERS}
        return renamed(state, names | {"fuse.0.conv.": "density."})


# Index of each convolution in a column of the usual reproductions, and in `column`.
LAYERS = ((0, 0), (2, 3), (4, 6), (5, 8))


def column(first: int, other: int, channels: tuple[int, int, int, int]) -> nn.Sequential:
    """Four convolutions with ReLU, a 2 x 2 max pool after each of the first two: (B, 3, H, W) -> (B, c, H/4, W/4)."""
    layers: list[nn.Module] = []
    before = 3
    for index, width in enumerate(channels):
        kernel = other if index else first
        convolution = nn.Conv2d(before, width, kernel, padding=kernel // 2)
        initialise(convolution)
        layers += [convolution, nn.ReLU(inplace=True)]
        if index < 2:
            layers.append(nn.MaxPool2d(2))
        before = width
    return nn.Sequential(*layers)


def adaptive_density(
    points_xy: NDArray[np.float64], size_wh: Size, stride: int, sigma: float | None = None
) -> NDArray[np.float32]:
    """People per cell of `stride` px, one Gaussian per head (section 2.2).

    sigma: pixels; None takes 0.3 times the mean distance to the three nearest heads, and at most a quarter of the
    picture's mean side, which is what a lone head gets.
    """
    if sigma is not None:
        return gaussian_density(points_xy, size_wh, sigma, stride)
    sigmas = np.minimum(adaptive_sigmas(points_xy, size_wh), sum(size_wh) / 8)
    return gaussian_density(points_xy, size_wh, sigmas, stride)
