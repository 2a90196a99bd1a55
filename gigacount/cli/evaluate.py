"""`gigacount evaluate ...` and `gigacount ablate`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from gigacount.cli.options import App, AsJson, Counting, Data, MinScore, Quiet, spread
from gigacount.cli.show import say
from gigacount.errors import ExistsError
from gigacount.options import AblateOptions, CountOptions, EvaluateOptions, LabelOptions
from gigacount.options.option import OUTPUT, option, require
from gigacount.options.research import Split

if TYPE_CHECKING:
    from gigacount.datasets import Sample
    from gigacount.metrics.heads import PointPair

T = TypeVar("T")

evaluate = App(help="Measure counts and located heads against ground truth.", no_args_is_help=True)


@evaluate.callback()
def root() -> None:
    """Measure counts and located heads against ground truth."""


@dataclass(frozen=True)
class Reporting:
    """Where the report goes. The folder must be new, so that nothing fails after hours of work."""

    out: Path | None = option(None, "New folder for report.json and the files beside it.", "-o", "FOLDER", OUTPUT)
    as_json: AsJson = False
    quiet: Quiet = False

    def __post_init__(self) -> None:
        if self.out is not None and self.out.exists():
            raise ExistsError(f"{self.out} exists already; choose another --out")


@dataclass(frozen=True)
class PointSources:
    """Either two files of heads, or a labelled data set in which a network locates."""

    truth: Path | None = option(None, "File of true heads: NWPU text, CSV, GeoJSON or COCO.")
    predictions: Path | None = option(None, "File of predicted heads.")
    data: str | None = option(
        None, "Instead of files: a labelled data set, in which a network locates.", metavar="NAME:PATH"
    )
    split: Split = "test"

    def __post_init__(self) -> None:
        given = self.truth is not None, self.predictions is not None, self.data is not None
        either = "give either --truth and --predictions, or --data NAME:PATH"
        require(given in ((True, True, False), (False, False, True)), either)


@evaluate.command("count")
@spread
def evaluate_count(
    *,
    data: Data,
    split: Split = "test",
    reporting: Reporting,
    labels: LabelOptions,
    counting: Counting,
) -> int:
    """Count a labelled data set and print the errors: MAE, RMSE, MSE, NAE, GAME, bias, by density level.

    With --out, writes report.json, images.csv and scatter.png.

    Examples:

      gigacount evaluate count --data csv:photos --split all -o report
      gigacount evaluate count --data panda:PANDA_Crowd --strategy gigazoom --json
    """
    options = options_for_all(counting)
    from gigacount.count import Counter
    from gigacount.datasets import load
    from gigacount.evaluate.reports import count_samples, evaluate_counts, write_count_report

    samples = load(data, split, say, labels)
    counter = Counter(options, preview=False)
    counted = count_samples(samples, lambda sample: counter.count(sample.image).density)
    report = evaluate_counts(told(counted, len(samples), reporting.quiet))
    if reporting.out is not None:
        write_count_report(report, reporting.out, say)
    show(report.as_dict(), reporting.as_json)
    return 0


@evaluate.command("points")
@spread
def evaluate_points(
    *,
    sources: PointSources,
    measuring: EvaluateOptions,
    reporting: Reporting,
    min_score: MinScore = None,
    labels: LabelOptions,
    counting: Counting,
) -> int:
    """Measure located heads against true ones: precision, recall, F1, AP and AR by the published protocols.

    Takes two files of heads (--truth, --predictions), or a labelled data set in which a network locates (--data); what
    concerns networks and reading is for the latter. With --out, writes report.json and, with --data, predictions.csv.

    Examples:

      gigacount evaluate points --truth truth.csv --predictions heads.geojson
      gigacount evaluate points --data csv:photos --metrics nwpu,raz -o report
    """
    options = replace(options_for_all(counting), min_score=min_score)
    from gigacount.datasets import load
    from gigacount.evaluate.reports import evaluate_pairs, write_points_report
    from gigacount.evaluate.reports import evaluate_points as measure

    if sources.data is not None:
        pairs = locate(load(sources.data, sources.split, say, labels), options, reporting.quiet)
        report = evaluate_pairs(pairs, measuring)
    else:
        assert sources.truth is not None
        assert sources.predictions is not None
        pairs, report = [], measure(sources.truth, sources.predictions, measuring, say)
    if reporting.out is not None:
        write_points_report(report, pairs, reporting.out)
    show(report.as_dict(), reporting.as_json)
    return 0


@spread
def ablate(*, options: AblateOptions, quiet: Quiet = False) -> int:
    """Measure what each choice of a strategy is worth: the tables of the GigaZoom paper on any labelled data set.

    Prints the paths of tables.md, tables.csv, tables.json, images.csv and a plot of each table. Run the same command
    again to continue after a stop: nothing is measured twice.

    Examples:

      gigacount ablate --data panda:PANDA_Crowd -o tables
      gigacount ablate --data csv:photos -o tables --tables levels,clusters --network light --network raznet
    """
    from gigacount.ablate.run import Ablation
    from gigacount.ablate.summary import write_tables

    ablation = Ablation(options, (lambda line: None) if quiet else say)
    try:
        for _ in ablation.run():
            pass
    finally:  # what is measured is in the tables, whatever stopped the rest
        written = write_tables(ablation)
    for path in written:
        typer.echo(path)
    return 0


def locate(samples: list[Sample], options: CountOptions, quiet: bool) -> list[PointPair]:
    """Truth and prediction of a data set's images, located with one network."""
    from gigacount.count import Counter
    from gigacount.evaluate.reports import locate_samples
    from gigacount.metrics.heads import PredictedPoints

    counter = Counter(options, locate=True, preview=False)

    def located(sample: Sample) -> PredictedPoints:
        points = counter.count(sample.image).points
        assert points is not None
        return PredictedPoints(points.xy.astype("float64"), points.score.astype("float64"))

    return list(told(locate_samples(samples, located), len(samples), quiet))


def options_for_all(counting: Counting) -> CountOptions:
    """Options for every image of a data set. Raises UsageError for regions, which lie in one image."""
    options = counting.options()
    require(options.regions is None, "--region is for one image; a data set is measured whole")
    return options


def told(images: Iterable[T], total: int, quiet: bool) -> Iterator[T]:
    """Pass images on, saying on standard error how many are done."""
    for number, image in enumerate(images, start=1):
        if not quiet and (number % 20 == 0 or number == total):
            say(f"{number} of {total} images")
        yield image


def show(values: dict[str, Any], as_json: bool) -> None:
    """A report as JSON, or a line for each value; the per-image list stays in the files."""
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
