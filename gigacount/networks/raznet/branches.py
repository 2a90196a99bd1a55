"""The layers and losses of RAZ-Net: Main-Net with three branches, and RAZ-Net with two (3.1, figure 2).

The paper's layer table is in a supplement that is not public. The counting branch is CSRNet's back end, which the paper
names as its model; the localization branch is that of NWPU-Crowd's public reproduction; the region branch is ours.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gigacount.networks.vgg import VGG16, initialise

STRIDE = 8
RICH = 64  # channels of both branches' last features
POSITIVE_WEIGHT = 100  # gamma of eq. 3


def dilated(channels_in: int, channels_out: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels_in, channels_out, 3, padding=2, dilation=2)
    initialise(conv)
    return [conv, nn.ReLU(inplace=True)]


def doubled(channels_in: int, channels_out: int) -> list[nn.Module]:
    conv = nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1)
    nn.init.normal_(conv.weight, std=(2 / (4 * channels_in)) ** 0.5)  # He: an output pixel has 2 x 2 x channels inputs
    return [conv, nn.ReLU(inplace=True)]


class CountingBranch(nn.Module):
    """Six dilated convolutions at 1/8 of the input size, then a linear output.

    deconvolutions: before the output, each to twice the size (4.3, "Effect of Resolution").
    """

    def __init__(self, deconvolutions: int = 0) -> None:
        super().__init__()
        widths = (512, 512, 512, 512, 256, 128, RICH)
        self.layers = nn.Sequential(*(layer for pair in pairwise(widths) for layer in dilated(*pair)))
        self.enlarge = nn.Sequential(*(layer for _ in range(deconvolutions) for layer in doubled(RICH, RICH)))
        self.output = nn.Conv2d(RICH, 1, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 512, H/8, W/8) -> phi, people per cell (B, H/8, W/8) or finer, and features (B, 64, H/8, W/8)."""
        rich = self.layers(features)
        return self.output(self.enlarge(rich))[:, 0].float(), rich


class LocalizationBranch(nn.Module):
    """Dilated convolutions between three deconvolutions, back to the input size.

    Two classes, as in the reproduction: psi is the softmax of the second. (Its last ReLU, which the paper does not
    have, is left out: where both logits are negative it would stop all learning.)
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *dilated(512, 512),
            *dilated(512, 512),
            *dilated(512, 512),
            *doubled(512, 256),  # (B, 256, H/4, W/4)
            *dilated(256, 256),
            *doubled(256, 128),  # (B, 128, H/2, W/2)
            *dilated(128, 128),
            *doubled(128, RICH),  # (B, 64, H, W)
            *dilated(RICH, RICH),
        )
        self.output = nn.Conv2d(RICH, 2, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 512, H/8, W/8) -> logits of background and head (B, 2, H, W), and the last features (B, 64, H, W)."""
        rich = self.layers(features)
        return self.output(rich).float(), rich


class RegionBranch(nn.Module):
    """Zooming-region proposal branch: the other branches' last features at full size -> logits of the attention."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*dilated(channels, RICH))
        self.output = nn.Conv2d(RICH, 1, 1)

    def forward(self, rich: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, H, W)."""
        logits: Tensor = self.output(self.layers(rich))
        return logits[:, 0].float()


class MainNet(nn.Module):
    """VGG-16 to conv4_3, the layers at 1/8 of the input size (ten convolutions and three pools), and three branches."""

    def __init__(self, deconvolutions: int = 0) -> None:
        super().__init__()
        self.encoder = VGG16(convs=10)
        self.counting = CountingBranch(deconvolutions)
        self.localization = LocalizationBranch()
        self.regions = RegionBranch(2 * RICH)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W), sides multiples of 8 -> phi (B, H/8, W/8), logits (B, 2, H, W), attention logits (B, H, W)."""
        features = self.encoder(images)  # (B, 512, H/8, W/8)
        density, counting = self.counting(features)
        logits, localization = self.localization(features)
        return density, logits, self.attend(counting, localization)

    def attend(self, counting: Tensor, localization: Tensor) -> Tensor:
        """Last features (B, 64, H/8, W/8) and (B, 64, H, W) -> attention logits (B, H, W)."""
        enlarged = F.interpolate(counting, scale_factor=float(STRIDE))  # (B, 64, H, W)
        attention: Tensor = self.regions(torch.cat([enlarged, localization], dim=1))
        return attention


class ZoomNet(nn.Module):
    """RAZ-Net proper: Main-Net without its counting branch, for sub-images zoomed by two."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = VGG16(convs=10)
        self.localization = LocalizationBranch()
        self.regions = RegionBranch(RICH)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W), sides multiples of 8 -> logits (B, 2, H, W), attention logits (B, H, W)."""
        logits, rich = self.localization(self.encoder(images))
        return logits, self.regions(rich)

    def copy_from(self, main: MainNet) -> None:
        """Start from Main-Net's parameters; of its region branch, those that read the localization features."""
        wanted = self.state_dict()
        state = {name: tensor for name, tensor in main.state_dict().items() if name in wanted}
        state["regions.layers.0.weight"] = state["regions.layers.0.weight"][:, RICH:]
        self.load_state_dict(state)


def counting_loss(density: Tensor, truth: Tensor, pixels: int, stride: int = STRIDE) -> Tensor:
    """Eq. 1, mean over the batch: 8 sqrt(1 / (mn) sum |phi - phi^|^2); 8 is `stride`, mn `pixels` of the input."""
    distances: Tensor = torch.linalg.vector_norm((density - truth).flatten(1), dim=1)
    loss: Tensor = stride * distances.mean() / pixels**0.5
    return loss


def localization_loss(logits: Tensor, cross: Tensor) -> Tensor:
    """Eq. 3, mean over the batch: cross-entropy per pixel, gamma = 100 on heads; (B, 2, H, W), (B, H, W) of 0 and 1."""
    background, head = F.log_softmax(logits, dim=1).unbind(1)  # log(1 - psi), log psi
    error: Tensor = -POSITIVE_WEIGHT * cross * head - (1 - cross) * background
    return error.mean()


def attention_loss(logits: Tensor, attention: Tensor) -> Tensor:
    """Cross-entropy per pixel against the true attention 0..1; (B, H, W). The paper does not name its loss."""
    return F.binary_cross_entropy_with_logits(logits, attention)
