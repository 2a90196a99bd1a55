"""What counting and locating give back: values only, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gigacount.density import DensityMap
from gigacount.geometry import Size, View
from gigacount.options import CountOptions


@dataclass(frozen=True)
class CountResult:
    """The count of one picture, where it comes from, and what it took.

    density: people per cell over the whole picture. looked: views and the people seen in each, in order.
    preview: the picture shrunk, uint8 (H, W, 3). networks: role -> name and SHA-256 of the weights.
    identity: the file's size in bytes and time of change, by which a later run knows it again.
    seconds: by stage; reading overlaps with the network, so stages may add up to more than the total.
    """

    image: Path
    density: DensityMap
    looked: list[tuple[View, float]]
    preview: NDArray[np.uint8]
    networks: dict[str, dict[str, str]]
    options: CountOptions
    identity: dict[str, int]
    inferences: int
    device: str
    precision: str
    seconds: dict[str, float]

    @property
    def count(self) -> float:
        return self.density.count

    @property
    def size_wh(self) -> Size:
        return self.density.size_wh
