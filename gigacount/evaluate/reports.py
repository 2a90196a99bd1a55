"""Counts and heads measured against ground truth: reports, and the folders that they are written to."""

from __future__ import annotations

import copy
import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gigacount.datasets.entries import Positions, Sample
from gigacount.datasets.listed import names_apart
from gigacount.density import DensityMap
from gigacount.errors import DataError, UnknownNameError
from gigacount.evaluate.pointfiles import read_pairs
from gigacount.metrics.counting import (
    DENSITY_LEVELS,
    GAME_LEVELS,
    CountingMetrics,
    ImageCount,
    counting_metrics,
    grid_of_density,
    grid_of_points,
)
from gigacount.metrics.heads import PointPair, PredictedPoints, TruePoints
from gigacount.metrics.localization import NwpuScore, QnrfScore, RadiusScore, fixed_radii, nwpu, qnrf, totals
from gigacount.metrics.ranking import NapScore, RazScore, nap, raz
from gigacount.options import EvaluateOptions
from gigacount.output.folder import ResultFolder
from gigacount.output.tables import csv_text
from gigacount.regions.inside import clear_inside, points_inside

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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


def within(region_xy: Positions, density: DensityMap, points_xy: Positions) -> tuple[DensityMap, Positions]:
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


Measured = NwpuScore | QnrfScore | NapScore | tuple[RadiusScore, ...] | tuple[RazScore, ...]
Metric = Callable[[Sequence[PointPair], EvaluateOptions], Measured]

METRICS: dict[str, Metric] = {
    "nwpu": lambda pairs, options: nwpu(pairs),
    "fixed": lambda pairs, options: fixed_radii(pairs, options.radii),
    "qnrf": lambda pairs, options: qnrf(pairs),
    "raz": lambda pairs, options: tuple(raz(pairs, sigma) for sigma in options.sigmas),
    "nap": lambda pairs, options: nap(pairs),
}
"""Name -> what it measures. One more localization metric is a function and a line here."""

DEFAULTS = EvaluateOptions()
RANKING = frozenset({"raz", "nap"})


@dataclass(frozen=True)
class PointsReport:
    """Predicted points measured over a data set.

    heads, predictions: how many in all. counting: errors of the numbers of points. metrics: results by name of
    `METRICS`. notes: what is undefined or left out here, and why.
    """

    images: int
    heads: int
    predictions: int
    counting: CountingMetrics
    metrics: dict[str, Measured]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON knows it."""
        return asdict(self)


def evaluate_points(
    truth: Path,
    predictions: Path,
    options: EvaluateOptions = DEFAULTS,
    notify: Callable[[str], None] = lambda line: None,
) -> PointsReport:
    """Measure the points of one file against those of another; formats as in `pointfiles`.

    notify: gets a line where points were left out. Raises DataError, naming file and line, for files that cannot be
    used or do not hold the same images, and UnknownNameError for a metric or format that does not exist.
    """
    chosen_metrics(options)
    return evaluate_pairs(read_pairs(truth, predictions, options.form, notify), options)


def evaluate_pairs(pairs: Sequence[PointPair], options: EvaluateOptions = DEFAULTS) -> PointsReport:
    """Measure points that are in memory. Raises DataError where the truth lacks what a metric asked for needs."""
    chosen = chosen_metrics(options)
    sized = all(pair.truth.sigmas is not None for pair in pairs)
    if options.metrics is None and not sized:
        chosen.remove("nwpu")
    measured = {name: METRICS[name](pairs, options) for name in chosen}
    counts = [ImageCount(pair.name, len(pair.truth), len(pair.predicted)) for pair in pairs]
    heads, predictions = totals(pairs)
    return PointsReport(
        images=len(pairs),
        heads=heads,
        predictions=predictions,
        counting=counting_metrics(counts),
        metrics=measured,
        notes=tuple(_notes(pairs, measured, sized)),
    )


def chosen_metrics(options: EvaluateOptions) -> list[str]:
    """The metrics asked for, once each; raises UnknownNameError for one that does not exist."""
    for name in options.metrics or ():
        if name not in METRICS:
            raise UnknownNameError("metric", name, METRICS)
    return list(dict.fromkeys(options.metrics or METRICS))


def locate_samples(samples: Sequence[Sample], locate: Callable[[Sample], PredictedPoints]) -> Iterator[PointPair]:
    """Truth and prediction of labelled images, found by `locate`, which knows network and strategy.

    Images are called by their file names, with as many folders before them as tell them apart.
    """
    names = names_apart([sample.image for sample in samples])
    for sample in samples:
        yield PointPair(names[sample.image], true_points(sample), locate(sample))


def true_points(sample: Sample) -> TruePoints:
    """The labelled heads of a sample, with match radii where it has boxes."""
    if sample.boxes_xyxy is None:
        return TruePoints(sample.points_xy)
    return TruePoints.from_boxes(sample.points_xy, sample.boxes_xyxy[:, 2:] - sample.boxes_xyxy[:, :2])


def _notes(pairs: Sequence[PointPair], measured: Mapping[str, Measured], sized: bool) -> Iterator[str]:
    heads, predictions = totals(pairs)
    if heads == 0:
        yield "no head in the truth: recall and F1 are 0 by the NWPU protocol, AP, AR and nAP undefined"
    if predictions == 0:
        yield "no predicted point: precision and F1 are 0 by the NWPU protocol"
    if not sized:
        yield "the truth has no head sizes: no scores by the NWPU protocol"
    by_size = measured.get("nwpu")
    if isinstance(by_size, NwpuScore):
        classes = by_size.sigma_l.classes
        if classes is None:
            yield "the truth has no size classes: no recall by head area"
        elif absent := [one.size_class for one in classes if one.heads == 0]:
            yield f"no head of size {', '.join(absent)}: recall there is 0 by the NWPU protocol, and counts in the mean"
    if RANKING & measured.keys() and any(pair.predicted.scores is None for pair in pairs):
        yield "the predictions have no scores: AP and nAP rest on one operating point, all points together"


WIDE = 20  # the largest count over the median from which the scatter plot's axes are logarithmic
NEAR_ZERO = 10  # people below which such an axis is linear, so that empty images have a place on it


def write_count_report(report: CountReport, out: Path, notify: Callable[[str], None] = lambda line: None) -> None:
    """report.json, images.csv (a row per image, empty where undefined) and, with matplotlib, scatter.png.

    notify: told where matplotlib is missing. Raises OutputError where the folder cannot be written.
    """
    rows = [image_row(image) for image in report.images]
    with ResultFolder(out).replacing() as fresh:
        _write_json(report.as_dict(), fresh)
        (fresh / "images.csv").write_text(csv_text(list(rows[0]), rows), encoding="utf-8")
        if find_spec("matplotlib"):
            scatter_plot(report).savefig(fresh / "scatter.png")
        else:
            notify("no scatter.png: install it with `pip install gigacount[plots]`")


def write_points_report(report: PointsReport, pairs: Sequence[PointPair], out: Path) -> None:
    """report.json, and where there are pairs predictions.csv: a row per head, as `evaluate_points` reads it.

    Raises OutputError where the folder cannot be written.
    """
    with ResultFolder(out).replacing() as fresh:
        _write_json(report.as_dict(), fresh)
        if pairs:
            with (fresh / "predictions.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(["image", "x", "y", "score"])
                for pair in pairs:
                    writer.writerows(_predicted_rows(pair))


def _predicted_rows(pair: PointPair) -> Iterator[list[str]]:
    """A row for each head; an image without heads has a row without a position."""
    heads, scores = pair.predicted.points_xy, pair.predicted.scores
    if not len(heads):
        yield [pair.name, "", "", ""]
    for number, (x, y) in enumerate(heads):
        yield [pair.name, f"{x:.3f}", f"{y:.3f}", "" if scores is None else f"{scores[number]:.6g}"]


def scatter_plot(report: CountReport) -> Figure:
    """Ground truth against estimate, a dot per image; on the diagonal the estimate is right."""
    from matplotlib.figure import Figure

    truth = [image.truth for image in report.images]
    estimate = [image.estimate for image in report.images]
    figure = Figure(figsize=(6, 6), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    top = 1.05 * max(*truth, *estimate, 1)
    if max(truth) > WIDE * max(sorted(truth)[len(truth) // 2], 1):
        axes.set_xscale("symlog", linthresh=NEAR_ZERO)
        axes.set_yscale("symlog", linthresh=NEAR_ZERO)
    axes.plot([0, top], [0, top], color="grey", linewidth=1, zorder=1)
    axes.scatter(truth, estimate, s=14, alpha=0.6, linewidths=0, zorder=2)
    axes.set(xlabel="people in the image", ylabel="people counted", xlim=(0, top), ylim=(min(0, *estimate), top))
    axes.set_box_aspect(1)
    metrics = report.metrics
    axes.set_title(f"{metrics.images} images: MAE {metrics.mae:.2f}, RMSE {metrics.rmse:.2f}", fontsize=10)
    return figure


def _write_json(values: dict[str, Any], folder: Path) -> None:
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "report.json").write_text(text + "\n", encoding="utf-8")
