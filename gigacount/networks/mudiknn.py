"""MUD-ikNN: multi-scale upsampling of DenseNet-201 features, trained on inverse k-nearest-neighbour maps.

Olmschenk, Tang, Zhu: "Improving Dense Crowd Counting Convolutional Neural Networks using Inverse k-Nearest Neighbor
Maps and Multiscale Upsampling", VISAPP 2020. What its first pages leave open follows the authors' public code
(golmschenk/sr-gan, branch iknn-extended).

The network sees 224 x 224 px and gives a count and three maps of the distance to the nearest heads, one for each
DenseNet transition. An ikNN map does not sum to a count: the count of a window is spread over the window instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from gigacount.errors import UsageError
from gigacount.geometry import Size
from gigacount.labels import adaptive_sigmas, gaussian_density, iknn_map
from gigacount.networks.base import Floats, Network, Prediction, Targets, pad_to_multiple, renamed
from gigacount.networks.csrnet import BACK_END, csrnet_backend
from gigacount.networks.densenet import DenseNet201
from gigacount.networks.peaks import find_peaks, points_to_cells
from gigacount.networks.vgg import VGG16
from gigacount.networks.windows import Tiling, mean_over_windows

SIDE = 224  # px, of all that the network sees at once
WINDOWS = Tiling((SIDE, SIDE), (128, 128), batch=8)
STRIDE = 8
PEAK_THRESHOLD = 0.25  # 1 / (d + 1): heads known to 3 px; chosen by us, the paper locates nobody

# The public code has two values, 1 and 1e-6. The map term is a squared sum over 50,176 px: with 1 it is all there is.
MAP_WEIGHT = 1e-6
DENSITY_NEIGHBOURS = 10


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
    label: what the maps are taught, "iknn" or the "density" that the paper compares it with: a Gaussian a head, of
        `beta` times the mean distance to its ten nearest heads, that sums to 1. Its peaks are not taken for heads.
    features: "densenet", or "csrnet": one map module behind CSRNet's last features, in the place of its output (the
        paper's "drop-in replacement"); 16,295,258 parameters.
    """

    stride = STRIDE
    no_graph = "it looks through windows whose number follows from the image's size"
    locates = True
    only_with = MappingProxyType({"k": ("label", ("iknn",)), "beta": ("label", ("density",))})
    mean = std = (0.5, 0.5, 0.5)

    def __init__(
        self,
        k: int = 1,
        spread: Literal["map", "even"] = "map",
        label: Literal["iknn", "density"] = "iknn",
        beta: float = 0.3,
        features: Literal["densenet", "csrnet"] = "densenet",
    ) -> None:
        super().__init__()
        if k < 1:
            raise UsageError(f"MUD-ikNN's k is at least 1, not {k}")
        self.k, self.spread, self.label, self.beta = k, spread, label, beta
        self.locates = label == "iknn"
        self.encoder: DenseNet201 | VGG16 = DenseNet201() if features == "densenet" else VGG16(convs=10)
        if isinstance(self.encoder, DenseNet201):
            *channels, last = self.encoder.out_channels
            self.count = nn.Conv2d(last, 1, 1)
        else:
            self.backend = csrnet_backend(self.encoder.out_channels)
            channels = [BACK_END[-1]]
        self.map_modules = nn.ModuleList(MapModule(c, s) for c, s in zip(channels, (8, 16, 32), strict=False))

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, 224, 224) -> counts (N,), the sum of four, or of one; as many maps less one, or one, of that size."""
        if isinstance(self.encoder, DenseNet201):
            *taps, last = self.encoder(windows)
            counts = [F.leaky_relu(self.count(last.mean((2, 3), keepdim=True)))]  # (N, 1, 1, 1); mean: 7x7 pooling
        else:
            taps, counts = [self.backend(self.encoder(windows))], []  # (N, 64, 28, 28)
        maps = []
        for module, features in zip(self.map_modules, taps, strict=True):
            label, count = module(features)
            maps.append(label)
            counts.append(count)
        return torch.stack(counts).sum(0).float().flatten(), torch.cat(maps, dim=1).float()

    def predict(self, images: Tensor, locate: bool = False) -> Prediction:
        """Windows of 224 px every 128 px, the last flush with the border; the mean where they overlap.

        Heads are the peaks of the mean map, which says 1 / (distance to the nearest head + 1): so with k = 1 only.
        """
        height, width = images.shape[-2:]
        marked = torch.cat([images, torch.ones_like(images[:, :1])], dim=1)  # the fourth channel is 0 on padding
        padded = F.pad(marked, (0, max(SIDE - width, 0), 0, max(SIDE - height, 0)))
        people, iknn = mean_over_windows(padded, self._look, WINDOWS)[..., :height, :width].unbind(1)
        cells = F.avg_pool2d(pad_to_multiple(people[:, None], STRIDE), STRIDE)[:, 0] * STRIDE**2
        points = [find_peaks(one, PEAK_THRESHOLD) for one in iknn] if locate and self.locates else None
        return Prediction(cells, points)

    def _look(self, marked: Tensor) -> Tensor:
        """(N, 4, 224, 224), the image and where it is -> people per pixel and ikNN map (N, 2, 224, 224)."""
        images, inside = marked[:, :3], marked[:, 3].float()
        counts, maps = self(images)
        iknn = maps.mean(1)
        weights = iknn * inside if self.spread == "map" else inside
        return torch.stack([spread(counts, weights, inside), iknn], dim=1)

    def targets(self, points_xy: Floats, size_wh: Size, boxes_xyxy: Floats | None = None) -> Targets:
        """`label` the map for this network, `heads` the heads in each pixel; both (H, W)."""
        label = iknn_map(points_xy, size_wh, self.k) if self.label == "iknn" else self._density(points_xy, size_wh)
        return {"label": label, "heads": points_to_cells(points_xy, size_wh[::-1], 1).numpy()}

    def _density(self, points_xy: Floats, size_wh: Size) -> NDArray[np.float32]:
        """The public code's density: kernels cut at two sigmas, at most a quarter of the image's mean side wide."""
        sigmas = np.minimum(adaptive_sigmas(points_xy, size_wh, self.beta, DENSITY_NEIGHBOURS), sum(size_wh) / 8)
        reach = int(np.ceil(2 * sigmas.max(initial=0)))
        return gaussian_density(points_xy, size_wh, sigmas, radius=reach)

    def loss(self, images: Tensor, targets: dict[str, Tensor]) -> Tensor:
        """mean_b (C - n)^2 + lambda mean_b (sum_xy mean_j |M_j - label|)^2 over windows of 224 px.

        A crop of another size is cut into windows without overlap, the last ones filled up with zeros.
        """
        inside = torch.ones_like(images[:, 0])
        windows = to_windows(images)
        heads, label, inside = (to_windows(x[:, None])[:, 0] for x in (targets["heads"], targets["label"], inside))
        counts, maps = self(windows)
        count_error = (counts - heads.sum((1, 2))) ** 2  # (N,)
        map_error = ((maps - label[:, None]).abs().mean(1) * inside).sum((1, 2)) ** 2  # (N,)
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


def to_windows(images: Tensor) -> Tensor:
    """(B, C, H, W) -> (N, C, 224, 224), padded right and bottom with zeros where 224 does not divide the sides."""
    padded = pad_to_multiple(images, SIDE)
    b, c, h, w = padded.shape
    grid = padded.reshape(b, c, h // SIDE, SIDE, w // SIDE, SIDE).permute(0, 2, 4, 1, 3, 5)
    return grid.flatten(0, 2)  # (B rows cols, C, 224, 224)


def spread(counts: Tensor, weights: Tensor, inside: Tensor) -> Tensor:
    """People per pixel (N, H, W): each count, at least 0, in proportion to its weights, or evenly where all are 0."""
    weights = weights.clamp(min=0)
    weights = torch.where(weights.sum((1, 2), keepdim=True) > 0, weights, inside)
    return counts.clamp(min=0)[:, None, None] * weights / weights.sum((1, 2), keepdim=True)
