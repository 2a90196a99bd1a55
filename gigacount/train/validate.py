"""Errors on held-out pictures: whole, at their own size, one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gigacount.geometry import fit, whole
from gigacount.networks.base import Network
from gigacount.train.crops import Batch, cut
from gigacount.train.recipe import Recipe
from gigacount.train.sources import Picture, Source

LARGEST_WH = (2560, 1440)
LEAST_SCORE = 0.01  # a set without a fault is not infinitely better than one with a trace of one


@dataclass(frozen=True)
class Errors:
    """Counting errors on one set's held-out pictures; bias is the mean of estimate minus truth, in people."""

    name: str
    pictures: int
    truth_mean: float
    mae: float
    rmse: float
    bias: float

    @property
    def score(self) -> float:
        """The MAE against the set's mean count; of people-free sets, against 10."""
        return self.mae / (self.truth_mean or 10.0)


def mean_score(errors: Sequence[Errors]) -> float:
    """What checkpoints are chosen by: the geometric mean over the sets, so that no set's scale drowns another's."""
    return math.exp(float(np.mean([math.log(max(error.score, LEAST_SCORE)) for error in errors])))


@torch.inference_mode()
def validate(network: Network, sources: Sequence[Source], recipe: Recipe, dtype: torch.dtype) -> list[Errors]:
    """The errors of each set that has held-out pictures; `network` is in eval mode."""
    device = next(network.parameters()).device
    results = []
    for source in sources:
        if not source.held_out:
            continue
        truth = np.array([len(picture.sample.points_xy) for picture in source.held_out], np.float64)
        with torch.autocast(device.type, dtype, dtype != torch.float32):
            counts = [
                network.predict(tensor(picture, recipe, device)).density.sum().item() for picture in source.held_out
            ]
        differences = np.array(counts) - truth
        mae, rmse = float(np.abs(differences).mean()), float(np.sqrt((differences**2).mean()))
        results.append(Errors(source.name, len(truth), float(truth.mean()), mae, rmse, float(differences.mean())))
    return results


@torch.no_grad()
def mean_loss(network: Network, batches: Iterator[Batch], dtype: torch.dtype) -> float:
    """The network's own loss, mean over `batches`; `network` is in eval mode."""
    device = next(network.parameters()).device
    losses = []
    for images, targets in batches:
        with torch.autocast(device.type, dtype, dtype != torch.float32):
            loss = network.loss(images.to(device), {name: target.to(device) for name, target in targets.items()})
        losses.append(loss.item())
    return float(np.mean(losses))


def tensor(picture: Picture, recipe: Recipe, device: torch.device) -> Tensor:
    """The whole picture as a normalised batch of one, shrunk as the recipe says or where it is too large for a look."""
    limit = recipe.fit_wh or (None if picture.small else LARGEST_WH)
    size = picture.size_wh if limit is None else fit(picture.size_wh, limit)
    pixels = cut(picture, whole(picture.size_wh), size)[None].to(device)
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (recipe.mean, recipe.std))
    return ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)


def labelled(
    sources: Sequence[Source], recipe: Recipe, device: torch.device
) -> Iterator[tuple[Tensor, NDArray[np.float64]]]:
    """Each training picture as the network sees it whole, (3, H, W), with its heads (N, 2) in those pixels."""
    for source in sources:
        for picture in source.train:
            image = tensor(picture, recipe, device)[0]
            size_wh = image.shape[2], image.shape[1]
            points = picture.sample.points_xy * np.divide(size_wh, picture.size_wh)
            yield image, points[(points >= 0).all(axis=1) & (points < size_wh).all(axis=1)]
