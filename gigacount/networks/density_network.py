"""Networks whose output is a density, and the two ways in which they are taught one.

The papers' way is squared differences from one Gaussian per head. The other, the light network's, is the likelihood of
the head counts in blocks of several sizes: it needs no width for a head, and street scenes are heard beside crowds.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from gigacount.geometry import Size
from gigacount.labels import adaptive_sigmas, box_density, gaussian_density
from gigacount.networks.base import Floats, Network, Prediction, Targets, crop_cells, pad_to_multiple
from gigacount.networks.peaks import points_to_cells

MIN_PEOPLE_PER_CELL = 1.5e-3
"""People in a cell below which nobody is there. Softplus never reaches zero: a black image of 2560 x 1440 added up to
2.8 people, and counts 0 with this; held-out street scenes lost 0.4 % of their people by 0.001, dense ones 0.1 %."""
BOX_SIGMA = 4.0  # px, of PANDA's truth in GigaZoom (IV-A)
SPARSE = -4.0
"""Softplus of this is 0.02 people, about the mean of a photograph's cells: where fresh networks begin."""
BLOCKS = (1, 2, 4, 8)  # sides of the blocks, in cells
SCALE = 60.0  # the likelihood of a crop is divided by this, which brings the loss near 1


class Gaussians:
    """Squared differences from one Gaussian per head; the output is the density, slightly negative here and there.

    `density` makes people per cell (B, h, w) of a network's output, of which the loss is made; `counted` what of these
    is counted in use; `targets` and `loss` are the network's.

    sigma: of the Gaussians, in pixels; None adapts it to the distance of the nearest heads.
    boxes: heads whose box is known have their Gaussian cut to it instead, of this sigma or of `BOX_SIGMA`.
    """

    def __init__(self, sigma: float | None = None, boxes: bool = False) -> None:
        self.sigma, self.boxes = sigma, boxes

    def density(self, output: Tensor) -> Tensor:
        return output

    def counted(self, density: Tensor) -> Tensor:
        return density

    def targets(self, points_xy: Floats, size_wh: Size, stride: int, boxes_xyxy: Floats | None = None) -> Targets:
        """`density` (ceil(H / stride), ceil(W / stride)): people per cell, summed from full resolution."""
        if not self.boxes or boxes_xyxy is None:
            return {"density": adaptive_density(points_xy, size_wh, stride, self.sigma)}
        known = ~np.isnan(boxes_xyxy[:, 0])
        density = box_density(boxes_xyxy[known], size_wh, self.sigma or BOX_SIGMA, stride)
        return {"density": density + adaptive_density(points_xy[~known], size_wh, stride, self.sigma)}

    def loss(self, density: Tensor, targets: dict[str, Tensor]) -> Tensor:
        """1 / (2 B) times the sum of squared differences over all cells (MCNN, section 2.3)."""
        return (density - targets["density"]).square().sum() / (2 * len(density))


class HeadCounts:
    """Poisson likelihood of the heads in blocks of cells; the density is the softplus of the output."""

    def density(self, output: Tensor) -> Tensor:
        return F.softplus(output)

    def counted(self, density: Tensor) -> Tensor:
        return density.where(density >= MIN_PEOPLE_PER_CELL, 0)

    def targets(self, points_xy: Floats, size_wh: Size, stride: int, boxes_xyxy: Floats | None = None) -> Targets:
        """`counts` (ceil(H / stride), ceil(W / stride)): heads per cell."""
        return {"counts": points_to_cells(points_xy, size_wh[::-1], stride).numpy()}

    def loss(self, density: Tensor, targets: dict[str, Tensor]) -> Tensor:
        """The likelihood, and a tenth of the totals' relative error."""
        counts = targets["counts"]
        believed, true = density.sum((1, 2)), counts.sum((1, 2))
        return block_likelihood(density, counts) + 0.1 * ((believed - true).abs() / (true + 20)).mean()


class DensityNetwork(Network):
    """A network whose forward pass, (B, 3, H, W) with sides multiples of `stride`, is what its teaching makes of it."""

    def __init__(self, teaching: Gaussians | HeadCounts) -> None:
        super().__init__()
        self.teaching = teaching

    def predict(self, images: Tensor, locate: bool = False) -> Prediction:
        return Prediction(self.teaching.counted(self._density(images)))

    def targets(self, points_xy: Floats, size_wh: Size, boxes_xyxy: Floats | None = None) -> Targets:
        return self.teaching.targets(points_xy, size_wh, self.stride, boxes_xyxy)

    def loss(self, images: Tensor, targets: dict[str, Tensor]) -> Tensor:
        return self.teaching.loss(self._density(images), targets)

    def _density(self, images: Tensor) -> Tensor:
        return crop_cells(self(pad_to_multiple(images, self.stride)), images, self.stride)


def block_likelihood(density: Tensor, counts: Tensor) -> Tensor:
    """Negative Poisson log-likelihood of head counts in blocks, 0 at its best; density, counts: (B, h, w).

    Each scale is summed over its blocks, so that all pull equally hard on the total. An image believed to hold n heads
    weighs 1 / (n / 100 + 1 / 4), or dense photographs would drown street scenes. Believed, not true: a weight that
    falls with the truth makes the best answer less than the mean.
    """
    weights = 1 / (density.detach().sum((1, 2)) / 100 + 0.25)
    padded = [pad_to_multiple(cells[:, None], max(BLOCKS)) for cells in (density, counts)]
    total = density.new_zeros(())
    for side in BLOCKS:
        expected, seen = (F.avg_pool2d(cells, side)[:, 0] * side**2 for cells in padded)
        likelihood = expected - seen * torch.log(expected + 1e-6) + torch.special.xlogy(seen, seen) - seen
        total = total + (weights * likelihood.sum((1, 2))).mean()
    return total / SCALE


def adaptive_density(
    points_xy: NDArray[np.float64], size_wh: Size, stride: int, sigma: float | None = None
) -> NDArray[np.float32]:
    """People per cell of `stride` px, one Gaussian per head (MCNN, 2.2), at most a quarter of the mean side wide."""
    if sigma is not None:
        return gaussian_density(points_xy, size_wh, sigma, stride)
    sigmas = np.minimum(adaptive_sigmas(points_xy, size_wh), sum(size_wh) / 8)
    return gaussian_density(points_xy, size_wh, sigmas, stride)
