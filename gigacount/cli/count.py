"""`gigacount count`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gigacount.cli import options as shared
from gigacount.cli.parse import parse_choices, parse_numbers, parse_size
from gigacount.cli.show import complain, progress_bar, say
from gigacount.errors import GigacountError
from gigacount.options import CountOptions, PeakOptions, ReadOptions, StrategyOptions

if TYPE_CHECKING:
    from gigacount.count import Counter

FORMATS = "tif,overlay"


def count(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures to count.", show_default=False)],
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
) -> int:
    """Count the people in pictures of any size.

    Prints the count (for several pictures: path, tab, count) and writes IMAGE.gigacount/ with count.json,
    density.tif (people per cell) and overlay.jpg.
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
    )
    reading = ReadOptions(
        allow_damaged=allow_damaged, max_pixels=max_pixels, trust_loaders=trust_loaders, scratch_folder=scratch
    )
    options = CountOptions(strategy, network, coarse_network, device, precision, looking, reading)
    from gigacount.output import WRITERS

    run = Run(options, parse_choices(formats, "format", ("json", *WRITERS)), out, quiet, overwrite)
    failures = 0
    for image in images:
        try:
            answer = run.answer(image)
        except GigacountError as error:
            if len(images) == 1:
                raise
            complain(str(error))
            failures += 1
            continue
        if as_json:
            typer.echo(json.dumps(answer, ensure_ascii=False))
        else:
            typer.echo(f"{answer['count']:.1f}" if len(images) == 1 else f"{image}\t{answer['count']:.1f}")
    return 1 if failures else 0


class Run:
    """Counts pictures one after the other, loading the networks when the first one needs them."""

    def __init__(
        self, options: CountOptions, formats: tuple[str, ...], out: Path | None, quiet: bool, overwrite: bool
    ) -> None:
        self.options, self.formats, self.out, self.quiet, self.overwrite = options, formats, out, quiet, overwrite
        self._counter: Counter | None = None

    def answer(self, image: Path) -> dict[str, Any]:
        """The content of the picture's count.json: an earlier result of the same run, or a new one."""
        from gigacount.count import Counter
        from gigacount.image import GigaImage
        from gigacount.output import ResultFolder, result_folder, reusable, write_count

        folder = ResultFolder(result_folder(image, self.out))
        with GigaImage.open(image, self.options.reading):
            pass  # a picture that cannot be opened is said before networks are loaded
        if not self.overwrite and (earlier := reusable(folder, image, self.options, self.formats)):
            self._say(f"{image}: counted before; result in {folder.path}")
            return earlier
        folder.demand_free(self.overwrite)
        if self._counter is None:
            self._counter = Counter(self.options, self._say)
        with progress_bar(image.name, self.quiet) as progress:
            result = self._counter.count(image, progress)
        return write_count(result, folder, self.formats)

    def _say(self, message: str) -> None:
        if not self.quiet:
            say(message)
