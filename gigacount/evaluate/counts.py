"""Counts measured: a data set, something that counts its images, and how wrong it was."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gigacount.datasets.entries import Points, Sample
from gigacount.density import DensityMap
from gigacount.errors import DataError
from gigacount.metrics.counting import (
    DENSITY_LEVELS,
    GAME_LEVELS,
    CountingMetrics,
    ImageCount,
    counting_metrics,
    grid_of_density,
    grid_of_points,
)
from gigacount.regions.inside import clear_inside, points_inside


@dataclass(frozen=True)
class CountReport:
    """Counts measured over a data set: the metrics, and the images that they come from."""

    metrics: CountingMetrics
    images: tuple[ImageCount, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON knows it, with a row for each image."""
        return {"metrics": asdict(self.metrics), "images": [image_row(image) for image in self.images]}


def count_samples(samples: Iterable[Sample], estimate: Callable[[Sample], DensityMap]) -> Iterator[ImageCount]:
    """Truth and estimate of labelled images, one at a time, so that a caller can show and keep each.

    estimate: counts the image of a sample; only it knows networks and strategies. Where the data set counts in a part
    of its images alone (`Sample.region_xy`), truth and estimate are of that part.
    """
    for sample in samples:
        density, points = estimate(sample), sample.points_xy
        if sample.region_xy is not None:
            density, points = within(sample.region_xy, density, points)
        truth_grid, estimate_grid = grid_of_points(points, density.size_wh), grid_of_density(density)
        yield ImageCount(str(sample.image), len(points), density.count, truth_grid, estimate_grid)


def within(region_xy: Points, density: DensityMap, points_xy: Points) -> tuple[DensityMap, Points]:
    """The people and the heads (N, 2) in a polygon; a cell on its edge gives its share by area."""
    polygons = [[np.clip(region_xy, 0, density.size_wh)]]
    inside, outside = copy.deepcopy(density), copy.deepcopy(density)
    clear_inside(polygons, outside)
    inside.cells[:] = density.cells - outside.cells
    (here,) = points_inside(polygons, points_xy.astype(np.float32))
    return inside, points_xy[here]


def evaluate_counts(images: Iterable[ImageCount]) -> CountReport:
    """Measure counts over a data set.

    Raises DataError for no images, two of the same name, and counts that are no numbers.
    """
    counted = tuple(images)
    twice = [name for name, times in Counter(image.name for image in counted).items() if times > 1]
    if twice:
        raise DataError(f"{len(twice)} images were counted more than once, such as '{twice[0]}'")
    return CountReport(counting_metrics(counted), counted)


def image_row(image: ImageCount) -> dict[str, Any]:
    """One image as a row of a table; None where a value is undefined."""
    games = image.game or [None] * (GAME_LEVELS + 1)
    return {
        "image": image.name,
        "truth": image.truth,
        "estimate": image.estimate,
        "error": image.error,
        "nae": image.nae,
        "level": DENSITY_LEVELS[image.level],
        **{f"game_{level}": error for level, error in enumerate(games)},
        "grid_error": image.grid_error,
    }
