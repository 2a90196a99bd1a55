"""Counting metrics: how wrong the number is, and how wrong the places are although the number is right.

g is the true count of an image, p the estimate. Mind the name MSE: GigaZoom's eq. 5 is the mean of the squared
errors, here `mse`; what crowd counting tables print as "MSE" is its square root, here `rmse`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gigacount.density import BAND_CELLS, DensityMap
from gigacount.errors import DataError
from gigacount.geometry import Size
from gigacount.metrics.heads import Floats, mean_of_known

GRID = 8  # cells per side: GAME(3) and the grid error use all of them, GAME(0..2) sum blocks of them
GAME_LEVELS = 3
DENSITY_LEVELS = ("S0", "S1", "S2", "S3", "S4")
LEVEL_ENDS = (0, 100, 500, 5000)  # the most heads of S0..S3; S4 is above
RESAMPLES, RESAMPLED_AT_ONCE = 10_000, 4_000_000


@dataclass(frozen=True)
class ImageCount:
    """One image: true and estimated count, and both per cell of an 8 x 8 grid (rows, cols) where known."""

    name: str
    truth: float
    estimate: float
    truth_grid: Floats | None = None
    estimate_grid: Floats | None = None

    @property
    def error(self) -> float:
        """Estimate minus truth: positive where too many were counted."""
        return self.estimate - self.truth

    @property
    def nae(self) -> float | None:
        """|p - g| / g, None without people."""
        return abs(self.error) / self.truth if self.truth > 0 else None

    @property
    def level(self) -> int:
        """NWPU-Crowd's density level 0..4: nobody, up to 100, up to 500, up to 5000, more."""
        return int(np.searchsorted(LEVEL_ENDS, self.truth))

    @property
    def game(self) -> tuple[float, ...] | None:
        """GAME(0), ..., GAME(3), or None without grids; see `game`."""
        if self.truth_grid is None or self.estimate_grid is None:
            return None
        return game(self.truth_grid, self.estimate_grid)

    @property
    def grid_error(self) -> float | None:
        """Sum of the absolute differences of the 8 x 8 cells over the true count; None without grids or people."""
        errors = self.game
        return errors[-1] / self.truth if errors and self.truth > 0 else None


@dataclass(frozen=True)
class LevelError:
    """Errors of the images of one density level of NWPU-Crowd; None where there are none of them."""

    level: str
    images: int
    mae: float | None
    rmse: float | None
    nae: float | None


@dataclass(frozen=True)
class CountingMetrics:
    """Counting errors over a data set.

    mae: mean |p - g|, with the 95 % bootstrap interval `mae_interval` (None for a single image).
    mse: mean (p - g)^2, GigaZoom's eq. 5. rmse: its root, the literature's "MSE".
    nae: mean |p - g| / g over the images with g > 0; None where there are none (the official script prints -1).
    bias: mean p - g. game: GAME(0..3), grid_error: mean over the images with people; None without density grids.
    levels, level_mae: errors per density level of NWPU-Crowd and their unweighted mean over the levels that occur.
    notes: what is undefined here, and why.
    """

    images: int
    truth_total: float
    estimate_total: float
    mae: float
    mae_interval: tuple[float, float] | None
    mse: float
    rmse: float
    nae: float | None
    bias: float
    game: tuple[float, ...] | None
    grid_error: float | None
    levels: tuple[LevelError, ...]
    level_mae: float
    notes: tuple[str, ...]


def counting_metrics(images: Sequence[ImageCount]) -> CountingMetrics:
    """All counting metrics of a data set. Raises DataError for no images at all and for counts that are no numbers."""
    if not images:
        raise DataError("there is no image to measure the count on")
    for image in images:
        if not (np.isfinite(image.truth) and np.isfinite(image.estimate)):
            raise DataError(f"image '{image.name}' has a count of {image.truth} and an estimate of {image.estimate}")
    errors = np.array([image.error for image in images], np.float64)
    levels = tuple(_level_error(name, [i for i in images if i.level == k]) for k, name in enumerate(DENSITY_LEVELS))
    games = [image.game for image in images if image.game is not None]
    complete = len(games) == len(images)
    mse = float(np.mean(errors**2))
    return CountingMetrics(
        images=len(images),
        truth_total=float(sum(image.truth for image in images)),
        estimate_total=float(sum(image.estimate for image in images)),
        mae=float(np.abs(errors).mean()),
        mae_interval=bootstrap_interval(np.abs(errors)),
        mse=mse,
        rmse=float(np.sqrt(mse)),
        nae=mean_of_known(image.nae for image in images),
        bias=float(errors.mean()),
        game=tuple(np.mean(games, axis=0).tolist()) if complete else None,
        grid_error=mean_of_known(image.grid_error for image in images) if complete else None,
        levels=levels,
        level_mae=float(np.mean([level.mae for level in levels if level.mae is not None])),
        notes=tuple(_notes(images, levels, len(games))),
    )


def _level_error(name: str, images: Sequence[ImageCount]) -> LevelError:
    if not images:
        return LevelError(name, 0, None, None, None)
    errors = np.array([image.error for image in images], np.float64)
    nae = mean_of_known(image.nae for image in images)
    return LevelError(name, len(images), float(np.abs(errors).mean()), float(np.sqrt(np.mean(errors**2))), nae)


def _notes(images: Sequence[ImageCount], levels: Sequence[LevelError], with_grid: int) -> list[str]:
    notes = []
    empty = sum(image.truth <= 0 for image in images)
    if empty:
        # The official protocol leaves these out of the NAE and nothing else.
        notes.append(f"NAE and grid error leave out {empty} of {len(images)} images: they have no people")
    if len(images) == 1:
        notes.append("no interval for the MAE: there is one image")
    if with_grid < len(images):
        notes.append(
            f"no GAME and grid error: {len(images) - with_grid} of {len(images)} estimates have no density grid"
        )
    absent = [level.level for level in levels if not level.images]
    if absent:
        notes.append(f"the mean over density levels leaves out {', '.join(absent)}: no image belongs there")
    return notes


def bootstrap_interval(errors: Floats) -> tuple[float, float] | None:
    """95 % percentile bootstrap interval of the mean of per-image errors; always the same one.

    None for fewer than two images, whose spread is unknown.
    """
    n = len(errors)
    if n < 2:
        return None
    rng = np.random.default_rng(0)
    step = max(RESAMPLED_AT_ONCE // n, 1)
    means = [
        errors[rng.integers(n, size=(min(step, RESAMPLES - done), n))].mean(axis=1)
        for done in range(0, RESAMPLES, step)
    ]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


def game(truth_grid: Floats, estimate_grid: Floats) -> tuple[float, ...]:
    """GAME(0), ..., GAME(3) of one image (Guerrero-Gomez-Olmedo et al. 2015) from its 8 x 8 grids of people.

    GAME(L) is the sum of |p - g| over the 4^L equal parts of the image; GAME(0) is the absolute error of the count.
    """
    errors = []
    for level in range(GAME_LEVELS + 1):
        side = 2**level
        block = (side, GRID // side, side, GRID // side)
        difference = (estimate_grid - truth_grid).reshape(block).sum(axis=(1, 3))  # (side, side)
        errors.append(float(np.abs(difference).sum()))
    return tuple(errors)


def grid_of_points(points_xy: Floats, size_wh: Size) -> Floats:
    """People per cell of the 8 x 8 grid over an image, from points (N, 2) in its pixels.

    A label outside the image, as some data sets have, goes to the nearest cell: the grid sums to the number of
    points. A point on the line between two cells goes to the right and lower one.
    """
    cell = np.clip((points_xy * GRID / np.asarray(size_wh)).astype(np.int64), 0, GRID - 1)
    return np.bincount(cell[:, 1] * GRID + cell[:, 0], minlength=GRID * GRID).reshape(GRID, GRID).astype(np.float64)


def grid_of_density(density: DensityMap) -> Floats:
    """People per cell of the 8 x 8 grid over an image, from its density map.

    A cell of the map that lies in several cells of the grid is shared out by area, so that nothing is lost where the
    sides do not divide.
    """
    cells = density.cells
    down, across = (_shares(*side, density.cell_px) for side in zip(cells.shape, density.size_wh[::-1], strict=True))
    bands = np.array_split(cells, max(cells.size // BAND_CELLS, 1))
    columns = np.concatenate([band.astype(np.float64) @ across.T for band in bands])  # (rows, GRID)
    return np.asarray(down @ columns, np.float64)


def _shares(n: int, side: int, cell_px: int) -> Floats:
    """(GRID, n): which part of each of `n` cells along a side lies in each of the GRID parts of it.

    The last cell may reach past the side; what it holds is of the part inside.
    """
    edges = np.minimum(np.arange(n + 1) * cell_px, side)
    cuts = np.linspace(0, side, GRID + 1)
    common = np.minimum(edges[1:], cuts[1:, None]) - np.maximum(edges[:-1], cuts[:-1, None])
    return np.asarray(np.clip(common, 0, None) / np.diff(edges), np.float64)
