"""The folder of an evaluation: all of its files, or none."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gigacount.evaluate.counts import CountReport, image_row
from gigacount.evaluate.points import PointsReport
from gigacount.metrics.heads import PointPair
from gigacount.output import ResultFolder
from gigacount.output.tables import csv_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDE = 20  # the largest count over the median from which the scatter plot's axes are logarithmic
NEAR_ZERO = 10  # people below which such an axis is linear, so that empty images have a place on it


def write_count_report(report: CountReport, out: Path, notify: Callable[[str], None] = lambda line: None) -> None:
    """report.json, pictures.csv (a row per image, empty where undefined) and, with matplotlib, scatter.png.

    notify: told where matplotlib is missing. Raises OutputError where the folder cannot be written.
    """
    rows = [image_row(image) for image in report.images]
    with ResultFolder(out).replacing() as fresh:
        _write_json(report.as_dict(), fresh)
        (fresh / "pictures.csv").write_text(csv_text(list(rows[0]), rows), encoding="utf-8")
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
