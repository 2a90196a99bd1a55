"""IIM: independent instance maps (Gao, Han, Wang, Yuan and Li, "Learning Independent Instance Maps for Crowd
Localization", 2021). Every connected component of the binary map is one person.

A confidence predictor (3.3.1) says how much each pixel looks like a head, a binarisation module (3.2, 3.3.2) says how
much is enough there, and the binarisation layer (3.1) compares the two. Settings that the paper leaves to its
supplement follow the authors' public code (taohan10200/IIM).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from gigacount.errors import UnknownNameError
from gigacount.geometry import Size
from gigacount.labels import MASK_RECIPES, boxes_from_points, dot_mask, instance_mask
from gigacount.networks.base import Floats, Network, Prediction, Targets, pad_to_multiple, renamed
from gigacount.networks.hrnet import HRNetW48, resize
from gigacount.networks.peaks import points_to_cells
from gigacount.networks.vgg import VGG16
from gigacount.networks.windows import Tiling, whole_or_tiled

STRIDE = 8
MULTIPLE = 16  # of the sides that the networks take
# Tiles of 512 x 1024 px without overlap, but for the last row and column; smaller images are seen at once.
TILING = Tiling((512, 1024), (512, 1024), multiple=MULTIPLE, from_pixels=4 * 512 * 1024)
MIN_PIXELS = 3  # of a component that counts
CONFIDENCE_GRADIENT = 0.2  # share of the binary map's gradient that reaches the confidence (public code)
THRESHOLD_GAIN = 10  # of the threshold encoder's output before the compressed sigmoid (public code)
PYRAMID = 256  # channels of each level of the feature pyramid
MAX_BOX = 50  # px, of a head that is known as a point; the authors' advice for images at their own size

THRESHOLD_RATE = 0.1  # of the threshold encoder, relative to the confidence predictor's: 1e-6 in the paper


class Binarise(torch.autograd.Function):
    """Binarisation layer B(I, T) = [I >= T], eq. 1. dL/dT = -dL/dB (eq. 4 and 7); dL/dI = dL/dB (eq. 8) times 0.2, as
    in the public code.
    """

    @staticmethod
    def forward(ctx: Any, confidence: Tensor, threshold: Tensor) -> Tensor:
        return (confidence >= threshold).to(confidence.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        return CONFIDENCE_GRADIENT * gradient, -gradient


def compressed_sigmoid(x: Tensor) -> Tensor:
    """Eq. 9: 1 / (2 + exp(-x)) + 0.2, from 0.2 to 0.7."""
    return 1 / (2 + torch.exp(-x)) + 0.2


class ImageBinarisation(nn.Module):
    """IBM (3.3.2): a 1x1 convolution and global mean pooling give one threshold for the image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(channels, 1, 1, bias=False)

    def forward(self, features: Tensor, confidence: Tensor) -> Tensor:
        """F (B, C, H/4, W/4), P (B, 1, H, W) -> T (B, 1, 1, 1)."""
        x = self.encoder(where_confident(features, confidence)).mean((2, 3), keepdim=True)
        return compressed_sigmoid(THRESHOLD_GAIN * x.float())


class PixelBinarisation(nn.Module):
    """PBM (3.3.2): convolutions and two wide mean poolings at stride 8 give one threshold for each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = (channels, 256, 128, 64)
        layers: list[nn.Module] = []
        for narrowing in pairwise(widths):
            layers += [nn.Conv2d(*narrowing, 3, padding=1, bias=False), nn.PReLU()]
        smooth = nn.AvgPool2d(15, stride=1, padding=7)
        self.encoder = nn.Sequential(*layers, smooth, nn.Conv2d(64, 1, 1, bias=False), smooth)
        # Part of the published weights; the authors' code uses neither.
        self.weight = nn.Parameter(torch.full((1,), 0.5), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, features: Tensor, confidence: Tensor) -> Tensor:
        """F (B, C, H/4, W/4), P (B, 1, H, W) -> T (B, 1, H, W)."""
        x = self.encoder(where_confident(features, confidence))  # (B, 1, H/8, W/8)
        return F.interpolate(compressed_sigmoid(THRESHOLD_GAIN * x.float()), scale_factor=8.0)


def where_confident(features: Tensor, confidence: Tensor) -> Tensor:
    """F := P * F at stride 8, both resized by nearest neighbour and cut off from the gradient (3.2, figure 2)."""
    return features.detach()[:, :, ::2, ::2] * confidence.detach()[:, :, ::8, ::8]  # (B, C, H/8, W/8)


class FeaturePyramid(nn.Module):
    """FPN: each level 1x1 to 256 channels, the coarser one added, 3x3; then all concatenated at stride 4."""

    def __init__(self, channels: tuple[int, ...], width: int = PYRAMID) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(ConvBnRelu(c, width, 1) for c in channels)
        self.fpn_convs = nn.ModuleList(ConvBnRelu(width, width, 3) for _ in channels)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """(B, 256, H/4, W/4), (B, 512, H/8, W/8), (B, 512, H/16, W/16) -> (B, 768, H/4, W/4)."""
        finest = levels[0].shape[-2:]
        merged = [conv(level) for conv, level in zip(self.lateral_convs, levels, strict=True)]
        for fine in range(len(merged) - 2, -1, -1):
            merged[fine] = merged[fine] + F.interpolate(merged[fine + 1], size=merged[fine].shape[-2:])
        outputs = [conv(level) for conv, level in zip(self.fpn_convs, merged, strict=True)]
        return torch.cat([F.interpolate(output, size=finest) for output in outputs], dim=1)


class ConvBnRelu(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


def confidence_head(channels: int, momentum: float) -> nn.Sequential:
    """Features at stride 4 -> logits of the confidence map at full size."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 1),
        nn.BatchNorm2d(channels, momentum=momentum),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(channels, 64, 4, stride=2, padding=1),  # (B, 64, H/2, W/2)
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(64, 1, 4, stride=2, padding=1),  # (B, 1, H, W)
    )


class FixedThreshold(nn.Module):
    """The same threshold everywhere: the baseline of table 3, a confidence predictor alone."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, features: Tensor, confidence: Tensor) -> Tensor:
        """F (B, C, H/4, W/4), P (B, 1, H, W) -> T (B, 1, 1, 1)."""
        return confidence.new_full((len(confidence), 1, 1, 1), self.threshold)


def find_instances(binary: NDArray[np.bool_], confidence: NDArray[np.float32]) -> NDArray[np.float32]:
    """The 4-connected components of at least 3 pixels in (H, W), one person each: (N, 8) as `Prediction.located`.

    x and y of the centroid, the highest confidence, the box in whole pixels, the area.
    """
    labels, n = ndimage.label(binary)
    row, col = binary.nonzero()
    instance = labels[row, col] - 1
    pixels = np.bincount(instance, minlength=n)
    x, y = (np.bincount(instance, at + 0.5, minlength=n) / pixels for at in (col, row))
    score = np.zeros(n)
    np.maximum.at(score, instance, confidence[row, col])
    spans = [(cols.start, rows.start, cols.stop, rows.stop) for rows, cols in ndimage.find_objects(labels)]
    boxes = np.asarray(spans, np.float64).reshape(-1, 4)
    return np.column_stack([x, y, score, boxes, pixels])[pixels >= MIN_PIXELS].astype(np.float32)


class IIM(Network):
    """What both confidence predictors share: features F at stride 4 -> confidence P -> threshold T -> instances.

    binarisation: "pixel" (PBM, the paper's best), "image" (IBM), or "fixed", a confidence predictor alone whose
        `threshold` is fixed. Raises UnknownNameError for another.
    l1: what learns from the L1 loss of the binary map: "both", or the "threshold" encoder alone (table 3).
    truth: of a head in training: its box where it is known, else a dot dilated up to 31 px ("boxes"); such dots for all
        ("points"); or squares of `largest_box` px, which the public code's rules shrink ("squares"). Where a square is
        several heads wide, as in images that were shrunk, most of it is background, hard to learn.
    masks: by the rules of which data set neighbouring boxes and squares are shrunk (`MASK_RECIPES`).
    """

    stride = STRIDE
    no_graph = "its instances are connected components, for which graphs have no operation"
    locates = True

    only_with = MappingProxyType(
        {
            "threshold": ("binarisation", ("fixed",)),
            "l1": ("binarisation", ("pixel", "image")),
            "largest_box": ("truth", ("squares",)),
            "masks": ("truth", ("boxes", "squares")),
        }
    )

    channels = 0
    momentum = 0.1  # of the batch norm in its head

    def __init__(
        self,
        binarisation: Literal["pixel", "image", "fixed"] = "pixel",
        largest_box: float = MAX_BOX,
        truth: Literal["boxes", "points", "squares"] = "boxes",
        threshold: float = 0.5,
        l1: Literal["both", "threshold"] = "both",
        masks: str = "nwpu",
    ) -> None:
        super().__init__()
        made: dict[str, Callable[[], nn.Module]] = {
            "pixel": lambda: PixelBinarisation(self.channels),
            "image": lambda: ImageBinarisation(self.channels),
            "fixed": lambda: FixedThreshold(threshold),
        }
        for name, choices in ((binarisation, made), (masks, MASK_RECIPES)):
            if name not in choices:
                raise UnknownNameError("binarisation" if choices is made else "rule for masks", name, choices)
        self.largest_box, self.truth, self.l1, self.masks = largest_box, truth, l1, MASK_RECIPES[masks]
        self.learns_threshold = binarisation != "fixed"
        self.head = confidence_head(self.channels, self.momentum)
        self.binarisation = made[binarisation]()
        self.add_encoder()

    @abstractmethod
    def add_encoder(self) -> None: ...

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), sides multiples of 16 -> (B, C, H/4, W/4)."""

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), sides multiples of 16 -> confidence and threshold (B, 2, H, W)."""
        features = self.features(images)
        confidence = torch.sigmoid(self.head(features).float())  # (B, 1, H, W)
        threshold = self.binarisation(features, confidence)  # (B, 1, H, W) or (B, 1, 1, 1)
        return torch.cat([confidence, threshold.expand_as(confidence)], dim=1)

    def predict(self, images: Tensor, locate: bool = False) -> Prediction:
        """One person per component, in the cell of its centre; in tiles from 2 megapixels on."""
        confidence, threshold = whole_or_tiled(images, self, TILING).unbind(1)
        pairs = zip((confidence >= threshold).cpu().numpy(), confidence.cpu().numpy(), strict=True)
        points = [find_instances(*pair) for pair in pairs]
        height, width = images.shape[-2:]
        cells = torch.stack([points_to_cells(one, (height, width), STRIDE) for one in points])
        return Prediction(cells.to(images.device), points if locate else None)

    def targets(self, points_xy: Floats, size_wh: Size, boxes_xyxy: Floats | None = None) -> Targets:
        """`mask` (H, W): 1 where a head is, and its neighbours stand apart."""
        if self.truth == "squares":
            return {"mask": instance_mask(boxes_from_points(points_xy, size_wh, self.largest_box), size_wh, self.masks)}
        known = np.zeros(len(points_xy), bool)
        if self.truth == "boxes" and boxes_xyxy is not None:
            known = ~np.isnan(boxes_xyxy[:, 0])
        mask = dot_mask(points_xy[~known], size_wh)
        if boxes_xyxy is not None and known.any():
            mask = np.maximum(mask, instance_mask(boxes_xyxy[known], size_wh, self.masks))
        return {"mask": mask}

    def loss(self, images: Tensor, targets: dict[str, Tensor]) -> Tensor:
        """MSE of the confidence map plus, where thresholds are learnt, L1 of the binary map (3.3.3)."""
        height, width = images.shape[-2:]
        confidence, threshold = self(pad_to_multiple(images, MULTIPLE))[..., :height, :width].unbind(1)
        mask = targets["mask"]
        error = F.mse_loss(confidence, mask)
        if not self.learns_threshold:
            return error
        compared = confidence.detach() if self.l1 == "threshold" else confidence
        binary: Tensor = Binarise.apply(compared, threshold.expand_as(mask))  # type: ignore[no-untyped-call]
        return error + (binary - mask).abs().mean()

    def parameter_groups(self, lr: float, backbone_lr: float | None = None) -> list[dict[str, Any]]:
        """The threshold encoder learns at a tenth of the confidence predictor's rate; its weights do not decay."""
        learning = [(name, p) for name, p in self.named_parameters() if p.requires_grad]
        threshold = [p for name, p in learning if name.startswith("binarisation.")]
        predictor = [p for name, p in learning if not name.startswith("binarisation.")]
        groups = [
            {"params": predictor, "lr": lr},
            {"params": threshold, "lr": lr * THRESHOLD_RATE, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]


class IIMHRNet(IIM):
    """IIM with HRNet-W48: 68,611,638 parameters."""

    channels = sum(HRNetW48.out_channels)
    momentum = 0.01

    def add_encoder(self) -> None:
        self.encoder = HRNetW48()

    def features(self, images: Tensor) -> Tensor:
        branches = self.encoder(images)
        return torch.cat([resize(branch, branches[0]) for branch in branches], dim=1)  # (B, 720, H/4, W/4)

    @classmethod
    def rename_published(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        names = {"Extractor.last_layer.": "head.", "Extractor.": "encoder.", **BINARISATION_NAMES}
        return renamed(state, names)


class IIMVGG(IIM):
    """IIM with VGG-16-BN and a feature pyramid: 20,341,190 parameters."""

    channels = 3 * PYRAMID

    def add_encoder(self) -> None:
        self.encoder = VGG16(batch_norm=True)
        self.neck = FeaturePyramid((256, 512, 512))

    def features(self, images: Tensor) -> Tensor:
        levels = list(self.encoder.stages(images))[2:]  # strides 4, 8 and 16
        pyramid: Tensor = self.neck(levels)
        return pyramid  # (B, 768, H/4, W/4)

    @classmethod
    def rename_published(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        # The authors cut torchvision's features[0:43] into three: [0:23], [23:33] and [33:43].
        parts = {
            f"Extractor.layer{part}.{layer}.": f"encoder.features.{start + layer}."
            for part, start, layers in ((1, 0, 23), (2, 23, 10), (3, 33, 10))
            for layer in range(layers)
        }
        names = {**parts, "Extractor.neck.": "neck.", "Extractor.de_pred.": "head.", **BINARISATION_NAMES}
        return renamed(state, names)


BINARISATION_NAMES = {"Binar.Threshold_Module.": "binarisation.encoder.", "Binar.": "binarisation."}
