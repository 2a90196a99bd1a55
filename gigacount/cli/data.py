"""`gigacount data ...`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from gigacount.cli import options as shared
from gigacount.cli.groups import spread

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


@data.command("list")
def list_names() -> int:
    """List the data sets and label formats that can be read."""
    from gigacount.datasets import DATASETS

    for name in DATASETS:
        typer.echo(name)
    return 0
