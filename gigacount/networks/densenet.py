"""DenseNet-201 (Huang et al. 2017), its layers named as in torchvision's state dict."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gigacount.networks.base import Backbone

GROWTH = 32
BOTTLENECK = 4
BLOCKS = (6, 12, 48, 32)
STEM_CHANNELS = 64

# The file that torchvision offers for download is older than its own names: "denselayer1.norm.1", now "norm1".
OLD_NAME = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d)")


class DenseLayer(nn.Module):
    """Batch norm, ReLU, 1x1 convolution, twice over with 3x3; the input is kept in front of the 32 new channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, BOTTLENECK * GROWTH, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(BOTTLENECK * GROWTH)
        self.conv2 = nn.Conv2d(BOTTLENECK * GROWTH, GROWTH, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv1(F.relu(self.norm1(x), inplace=True))
        new = self.conv2(F.relu(self.norm2(new), inplace=True))
        return torch.cat([x, new], dim=1)


class Transition(nn.Module):
    """Batch norm, ReLU, 1x1 convolution to half the channels, 2x2 mean pooling."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.conv(F.relu(self.norm(x), inplace=True)), 2)


class DenseNet201(Backbone):
    """DenseNet-201 without its classifier: 18,092,928 parameters.

    `forward` takes (B, 3, H, W) and returns the outputs of the three transitions and of the last, normalised block:
    128 channels at stride 8, 256 at 16, 896 at 32, and 1920 at 32.
    """

    out_channels = (128, 256, 896, 1920)

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential()
        self.features.add_module("conv0", nn.Conv2d(3, STEM_CHANNELS, 7, stride=2, padding=3, bias=False))
        self.features.add_module("norm0", nn.BatchNorm2d(STEM_CHANNELS))
        self.features.add_module("relu0", nn.ReLU(inplace=True))
        self.features.add_module("pool0", nn.MaxPool2d(3, stride=2, padding=1))
        channels = STEM_CHANNELS
        for number, layers in enumerate(BLOCKS, start=1):
            block = nn.Sequential()
            for layer in range(1, layers + 1):
                block.add_module(f"denselayer{layer}", DenseLayer(channels))
                channels += GROWTH
            self.features.add_module(f"denseblock{number}", block)
            if number < len(BLOCKS):
                self.features.add_module(f"transition{number}", Transition(channels))
                channels //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> list[Tensor]:
        taps = []
        for name, layer in self.features.named_children():
            x = layer(x)
            if name.startswith("transition"):
                taps.append(x)
        return [*taps, F.relu(x)]  # (B, 128, H/8, W/8), (B, 256, H/16, ...), (B, 896, H/32, ...), (B, 1920, H/32, ...)

    @classmethod
    def rename_published(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Under the names of torchvision's code, from those of its older download."""
        return {OLD_NAME.sub(r"\1\2", name): tensor for name, tensor in state.items()}
