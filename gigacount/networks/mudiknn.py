"""MUD-ikNN: multi-scale upsampling of DenseNet-201 features, trained on inverse k-nearest-neighbour maps.

Olmschenk, Tang, Zhu: "Improving Dense Crowd Counting Convolutional Neural Networks using Inverse k-Nearest Neighbor
Maps and Multiscale Upsampling", VISAPP 2020. What its first pages leave open follows the authors' public code
(golmschenk/sr-gan, branch iknn-extended).

The network sees 224 x 224 px and gives a count and three maps of the distance to the nearest heads, one for each
DenseNet transition. An ikNN map does not sum to a count: the count of a window is spread over the window instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gigacount.errors import UsageError
from gigacount.geometry import Size
from gigacount.labels import gaussian_density, iknn_map
from gigacount.networks.base import Floats, Network, Prediction, Targets, pad_to_multiple, renamed
from gigacount.networks.densenet import DenseNet201
from gigacount.networks.peaks import find_peaks
from gigacount.networks.windows import Windows, mean_over_windows

SIDE = 224  # px, of all that the network sees at once
WINDOWS = Windows((SIDE, SIDE), (128, 128), batch=8)
STRIDE = 8
PEAK_THRESHOLD = 0.25  # 1 / (d + 1): heads known to 3 px; chosen by us, the paper locates nobody

# The public code has two values, 1 and 1e-6. The map term is a squared sum over 50,176 px: with 1 it is all there is.
MAP_WEIGHT = 1e-6


class MapModule(nn.Module):
    """Features of 224 px at `stride` -> an ikNN map of full size and a count (figure 3, lower row)."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.upsample = nn.ConvTranspose2d(channels, 1, stride, stride)
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in ((1, 8), (8, 16), (16, 32)))
        self.count = nn.Conv2d(32, 1, SIDE // 8)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        iknn = F.leaky_relu(self.upsample(features))  # (N, 1, 224, 224)
        x = iknn
        for conv in self.shrink:
            x = F.leaky_relu(conv(x))  # (N, 8, 112, 112), (N, 16, 56, 56), (N, 32, 28, 28)
        return iknn, F.leaky_relu(self.count(x))  # (N, 1, 224, 224), (N, 1, 1, 1)


class MudIknn(Network):
    """MUD-ikNN: 19,169,295 parameters.

    k: neighbours of the training map; the paper's best is 1, and only its peaks are heads. Raises UsageError below 1.
    spread: how a window's count becomes people per pixel: "map", in proportion to the predicted map, so that people
        appear where heads are; "even", over the whole window, as the authors do when they add windows up.
    """

    stride = STRIDE
    no_graph = "it looks through windows whose number follows from the picture's size"
    locates = True
    mean = std = (0.5, 0.5, 0.5)

    def __init__(self, k: int = 1, spread: Literal["map", "even"] = "map") -> None:
        super().__init__()
        if k < 1:
            raise UsageError(f"MUD-ikNN's k is at least 1, not {k}")
        self.k = k
        self.spread = spread
        self.encoder = DenseNet201()
        strides = (8, 16, 32)
        channels = self.encoder.out_channels
        self.map_modules = nn.ModuleList(MapModule(c, s) for c, s in zip(channels[:3], strides, strict=True))
        self.count = nn.Conv2d(channels[3], 1, 1)

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, 224, 224) -> counts (N,), the sum of four; ikNN maps (N, 3, 224, 224)."""
        *taps, last = self.encoder(windows)
        counts = F.leaky_relu(self.count(last.mean((2, 3), keepdim=True)))  # (N, 1, 1, 1); mean is the 7x7 pooling
        maps = []
        for module, features in zip(self.map_modules, taps, strict=True):
            iknn, count = module(features)
            maps.append(iknn)
            counts = counts + count
        return counts.float().flatten(), torch.cat(maps, dim=1).float()

    def predict(self, images: Tensor, locate: bool = False) -> Prediction:
        """Windows of 224 px every 128 px, the last flush with the border; the mean where they overlap.

        Heads are the peaks of the mean map, which says 1 / (distance to the nearest head + 1): so with k = 1 only.
        """
        height, width = images.shape[-2:]
        marked = torch.cat([images, torch.ones_like(images[:, :1])], dim=1)  # the fourth channel is 0 on padding
        padded = F.pad(marked, (0, max(SIDE - width, 0), 0, max(SIDE - height, 0)))
        people, iknn = mean_over_windows(padded, self._look, WINDOWS)[..., :height, :width].unbind(1)
        cells = F.avg_pool2d(pad_to_multiple(people[:, None], STRIDE), STRIDE)[:, 0] * STRIDE**2
        points = [find_peaks(one, PEAK_THRESHOLD) for one in iknn] if locate else None
        return Prediction(cells, points)

    def _look(self, marked: Tensor) -> Tensor:
        """(N, 4, 224, 224), the picture and where it is -> people per pixel and ikNN map (N, 2, 224, 224)."""
        images, inside = marked[:, :3], marked[:, 3].float()
        counts, maps = self(images)
        iknn = maps.mean(1)
        weights = iknn * inside if self.spread == "map" else inside
        return torch.stack([spread(counts, weights, inside), iknn], dim=1)

    def targets(self, points_xy: Floats, size_wh: Size, boxes_xyxy: Floats | None = None) -> Targets:
        """`iknn` the map for this network's k, `heads` the heads in each pixel; both (H, W)."""
        return {"iknn": iknn_map(points_xy, size_wh, self.k), "heads": gaussian_density(points_xy, size_wh, sigma=0)}

    def loss(self, images: Tensor, targets: dict[str, Tensor]) -> Tensor:
        """mean_b (C - n)^2 + lambda mean_b (sum_xy mean_j |M_j - ikNN|)^2 over windows of 224 px.

        A crop of another size is cut into windows without overlap, the last ones filled up with zeros.
        """
        inside = torch.ones_like(images[:, 0])
        windows = to_windows(images)
        heads, iknn, inside = (to_windows(x[:, None])[:, 0] for x in (targets["heads"], targets["iknn"], inside))
        counts, maps = self(windows)
        count_error = (counts - heads.sum((1, 2))) ** 2  # (N,)
        map_error = ((maps - iknn[:, None]).abs().mean(1) * inside).sum((1, 2)) ** 2  # (N,)
        loss: Tensor = count_error.mean() + MAP_WEIGHT * map_error.mean()
        return loss

    @classmethod
    def rename_published(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The authors' code cuts DenseNet into four and numbers map modules and their layers from 1."""
        names = {
            "conv_layer1.": "encoder.features.",
            "dense_blocks.": "encoder.features.",
            "transition_layers.": "encoder.features.",
            "norm5.": "encoder.features.norm5.",
            "count_layer.": "count.",
        }
        for n in range(3):
            ours, theirs = f"map_modules.{n}.", f"map_module{n + 1}."
            names |= {
                theirs + "map_transposed_conv_layer.": ours + "upsample.",
                theirs + "count_layer.": ours + "count.",
            }
            names |= {f"{theirs}conv{layer + 1}.": f"{ours}shrink.{layer}." for layer in range(3)}
        return renamed(DenseNet201.rename_published(state), names)


def to_windows(pictures: Tensor) -> Tensor:
    """(B, C, H, W) -> (N, C, 224, 224), padded right and bottom with zeros where 224 does not divide the sides."""
    padded = pad_to_multiple(pictures, SIDE)
    b, c, h, w = padded.shape
    grid = padded.reshape(b, c, h // SIDE, SIDE, w // SIDE, SIDE).permute(0, 2, 4, 1, 3, 5)
    return grid.flatten(0, 2)  # (B rows cols, C, 224, 224)


def spread(counts: Tensor, weights: Tensor, inside: Tensor) -> Tensor:
    """People per pixel (N, H, W): each count in proportion to its non-negative weights, or evenly where all are 0.

    A count below 0, which the leaky output allows, is nobody.
    """
    weights = weights.clamp(min=0)
    weights = torch.where(weights.sum((1, 2), keepdim=True) > 0, weights, inside)
    return counts.clamp(min=0)[:, None, None] * weights / weights.sum((1, 2), keepdim=True)
