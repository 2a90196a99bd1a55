"""Predictor: uint8 images in, people per cell and heads out, by the backend and in the precision that suit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gigacount.density import Density
from gigacount.errors import WeightsError
from gigacount.geometry import Size
from gigacount.networks import find_record
from gigacount.networks.backends import load_backend
from gigacount.networks.record import NetworkRecord
from gigacount.points import density_peaks


@dataclass(frozen=True)
class Found:
    """What the network found in one image: people per cell (rows, cols), and heads in its pixels (`points.Heads`)."""

    density: Density
    points: NDArray[np.float32] | None


class Predictor:
    """A network with its weights, ready to run. Threads may share it; they take turns at the device.

    name: of shipped weights, the path of a record, or a record. device: auto, cpu, cuda, cuda:1, mps. precision: auto,
    int8, bf16, fp16, tf32, fp32. settings: of the constructor, on top of those of the record. backend: auto, openvino,
    torch. Raises UsageError for what cannot be together or is not there, WeightsError for weights that are damaged.

    What was chosen is in `record`, `backend`, `device` ("cpu", "cuda:1") and `precision`. `locates`: whether the
    network can say where people are.
    """

    def __init__(
        self,
        name: str | NetworkRecord,
        device: str = "auto",
        precision: str = "auto",
        settings: Mapping[str, object] | None = None,
        backend: str = "auto",
    ) -> None:
        record = find_record(name) if isinstance(name, str) else name
        self.record: NetworkRecord = replace(record, settings=record.settings | dict(settings or {}))
        self.backend, self._loaded = load_backend(record, settings or {}, backend, device, precision)
        self.device, self.precision, self.locates = self._loaded.device, self._loaded.precision, self._loaded.locates

    @property
    def sha256(self) -> str:
        """Of the file that runs: the record's weights, or the graph made of them."""
        if self.backend == "torch":
            return self.record.sha256
        return self.record.graphs["int8" if self.precision == "int8" else "fp32"].sha256

    @property
    def batch(self) -> int:
        """How many images it is best given at once."""
        return self._loaded.batch

    def warm_up(self, size_wh: Size) -> None:
        """Have the device ready for images of about this size, where that takes time: on a GPU."""
        self._loaded.warm_up(size_wh)

    def predict(self, images: Sequence[NDArray[np.uint8]], locate: bool = False) -> list[Found]:
        """Count, and locate if asked, in images (H, W, 3) of one size.

        Raises UsageError where the device's memory does not suffice, WeightsError for a density that is not finite.
        """
        density, points = self._loaded.see(images, locate)
        if not np.isfinite(density).all():
            raise WeightsError(
                f"{self.record.name}: the density of this network is not finite ({self.precision} on {self.device}); "
                "its weights are damaged, or the precision is too low for them"
            )
        density = density / np.float32(self.record.density_divisor)
        heads: Sequence[NDArray[np.float32] | None] = points or [None] * len(density)
        return [Found(cells, one) for cells, one in zip(density, heads, strict=True)]


def with_heads(found: Found, record: NetworkRecord, min_score: float | None = None) -> Found:
    """`found` with the heads of at least `min_score`, by default the record's threshold.

    Of a network that only counts, heads are the peaks of its density.
    """
    points = density_peaks(found.density, record.stride) if found.points is None else found.points
    least = min_score if min_score is not None else record.min_score or 0.0
    return replace(found, points=points[points[:, 2] >= least])


def with_fusion(found: Found, record: NetworkRecord, size_wh: Size) -> Found:
    """`found`, of an image of `size_wh` pixels, with its density fused with its heads as RAZ-Net does."""
    if found.points is None:
        return found
    import torch

    from gigacount.networks.peaks import points_to_cells
    from gigacount.networks.raznet.decisions import GRID, fuse  # brings all of RAZ-Net along

    theta = torch.tensor(record.fusion_theta or [math.inf] * GRID**2)
    located = points_to_cells(found.points, (size_wh[1], size_wh[0]), record.stride)
    return replace(found, density=fuse(torch.from_numpy(found.density), located, theta).numpy())
