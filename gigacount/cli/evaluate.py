"""`gigacount evaluate ...`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from gigacount.cli import options as shared
from gigacount.cli.groups import spread
from gigacount.cli.parse import parse_numbers
from gigacount.cli.show import say
from gigacount.errors import ExistsError, UsageError
from gigacount.options import CountOptions

if TYPE_CHECKING:
    from gigacount.datasets import Sample
    from gigacount.evaluate import CountReport, EvaluateOptions, PointsReport
    from gigacount.metrics.heads import PointPair

T = TypeVar("T")

Data = Annotated[str, typer.Option(metavar="NAME:PATH", help="A labelled data set, such as csv:photos.")]
Split = Annotated[str, typer.Option(help="train, val, test or all.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]

evaluate = typer.Typer(help="Measure counts and points against labels.", no_args_is_help=True)


@evaluate.callback()
def root() -> None:
    """Measure counts and points against labels."""


@evaluate.command("count")
@spread
def evaluate_count(
    *,
    data: Data,
    split: Split = "test",
    out: Annotated[Path | None, typer.Option(help="Folder for report.json, pictures.csv and scatter.png.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    labelling: shared.Labelling,
    counting: shared.Counting,
) -> int:
    """Count a labelled data set and print the errors: MAE, RMSE, MSE, NAE, GAME, bias, by density level."""
    demand_new(out)
    options = options_for_all(counting)
    from gigacount.count import Counter
    from gigacount.datasets import load
    from gigacount.evaluate import CountEstimate, count_samples, evaluate_counts

    samples = load(data, split, say, labelling.options())
    counter = Counter(options, preview=False)

    def estimate(sample: Sample) -> CountEstimate:
        result = counter.count(sample.image)
        return CountEstimate(result.count, result.density)

    report = evaluate_counts(told(count_samples(samples, estimate), len(samples), quiet))
    if out is not None:
        write_report(report, out)
    show(report.as_dict(), as_json)
    return 0


@dataclass(frozen=True)
class Measuring:
    """What is measured of located heads, and in which files: the fields of EvaluateOptions as text."""

    form: Annotated[
        str | None, typer.Option("--format", help="nwpu, csv, geojson or coco; default: by the ending.")
    ] = None
    metrics: Annotated[
        str | None, typer.Option(help="Of nwpu, fixed, qnrf, raz, nap; default: all that the labels allow.")
    ] = None
    sigma: Annotated[str, typer.Option(help="Sigmas in pixels of RAZ-Net's AP and AR.")] = "5,20,40"
    radius: Annotated[str, typer.Option(help="Match radii in pixels.")] = "4,8"

    def options(self) -> EvaluateOptions:
        """Raises UsageError for values that make no sense, UnknownNameError for metrics."""
        from gigacount.evaluate import EvaluateOptions

        return EvaluateOptions(
            metrics=tuple(name.strip() for name in self.metrics.split(",")) if self.metrics else None,
            radii=parse_numbers(self.radius, "--radius"),
            sigmas=parse_numbers(self.sigma, "--sigma"),
            form=self.form,
        )


@evaluate.command("points")
@spread
def evaluate_points(
    *,
    truth: Annotated[Path | None, typer.Option(help="File of true heads: NWPU text, CSV, GeoJSON or COCO.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="File of predicted heads.")] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="NAME:PATH", help="Instead of files: a labelled data set, in which a network locates."),
    ] = None,
    split: Split = "test",
    measuring: Measuring,
    out: Annotated[Path | None, typer.Option(help="Folder for report.json and, with --data, predictions.csv.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    min_score: Annotated[
        float | None, typer.Option(help="Leave out heads below this score, 0 to 1; default: the network's threshold.")
    ] = None,
    labelling: shared.Labelling,
    counting: shared.Counting,
) -> int:
    """Measure located heads against true ones: precision, recall, F1, AP and AR by the published protocols.

    Of two files of points (--truth, --predictions), or of a network that looks at a labelled data set (--data); the
    options from --min-score on are for the latter.
    """
    demand_new(out)
    options = measuring.options()
    from gigacount.datasets import load
    from gigacount.evaluate import evaluate_pairs
    from gigacount.evaluate import evaluate_points as measure

    if data is not None and truth is None and predictions is None:
        locating = replace(options_for_all(counting), min_score=min_score)
        pairs = locate(load(data, split, say, labelling.options()), locating, quiet)
        report = evaluate_pairs(pairs, options)
    elif truth is not None and predictions is not None and data is None:
        pairs, report = [], measure(truth, predictions, options, say)
    else:
        raise UsageError("give either --truth and --predictions, or --data NAME:PATH")
    if out is not None:
        write_points_report(report, pairs, out)
    show(report.as_dict(), as_json)
    return 0


def locate(samples: list[Sample], options: CountOptions, quiet: bool) -> list[PointPair]:
    """Truth and prediction of a data set's pictures, located with one network."""
    from gigacount.count import Counter
    from gigacount.evaluate import locate_samples
    from gigacount.metrics.heads import PredictedPoints

    counter = Counter(options, locate=True, preview=False)

    def located(sample: Sample) -> PredictedPoints:
        points = counter.count(sample.image).points
        assert points is not None
        return PredictedPoints(points.xy.astype("float64"), points.score.astype("float64"))

    return list(told(locate_samples(samples, located), len(samples), quiet))


def options_for_all(counting: shared.Counting) -> CountOptions:
    """Options for every picture of a data set; raises UsageError for regions, which lie in one picture."""
    if counting.region is not None:
        raise UsageError("--region is for one picture; a data set is measured whole")
    return counting.options()


def demand_new(out: Path | None) -> None:
    """Raise OutputError for a folder that stands already, before hours of work."""
    if out is not None and out.exists():
        raise ExistsError(f"{out} exists already; choose another --out")


def told(images: Iterable[T], total: int, quiet: bool) -> Iterator[T]:
    """Pass pictures on, saying on standard error how many are done."""
    for number, image in enumerate(images, start=1):
        if not quiet and (number % 20 == 0 or number == total):
            say(f"{number} of {total} pictures")
        yield image


def write_report(report: CountReport, out: Path) -> None:
    """report.json and pictures.csv, and scatter.png where matplotlib is installed; all or nothing."""
    from importlib.util import find_spec

    from gigacount.evaluate import plot_counts, write_counts_csv, write_report_json
    from gigacount.output import ResultFolder

    with ResultFolder(out).replacing() as fresh:
        write_report_json(report, fresh / "report.json")
        write_counts_csv(report, fresh / "pictures.csv")
        if find_spec("matplotlib"):
            plot_counts(report, fresh / "scatter.png")
        else:
            say("no scatter.png: install it with `pip install gigacount[plots]`")


def write_points_report(report: PointsReport, pairs: list[PointPair], out: Path) -> None:
    """report.json, and predictions.csv where a network has predicted; all or nothing."""
    from gigacount.evaluate import write_points_csv, write_report_json
    from gigacount.output import ResultFolder

    with ResultFolder(out).replacing() as fresh:
        write_report_json(report, fresh / "report.json")
        if pairs:
            write_points_csv(pairs, fresh / "predictions.csv")


def show(values: dict[str, Any], as_json: bool) -> None:
    """A report as JSON, or a line for each value; the per-picture list stays in the files."""
    values = {name: value for name, value in values.items() if name != "images" or isinstance(value, int)}
    if as_json:
        typer.echo(json.dumps(values, ensure_ascii=False))
        return
    for name, value in flat(values):
        typer.echo(f"{name}\t{value:.4g}" if isinstance(value, float) else f"{name}\t{value}")


def flat(values: object, name: str = "") -> Iterator[tuple[str, object]]:
    """("nwpu.f1_l", 0.62), ...: the leaves of nested dictionaries and lists of dictionaries."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from flat(value, f"{name}.{key}" if name else str(key))
    elif isinstance(values, list | tuple) and any(isinstance(value, dict | list | tuple) for value in values):
        for number, value in enumerate(values):
            yield from flat(value, f"{name}.{number}")
    elif isinstance(values, list | tuple):
        yield name, ", ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in values)
    else:
        yield name, values
