"""`gigacount info`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gigacount.cli import options as shared
from gigacount.cli.parse import parse_numbers, parse_size
from gigacount.options import CountOptions, ReadOptions, StrategyOptions


def info(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture.", show_default=False)],
    strategy: shared.Strategy = shared.DEFAULTS.strategy,
    levels: shared.Levels = shared.LOOKING.levels,
    zoom: shared.Zoom = shared.LOOKING.zoom,
    clusters: shared.Clusters = shared.LOOKING.clusters,
    start: shared.Start = shared.LOOKING.start,
    overzoom: shared.Overzoom = shared.LOOKING.overzoom,
    max_size: shared.MaxSize = shared.MAX_SIZE,
    tile: shared.Tile = shared.TILE,
    scales: shared.Scales = shared.SCALES,
    trust_loaders: shared.TrustLoaders = shared.READING.trust_loaders,
    max_pixels: shared.MaxPixels = shared.READING.max_pixels,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Say what a picture is and what counting it would take, without decoding it."""
    from gigacount.describe import describe

    looking = StrategyOptions(
        levels=levels,
        zoom=zoom,
        clusters=clusters,
        start=start,
        overzoom=overzoom,
        max_size=parse_size(max_size, "--max-size"),
        tile=parse_size(tile, "--tile"),
        scales=parse_numbers(scales, "--scales"),
    )
    reading = ReadOptions(trust_loaders=trust_loaders, max_pixels=max_pixels)
    about = describe(image, CountOptions(strategy, looking=looking, reading=reading))
    typer.echo(json.dumps(about.as_dict()) if as_json else about.as_text())
    return 0
