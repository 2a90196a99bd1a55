"""`gigacount localize`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gigacount.cli import options as shared
from gigacount.cli.parse import parse_numbers, parse_size
from gigacount.cli.show import progress_bar, say
from gigacount.options import CountOptions, LocalizeOptions, PeakOptions, ReadOptions, StrategyOptions

if TYPE_CHECKING:
    from gigacount.output.located import LocatedFiles
    from gigacount.results import LocalizeResult


def localize(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            help="File for the heads: .csv, .geojson, .json (COCO) or .txt (NWPU); default: IMAGE.points.csv."
        ),
    ] = None,
    strategy: shared.Strategy = shared.DEFAULTS.strategy,
    network: shared.Network = shared.DEFAULTS.network,
    coarse_network: shared.CoarseNetwork = shared.DEFAULTS.coarse_network,
    min_score: Annotated[
        float | None, typer.Option(help="Leave out heads below this score, 0 to 1; default: the network's threshold.")
    ] = None,
    region: shared.Region = None,
    metres_per_pixel: shared.MetresPerPixel = None,
    overlay: Annotated[Path | None, typer.Option(help="Also draw the heads on the picture, into this JPEG.")] = None,
    fuse: shared.Fuse = shared.DEFAULTS.fuse,
    levels: shared.Levels = shared.LOOKING.levels,
    zoom: shared.Zoom = shared.LOOKING.zoom,
    clusters: shared.Clusters = shared.LOOKING.clusters,
    overzoom: shared.Overzoom = shared.LOOKING.overzoom,
    threshold: shared.Threshold = shared.LOOKING.peaks.threshold,
    absolute_threshold: shared.AbsoluteThreshold = not shared.LOOKING.peaks.relative,
    max_size: shared.MaxSize = shared.MAX_SIZE,
    tile: shared.Tile = shared.TILE,
    scales: shared.Scales = shared.SCALES,
    context: shared.Context = shared.LOOKING.context,
    device: shared.Device = shared.DEFAULTS.device,
    precision: shared.Precision = shared.DEFAULTS.precision,
    allow_damaged: shared.AllowDamaged = shared.READING.allow_damaged,
    trust_loaders: shared.TrustLoaders = shared.READING.trust_loaders,
    max_pixels: shared.MaxPixels = shared.READING.max_pixels,
    scratch: shared.Scratch = shared.READING.scratch_folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no messages.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
) -> int:
    """Locate the people in a picture of any size.

    Prints how many were located and writes their heads to a file. Says how many people the densities count, and where
    heads were seen too coarsely to tell them apart; --strategy full looks at everything from close by.
    """
    looking = StrategyOptions(
        levels=levels,
        zoom=zoom,
        clusters=clusters,
        overzoom=overzoom,
        max_size=parse_size(max_size, "--max-size"),
        peaks=PeakOptions(threshold=threshold, relative=not absolute_threshold),
        tile=parse_size(tile, "--tile"),
        scales=parse_numbers(scales, "--scales"),
        context=context,
    )
    reading = ReadOptions(
        allow_damaged=allow_damaged, max_pixels=max_pixels, trust_loaders=trust_loaders, scratch_folder=scratch
    )
    counting = CountOptions(
        strategy,
        network,
        coarse_network,
        device,
        precision,
        looking,
        reading,
        fuse,
        shared.region_options(region, metres_per_pixel),
    )
    heads = out or image.with_name(f"{image.name}.points.csv")
    options = LocalizeOptions(counting, min_score)
    from gigacount.output.located import LocatedFiles

    answer = run(image, options, LocatedFiles(heads, overlay, region is not None, overwrite), quiet)
    typer.echo(json.dumps(answer, ensure_ascii=False) if as_json else str(answer["located"]))
    return 0


def run(image: Path, options: LocalizeOptions, files: LocatedFiles, quiet: bool) -> dict[str, Any]:
    """Locate and write; whatever can be refused is refused before networks are loaded."""
    from gigacount.image import GigaImage
    from gigacount.localize import Localizer
    from gigacount.polygons import read_regions

    with GigaImage.open(image, options.counting.reading) as opened:
        if options.counting.regions is not None:
            read_regions(options.counting.regions, image, opened.size_wh)
    files.demand_free()
    notify = (lambda line: None) if quiet else say
    localizer = Localizer(options, notify)
    with progress_bar(image.name, quiet) as progress:
        result = localizer.localize(image, progress)
    answer = files.write(result)
    notify(summary(result))
    return answer


def summary(result: LocalizeResult) -> str:
    """What was located, what the densities count, and how much of that was seen too coarsely to locate."""
    said = f"{len(result.points):,} heads located; the density counts {result.counted.count:,.1f} people"
    coarse = result.too_coarse
    if coarse.people < 1:
        return said
    full = result.counted.options.strategy == "full"
    closer = "--scales 2 enlarges the picture" if full else "--strategy full looks at everything from close by"
    return (
        f"{said}, {result.coarse_share:.0%} of them ({coarse.people:,.1f}, with {coarse.heads:,} heads located) where"
        f" heads are too small or too close to tell apart; {closer}"
    )
