"""The files of an evaluation, for `output.ResultFolder.replacing()` or any other folder."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gigacount.errors import OutputError, UsageError
from gigacount.evaluate.counts import CountReport, image_row
from gigacount.evaluate.points import PointsReport
from gigacount.metrics.heads import PointPair

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDE = 20  # the largest count over the median from which the scatter plot's axes are logarithmic
NEAR_ZERO = 10  # people below which such an axis is linear, so that empty pictures have a place on it


def write_report_json(report: CountReport | PointsReport, path: Path) -> None:
    """The whole report as JSON. Raises OutputError where it cannot be written."""
    _write(path, json.dumps(report.as_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_counts_csv(report: CountReport, path: Path) -> None:
    """A line per picture: truth, estimate, errors; empty where undefined.

    Raises OutputError where it cannot be written.
    """
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            rows = [image_row(image) for image in report.images]
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise _unwritable(path, error) from error


def write_points_csv(pairs: Sequence[PointPair], path: Path) -> None:
    """The predicted heads, a line each, in the form that `evaluate_points` reads: image, x, y, score.

    Raises OutputError where it cannot be written.
    """
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["image", "x", "y", "score"])
            for pair in pairs:
                writer.writerows(_predicted_lines(pair))
    except OSError as error:
        raise _unwritable(path, error) from error


def _predicted_lines(pair: PointPair) -> Iterator[list[str]]:
    """A line for each head; a picture without heads has a line without a position."""
    heads, scores = pair.predicted.points_xy, pair.predicted.scores
    if not len(heads):
        yield [pair.name, "", "", ""]
    for number, (x, y) in enumerate(heads):
        yield [pair.name, f"{x:.3f}", f"{y:.3f}", "" if scores is None else f"{scores[number]:.6g}"]


def plot_counts(report: CountReport, path: Path) -> None:
    """Scatter plot of truth against estimate, in the format that the suffix of `path` names.

    Raises UsageError without matplotlib, OutputError where the plot cannot be written.
    """
    figure = counts_figure(report)
    try:
        figure.savefig(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error


def counts_figure(report: CountReport) -> Figure:
    """The scatter plot: a dot per picture; on the diagonal the estimate is right."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("plots need matplotlib; install it with: pip install 'gigacount[plots]'") from error
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
    axes.set(xlabel="people in the picture", ylabel="people counted", xlim=(0, top), ylim=(min(0, *estimate), top))
    axes.set_box_aspect(1)
    metrics = report.metrics
    axes.set_title(f"{metrics.images} pictures: MAE {metrics.mae:.2f}, RMSE {metrics.rmse:.2f}", fontsize=10)
    return figure


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path}: cannot be written ({error.strerror or error})")
