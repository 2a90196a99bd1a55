"""Errors on held-out images: whole, at their own size, one by one; or in the windows of GigaZoom's zoom levels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gigacount.density import Density, points_to_density
from gigacount.geometry import View, Window, whole
from gigacount.metrics.heads import PointPair, PredictedPoints, TruePoints
from gigacount.metrics.localization import fixed_radii, nwpu
from gigacount.networks.base import Network
from gigacount.options import StrategyOptions
from gigacount.strategies.gigazoom import gigazoom
from gigacount.train.crops import Batch, cut, normalised, shrunk_wh, unit
from gigacount.train.recipes import Recipe
from gigacount.train.sources import TrainingPicture, TrainingSet

FIGURES = ("mae", "rmse", "bias")
CELL_PX = 8
RADIUS_PX = 8.0
MIN_SCORE = 0.01  # a set without a fault is not infinitely better than one with a trace of one


@dataclass(frozen=True)
class Errors:
    """Errors on one set's held-out images, or the looks at them; bias is the mean of estimate minus truth, in people.

    f1: of located heads within sigma_l of the NWPU protocol, or within 8 px where heads have no boxes; None where they
    were not located.
    """

    name: str
    pictures: int
    truth_mean: float
    mae: float
    rmse: float
    bias: float
    f1: float | None = None

    @property
    def score(self) -> float:
        """What is to be small: 1 - F1 where heads were located in a set with people, else the MAE against the set's
        mean count; of people-free sets, against 10."""
        if self.f1 is not None and self.truth_mean:
            return 1 - self.f1
        return self.mae / (self.truth_mean or 10.0)

    def row(self) -> dict[str, Any]:
        """As records have it, but for the F1."""
        people, figures = round(self.truth_mean, 1), {name: round(getattr(self, name), 2) for name in FIGURES}
        return {"kind": self.name, "pictures": self.pictures, "people": people, **figures}


def mean_score(errors: Sequence[Errors]) -> float:
    """What checkpoints are chosen by: the geometric mean over the sets, so that no set's scale drowns another's."""
    return math.exp(float(np.mean([math.log(max(error.score, MIN_SCORE)) for error in errors])))


@torch.inference_mode()
def validate(network: Network, sources: Sequence[TrainingSet], recipe: Recipe, dtype: torch.dtype) -> list[Errors]:
    """The errors of each set that has held-out images, none of a network that does not count, in eval mode.

    A network that learns from GigaZoom's zoom levels is seen at those: its errors are of single looks.
    """
    device = next(network.parameters()).device
    results = []
    for source in sources if network.counts else ():
        if not source.held_out:
            continue
        truths, counts, pairs = [], [], []
        for picture in source.held_out:
            for view in views_of(picture, recipe):
                with torch.autocast(device.type, dtype, dtype != torch.float32):
                    seen = network.predict(tensor(picture, view, recipe, device), recipe.select == "f1")
                counts.append(seen.density.sum().item())
                truths.append(heads_in(picture, view.window))
                if seen.points is not None:
                    pairs.append(pair_of(picture, seen.points[0], view))
        results.append(errors_of(source.title, truths, counts, f1_of(pairs)))
    return results


def errors_of(name: str, truths: Sequence[int], counts: Sequence[float], f1: float | None = None) -> Errors:
    truth = np.array(truths, np.float64)
    differences = np.array(counts) - truth
    mae, rmse = float(np.abs(differences).mean()), float(np.sqrt((differences**2).mean()))
    return Errors(name, len(truth), float(truth.mean()), mae, rmse, float(differences.mean()), f1)


@torch.no_grad()
def mean_loss(network: Network, batches: Iterator[Batch], dtype: torch.dtype) -> float:
    """The network's own loss, mean over `batches`; `network` is in eval mode."""
    device = next(network.parameters()).device
    losses = []
    for images, targets in batches:
        with torch.autocast(device.type, dtype, dtype != torch.float32):
            loss = network.loss(images, targets)
        losses.append(loss.item())
    return float(np.mean(losses))


def pair_of(picture: TrainingPicture, points: NDArray[np.float32], view: View) -> PointPair:
    sample = picture.sample
    found = points.astype(np.float64)
    xy = found[:, :2] * np.divide(view.window.size_wh, view.size_wh)
    boxes = sample.boxes_xyxy
    truth = TruePoints(sample.points_xy)
    if boxes is not None:
        truth = TruePoints.from_boxes(sample.points_xy, boxes[:, 2:] - boxes[:, :2])
    return PointPair(sample.name, truth, PredictedPoints(xy, found[:, 2]))


def f1_of(pairs: Sequence[PointPair]) -> float | None:
    """F1 of a set's located heads (`Errors.f1`); None where none were looked for."""
    if not pairs:
        return None
    if all(pair.truth.sigmas is not None for pair in pairs):
        return nwpu(pairs).sigma_l.score.f1
    return fixed_radii(pairs, (RADIUS_PX,))[0].score.f1


def views_of(picture: TrainingPicture, recipe: Recipe) -> list[View]:
    """What of an image a network is validated on: the whole, shrunk as the recipe says or where it is too large for a
    look, or the windows that GigaZoom would look at if it saw every head."""
    zoom_wh = recipe.augmentation.zoom_wh
    if zoom_wh is None:
        return [whole_view(picture, recipe)]
    views: list[View] = []

    def look(view: View) -> Future[Density]:
        views.append(view)
        shape = -(-view.size_wh[1] // CELL_PX), -(-view.size_wh[0] // CELL_PX)
        seen: Future[Density] = Future()
        seen.set_result(points_to_density(picture.sample.points_xy, view.window, shape))
        return seen

    gigazoom(look, picture.size_wh, StrategyOptions(max_size=zoom_wh))
    return views


def heads_in(picture: TrainingPicture, window: Window) -> int:
    """How many heads lie in a window; those beyond the image's border count as at it, as in its total."""
    points = picture.sample.points_xy
    if window == whole(picture.size_wh):
        return len(points)
    near, far = (window.left, window.top), (window.right, window.bottom)
    return int(((points >= near) & (points < far)).all(axis=1).sum())


def whole_view(picture: TrainingPicture, recipe: Recipe) -> View:
    return View(whole(picture.size_wh), shrunk_wh(picture, replace(recipe, crop_wh=None)))


def tensor(picture: TrainingPicture, view: View, recipe: Recipe, device: torch.device) -> Tensor:
    pixels = cut(picture, view.window, view.size_wh).permute(1, 2, 0)
    return normalised(unit(pixels[None], device), recipe)


def labelled(
    sources: Sequence[TrainingSet], recipe: Recipe, device: torch.device
) -> Iterator[tuple[Tensor, NDArray[np.float64]]]:
    """Each training image as the network sees it whole, (3, H, W), with its heads (N, 2) in those pixels."""
    for source in sources:
        for picture in source.train:
            image = tensor(picture, whole_view(picture, recipe), recipe, device)[0]
            size_wh = image.shape[2], image.shape[1]
            points = picture.sample.points_xy * np.divide(size_wh, picture.size_wh)
            yield image, points[(points >= 0).all(axis=1) & (points < size_wh).all(axis=1)]
