"""MobileNet, versions 1 and 2. The other feature extractors are in `vgg`, `densenet` and `hrnet`.

Parameters are named as in a published state dict, and those of other sources are understood.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gigacount.errors import WeightsError
from gigacount.networks.base import Backbone

# MobileNetV1 (Howard et al. 2017, table 1): (output channels, stride) of the depthwise separable convolutions.
MOBILENET_V1_BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1)),
    *((512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1)),
    *((1024, 2), (1024, 1)),
)
V1_TAPS = (3, 5, 11, 13)  # blocks, counted from the stem, after which strides 4, 8, 16 and 32 end
V1_STAGES = (1, 2, 2, 6, 2)  # timm's division of the 13 blocks

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
BATCH_NORM_EPSILON = 1e-5  # torchvision's and timm's


class MobileNetV1(Backbone):
    """MobileNetV1 of width 1.0 without its classifier: 3,206,976 parameters.

    `forward` takes (B, 3, H, W) and returns the features at strides 4, 8, 16 and 32 with 128, 256, 512 and 1024
    channels. Named as the usual PyTorch state dict (marvis/pytorch-mobilenet: `model.N.M.weight`), whose padding and
    ReLU it has.
    """

    out_channels = (128, 256, 512, 1024)

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Sequential(*conv_bn_relu((3, 32), 3, stride=2)))
        channels = 32
        for out, stride in MOBILENET_V1_BLOCKS:
            depthwise = conv_bn_relu((channels, channels), 3, stride, groups=channels)
            self.model.append(nn.Sequential(*depthwise, *conv_bn_relu((channels, out), 1)))
            channels = out

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for index, block in enumerate(self.model):
            x = block(x)
            if index in V1_TAPS:
                features.append(x)
        return features  # (B, 128, H/4, W/4), (B, 256, H/8, W/8), (B, 512, H/16, W/16), (B, 1024, H/32, W/32)

    @classmethod
    def rename_published(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """From timm's names; its weights were trained with ReLU6, which cuts off above 6."""
        names = {"conv_stem": "model.0.0", "bn1": "model.0.1"}
        places = [(stage, repeat) for stage, repeats in enumerate(V1_STAGES) for repeat in range(repeats)]
        for block, (stage, repeat) in enumerate(places, start=1):
            for layer, part in ((0, "conv_dw"), (1, "bn1"), (3, "conv_pw"), (4, "bn2")):
                names[f"blocks.{stage}.{repeat}.{part}"] = f"model.{block}.{layer}"
        split = {name: name.rpartition(".") for name in state}
        return {f"{names.get(at, at)}.{leaf}": state[name] for name, (at, _, leaf) in split.items()}


def conv_bn_relu(channels: tuple[int, int], kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(*channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return [conv, nn.BatchNorm2d(channels[1]), nn.ReLU(inplace=True)]


class ConvUnit(nn.Module):
    """One convolution on a picture turned by 180 degrees, with TensorFlow's SAME padding, then ReLU6 unless `linear`.

    TensorFlow pads a stride-2 convolution of an even-sized input on the right and bottom only; PyTorch's symmetric
    padding of 1 would shift the features by a pixel against the published weights. It pads on the left and top in
    effect, as the last row and column are not reached: on a turned picture, with turned kernels, that is TensorFlow's,
    and no padded copy need be made, which took a tenth of a look.
    """

    def __init__(self, channels: tuple[int, int], kernel: int, stride: int, kind: str, linear: bool = False):
        super().__init__()
        groups = channels[0] if kind == "dw" else 1
        self.kind, self.linear = kind, linear
        conv = nn.Conv2d(*channels, kernel, stride, kernel // 2, groups=groups)
        # He et al.: without batch norm, PyTorch's own smaller weights would let nothing of the picture through.
        nn.init.kaiming_normal_(conv.weight, nonlinearity="linear" if linear else "relu")
        nn.init.zeros_(conv.get_parameter("bias"))
        self.add_module(kind, conv)

    def forward(self, x: Tensor) -> Tensor:
        conv = self.get_submodule(self.kind)
        assert isinstance(conv, nn.Conv2d)
        weight = turned(conv.weight)
        if not self.linear and fuses(x, weight):
            # oneDNN cuts off while the sums are still in registers; a pass of its own takes an eighth of a look.
            cut = torch.ops.mkldnn._convolution_pointwise  # what torch.compile calls; in torch since 2.0
            sides = conv.padding, conv.stride, conv.dilation, conv.groups
            return cast(Tensor, cut(x, weight, conv.bias, *sides, "hardtanh", [0.0, 6.0], ""))
        if self.training and conv.groups > 1 and conv.stride == (2, 2) and x.device.type == "cpu":
            # All positions, every other of them kept: the way back of a strided depthwise convolution takes oneDNN
            # several times as long, a quarter of a training step.
            x = F.avg_pool2d(F.conv2d(x, weight, conv.bias, 1, conv.padding, groups=conv.groups), 1, stride=2)
        else:
            x = F.conv2d(x, weight, conv.bias, conv.stride, conv.padding, groups=conv.groups)
        return x if self.linear else F.relu6(x, inplace=True)


def fuses(x: Tensor, weight: Tensor) -> bool:
    """Whether a convolution and what follows it can be one operation of oneDNN: for counting, on a processor."""
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype
        and not torch.is_grad_enabled()
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and not torch.compiler.is_compiling()
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    )


def turned(x: Tensor) -> Tensor:
    """Pictures or kernels (..., H, W) turned by 180 degrees."""
    return x if x.shape[-2:] == (1, 1) else x.flip(-2, -1)


class MobileNetV2(Backbone):
    """MobileNetV2 of width 1.0 without its classifier, batch norm folded into the convolutions.

    Named as the arrays of Google's quantisation-aware models, in network order: `NN.conv|dw.weight|bias`.
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
        x = self.get_submodule(self.stem)(turned(x))  # (B, 32, H/2, W/2)
        for index, (names, residual) in enumerate(zip(self.blocks, self.residual, strict=True)):
            y = x
            for name in names:
                y = self.get_submodule(name)(y)
            x = x + y if residual else y
            if index in self._taps:
                features.append(turned(x))
        return features  # (B, 24, H/4, W/4), (B, 32, H/8, W/8), (B, 96, H/16, W/16), (B, 320, H/32, W/32)

    @classmethod
    def rename_published(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """From torchvision's or timm's names, batch norm folded; a state of neither kind as it is.

        Those were trained with padding on both sides and other means than -1..1: good to start a training from.
        """
        theirs = {"features.0.0.weight": torchvision_layers, "conv_stem.weight": timm_layers}
        layers = next((names() for first, names in theirs.items() if first in state), None)
        if layers is None:
            return dict(state)
        ours = [name.removesuffix(".weight") for name in cls().state_dict() if name.endswith(".weight")]
        folded = {}
        for name, (conv, norm) in zip(ours, layers, strict=True):
            if f"{conv}.weight" in state:
                folded[f"{name}.weight"], folded[f"{name}.bias"] = fold(state, conv, norm)
        return folded


def torchvision_layers() -> Iterator[tuple[str, str]]:
    """Names of each convolution of MobileNetV2 and its batch norm in torchvision's `mobilenet_v2`."""
    yield "features.0.0", "features.0.1"
    block = 0
    for expansion, _, repeats, _ in MOBILENET_V2_BLOCKS:
        for _ in range(repeats):
            block += 1
            last = 1
            if expansion > 1:
                yield f"features.{block}.conv.0.0", f"features.{block}.conv.0.1"
                last = 2
            yield f"features.{block}.conv.{last - 1}.0", f"features.{block}.conv.{last - 1}.1"
            yield f"features.{block}.conv.{last}", f"features.{block}.conv.{last + 1}"


def timm_layers() -> Iterator[tuple[str, str]]:
    """The same in timm's `mobilenetv2_100`."""
    yield "conv_stem", "bn1"
    for stage, (expansion, _, repeats, _) in enumerate(MOBILENET_V2_BLOCKS):
        parts = ("conv_pw", "conv_dw", "conv_pwl") if expansion > 1 else ("conv_dw", "conv_pw")
        for repeat in range(repeats):
            for norm, conv in enumerate(parts, start=1):
                yield f"blocks.{stage}.{repeat}.{conv}", f"blocks.{stage}.{repeat}.bn{norm}"


def fold(state: Mapping[str, Tensor], conv: str, norm: str) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that does what `conv` and the batch norm after it do. Raises WeightsError."""
    parts = ("weight", "bias", "running_mean", "running_var")
    missing = [f"{norm}.{part}" for part in parts if f"{norm}.{part}" not in state]
    if missing:
        raise WeightsError(f"these weights do not fit MobileNetV2: {missing[0]} is missing")
    scale, shift, mean, variance = (state[f"{norm}.{part}"] for part in parts)
    factor = scale / torch.sqrt(variance + BATCH_NORM_EPSILON)
    return state[f"{conv}.weight"] * factor.view(-1, 1, 1, 1), shift - mean * factor
