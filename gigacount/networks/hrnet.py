"""HRNet-W48 (Wang et al. 2020), its layers named as in the authors' state dicts (HRNetV2-W48, ImageNet).

Four branches at strides 4, 8, 16 and 32 run side by side and exchange features after every module.
"""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gigacount.networks.base import Backbone

WIDTHS = (48, 96, 192, 384)  # channels at strides 4, 8, 16, 32
MODULES = {2: 1, 3: 4, 4: 3}  # stage, which has as many branches -> modules
BLOCKS = 4  # of each branch in a module, and of the first stage
MOMENTUM = 0.01


def conv_bn(channels: tuple[int, int], kernel: int, stride: int = 1, relu: bool = False) -> nn.Sequential:
    conv = nn.Conv2d(*channels, kernel, stride, padding=kernel // 2, bias=False)
    norm = nn.BatchNorm2d(channels[1], momentum=MOMENTUM)
    return nn.Sequential(conv, norm, nn.ReLU(inplace=True)) if relu else nn.Sequential(conv, norm)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the input added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn((channels, channels), 3)
        self.conv2, self.bn2 = conv_bn((channels, channels), 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + x, inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions from `channels` through 64 to 256, and the input added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn((channels, 64), 1)
        self.conv2, self.bn2 = conv_bn((64, 64), 3)
        self.conv3, self.bn3 = conv_bn((64, 256), 1)
        self.downsample = nn.Identity() if channels == 256 else conv_bn((channels, 256), 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x), inplace=True)


class Exchange(nn.Module):
    """One module: four blocks on each branch, then each branch becomes the sum of all, resized to it."""

    def __init__(self, branches: int) -> None:
        super().__init__()
        widths = WIDTHS[:branches]
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(c) for _ in range(BLOCKS))) for c in widths)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(fuse_layer(source, to) for source in range(branches)) for to in range(branches)
        )

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        xs = [branch(x) for branch, x in zip(self.branches, xs, strict=True)]
        fused = []
        for layers, x in zip(self.fuse_layers, xs, strict=True):
            assert isinstance(layers, nn.ModuleList)
            parts = [resize(layer(other), x) for layer, other in zip(layers, xs, strict=True)]
            fused.append(F.relu(reduce(torch.add, parts)))
        return fused


def fuse_layer(source: int, to: int) -> nn.Module:
    """From branch `source` to the channels of branch `to`, and to its stride where that is coarser."""
    if source == to:
        return nn.Identity()
    if source > to:
        return conv_bn((WIDTHS[source], WIDTHS[to]), 1)
    keep = (WIDTHS[source], WIDTHS[source])
    halvings = [conv_bn(keep, 3, stride=2, relu=True) for _ in range(to - source - 1)]
    return nn.Sequential(*halvings, conv_bn((WIDTHS[source], WIDTHS[to]), 3, stride=2))


def resize(x: Tensor, like: Tensor) -> Tensor:
    """`x` enlarged bilinearly to the sides of `like`."""
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


class HRNetW48(Backbone):
    """HRNet-W48 without a head.

    `forward` takes (B, 3, H, W) and returns the four branches, 48, 96, 192 and 384 channels at strides 4 to 32.
    """

    out_channels = WIDTHS

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn((3, 64), 3, stride=2)
        self.conv2, self.bn2 = conv_bn((64, 64), 3, stride=2)
        self.layer1 = nn.Sequential(*(Bottleneck(64 if block == 0 else 256) for block in range(BLOCKS)))
        # A transition adds the next coarser branch, made from the coarsest one; the first narrows the stem too.
        self.transition1 = nn.ModuleList(
            [conv_bn((256, WIDTHS[0]), 3, relu=True), nn.Sequential(conv_bn((256, WIDTHS[1]), 3, stride=2, relu=True))]
        )
        self.stage2 = stage(2)
        self.transition2 = transition(2)
        self.stage3 = stage(3)
        self.transition3 = transition(3)
        self.stage4 = stage(4)

    def forward(self, images: Tensor) -> list[Tensor]:
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)  # (B, 64, H/2, W/2)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)  # (B, 64, H/4, W/4)
        x = self.layer1(x)  # (B, 256, H/4, W/4)
        xs = [layer(x) for layer in self.transition1]  # (B, 48, H/4, W/4), (B, 96, H/8, W/8)
        xs = self.stage2(xs)
        xs = [layer(x) for layer, x in zip(self.transition2, [*xs, xs[-1]], strict=True)]  # and (B, 192, H/16, W/16)
        xs = self.stage3(xs)
        xs = [layer(x) for layer, x in zip(self.transition3, [*xs, xs[-1]], strict=True)]  # and (B, 384, H/32, W/32)
        branches: list[Tensor] = self.stage4(xs)
        return branches


def stage(branches: int) -> nn.Sequential:
    return nn.Sequential(*(Exchange(branches) for _ in range(MODULES[branches])))


def transition(branches: int) -> nn.ModuleList:
    """From `branches` to one more; the others stay as they are."""
    new = conv_bn((WIDTHS[branches - 1], WIDTHS[branches]), 3, stride=2, relu=True)
    return nn.ModuleList([*(nn.Identity() for _ in range(branches)), nn.Sequential(new)])
