"""IIM's VGG-16 and feature pyramid under the two other truths of its table 5: crosses, and densities.

What is compared there is the truth, and how heads are read from what it teaches; the layers are IIM's own (3.3.1).
Crosses are RAZ-Net's labels, loss and peaks. Densities are read by Gaussian-prior reconstruction (Gao et al., arXiv
1912.03677): the map is taken for a sum of the kernels that its truth was made of. That paper was not at hand; how it is
done here is `reconstruct`'s.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from gigacount.geometry import Size
from gigacount.labels import cross_map, gaussian_density
from gigacount.networks.base import Floats, Network, Prediction, Targets, pad_to_multiple
from gigacount.networks.iim import MULTIPLE, PYRAMID, STRIDE, TILING, FeaturePyramid, confidence_head
from gigacount.networks.peaks import find_peaks, points_to_cells
from gigacount.networks.raznet.branches import POSITIVE_WEIGHT
from gigacount.networks.raznet.network import peaks
from gigacount.networks.vgg import VGG16
from gigacount.networks.windows import whole_or_tiled

SIGMA, RADIUS = 4.0, 7  # of the density's kernel: 15 x 15 px, as in NWPU-Crowd's public code
MAGNIFY = 100  # the network works in hundredths of a person, as there
MIN_MATCH = 0.5  # of a lone head's response to the kernel, from which a place is a head
ROUNDS = 50  # of reconstruction; heads that stand on one another take one each


class VGGPyramid(Network):
    """VGG-16-BN and a feature pyramid, and a map at full size: 18,203,009 parameters.

    truth: "cross", RAZ-Net's crosses of five pixels, whose peaks are counted; or "density", Gaussians of sigma 4 in
        15 x 15 px, whose sum is counted.
    """

    stride = STRIDE
    no_graph = "its heads are peaks that are read one after the other"
    locates = True

    def __init__(self, truth: Literal["cross", "density"] = "cross") -> None:
        super().__init__()
        self.truth = truth
        self.encoder = VGG16(batch_norm=True)
        self.neck = FeaturePyramid((256, 512, 512))
        self.head = confidence_head(3 * PYRAMID, momentum=0.1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), sides multiples of 16 -> (B, 1, H, W) float32: logits of heads, or hundredths of people."""
        levels = list(self.encoder.stages(images))[2:]  # strides 4, 8 and 16
        output: Tensor = self.head(self.neck(levels)).float()
        return output

    def predict(self, images: Tensor, locate: bool = False) -> Prediction:
        maps = whole_or_tiled(images, self, TILING)[:, 0]  # (B, H, W)
        if self.truth == "cross":
            found = [peaks(psi) for psi in torch.sigmoid(maps)]
            height, width = images.shape[-2:]
            cells = torch.stack([points_to_cells(one, (height, width), STRIDE) for one in found]).to(images.device)
            return Prediction(cells, found if locate else None)
        people = maps / MAGNIFY
        cells = F.avg_pool2d(pad_to_multiple(people[:, None], STRIDE), STRIDE)[:, 0] * STRIDE**2
        return Prediction(cells, [reconstruct(one) for one in people] if locate else None)

    def targets(self, points_xy: Floats, size_wh: Size, boxes_xyxy: Floats | None = None) -> Targets:
        """`map` (H, W): crosses of ones, or people per pixel."""
        if self.truth == "cross":
            return {"map": cross_map(points_xy, size_wh)}
        return {"map": gaussian_density(points_xy, size_wh, SIGMA, radius=RADIUS)}

    def loss(self, images: Tensor, targets: dict[str, Tensor]) -> Tensor:
        """RAZ-Net's eq. 3, gamma = 100; or mean squared error of a hundred times the density."""
        height, width = images.shape[-2:]
        output = self(pad_to_multiple(images, MULTIPLE))[:, 0, :height, :width]
        if self.truth == "density":
            return F.mse_loss(output, MAGNIFY * targets["map"])
        gamma = torch.tensor(float(POSITIVE_WEIGHT), device=output.device)
        return F.binary_cross_entropy_with_logits(output, targets["map"], pos_weight=gamma)


def reconstruct(density: Tensor) -> NDArray[np.float32]:
    """The heads (N, 3) of which a density (H, W) of people per pixel is the sum: x, y and how well each fits, 0..1.

    The map's response to the kernel of one head is 1 where a lone one stands. In each round its local maxima of at
    least half of that are heads, and their kernels are taken out of the map; what is left is looked at again. There are
    no more heads than the map sums to. Heads closer than two sigmas make one maximum between them.
    """
    axis = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float32, device=density.device)
    kernel = torch.exp(-(axis[:, None] ** 2 + axis**2) / (2 * SIGMA**2))
    kernel = kernel / kernel.sum()
    matched, rest, found = kernel / kernel.square().sum(), density.float(), []
    left = round(float(rest.sum()))
    for _ in range(ROUNDS):
        response = F.conv2d(rest[None, None], matched[None, None], padding=RADIUS)[0, 0]
        heads = find_peaks(response, MIN_MATCH)
        heads = heads[np.argsort(-heads[:, 2], kind="stable")[: max(left, 0)]]
        if len(heads) == 0:
            break
        found.append(heads)
        left -= len(heads)
        dots = torch.zeros_like(rest)
        col, row = torch.from_numpy(heads[:, :2].astype(np.int64)).to(rest.device).T
        dots.index_put_((row, col), torch.ones(len(heads), device=rest.device), accumulate=True)
        rest = rest - F.conv2d(dots[None, None], kernel[None, None], padding=RADIUS)[0, 0]
    return np.concatenate([np.zeros((0, 3), np.float32), *found])
