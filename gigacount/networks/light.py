"""The default light network: one pass of a feature pyramid gives people per cell and head positions.

Encoder: EfficientNet-Lite2 (ImageNet). Decoder: features at strides 32, 16, 8 brought to one width, upsampled and
added. Features at stride 4, from the encoder and the decoder, give the heads: a heat map of their centres. Density:
stride 8, softplus, so non-negative, read from the features at strides 8 and 4: people a few pixels high are hardly in
the former.

Loss: Poisson log-likelihood of the head counts in square blocks of 8, 16, 32 and 64 px (`HeadCounts`), and CenterNet's
focal loss for the heads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor, nn
from torch.nn import functional as F

from gigacount.errors import UsageError
from gigacount.geometry import Size
from gigacount.networks.base import Floats, Network, Prediction, Targets, crop_cells, pad_to_multiple
from gigacount.networks.density_network import SPARSE, HeadCounts
from gigacount.networks.efficientnet import EfficientNetLite2
from gigacount.networks.peaks import summits

STRIDE = 8
POINT_STRIDE = 4
SQUARE = 32  # px
REACH = 7  # cells, 4.7 sigmas of the widest Gaussian: there it is 2e-5
MIN_HEAD_PROBABILITY = 0.15
"""How sure of a head the heat map must be somewhere near for anybody to be counted: enlarged texture with a trace of
density everywhere and heads nowhere counted as a person or two."""
MIN_PEOPLE = 0.3
"""How many people there must be within 3 x 3 squares somewhere near for anybody to be counted: what is left on
people-free images are parts of one with nobody beside. With 0.7 a tenth more of the people seen from above, who
stand alone, were lost."""


class Light(Network):
    """EfficientNet-Lite2 + feature pyramid: 4.89 M parameters, 19,700 multiply-accumulates a pixel.

    width, point_width: channels of the decoder at strides 8 to 32, and at 4. Raises UsageError for less than one.
    """

    stride = STRIDE
    locates = True
    exact = ("density", "detail", "points")
    teaching = HeadCounts()
    hint_layers = (("merge4", 4), ("merge8", 8))
    mean = (127 / 255,) * 3
    std = (128 / 255,) * 3

    def __init__(self, width: int = 128, point_width: int = 48) -> None:
        super().__init__()
        if min(width, point_width) < 1:
            raise UsageError(f"the light network's widths are at least 1, not {width} and {point_width}")
        self.encoder = EfficientNetLite2()
        c4, c8, c16, c32 = self.encoder.out_channels
        self.lateral32 = nn.Conv2d(c32, width, 1)
        self.lateral16 = nn.Conv2d(c16, width, 1)
        self.lateral8 = nn.Conv2d(c8, width, 1)
        self.merge16 = conv_bn_relu(width, width)
        self.merge8 = nn.Sequential(conv_bn_relu(width, width), conv_bn_relu(width, width))
        self.density = nn.Conv2d(width, 1, 1)
        self.detail = nn.Conv2d(point_width, 1, 2, stride=2, bias=False)
        self.lateral4 = nn.Conv2d(c4, point_width, 1)
        self.shrink8 = nn.Conv2d(width, point_width, 1)
        self.merge4 = nn.Sequential(conv_bn_relu(point_width, point_width), conv_bn_relu(point_width, point_width))
        self.points = nn.Conv2d(point_width, 1, 1)
        nn.init.zeros_(self.detail.weight)
        nn.init.constant_(self.density.get_parameter("bias"), SPARSE)
        nn.init.constant_(self.points.get_parameter("bias"), SPARSE)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W), sides multiples of 32 -> people per cell (B, H/8, W/8), logits of heads (B, H/4, W/4)."""
        x4, x8, x16, x32 = self.encoder(images)
        p16 = self.merge16(self.lateral16(x16) + upsample2(self.lateral32(x32)))  # (B, 128, H/16, W/16)
        p8 = self.merge8(self.lateral8(x8) + upsample2(p16))  # (B, 128, H/8, W/8)
        p4 = self.merge4(self.lateral4(x4) + upsample2(self.shrink8(p8)))  # (B, 48, H/4, W/4)
        with torch.autocast(images.device.type, enabled=False):
            output = self.density(p8.float()) + self.detail(p4.float())  # (B, 1, H/8, W/8)
            heads = self.points(p4.float())  # (B, 1, H/4, W/4)
        return self.teaching.density(output[:, 0]), heads[:, 0]

    def predict(self, images: Tensor, locate: bool = False) -> Prediction:
        density, heads = self(pad_to_multiple(images, SQUARE))
        cells = self.teaching.counted(density)
        cells = cells.where(in_sight(heads, cells), 0)
        cells = crop_cells(cells, images, STRIDE)
        if not locate:
            return Prediction(cells)
        heat = torch.sigmoid(crop_cells(heads, images, POINT_STRIDE))
        return Prediction(cells, summits(heat, images, POINT_STRIDE))

    def targets(self, points_xy: Floats, size_wh: Size, boxes_xyxy: Floats | None = None) -> Targets:
        """`heads` (N, 3): x, y and the distance to the nearest other head, in pixels; infinite for a single one."""
        nearest = np.asarray(cKDTree(points_xy).query(points_xy, 2)[0])[:, 1:] if len(points_xy) else np.zeros((0, 1))
        return {"heads": np.hstack([points_xy, nearest]).astype(np.float32)}

    def loss(self, images: Tensor, targets: dict[str, Tensor]) -> Tensor:
        counts, heat = head_maps(targets["heads"], images.shape[-2:])
        density, heads = self(pad_to_multiple(images, SQUARE))
        counted = self.teaching.loss(crop_cells(density, images, STRIDE), {"counts": counts})
        return counted + 0.25 * focal_loss(crop_cells(heads, images, POINT_STRIDE), heat)


def in_sight(heat: Tensor, cells: Tensor) -> Tensor:
    """Where a head and somebody are near: logits (B, H/4, W/4), people (B, H/8, W/8) -> bool (B, H/8, W/8).

    H, W: multiples of 32. Near is in the same square of 32 px or in one of the 24 around it.
    """
    side = SQUARE // STRIDE
    surest = F.max_pool2d(heat[:, None], SQUARE // POINT_STRIDE)  # (B, 1, H/32, W/32); ONNX pools no less than 4 axes
    people = F.avg_pool2d(cells[:, None], side) * side**2
    together = F.avg_pool2d(people, 3, stride=1, padding=1) * 3**2  # in the 3 x 3 squares around
    head = F.max_pool2d(surest, 5, stride=1, padding=2) > math.log(MIN_HEAD_PROBABILITY / (1 - MIN_HEAD_PROBABILITY))
    near = head & (F.max_pool2d(together, 3, stride=1, padding=1) > MIN_PEOPLE)
    near = near[:, 0]
    return near.repeat_interleave(side, 1).repeat_interleave(side, 2)


def conv_bn_relu(channels_in: int, channels_out: int) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True))


def upsample2(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def focal_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """CenterNet's penalty-reduced focal loss per head, of logits and heat map (B, h, w); at least 16 heads."""
    p = torch.sigmoid(logits)
    hit = torch.where(heat == 1, -((1 - p) ** 2) * F.logsigmoid(logits), 0)
    miss = torch.where(heat < 1, -((1 - heat) ** 4) * p**2 * F.logsigmoid(-logits), 0)
    return (hit.sum() + miss.sum()) / (heat == 1).sum().clamp(min=16)


@torch.no_grad()
def head_maps(heads: Tensor, size_hw: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Of heads (B, N, 3), x, y and distance to the next, rows of NaN for nobody: how many there are in each cell
    (B, ceil(H / 8), ceil(W / 8)), and where (B, ceil(H / 4), ceil(W / 4)), 1 in the cell that holds one.

    Elsewhere the latter is a Gaussian of the distance to the nearest head whose sigma is a quarter of that head's
    distance to its own neighbour, between 0.5 and 1.5 cells, so that neighbours stay apart; nothing beyond `REACH`.
    """
    there = ~heads[..., 0].isnan()
    image, found = there.nonzero()[:, 0], heads[there]  # (M,), (M, 3)

    def empty(stride: int, value: float = 0.0) -> Tensor:
        return heads.new_full((len(heads), *(-(-side // stride) for side in size_hw)), value)

    def cells(maps: Tensor, stride: int) -> tuple[Tensor, Tensor]:
        """Rows and columns (M, 1) of the cells that hold the heads; rounding may put one beyond the last."""
        rows, cols = maps.shape[1:]
        col, row = ((found[:, axis, None] / stride).long() for axis in (0, 1))
        return row.clamp(max=rows - 1), col.clamp(max=cols - 1)

    def places(maps: Tensor, row: Tensor, col: Tensor) -> Tensor:
        """Where rows (M, n) and columns (M, m) meet in the flattened maps: (M, n, m); outside of them at the border."""
        rows, cols = maps.shape[1:]
        first = (image[:, None] * rows + row.clamp(0, rows - 1)) * cols
        return first[:, :, None] + col.clamp(0, cols - 1)[:, None]

    def squares(cell: Tensor, length: int, at: Tensor) -> Tensor:
        """Squared distances from heads to the middles of cells (M, n) along a side; infinite outside."""
        return ((cell + 0.5) * POINT_STRIDE - at).square().where((cell >= 0) & (cell < length), math.inf)

    counts, heat, nearest = empty(STRIDE), empty(POINT_STRIDE), empty(POINT_STRIDE, math.inf)
    ones = heads.new_ones(len(found))
    counts.view(-1).index_add_(0, places(counts, *cells(counts, STRIDE)).flatten(), ones)
    row, col = cells(heat, POINT_STRIDE)
    own, around = places(heat, row, col).flatten(), torch.arange(-REACH, REACH + 1, device=heads.device)
    row, col = row + around, col + around
    x, y = squares(col, heat.shape[2], found[:, :1]), squares(row, heat.shape[1], found[:, 1:2])
    at, distance = places(heat, row, col).flatten(), (y[:, :, None] + x[:, None]).flatten()
    nearest.view(-1).scatter_reduce_(0, at, distance, "amin")
    sigma = (found[:, 2] / 4).clamp(0.5 * POINT_STRIDE, 1.5 * POINT_STRIDE).repeat_interleave(len(around) ** 2)
    near = torch.exp(-distance / (2 * sigma**2)).clamp(max=0.99).where(distance == nearest.view(-1)[at], 0)
    heat.view(-1).scatter_reduce_(0, at, near, "amax").scatter_reduce_(0, own, ones, "amax")
    return counts, heat
