"""VGG-16 (Simonyan and Zisserman 2015), with and without batch norm, as the front of several crowd counters.

Parameters are named as in torchvision's `vgg16` and `vgg16_bn` state dicts (`features.N.weight`), which load directly
(`base.load_matching`); what those files hold beyond the layers built here is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from torch import Tensor, nn

from gigacount.networks.base import Backbone

# Output channels of the 13 convolutions, stage by stage; a 2 x 2 max pool stands between stages.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16(Backbone):
    """The first `convs` of VGG-16's 13 convolutions: 3 x 3, each with ReLU, in stages at strides 1, 2, 4, 8 and 16.

    Sides of the input are halved, rounded down, between stages. Fresh parameters keep the signal's size, by themselves
    where no batch norm does.
    """

    def __init__(self, convs: int = 13, batch_norm: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for stage in STAGES:
            for width in stage[:convs]:
                layers.append(nn.Conv2d(channels, width, 3, padding=1))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(width))
                layers.append(nn.ReLU(inplace=True))
                channels = width
            convs -= len(stage)
            if convs <= 0:
                break
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.out_channels = channels
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                initialise(module, "fan_out" if batch_norm else "fan_in")

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> the last stage's features, (B, 512, H/8, W/8) after 10 convolutions."""
        features: Tensor = self.features(images)
        return features

    def stages(self, images: Tensor) -> Iterator[Tensor]:
        """(B, 3, H, W) -> (B, 64, H, W), (B, 128, H/2, W/2), (B, 256, H/4, W/4), (B, 512, H/8, W/8), ... in turn."""
        x = images
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                yield x
            x = layer(x)
        yield x


def initialise(conv: nn.Conv2d, mode: Literal["fan_in", "fan_out"] = "fan_out") -> None:
    """He et al.'s normal weights for a convolution before a ReLU, and no bias; `mode` is what stays of one size.

    Over ten layers without batch norm "fan_out", a fresh torchvision VGG's, leaves 3/512 of the signal's power.
    """
    nn.init.kaiming_normal_(conv.weight, mode=mode, nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
