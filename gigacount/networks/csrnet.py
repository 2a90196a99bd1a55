"""CSRNet: VGG-16's first ten convolutions, then six dilated ones (Li, Zhang and Chen, CVPR 2018).

The network that GigaZoom and Gigapixel CSRNet look with. Front end at stride 8, back end 512, 512, 512, 256, 128, 64
channels with ReLU, a linear 1 x 1 output: a cell may be slightly negative. Labels and loss are MCNN's, as in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from gigacount.errors import UnknownNameError
from gigacount.networks.density_network import SPARSE, DensityNetwork, Gaussians, HeadCounts
from gigacount.networks.vgg import VGG16

STRIDE = 8
BACK_END = (512, 512, 512, 256, 128, 64)

# Table 3 of the paper: dilation of each convolution of the back end.
CONFIGURATIONS = {"A": (1, 1, 1, 1, 1, 1), "B": (2, 2, 2, 2, 2, 2), "C": (2, 2, 2, 4, 4, 4), "D": (4, 4, 4, 4, 4, 4)}


class CSRNet(DensityNetwork):
    """Congested scene recognition network: 16,263,489 parameters.

    configuration: A to D, the dilation of the back end. Raises UnknownNameError for another.
    sigma: of the Gaussians in its training targets, in pixels (15 for ShanghaiTech part B); None adapts it to the
        distance of the nearest heads (part A), and is 4 in boxes.
    batch_norm: behind every convolution but the last, so that it learns from fresh weights; not the paper's.
    loss: "squares" (the paper's), or the light network's "likelihood" of head counts; its density is a softplus then.
    truth: "boxes" cuts the Gaussian of a head whose box is known to that box, as GigaZoom does (IV-A).
    """

    stride = STRIDE
    exact = ("output_layer",)
    only_with = MappingProxyType({"sigma": ("loss", ("squares",)), "truth": ("loss", ("squares",))})

    def __init__(
        self,
        configuration: str = "B",
        sigma: float | None = None,
        batch_norm: bool = False,
        loss: Literal["squares", "likelihood"] = "squares",
        truth: Literal["points", "boxes"] = "points",
    ) -> None:
        super().__init__(Gaussians(sigma, truth == "boxes") if loss == "squares" else HeadCounts())
        if configuration not in CONFIGURATIONS:
            raise UnknownNameError("CSRNet configuration", configuration, CONFIGURATIONS)
        self.encoder = VGG16(convs=10, batch_norm=batch_norm)
        self.backend = csrnet_backend(self.encoder.out_channels, configuration, batch_norm)
        self.output_layer = nn.Conv2d(BACK_END[-1], 1, 1)
        pools = [index for index, layer in enumerate(self.encoder.features) if isinstance(layer, nn.MaxPool2d)]
        third = 9 if batch_norm else 6  # layers of three convolutions
        self.hint_layers = ((f"encoder.features.{pools[2] - 1}", 4), ("encoder", 8), (f"backend.{third - 1}", 8))
        initialise_csrnet(self.output_layer)
        if loss == "likelihood":
            nn.init.constant_(self.output_layer.get_parameter("bias"), SPARSE)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), sides multiples of 8 -> people per cell (B, H/8, W/8) float32."""
        x = self.encoder(images)  # (B, 512, H/8, W/8)
        x = self.backend(x)  # (B, 64, H/8, W/8)
        with torch.autocast(images.device.type, enabled=False):
            output: Tensor = self.output_layer(x.float())  # (B, 1, H/8, W/8)
        return self.teaching.density(output[:, 0])

    @classmethod
    def rename_published(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The authors' release calls the encoder `frontend`."""
        return {name.replace("frontend.", "encoder.features."): tensor for name, tensor in state.items()}


def csrnet_backend(channels: int, configuration: str = "B", batch_norm: bool = False) -> nn.Sequential:
    """Six dilated convolutions: (B, channels, h, w) -> (B, 64, h, w)."""
    layers: list[nn.Module] = []
    for width, dilation in zip(BACK_END, CONFIGURATIONS[configuration], strict=True):
        layers.append(nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation))
        initialise_csrnet(layers[-1])
        if batch_norm:
            layers.append(nn.BatchNorm2d(width))
        layers.append(nn.ReLU(inplace=True))
        channels = width
    return nn.Sequential(*layers)


def initialise_csrnet(convolution: nn.Module) -> None:
    """Section 3.2: Gaussian of standard deviation 0.01."""
    nn.init.normal_(convolution.get_parameter("weight"), std=0.01)
    nn.init.zeros_(convolution.get_parameter("bias"))
