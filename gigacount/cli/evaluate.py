"""`gigacount evaluate ...`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from gigacount.cli import options as shared
from gigacount.cli.parse import parse_numbers, parse_size
from gigacount.cli.show import say
from gigacount.errors import OutputError
from gigacount.options import CountOptions, StrategyOptions

if TYPE_CHECKING:
    from gigacount.evaluate import CountReport

T = TypeVar("T")

evaluate = typer.Typer(help="Measure counts and points against labels.", no_args_is_help=True)


@evaluate.callback()
def root() -> None:
    """Measure counts and points against labels."""


@evaluate.command("count")
def evaluate_count(
    data: Annotated[str, typer.Option(metavar="NAME:PATH", help="A labelled data set, such as csv:photos.")],
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "test",
    strategy: shared.Strategy = shared.DEFAULTS.strategy,
    network: shared.Network = shared.DEFAULTS.network,
    coarse_network: shared.CoarseNetwork = shared.DEFAULTS.coarse_network,
    levels: shared.Levels = shared.LOOKING.levels,
    clusters: shared.Clusters = shared.LOOKING.clusters,
    max_size: shared.MaxSize = shared.MAX_SIZE,
    scales: shared.Scales = shared.SCALES,
    device: shared.Device = shared.DEFAULTS.device,
    precision: shared.Precision = shared.DEFAULTS.precision,
    out: Annotated[Path | None, typer.Option(help="Folder for report.json, pictures.csv and scatter.png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> int:
    """Count a labelled data set and print the errors: MAE, RMSE, MSE, NAE, GAME, bias, by density level."""
    looking = StrategyOptions(
        levels=levels,
        clusters=clusters,
        max_size=parse_size(max_size, "--max-size"),
        scales=parse_numbers(scales, "--scales"),
    )
    if out is not None and out.exists():
        raise OutputError(f"{out} exists already; choose another --out")
    from gigacount.count import Counter
    from gigacount.datasets import Sample, read
    from gigacount.evaluate import CountEstimate, count_samples, evaluate_counts

    samples = list(read(data, split))
    options = CountOptions(strategy, network, coarse_network, device=device, precision=precision, looking=looking)
    counter = Counter(options)

    def estimate(sample: Sample) -> CountEstimate:
        result = counter.count(sample.image)
        return CountEstimate(result.count, result.density)

    report = evaluate_counts(told(count_samples(samples, estimate), len(samples), quiet))
    if out is not None:
        write_report(report, out)
    show(report.as_dict(), as_json)
    return 0


@evaluate.command("points")
def evaluate_points(
    truth: Annotated[Path, typer.Option(help="File of true heads: NWPU text, CSV or GeoJSON.")],
    predictions: Annotated[Path, typer.Option(help="File of predicted heads.")],
    form: Annotated[str | None, typer.Option("--format", help="nwpu, csv or geojson; default: by the ending.")] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Of nwpu, fixed, qnrf, raz, nap; default: all that the labels allow.")
    ] = None,
    sigma: Annotated[str, typer.Option(help="Sigmas in pixels of RAZ-Net's AP and AR.")] = "5,20,40",
    radius: Annotated[str, typer.Option(help="Match radii in pixels.")] = "4,8",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Measure predicted heads against true ones: precision, recall, F1, AP and AR by the published protocols."""
    from gigacount.evaluate import EvaluateOptions
    from gigacount.evaluate import evaluate_points as measure

    names = tuple(name.strip() for name in metrics.split(",")) if metrics else None
    options = EvaluateOptions(
        metrics=names, radii=parse_numbers(radius, "--radius"), sigmas=parse_numbers(sigma, "--sigma"), form=form
    )
    show(measure(truth, predictions, options).as_dict(), as_json)
    return 0


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


def show(values: dict[str, Any], as_json: bool) -> None:
    """A report as JSON, or a line for each value; the per-picture list stays in the files."""
    values = {name: value for name, value in values.items() if name != "images"}
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
