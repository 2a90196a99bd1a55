"""Feature extractors shared by the networks, written once.

Parameters are named as in the published state dicts, so that those files load directly: MobileNet as the
`NN.conv|dw.weight|bias` arrays in network order (Google's quantisation-aware models with batch norm folded).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

# MobileNetV2 (Sandler et al. 2018, table 2): (expansion, output channels, repeats, stride of the first).
MOBILENET_V2_BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class ConvUnit(nn.Module):
    """One convolution with TensorFlow's SAME padding, then ReLU6 unless `linear`.

    TensorFlow pads a stride-2 convolution of an even-sized input on the right and bottom only; PyTorch's
    symmetric padding would shift the features by a pixel against the published weights.
    """

    def __init__(self, channels: tuple[int, int], kernel: int, stride: int, kind: str, linear: bool = False):
        super().__init__()
        groups = channels[0] if kind == "dw" else 1
        padding = kernel // 2 if stride == 1 else 0
        self.kind, self.linear, self.pad = kind, linear, stride == 2
        self.add_module(kind, nn.Conv2d(*channels, kernel, stride, padding, groups=groups))

    def forward(self, x: Tensor) -> Tensor:
        if self.pad:
            x = F.pad(x, (0, 1, 0, 1))
        x = self.get_submodule(self.kind)(x)
        return x if self.linear else F.relu6(x, inplace=True)


class MobileNetV2(nn.Module):
    """MobileNetV2 of width 1.0 without its classifier.

    `forward` takes (B, 3, H, W) with H, W multiples of 32 and RGB scaled to -1..1, and returns the features at
    strides 4, 8, 16 and 32 with 24, 32, 96 and 320 channels.
    """

    out_channels = (24, 32, 96, 320)

    def __init__(self) -> None:
        super().__init__()
        self.residual: list[bool] = []
        self.blocks: list[list[str]] = []
        self._taps: list[int] = []
        self._next = 0
        stem = self._unit((3, 32), 3, 2, "conv")
        self.stem = stem
        channels, stride = 32, 2
        for expansion, out, repeats, first_stride in MOBILENET_V2_BLOCKS:
            if first_stride == 2:
                if stride >= 4:
                    self._taps.append(len(self.blocks) - 1)
                stride *= 2
            for repeat in range(repeats):
                step = first_stride if repeat == 0 else 1
                wide = channels * expansion
                names = [self._unit((channels, wide), 1, 1, "conv")] if expansion > 1 else []
                names += [self._unit((wide, wide), 3, step, "dw"), self._unit((wide, out), 1, 1, "conv", True)]
                self.blocks.append(names)
                self.residual.append(step == 1 and channels == out)
                channels = out
        self._taps.append(len(self.blocks) - 1)

    def _unit(self, channels: tuple[int, int], kernel: int, stride: int, kind: str, linear: bool = False) -> str:
        name = f"{self._next:02d}"
        self._next += 1
        self.add_module(name, ConvUnit(channels, kernel, stride, kind, linear))
        return name

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        x = self.get_submodule(self.stem)(x)  # (B, 32, H/2, W/2)
        for index, (names, residual) in enumerate(zip(self.blocks, self.residual, strict=True)):
            y = x
            for name in names:
                y = self.get_submodule(name)(y)
            x = x + y if residual else y
            if index in self._taps:
                features.append(x)
        return features  # (B, 24, H/4, W/4), (B, 32, H/8, W/8), (B, 96, H/16, W/16), (B, 320, H/32, W/32)


def load_mobilenet(module: MobileNetV2, path: Path) -> None:
    """Load the published float arrays (`.npz`) into `module`; arrays past its last layer (classifier) are left out.

    Raises KeyError when an array that the module needs is not in the file.
    """
    with np.load(path, allow_pickle=False) as arrays:
        module.load_state_dict({name: torch.from_numpy(arrays[name]) for name in module.state_dict()})
