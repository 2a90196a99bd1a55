"""Places measured: predicted points against labelled ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gigacount.datasets.entries import Sample
from gigacount.datasets.listed import names_apart
from gigacount.errors import UnknownNameError
from gigacount.evaluate.pointfiles import read_pairs
from gigacount.metrics.counting import CountingMetrics, ImageCount, counting_metrics
from gigacount.metrics.heads import PointPair, PredictedPoints, TruePoints
from gigacount.metrics.localization import NwpuScore, QnrfScore, RadiusScore, fixed_radii, nwpu, qnrf, totals
from gigacount.metrics.ranking import NapScore, RazScore, nap, raz
from gigacount.options import EvaluateOptions

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

    notify: gets a line where points were passed over. Raises DataError, naming file and line, for files that cannot be
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
