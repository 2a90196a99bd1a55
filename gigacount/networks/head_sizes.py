"""How large labelled heads are: the network by which IIM gives boxes to data sets that have points only (4.1).

The paper trains "a head scale prediction network" on NWPU-Crowd's boxes and leaves it to its supplement. In the public
code it is a ResNet-50 with attention that gives the logarithm of a head's area at every place. Here it is CSRNet's
layers, taught that logarithm where a head is, at a stride of 8 px; the code's rule from map to box is kept.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from gigacount.errors import UsageError
from gigacount.geometry import Size
from gigacount.labels.maps import nearest_heads
from gigacount.networks.base import Floats, Network, Prediction, Targets, crop_cells, pad_to_multiple
from gigacount.networks.csrnet import BACK_END, csrnet_backend
from gigacount.networks.vgg import VGG16

STRIDE = 8
MIN_LOG_AREA = 4.0  # of a box: 7.4 px a side
NEIGHBOURS = 4  # heads, itself among them, of which all but the smallest say how large one is
USUAL_LOG_AREA = 6.0  # where a fresh network begins: 20 px a side


class HeadSizes(Network):
    """The logarithm of a head's area at every place: 16,263,489 parameters. It counts nobody."""

    stride = STRIDE
    counts = False
    no_graph = "it tells how large labelled heads are, and counts nobody"
    stages: tuple[str, ...] = ("sizes",)  # judged by its loss on held-out crops, for want of a count

    def __init__(self) -> None:
        super().__init__()
        self.encoder = VGG16(convs=10)
        self.backend = csrnet_backend(self.encoder.out_channels)
        for layer in self.backend:
            if isinstance(layer, nn.Conv2d):  # CSRNet's 0.01 lets nothing through to a mean that is far from 0
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        self.output_layer = nn.Conv2d(BACK_END[-1], 1, 1)
        nn.init.constant_(self.output_layer.get_parameter("bias"), USUAL_LOG_AREA)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> logarithm of a head's area in square pixels (B, ceil(H / 8), ceil(W / 8)) float32."""
        features = self.backend(self.encoder(pad_to_multiple(images, STRIDE)))
        return crop_cells(self.output_layer(features)[:, 0].float(), images, STRIDE)

    def predict(self, images: Tensor, locate: bool = False) -> Prediction:
        raise UsageError("head-sizes counts nobody: it tells how large labelled heads are, with gigacount data boxes")

    def begin_stage(self, stage: str) -> None:
        """Its only one, of all its parameters."""

    def targets(self, points_xy: Floats, size_wh: Size, boxes_xyxy: Floats | None = None) -> Targets:
        """`log_area` (ceil(H / 8), ceil(W / 8)): mean over the heads in each cell whose box is known, NaN without."""
        rows, cols = (-(-side // STRIDE) for side in size_wh[::-1])
        total, heads = np.zeros((rows, cols)), np.zeros((rows, cols))
        if boxes_xyxy is not None:
            sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
            known = (sides >= 1).all(axis=1)  # of NaN: no
            col, row = (points_xy[known] / STRIDE).astype(int).T
            np.add.at(total, (row, col), np.log(sides[known].prod(axis=1)))
            np.add.at(heads, (row, col), 1)
        with np.errstate(invalid="ignore"):
            return {"log_area": (total / heads).astype(np.float32)}

    def loss(self, images: Tensor, targets: dict[str, Tensor]) -> Tensor:
        """Mean absolute error in the cells with heads; 0 where there is none."""
        known = ~targets["log_area"].isnan()
        error: Tensor = (self(images) - targets["log_area"].nan_to_num()).abs() * known
        return error.sum() / known.sum().clamp(min=1)

    @torch.inference_mode()
    def boxes(self, image: Tensor, points_xy: Floats) -> Floats:
        """Square boxes (N, 4) around the heads (N, 2) of a normalised image (1, 3, H, W), all in its pixels.

        The public code's rule: the logarithm of a head's area is the mean at it and at its three nearest neighbours,
        the smallest left out, and at least 4. Heads outside the image are read at its border.
        """
        if not len(points_xy):
            return np.zeros((0, 4))
        log_area = self(image)[0].cpu().numpy()
        col, row = np.clip(points_xy // STRIDE, 0, np.array(log_area.shape[::-1]) - 1).astype(int).T
        own = log_area[row, col].astype(np.float64)
        if len(own) > NEIGHBOURS:
            _, nearest = nearest_heads(points_xy, points_xy, NEIGHBOURS)
            own = np.sort(own[nearest], axis=1)[:, 1:].mean(axis=1)
        half = np.floor(np.exp(np.maximum(own, MIN_LOG_AREA) / 2))[:, None] / 2
        return np.hstack([points_xy - half, points_xy + half])
