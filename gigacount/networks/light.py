"""The default light network: one pass of a MobileNetV2 feature pyramid gives people per cell and head positions.

Encoder: MobileNetV2 (ImageNet). Decoder: features at strides 32, 16, 8 brought to one width, upsampled and added.
Features at stride 4, from the first stages of the encoder and the decoder, give the heads: a centre heat map and the
k = 1 ikNN map. Density: stride 8, softplus, so non-negative, read from the features at strides 8 and 4: people a few
pixels high are hardly in the former.

Density loss: Poisson log-likelihood of the head counts in square blocks of 8, 16, 32 and 64 px (`HeadCounts`).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor, nn
from torch.nn import functional as F

from gigacount.errors import UsageError
from gigacount.networks.backbones import MobileNetV2
from gigacount.networks.base import Augmentation, Network, PeopleFree, Prediction, Recipe, crop_cells, pad_to_multiple
from gigacount.networks.density import SPARSE, HeadCounts

STRIDE = 8
POINT_STRIDE = 4
SQUARE = 32  # px
SURE = 0.15
"""How sure of a head the heat map must be somewhere near for anybody to be counted: enlarged texture with a trace of
density everywhere and heads nowhere counted as a person or two."""
SOMEBODY = 0.7
"""How many people there must be within 3 x 3 squares somewhere near for anybody to be counted: a fifth of the false
people that were left on enlarged pictures were parts of one with nobody beside."""
FAINTEST = 0.05  # peaks below this score are never heads; the record's threshold is higher


class Light(Network):
    """MobileNetV2 + feature pyramid: 2.35 M parameters, about 14,000 multiply-accumulates a pixel.

    width, point_width: channels of the decoder at strides 8 to 32, and at 4. Raises UsageError for less than one.
    """

    stride = STRIDE
    locates = True
    exact = ("density", "detail")
    teaching = HeadCounts()
    hint_layers = (("merge4", 4), ("merge8", 8))
    recipe = Recipe(
        optimiser="adamw",
        lr=1.5e-3,
        backbone_lr=3e-4,
        weight_decay=1e-4,
        crop_wh=(384, 384),
        batch=8,
        schedule="cosine",
        warm_up=200,
        # Crops of one batch come from unlike data sets; counts in inference, by running statistics of batch norm,
        # stayed 14 % below those by the batch's own until training, too, used the former.
        freeze=0.7,
        ema=0.999,
        # The likelihood pulls without bound where people are missed, and never harder than 1 where there are none:
        # clipping at 5 cut the first more than the second, and undercounted by 14 % on part B.
        clip=50.0,
        augmentation=Augmentation(
            flip=0.5,
            grey=0.1,
            gamma=(0.6, 1.6),
            gamma_probability=0.4,
            tint=0.2,
            scale=(0.5, 3),
            stretch=0.3,
            native=0.4,
            # Crops with over 80 heads are a 25th of those of part B and hold a quarter of its heads; they were the
            # ones that were undercounted, by a ninth.
            crowd=0.35,
            people_free=PeopleFree(close_up=1.6, turn=0.75, swap=0.3, pair=0.25),
            # Texture enlarged by one kernel alone was mistaken for heads seven times as often enlarged by the other.
            kernels=("bilinear", "bicubic"),
        ),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )

    def __init__(self, width: int = 128, point_width: int = 48) -> None:
        super().__init__()
        if min(width, point_width) < 1:
            raise UsageError(f"the light network's widths are at least 1, not {width} and {point_width}")
        self.encoder = MobileNetV2()
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
        self.points = nn.Conv2d(point_width, 2, 1)
        nn.init.zeros_(self.detail.weight)
        nn.init.constant_(self.density.get_parameter("bias"), SPARSE)
        nn.init.constant_(self.points.get_parameter("bias"), -3.0)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W), sides multiples of 32 -> density (B, 1, H/8, W/8), heat and ikNN logits (B, 2, H/4, W/4)."""
        x4, x8, x16, x32 = self.encoder(images)
        p16 = self.merge16(self.lateral16(x16) + upsample2(self.lateral32(x32)))  # (B, 128, H/16, W/16)
        p8 = self.merge8(self.lateral8(x8) + upsample2(p16))  # (B, 128, H/8, W/8)
        p4 = self.merge4(self.lateral4(x4) + upsample2(self.shrink8(p8)))  # (B, 48, H/4, W/4)
        with torch.autocast(images.device.type, enabled=False):
            output = self.density(p8.float()) + self.detail(p4.float())  # (B, 1, H/8, W/8)
        return self.teaching.density(output), self.points(p4).float()

    def predict(self, images: Tensor, locate: bool = False) -> Prediction:
        density, maps = self(pad_to_multiple(images, 32))
        cells = self.teaching.counted(density[:, 0])
        cells = cells.where(in_sight(maps[:, 0], cells), 0)
        cells = crop_cells(cells, images, STRIDE)
        if not locate:
            return Prediction(cells)
        heat = torch.sigmoid(crop_cells(maps[:, 0], images, POINT_STRIDE))
        inside = np.array([*reversed(images.shape[2:]), 1], np.float32)  # the last cell may reach past the picture
        return Prediction(cells, [np.minimum(peaks(picture), inside) for picture in heat])

    def targets(self, points_xy: NDArray[np.float64], size_wh: tuple[int, int]) -> dict[str, NDArray[np.float32]]:
        """`counts` (H/8, W/8) heads per cell, `heat` and `iknn` (H/4, W/4)."""
        heat, iknn = point_maps(points_xy, size_wh)
        return {**self.teaching.targets(points_xy, size_wh, STRIDE), "heat": heat, "iknn": iknn}

    def loss(self, images: Tensor, targets: dict[str, Tensor]) -> Tensor:
        density, maps = self(images)
        located = point_loss(maps, targets["heat"], targets["iknn"])
        return self.teaching.loss(density[:, 0], targets) + 0.25 * located


def in_sight(heat: Tensor, cells: Tensor) -> Tensor:
    """Where a head and somebody are near: logits (B, H/4, W/4), people (B, H/8, W/8) -> bool (B, H/8, W/8).

    H, W: multiples of 32. Near is in the same square of 32 px or in one of the 24 around it.
    """
    side = SQUARE // STRIDE
    surest = F.max_pool2d(heat, SQUARE // POINT_STRIDE)  # (B, H/32, W/32)
    people = F.avg_pool2d(cells, side) * side**2
    together = F.avg_pool2d(people, 3, stride=1, padding=1) * 3**2  # in the 3 x 3 squares around
    head = F.max_pool2d(surest, 5, stride=1, padding=2) > math.log(SURE / (1 - SURE))
    near = head & (F.max_pool2d(together, 3, stride=1, padding=1) > SOMEBODY)
    return near.repeat_interleave(side, 1).repeat_interleave(side, 2)


def conv_bn_relu(channels_in: int, channels_out: int) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True))


def upsample2(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def point_loss(maps: Tensor, heat: Tensor, iknn: Tensor) -> Tensor:
    """CenterNet's penalty-reduced focal loss for the heat map plus squared error of the ikNN map, per head."""
    heads = (heat == 1).sum().clamp(min=16)
    logits, p = maps[:, 0], torch.sigmoid(maps[:, 0])
    hit = torch.where(heat == 1, -((1 - p) ** 2) * F.logsigmoid(logits), 0)
    miss = torch.where(heat < 1, -((1 - heat) ** 4) * p**2 * F.logsigmoid(-logits), 0)
    squares = (torch.sigmoid(maps[:, 1]) - iknn) ** 2
    return (hit.sum() + miss.sum()) / heads + squares.mean() * 10


def point_maps(points_xy: NDArray[np.float64], size_wh: tuple[int, int]) -> tuple[NDArray[np.float32], ...]:
    """Centre heat map and k = 1 ikNN map at stride 4.

    Heat: 1 in the cell that holds a head, elsewhere a Gaussian of the distance to the nearest head whose sigma is a
    quarter of that head's spacing to its own neighbour, between 0.5 and 1.5 cells, so that neighbours stay apart.
    """
    rows, cols = size_wh[1] // POINT_STRIDE, size_wh[0] // POINT_STRIDE
    heat, iknn = np.zeros((rows, cols), np.float32), np.zeros((rows, cols), np.float32)
    if len(points_xy) == 0:
        return heat, iknn
    tree = cKDTree(points_xy)
    y, x = np.mgrid[0:rows, 0:cols]
    centres = (np.stack([x, y], -1).reshape(-1, 2) + 0.5) * POINT_STRIDE
    distance, nearest = (np.asarray(found) for found in tree.query(centres))
    spacing = np.asarray(tree.query(points_xy, 2)[0])[:, 1]  # inf for a single head
    sigma = np.clip(spacing / 4, 0.5 * POINT_STRIDE, 1.5 * POINT_STRIDE)[nearest]
    heat[:] = np.minimum(np.exp(-(distance**2) / (2 * sigma**2)), 0.99).reshape(rows, cols)
    iknn[:] = (1 / (distance + 1)).reshape(rows, cols)
    cells = (points_xy / POINT_STRIDE).astype(int)
    heat[cells[:, 1], cells[:, 0]] = 1
    return heat, iknn


def peaks(heat: Tensor) -> NDArray[np.float32]:
    """(N, 3) x, y (input pixels) and score of the local maxima of a heat map (rows, cols) at stride 4.

    The position within the cell comes from a parabola through the maximum and its two neighbours on each axis.
    """
    padded = F.pad(heat[None, None], (1, 1, 1, 1))
    around = padded[0, 0]
    # Equal neighbours, common in bf16, are one head: the first of them in reading order.
    before = torch.stack([around[:-2, :-2], around[:-2, 1:-1], around[:-2, 2:], around[1:-1, :-2]]).amax(0)
    summit = (heat == F.max_pool2d(padded, 3, 1)[0, 0]) & (heat > before) & (heat > FAINTEST)
    row, col = summit.nonzero(as_tuple=True)
    middle = heat[row, col]

    def shift(before: Tensor, after: Tensor) -> Tensor:
        return 0.5 * (after - before) / (2 * middle - before - after).clamp(min=1e-6)

    dx = shift(around[row + 1, col], around[row + 1, col + 2])
    dy = shift(around[row, col + 1], around[row + 2, col + 1])
    points = torch.stack([(col + 0.5 + dx) * POINT_STRIDE, (row + 0.5 + dy) * POINT_STRIDE, middle], 1)
    return points.float().cpu().numpy()
