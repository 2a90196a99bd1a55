"""`gigacount count`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gigacount.cli import batch as many
from gigacount.cli import options as shared
from gigacount.cli.parse import parse_choices, parse_numbers, parse_size
from gigacount.options import BatchOptions, CountOptions, PeakOptions, ReadOptions, StrategyOptions

FORMATS = "tif,overlay"


def count(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE|FOLDER|PATTERN|LIST...",
            help="Pictures, folders, patterns such as 'photos/**/*.tif', or lists of paths (.txt, or - for stdin).",
            show_default=False,
        ),
    ],
    strategy: shared.Strategy = shared.DEFAULTS.strategy,
    network: shared.Network = shared.DEFAULTS.network,
    coarse_network: shared.CoarseNetwork = shared.DEFAULTS.coarse_network,
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
    fuse: shared.Fuse = shared.DEFAULTS.fuse,
    region: shared.Region = None,
    metres_per_pixel: shared.MetresPerPixel = None,
    device: shared.Device = shared.DEFAULTS.device,
    precision: shared.Precision = shared.DEFAULTS.precision,
    allow_damaged: shared.AllowDamaged = shared.READING.allow_damaged,
    trust_loaders: shared.TrustLoaders = shared.READING.trust_loaders,
    max_pixels: shared.MaxPixels = shared.READING.max_pixels,
    scratch: shared.Scratch = shared.READING.scratch_folder,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; default: beside each picture.")] = None,
    formats: Annotated[
        str, typer.Option("--format", help="What to write beside count.json, of tif, overlay.")
    ] = FORMATS,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a picture.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no messages.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")] = False,
    recursive: many.Recursive = many.DEFAULTS.recursive,
    fail_fast: many.FailFast = False,
    max_failures: many.MaxFailures = many.DEFAULTS.max_failures,
    time_limit: many.TimeLimit = many.DEFAULTS.time_limit,
    workers: many.Workers = many.DEFAULTS.workers,
    gpus: many.Gpus = "",
    shard: many.Shard = "",
    engine: many.Engine = many.DEFAULTS.engine,
    ray_address: many.RayAddress = many.DEFAULTS.ray_address,
    cores: many.Cores = many.DEFAULTS.cores,
    log: many.LogFile = many.DEFAULTS.log,
) -> int:
    """Count the people in pictures of any size.

    Prints the count (for several pictures: path, tab, count) and writes IMAGE.gigacount/ with count.json,
    density.tif (people per cell) and overlay.jpg. With --out, several pictures also get a summary.csv and
    summary.json there; run the same command again to go on after a stop.
    """
    peaks = PeakOptions(threshold=threshold, relative=not absolute_threshold)
    looking = StrategyOptions(
        levels=levels,
        zoom=zoom,
        clusters=clusters,
        overzoom=overzoom,
        max_size=parse_size(max_size, "--max-size"),
        peaks=peaks,
        tile=parse_size(tile, "--tile"),
        scales=parse_numbers(scales, "--scales"),
        context=context,
    )
    reading = ReadOptions(
        allow_damaged=allow_damaged, max_pixels=max_pixels, trust_loaders=trust_loaders, scratch_folder=scratch
    )
    regions = shared.region_options(region, metres_per_pixel)
    options = CountOptions(strategy, network, coarse_network, device, precision, looking, reading, fuse, regions)
    batch = BatchOptions(
        out=out,
        recursive=recursive,
        overwrite=overwrite,
        max_failures=1 if fail_fast else max_failures,
        time_limit=time_limit,
        workers=workers,
        gpus=many.parse_gpus(gpus),
        shard=many.parse_shard(shard),
        engine=engine,
        ray_address=ray_address,
        cores=cores,
        log=log,
    )
    from gigacount.batch import CountWork
    from gigacount.output import WRITERS

    work = CountWork(options, parse_choices(formats, "format", ("json", *WRITERS)), demand_gpu=bool(batch.gpus))
    return many.work_through(images, work, batch, many.Answering(as_json, quiet))
