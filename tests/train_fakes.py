"""Networks small enough to train in a moment, and pictures to train them on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from gigacount.errors import UnknownNameError
from gigacount.networks import NETWORKS
from gigacount.networks.base import Network, Prediction, crop_cells, pad_to_multiple
from gigacount.options import TrainOptions
from gigacount.train.crops import Batch, CropMaker
from gigacount.train.recipes import RECIPES, Augmentation, Published, Recipe

RECIPE = Recipe(
    lr=1e-2,
    crop_wh=(64, 64),
    batch=2,
    epochs=2,
    schedule="cosine",
    warm_up=2,
    freeze=0.7,
    ema=0.9,
    augmentation=Augmentation(flip=0.5, scale=(0.5, 2), native=0.4),
)


class Tiny(Network):
    """Two convolutions with batch norm and dropout: everything that a resumed run could get wrong."""

    hint_layers = (("encoder", 8),)

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, width, 3, stride=8, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.drop = nn.Dropout2d(0.2)
        self.density = nn.Conv2d(width, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.density(self.drop(self.encoder(pad_to_multiple(images, 8))))[:, 0].float()

    def predict(self, images: Tensor, locate: bool = False) -> Prediction:
        return Prediction(crop_cells(self(images), images, 8))

    def targets(
        self, points_xy: NDArray[np.float64], size_wh: tuple[int, int], boxes_xyxy: NDArray[np.float64] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        assert (points_xy >= 0).all()
        assert (points_xy < size_wh).all()
        counts = np.zeros((-(-size_wh[1] // 8), -(-size_wh[0] // 8)), np.float32)
        cells = (points_xy / 8).astype(int)
        np.add.at(counts, (cells[:, 1], cells[:, 0]), 1)
        return {"counts": counts}

    def loss(self, images: Tensor, targets: dict[str, Tensor]) -> Tensor:
        return F.mse_loss(self(images), targets["counts"])


class Staged(Tiny):
    """Trains its encoder, then its output; remembers what it was calibrated with."""

    stages = ("encoder", "density")

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calibrated", torch.tensor(0.0))
        self.begun: list[str] = []

    def begin_stage(self, stage: str) -> None:
        if stage not in self.stages:
            raise UnknownNameError("stage", stage, self.stages)
        self.begun.append(stage)
        self.requires_grad_(False)
        self.get_submodule(stage).requires_grad_(True)

    def calibrate(self, pictures: Any) -> None:
        self.calibrated.fill_(sum(len(points) for _, points in pictures))


def add_fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """`tiny` and `staged` among the networks and the recipes."""
    for name, kind in (("tiny", "Tiny"), ("staged", "Staged")):
        monkeypatch.setitem(NETWORKS, name, f"train_fakes:{kind}")
        monkeypatch.setitem(RECIPES, name, Published("for tests", RECIPE))


def write_photos(folder: Path, pictures: int = 8) -> Path:
    """Pictures of 200 x 160 px with white heads on black, and their CSV labels."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = ["image,x,y"]
    for number in range(pictures):
        pixels = np.zeros((160, 200, 3), np.uint8)
        for x, y in rng.integers(8, 150, (number + 3, 2)):
            pixels[y - 4 : y + 4, x - 4 : x + 4] = 255
            rows.append(f"{number}.png,{x},{y}")
        pyvips.Image.new_from_array(pixels).write_to_file(str(folder / f"{number}.png"))
    (folder / "heads.csv").write_text("\n".join(rows) + "\n")
    return folder


def options(photos: Path, out: Path, network: str = "tiny", **more: Any) -> TrainOptions:
    settings: dict[str, Any] = {"steps": 4, "validation": 0.25, "validate_every": 2, "save_every": 2}
    settings["precision"] = "fp32"
    return TrainOptions((f"csv:{photos}",), out, network, **(settings | more))


def batch(maker: CropMaker, step: int, rank: int = 0) -> Batch:
    """The crops of a step as a network takes them."""
    return maker.batch(maker.crops(step, rank), torch.device("cpu"))


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
