"""DeepCount: a network that regresses the count itself, taught by five density branches that it can do without.

"Deep Density-aware Count Regressor" (Chen et al., ECAI 2020); numbers of layers, tables and equations are the paper's.
The backbone turns a tile of 512 x 384 px into one number. In training, five branches reach back into it at strides
8 to 128 and make it aware of where people are; in use, one of them may be asked to spread the count, or none.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gigacount.density import between, cell_edges
from gigacount.errors import UsageError
from gigacount.geometry import Size
from gigacount.labels import gaussian_density
from gigacount.networks.base import Floats, Network, Prediction, Targets
from gigacount.networks.vgg import VGG16

STRIDE = 8
COARSEST = 128  # px, stride of the last feature map
TILE_WH = (512, 384)
SIGMA = 5  # px, of the Gaussians in the targets
LEAK = 0.2  # alpha in eq. 4
BRANCHES = 5

BETA = 16  # eq. 2: weight of the count against the five maps
OMEGA = 1e-2  # eq. 3: brings the loss to a handy size
LAMBDA = 1e-5  # eq. 3: L2 regularisation; in the loss, so the optimiser needs no weight decay


class DeepCount(Network):
    """Count regressor: 21,403,201 parameters in use, 36,706,565 more in the branches.

    density_branch: 1 to 5, the branch (stride 8, 16, 32, 64 or 128) whose map spreads a tile's count; 0 runs no branch,
        the fastest, and spreads the count evenly over the tile. The parameters are the same for all.
    tile_wh: size of a tile, multiples of 128 px; another than the paper's gives another number of parameters.
    count_from: "backbone" scales the branch's map to the backbone's count, which table 7 has as the better; "branch"
        takes the map as it is.
    slope: of the leaky ReLUs below 0; 0 makes them ReLUs (table 8).
    detached: so many branches, from the largest on, are not there (table 9).

    Raises UsageError for a branch or a tile that cannot be.
    """

    stride = STRIDE
    no_graph = "it looks through tiles whose number follows from the image's size"

    def __init__(
        self,
        density_branch: int = 1,
        tile_wh: Size = TILE_WH,
        count_from: Literal["backbone", "branch"] = "backbone",
        slope: float | int = LEAK,
        detached: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= detached <= BRANCHES:
            raise UsageError(f"DeepCount has {BRANCHES} branches that may be detached, not {detached}")
        there = range(detached + 1, BRANCHES + 1)
        if density_branch not in ((0, *there) if count_from == "backbone" else there):
            choices = f"{there[0]} to {BRANCHES}" if there else "none"
            raise UsageError(f"DeepCount has density branches {choices} here, not {density_branch}; set density_branch")
        if any(side <= 0 or side % COARSEST for side in tile_wh):
            raise UsageError(f"a DeepCount tile has sides that are multiples of {COARSEST} px, not {tile_wh}")
        self.density_branch, self.count_from = density_branch, count_from
        self.tile_wh = (tile_wh[0], tile_wh[1])
        self.crop_wh = self.tile_wh
        cells_hw = (tile_wh[1] // COARSEST, tile_wh[0] // COARSEST)  # 3 x 4
        self.encoder = VGG16(convs=10)  # table 1, layer 1
        self.features = nn.ModuleList([convs(slope, conv(512, 256))])  # layer 2
        for _ in range(4):  # layers 3 to 10
            self.features.append(convs(slope, Halve(256, 512), conv(512, 256)))
        self.vector = convs(slope, nn.Conv2d(256, 1024, cells_hw))  # layer 11
        self.count = convs(slope, nn.Conv2d(1024, 1, 1))  # layer 12
        self.branches = nn.ModuleDict(  # by number from 0
            {str(n): Branch(BRANCHES - 1 - n, cells_hw, slope) for n in range(detached, BRANCHES)}
        )

    def forward(self, tiles: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Tiles (N, 3, 384, 512) -> counts (N,) and maps (N, 48, 64), (N, 24, 32) ... (N, 3, 4), all float32."""
        counts, vector, features = self.backbone(tiles)
        return counts, [branch(vector, features) for branch in self.branches.values()]

    def backbone(self, tiles: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Tiles (N, 3, 384, 512) -> counts (N,), the last vector (N, 1024, 1, 1), and features at strides 128 ... 8."""
        x = self.encoder(tiles)  # (N, 512, 48, 64)
        features = []
        for layer in self.features:
            x = layer(x)  # (N, 256, 48, 64), (N, 256, 24, 32) ... (N, 256, 3, 4)
            features.append(x)
        vector = self.vector(x)  # (N, 1024, 1, 1)
        return self.count(vector).float().flatten(), vector, features[::-1]

    def predict(self, images: Tensor, locate: bool = False) -> Prediction:
        """Count by division and combination: whole tiles over the image, resized where they do not come out even.

        The tiles' densities are laid together and shared out over cells of 8 px; none of their people is lost.
        """
        height, width = images.shape[-2:]
        rows, cols = tiling((width, height), self.tile_wh)
        tiles = divide(images, rows, cols, self.tile_wh)
        counts, vector, features = self.backbone(tiles)
        spread = torch.ones_like(counts).view(-1, 1, 1)
        if self.density_branch:
            spread = self.branches[str(self.density_branch - 1)](vector, features)
        if self.count_from == "backbone":
            spread = F.relu(counts).view(-1, 1, 1) * normalise(spread)
        return Prediction(to_cells(combine(spread, rows, cols), (width, height)))

    def targets(self, points_xy: Floats, size_wh: Size, boxes_xyxy: Floats | None = None) -> Targets:
        """`density` (48, 64) of a tile, people per cell of 8 px; its sums are the other branches' and the count."""
        return {"density": gaussian_density(points_xy, size_wh, SIGMA, STRIDE)}

    def loss(self, images: Tensor, targets: dict[str, Tensor]) -> Tensor:
        """Eq. 3 for a batch of tiles. Raises UsageError for images of another size."""
        if images.shape[-2:] != self.tile_wh[::-1]:
            shape = f"{images.shape[-1]}x{images.shape[-2]}"
            raise UsageError(f"DeepCount trains on crops of {self.tile_wh[0]}x{self.tile_wh[1]} pixels, not {shape}")
        counts, maps = self(images)
        squared_norm = torch.stack([parameter.square().sum() for parameter in self.parameters()]).sum()
        return OMEGA * density_aware_loss(counts, maps, targets["density"]) + LAMBDA / 2 * squared_norm


class Halve(nn.Module):
    """3 x 3 convolution of stride 2 that pads the right and bottom only, as the authors' TensorFlow does."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        halved: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return halved


class Branch(nn.Module):
    """Upsampling from the last vector, taking in the backbone's features of each stride on the way (table 1).

    steps: doublings after the first map of 3 x 4 cells: 4 for branch 1, 0 for branch 5.
    """

    def __init__(self, steps: int, cells_hw: tuple[int, int], slope: float) -> None:
        super().__init__()
        self.steps = nn.ModuleList([convs(slope, nn.ConvTranspose2d(1024, 256, cells_hw))])
        for _ in range(steps):
            self.steps.append(convs(slope, nn.ConvTranspose2d(512, 256, 4, stride=2, padding=1)))
        self.density = convs(slope, nn.Conv2d(512, 1, 1))

    def forward(self, vector: Tensor, features: list[Tensor]) -> Tensor:
        """(N, 1024, 1, 1) and features at strides 128, 64 ... 8 -> people per cell (N, rows, cols) float32."""
        x = vector
        for step, feature in zip(self.steps, features, strict=False):
            x = torch.cat([step(x), feature], 1)  # (N, 256 + 256, 3, 4), (N, 512, 6, 8) ... (N, 512, 48, 64)
        density: Tensor = self.density(x)  # (N, 1, rows, cols)
        return density[:, 0].float()


def conv(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1)


def convs(slope: float, *layers: nn.Module) -> nn.Sequential:
    """Convolutions, each followed by a leaky ReLU of this slope (eq. 4), with Xavier weights and no bias at the start.

    The gain makes up for what a leaky ReLU holds back: 1/20, not 1/500, of the signal reaches the last vector.
    """
    gain = nn.init.calculate_gain("leaky_relu", slope)
    sequence = nn.Sequential(*(part for layer in layers for part in (layer, nn.LeakyReLU(slope))))
    for module in sequence.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(module.weight, gain)
            nn.init.zeros_(module.get_parameter("bias"))
    return sequence


def density_aware_loss(counts: Tensor, maps: list[Tensor], density: Tensor) -> Tensor:
    """The bracket of eq. 3: L1 errors of counts (N,), times beta, and of maps (N, 48, 64) ... (N, 3, 4), over 2 N."""
    total = BETA * (counts - density.sum((1, 2))).abs().sum()
    for predicted in maps:
        side = density.shape[1] // predicted.shape[1]  # 1, 2 ... 16 cells
        total = total + (predicted - side**2 * F.avg_pool2d(density, side)).abs().sum()
    return total / (2 * len(counts))


def tiling(size_wh: Size, tile_wh: Size) -> tuple[int, int]:
    """Rows and columns of tiles for an image: the nearest whole number of columns, then of rows at that scale."""
    cols = max(1, round(size_wh[0] / tile_wh[0]))
    scale = cols * tile_wh[0] / size_wh[0]
    return max(1, round(size_wh[1] * scale / tile_wh[1])), cols


def divide(images: Tensor, rows: int, cols: int, tile_wh: Size) -> Tensor:
    """(B, 3, H, W) -> tiles (B * rows * cols, 3, 384, 512), of the image resized if need be."""
    size_hw = rows * tile_wh[1], cols * tile_wh[0]
    if images.shape[-2:] != size_hw:
        images = F.interpolate(images, size=size_hw, mode="bilinear", align_corners=False, antialias=True)
    tiles = images.reshape(len(images), 3, rows, tile_wh[1], cols, tile_wh[0])
    return tiles.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def combine(tiles: Tensor, rows: int, cols: int) -> Tensor:
    """(B * rows * cols, h, w) -> (B, rows * h, cols * w), the inverse of `divide`."""
    grid = tiles.reshape(-1, rows, cols, *tiles.shape[1:])
    return grid.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def normalise(maps: Tensor) -> Tensor:
    """Shares (N, h, w) that sum to 1 in proportion to the positive part of `maps`; even where that is nothing."""
    positive = F.relu(maps)
    sums = positive.sum((1, 2), keepdim=True)
    even = torch.full_like(positive, 1 / positive[0].numel())
    return torch.where(sums > 0, positive / sums.clamp(min=torch.finfo(sums.dtype).tiny), even)


def to_cells(density: Tensor, size_wh: Size) -> Tensor:
    """Share out a grid (B, rows, cols) of people over the whole image to cells of 8 px: (B, ceil(H/8), ceil(W/8))."""
    shares = []
    for parts, length in zip(density.shape[1:], size_wh[::-1], strict=True):
        matrix = between(cell_edges(-(-length // STRIDE), STRIDE, length), np.eye(parts), length)
        shares.append(torch.from_numpy(matrix.astype(np.float32)).to(density.device))
    with torch.autocast(density.device.type, enabled=False):  # or the products would be rounded to bf16
        return shares[0] @ density @ shares[1].T
