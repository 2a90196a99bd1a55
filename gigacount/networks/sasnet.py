"""SASNet: five densities from five feature levels, each 32 x 32 px patch choosing among them by learned confidence.

"To Choose or to Fuse? Scale Selection for Crowd Counting" (Song et al., AAAI 2021). VGG-16-BN encoder, U-shaped
decoder, and at each level a density head and a confidence head. The authors published inference only; how their loss
and training are filled in here is said at its recipe and `pyramid_region_loss`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gigacount.geometry import Size
from gigacount.labels import gaussian_density
from gigacount.networks.base import Floats, Network, Prediction, Targets, crop_cells, pad_to_multiple
from gigacount.networks.vgg import VGG16, initialise

STRIDE = 8  # of the density handed out; the network's own is 1
PATCH = 32  # px, side of the squares that choose a level, and the coarsest region of the loss
MAGNIFY = 1000  # the network works in thousandths of a person, or its targets would drown in rounding
SIGMA, RADIUS = 4, 7  # of the Gaussians in the targets: a 15 x 15 px kernel

# Decoder channels (in, middle, out) of levels 1 to 5, which are at strides 1, 2, 4, 8 and 16.
DECODER = ((128, 64, 64), (256, 128, 64), (512, 256, 128), (1024, 512, 256), (512, 1024, 512))

# Weight of the pixels that the pyramid walk ends on, in addition to their 1 among all pixels. Ours: not published.
HARD_WEIGHT = 10.0


class SASNet(Network):
    """Scale-adaptive selection network: 38,898,698 parameters."""

    stride = STRIDE

    def __init__(self) -> None:
        super().__init__()
        self.encoder = VGG16(batch_norm=True)
        self.decoders = nn.ModuleList(
            nn.Sequential(*conv_relu(before, middle, 3), *conv_relu(middle, after, 3))
            for before, middle, after in DECODER
        )
        self.density_heads = nn.ModuleList(density_head(after) for _, _, after in DECODER)
        self.confidence_heads = nn.ModuleList(
            nn.Sequential(*conv_relu(after, after // 2, 1), nn.Conv2d(after // 2, 1, 1)) for _, _, after in DECODER
        )

    def forward(self, images: Tensor, stride: int = 1) -> Tensor:
        """(B, 3, H, W), sides multiples of 32 -> people per cell (B, H/stride, W/stride) float32, stride 1, 2, 4 or 8.

        Beyond 1 the full-resolution maps are never made: each level is pooled first, which gives the same sums.
        """
        densities, confidences = self.levels(images)
        total = densities[0].new_zeros(())
        for level, density in enumerate(densities):
            confidence = F.interpolate(confidences[:, level : level + 1], scale_factor=PATCH // stride)  # nearest
            total = total + confidence * resample(density, 2**level, stride)
        return total[:, 0] * (stride**2 / MAGNIFY)

    def levels(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Magnified people per pixel of levels l from 0, (B, 1, H/2^l, W/2^l), and their shares (B, 5, H/32, W/32)."""
        skips = list(self.encoder.stages(images))  # (B, 64, H, W), (B, 128, H/2, W/2) ... (B, 512, H/16, W/16)
        x = skips.pop()
        densities, confidences = [], []
        for level in reversed(range(5)):
            if level < 4:
                skip = skips.pop()
                x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=True)
                x = torch.cat([skip, x], 1)
            x = self.decoders[level](x)  # (B, 512 | 256 | 128 | 64 | 64, H/2^l, W/2^l)
            densities.append(self.density_heads[level](x).float())  # (B, 1, H/2^l, W/2^l)
            patches = F.avg_pool2d(x, PATCH >> level)  # (B, c, H/32, W/32)
            confidences.append(self.confidence_heads[level](patches).float())
        shares = torch.sigmoid(torch.cat(confidences[::-1], 1)).softmax(1)
        return densities[::-1], shares

    def predict(self, images: Tensor, locate: bool = False) -> Prediction:
        return Prediction(crop_cells(self(pad_to_multiple(images, PATCH), STRIDE), images, STRIDE))

    def targets(self, points_xy: Floats, size_wh: Size, boxes_xyxy: Floats | None = None) -> Targets:
        """`density` (H, W): people per pixel."""
        return {"density": gaussian_density(points_xy, size_wh, SIGMA, radius=RADIUS)}

    def loss(self, images: Tensor, targets: dict[str, Tensor]) -> Tensor:
        density = self(pad_to_multiple(images, PATCH))
        return pyramid_region_loss(density * MAGNIFY, pad_to_multiple(targets["density"], PATCH) * MAGNIFY)

    @classmethod
    def rename_published(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The authors cut the encoder into five parts and number levels from 1."""
        return {published_to_ours(name): tensor for name, tensor in state.items()}


def conv_relu(channels_in: int, channels_out: int, kernel: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2)
    initialise(conv)
    return [conv, nn.ReLU(inplace=True)]


def density_head(channels: int) -> nn.Sequential:
    """Kernels of 1, 3 and 5 beside the features themselves, then one non-negative density."""
    density = nn.Conv2d(4 * channels, 1, 1)
    # All levels start above 0: one that is negative everywhere would get no gradient through its ReLU, ever.
    nn.init.normal_(density.weight, std=0.01)
    nn.init.constant_(density.get_parameter("bias"), 0.5)
    return nn.Sequential(MultiBranch(channels), density, nn.ReLU(inplace=True))


class MultiBranch(nn.Module):
    """(B, n, h, w) -> (B, 4 n, h, w): three branches {1x1 to n/2, kxk to n} with k of 1, 3 and 5, and the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branches = nn.ModuleList(
            nn.Sequential(*conv_bn_relu(channels, half, 1), *conv_bn_relu(half, channels, kernel))
            for kernel in (1, 3, 5)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([*(branch(x) for branch in self.branches), x], 1)


def conv_bn_relu(channels_in: int, channels_out: int, kernel: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)
    initialise(conv)
    return [conv, nn.BatchNorm2d(channels_out, eps=1e-3), nn.ReLU(inplace=True)]


def resample(density: Tensor, stride: int, to_stride: int) -> Tensor:
    """Values per pixel at another stride: repeated towards a finer one, averaged towards a coarser one."""
    if to_stride > stride:
        return F.avg_pool2d(density, to_stride // stride)
    return F.interpolate(density, scale_factor=stride // to_stride) if stride > to_stride else density


def pyramid_region_loss(density: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of (B, H, W) densities, with `HARD_WEIGHT` more, a weight of ours, on `hard_pixels`."""
    error = density - target
    return ((1 + HARD_WEIGHT * hard_pixels(error.detach())) * error.square()).mean()


def hard_pixels(excess: Tensor) -> Tensor:
    """1 on one pixel of each 32 x 32 px patch of `excess` (B, H, W), prediction minus truth; 0 elsewhere.

    From the patch down, the quarter of greatest excess is taken until the quarter is a pixel. Where a patch is
    under-estimated throughout, that leads to its least under-estimated part.
    """
    excess = excess[:, None]
    chosen = excess.new_ones(len(excess), 1, excess.shape[2] // PATCH, excess.shape[3] // PATCH)
    side = PATCH
    while side > 1:
        side //= 2
        regions = F.avg_pool2d(excess, side)
        _, winners = F.max_pool2d(regions, 2, return_indices=True)  # of each 2 x 2 quarters
        chosen = F.max_unpool2d(chosen, winners, [2, 2])  # the parent's mark moves to its winning quarter
    return chosen[:, 0]


# First layer of torchvision's `vgg16_bn.features` in each of the authors' five parts.
ENCODER_PARTS = (0, 6, 13, 23, 33)
BRANCHES = {
    "branch1x1": (0, 0),
    "branch1x1_1": (0, 3),
    "branch3x3_1": (1, 0),
    "branch3x3_2": (1, 3),
    "branch3x3dbl_1": (2, 0),
    "branch3x3dbl_2": (2, 3),
}


def published_to_ours(name: str) -> str:
    """A parameter's name in the authors' release -> its name here; a name of neither kind is returned as it is."""
    part, *rest = name.split(".")
    match = re.fullmatch(r"(features|de_pred|density_head|confidence_head)([1-5])", part)
    if match is None or len(rest) < 2:
        return name
    kind, level = match[1], int(match[2]) - 1
    index, leaf = rest[0], rest[-1]
    if kind == "features":
        return f"encoder.features.{ENCODER_PARTS[level] + int(index)}.{leaf}"
    if kind == "density_head" and index == "0":
        branch, layer = BRANCHES[rest[1]]
        return f"density_heads.{level}.0.branches.{branch}.{layer + (rest[2] == 'bn')}.{leaf}"
    if kind == "density_head":
        return f"density_heads.{level}.1.{leaf}"
    ours = {"de_pred": "decoders", "confidence_head": "confidence_heads"}[kind]
    return f"{ours}.{level}.{2 * int(index)}.{leaf}"
