"""`gigacount data ...`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gigacount.cli import options as shared
from gigacount.cli.groups import spread
from gigacount.cli.show import say
from gigacount.errors import ExistsError

data = typer.Typer(help="Labelled pictures.", no_args_is_help=True)


@data.callback()
def root() -> None:
    """Labelled pictures."""


@data.command()
@spread
def check(
    *,
    spec: Annotated[str, typer.Argument(metavar="NAME:PATH", help="A data set, such as csv:photos.")],
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "all",
    most: Annotated[int, typer.Option(help="Name at most so many of each kind.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object of counts.")] = False,
    labelling: shared.Labelling,
) -> int:
    """Check labels and pictures. Exit status 1 when something must be mended."""
    from gigacount.datasets.check import check_dataset

    report = check_dataset(spec, split, labelling.options())
    if as_json:
        typer.echo(json.dumps(report.counts()))
    else:
        for line in report.lines(most):
            typer.echo(line)
    return 0 if report.ok else 1


@data.command()
@spread
def boxes(
    *,
    spec: Annotated[str, typer.Argument(metavar="NAME:PATH", help="A data set whose heads are points.")],
    network: Annotated[str, typer.Option(help="Record of a trained head-sizes network.")],
    out: Annotated[Path, typer.Option(help="CSV file for heads and boxes, read as csv:FILE with --trust-paths.")],
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "train",
    enlarge: Annotated[float, typer.Option(help="Look at pictures enlarged so much; IIM doubles ShanghaiTech's.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    labelling: shared.Labelling,
) -> int:
    """Give heads that are points the boxes that a network trained on boxes thinks they have (IIM, 4.1)."""
    from gigacount.datasets import load
    from gigacount.train.pseudo_labels import with_boxes, write_labels

    if out.exists() and not overwrite:
        raise ExistsError(f"{out} exists already; use another --out, or --overwrite")
    samples = load(spec, split, say, labelling.options())
    write_labels(out, with_boxes(samples, network, enlarge, device))
    typer.echo(out)
    return 0


@data.command("list")
def list_names() -> int:
    """List the data sets and label formats that can be read."""
    from gigacount.datasets import DATASETS

    for name in DATASETS:
        typer.echo(name)
    return 0
