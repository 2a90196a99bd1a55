"""`gigacount ablate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gigacount.cli import options as shared
from gigacount.cli.groups import spread
from gigacount.cli.parse import parse_choices, parse_size
from gigacount.cli.show import say
from gigacount.options import LabelOptions, StrategyOptions

if TYPE_CHECKING:
    from gigacount.ablate import AblateOptions

ALL = "methods,zoom,levels,clusters,overzoom,peaks,start"


@dataclass(frozen=True)
class Ablating:
    """What is measured: the fields of AblateOptions, those of the strategies' options one by one."""

    data: Annotated[str, typer.Option(metavar="NAME:PATH", help="A labelled data set, such as panda:PANDA_Crowd.")]
    out: Annotated[Path, typer.Option(help="Folder for measurements, tables and plots; goes on with what it holds.")]
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "test"
    network: Annotated[
        list[str] | None, typer.Option(help="Name of shipped weights or a path; may be given several times.")
    ] = None
    coarse_network: shared.CoarseNetwork = shared.DEFAULTS.coarse_network
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=STRATEGY:NETWORK[:COARSE]",
            help="A row of Table I with networks of its own, instead of the usual rows; may be given several times.",
        ),
    ] = None
    tables: Annotated[
        str,
        typer.Option(
            help="Of methods, zoom, levels, clusters, overzoom (Tables I to V of the paper), peaks and start."
        ),
    ] = ALL
    pictures: Annotated[int | None, typer.Option(help="Only the first so many pictures.")] = None
    most_looks: Annotated[
        int | None, typer.Option(help="Leave out rows that take more looks at a picture, such as full-size sliding.")
    ] = None
    levels: shared.Levels = shared.LOOKING.levels
    zoom: shared.Zoom = shared.LOOKING.zoom
    clusters: shared.Clusters = shared.LOOKING.clusters
    max_size: shared.MaxSize = shared.MAX_SIZE
    tile: shared.Tile = shared.TILE
    device: shared.Device = shared.DEFAULTS.device
    precision: shared.Precision = shared.DEFAULTS.precision
    backend: shared.Backend = shared.DEFAULTS.backend
    cache: Annotated[int, typer.Option(help="Megabytes for looks that rows share.")] = 1024

    def options(self, labels: LabelOptions) -> AblateOptions:
        """Raises UsageError for values that make no sense, UnknownNameError for tables."""
        from gigacount.ablate import TABLES, AblateOptions, Method

        return AblateOptions(
            data=self.data,
            out=self.out,
            split=self.split,
            networks=tuple(self.network or (shared.DEFAULTS.network,)),
            coarse_network=self.coarse_network,
            methods=tuple(map(Method.parse, self.method or ())),
            tables=parse_choices(self.tables, "table", TABLES),
            looking=StrategyOptions(
                levels=self.levels,
                zoom=self.zoom,
                clusters=self.clusters,
                max_size=parse_size(self.max_size, "--max-size"),
                tile=parse_size(self.tile, "--tile"),
            ),
            device=self.device,
            precision=self.precision,
            backend=self.backend,
            pictures=self.pictures,
            most_looks=self.most_looks,
            cache_mb=self.cache,
            labels=labels,
        )


@spread
def ablate(
    *,
    measuring: Ablating,
    labelling: shared.Labelling,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> int:
    """Measure what each choice of a strategy is worth: the tables of the GigaZoom paper on any data set with truth.

    Prints the paths of tables.md, tables.csv, tables.json, pictures.csv and a plot of each table. Run the same command
    again to go on after a stop: nothing is measured twice.
    """
    from gigacount.ablate import Ablation, write_tables

    ablation = Ablation(measuring.options(labelling.options()), (lambda line: None) if quiet else say)
    try:
        for _ in ablation.run():
            pass
    finally:  # what is measured is in the tables, whatever stopped the rest
        written = write_tables(ablation)
    for path in written:
        typer.echo(path)
    return 0
