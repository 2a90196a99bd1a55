"""What every network offers to the rest of gigacount."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True)
class Prediction:
    """The common output of all networks for a batch of B pictures.

    density: (B, ceil(H / stride), ceil(W / stride)) float32, people per cell; its sum is the count.
    points: per picture an (N, 3) float32 array of x, y (input pixels, centres at +0.5) and score 0..1; None when
        the network was not asked to locate people or cannot.
    """

    density: Tensor
    points: list[NDArray[np.float32]] | None = None


class Network(nn.Module):
    """Base class: a module that counts, may locate, and knows its training targets and loss.

    stride: input pixels per side of a density cell.
    locates: whether `predict(..., locate=True)` returns points.
    """

    stride: int = 8
    locates: bool = False

    @abstractmethod
    def predict(self, images: Tensor, locate: bool = False) -> Prediction:
        """Count, and locate if asked, in normalised pictures (B, 3, H, W) of any size."""

    @abstractmethod
    def targets(self, points_xy: NDArray[np.float64], size_wh: tuple[int, int]) -> dict[str, NDArray[np.float32]]:
        """Training targets for one picture of `size_wh` pixels with heads at `points_xy` (N, 2) in pixels."""

    @abstractmethod
    def loss(self, images: Tensor, targets: dict[str, Tensor]) -> Tensor:
        """Scalar training loss of normalised pictures (B, 3, H, W) against stacked `targets`."""
