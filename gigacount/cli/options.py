"""Options that several commands share. Their defaults are read from the option dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from gigacount.cli.parse import parse_bands, parse_numbers, parse_percent, parse_range, parse_size, size_text
from gigacount.errors import UsageError
from gigacount.options import (
    PRECISIONS,
    CountOptions,
    LabelOptions,
    PeakOptions,
    ReadOptions,
    RegionOptions,
    StrategyOptions,
)

DEFAULTS = CountOptions()
LOOKING = DEFAULTS.looking
READING = DEFAULTS.reading

Strategy = Annotated[str, typer.Option(help="adaptive, gigazoom, downsample, sliding or full.")]
Network = Annotated[str, typer.Option(help="Name of shipped weights (see `gigacount networks`), or a path.")]
CoarseNetwork = Annotated[str | None, typer.Option(help="Another network for the first look at the whole picture.")]
Levels = Annotated[int, typer.Option(help="Zoom-ins from the whole picture to 1:1.")]
Zoom = Annotated[str, typer.Option(help="How windows shrink: exponential or linear.")]
Clusters = Annotated[int, typer.Option(help="Dense regions to zoom into; 0: the densest window alone.")]
Start = Annotated[int, typer.Option(help="Zoom level of the first windows; the levels before it are skipped.")]
Overzoom = Annotated[int, typer.Option(help="Further zoom-ins past 1:1.")]
MaxSize = Annotated[str, typer.Option(help="Pixels that the network takes at once, WIDTHxHEIGHT.")]
Enlarge = Annotated[
    float | None,
    typer.Option(
        help="adaptive: see the people in an image that one look holds again, so many times enlarged; "
        "default: as the network's record says."
    ),
]
Threshold = Annotated[float, typer.Option(help="How high a density peak must be to be zoomed into.")]
AbsoluteThreshold = Annotated[
    bool, typer.Option("--absolute-threshold", help="The threshold is people per cell, not a share of the peak.")
]
Tile = Annotated[str, typer.Option(help="Windows of adaptive, sliding and full, WIDTHxHEIGHT.")]
Scales = Annotated[str, typer.Option(help="Scales of sliding by length, such as 1,1/4,1/8; full has the finest.")]
Context = Annotated[int, typer.Option(help="Pixels that adaptive and full see around each window.")]
Base = Annotated[
    str | None,
    typer.Option(help="Scale at which adaptive sees the picture first, such as 1/8; default: 1/4, or one look's."),
]
Looks = Annotated[int | None, typer.Option(help="The most looks that adaptive takes.")]
Megapixels = Annotated[float | None, typer.Option(help="The most megapixels that adaptive looks at.")]
Within = Annotated[
    str | None, typer.Option(help="Adaptive looks no closer once the expected error of the count is below, such as 5%.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A setting of the network; fuse=true fuses density and located heads, as RAZ-Net does. May be repeated.",
    ),
]
Depth = Annotated[
    int | None,
    typer.Option(help="RAZ-Net's depth: 1 looks once, each more zooms into crowds again; short for --set depth=N."),
]
Region = Annotated[Path | None, typer.Option(help="GeoJSON polygons to count one by one, into regions.csv.")]
Exclude = Annotated[Path | None, typer.Option(help="GeoJSON polygons, such as posters, in which nobody is counted.")]
MetresPerPixel = Annotated[float | None, typer.Option(help="On the ground, for people per square metre in regions.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Precision = Annotated[str, typer.Option(help=f"{', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}.")]
Backend = Annotated[str, typer.Option(help="What runs the network: auto, openvino or torch.")]
AllowDamaged = Annotated[bool, typer.Option("--allow-damaged", help="Count what can be read of a damaged picture.")]
TrustLoaders = Annotated[
    bool, typer.Option("--trust-loaders", help="Also use loaders that libvips calls unsafe for unknown files.")
]
MaxPixels = Annotated[int, typer.Option(help="Refuse pictures that declare more pixels than this.")]
Bands = Annotated[
    str | None,
    typer.Option(help="Bands shown as red, green and blue, such as 4,3,2; one is grey. Default: as the file says."),
]
Range = Annotated[
    str | None,
    typer.Option("--range", help="Values shown as black and white, such as 0,4095. Default: by the file or pixels."),
]
Nodata = Annotated[float | None, typer.Option(help="Pixels of this value are no ground: nobody is counted there.")]
Page = Annotated[int | None, typer.Option(help="Page or frame, from 1, of a file that holds several pictures.")]
Scratch = Annotated[Path | None, typer.Option(help="Folder for the scratch file; default: the system's.")]


@dataclass(frozen=True)
class Labelling:
    """How the labels of a data set are read: the fields of LabelOptions."""

    labels_orientation: Annotated[
        str | None,
        typer.Option(help="Labels of pictures that EXIF turns lie on them stored or upright; default: by their size."),
    ] = None
    trust_paths: Annotated[
        bool, typer.Option("--trust-paths", help="Labels may name pictures outside their data set.")
    ] = False

    def options(self) -> LabelOptions:
        """Raises UsageError for another orientation."""
        return LabelOptions(self.labels_orientation, self.trust_paths)


MAX_SIZE = size_text(LOOKING.max_size)
TILE = size_text(LOOKING.tile)
SCALES = ",".join("1" if scale == 1 else f"1/{1 / scale:g}" for scale in LOOKING.scales)


@dataclass(frozen=True)
class Looking:
    """Where to look, for the commands that count pictures or plan to."""

    strategy: Strategy = DEFAULTS.strategy
    levels: Levels = LOOKING.levels
    zoom: Zoom = LOOKING.zoom
    clusters: Clusters = LOOKING.clusters
    start: Start = LOOKING.start
    overzoom: Overzoom = LOOKING.overzoom
    threshold: Threshold = LOOKING.peaks.threshold
    absolute_threshold: AbsoluteThreshold = not LOOKING.peaks.relative
    max_size: MaxSize = MAX_SIZE
    enlarge: Enlarge = LOOKING.enlarge
    tile: Tile = TILE
    scales: Scales = SCALES
    context: Context = LOOKING.context
    base: Base = None
    looks: Looks = LOOKING.looks
    megapixels: Megapixels = LOOKING.megapixels
    within: Within = None

    def looking(self) -> StrategyOptions:
        """Raises UsageError for values that make no sense."""
        return StrategyOptions(
            levels=self.levels,
            zoom=self.zoom,
            clusters=self.clusters,
            start=self.start,
            overzoom=self.overzoom,
            max_size=parse_size(self.max_size, "--max-size"),
            enlarge=self.enlarge,
            peaks=PeakOptions(threshold=self.threshold, relative=not self.absolute_threshold),
            tile=parse_size(self.tile, "--tile"),
            scales=parse_numbers(self.scales, "--scales"),
            context=self.context,
            base=None if self.base is None else parse_numbers(self.base, "--base")[0],
            looks=self.looks,
            megapixels=self.megapixels,
            within=None if self.within is None else parse_percent(self.within, "--within"),
        )


@dataclass(frozen=True)
class Reading:
    """How pictures are read, for the commands that open them."""

    bands: Bands = None
    value_range: Range = None
    nodata: Nodata = READING.nodata
    page: Page = READING.page
    allow_damaged: AllowDamaged = READING.allow_damaged
    trust_loaders: TrustLoaders = READING.trust_loaders
    max_pixels: MaxPixels = READING.max_pixels
    scratch: Scratch = READING.scratch_folder

    def reading(self) -> ReadOptions:
        """Raises UsageError for values that make no sense."""
        return ReadOptions(
            allow_damaged=self.allow_damaged,
            max_pixels=self.max_pixels,
            trust_loaders=self.trust_loaders,
            scratch_folder=self.scratch,
            bands=None if self.bands is None else parse_bands(self.bands, "--bands"),
            value_range=None if self.value_range is None else parse_range(self.value_range, "--range"),
            nodata=self.nodata,
            page=self.page,
        )


@dataclass(frozen=True)
class Counting(Reading, Looking):
    """All that decides a count, for the commands that count pictures."""

    network: Network = DEFAULTS.network
    coarse_network: CoarseNetwork = DEFAULTS.coarse_network
    settings: Settings = None
    depth: Depth = None
    region: Region = None
    metres_per_pixel: MetresPerPixel = None
    exclude: Exclude = DEFAULTS.exclude
    device: Device = DEFAULTS.device
    precision: Precision = DEFAULTS.precision
    backend: Backend = DEFAULTS.backend

    def options(self) -> CountOptions:
        """Raises UsageError for values that make no sense."""
        return CountOptions(
            strategy=self.strategy,
            network=self.network,
            coarse_network=self.coarse_network,
            device=self.device,
            precision=self.precision,
            backend=self.backend,
            looking=self.looking(),
            reading=self.reading(),
            settings=(*(self.settings or ()), *(() if self.depth is None else (f"depth={self.depth}",))),
            regions=self.regions(),
            exclude=self.exclude,
        )

    def regions(self) -> RegionOptions | None:
        """What `--region` and `--metres-per-pixel` ask for; raises UsageError for a scale without regions."""
        if self.region is not None:
            return RegionOptions(self.region, self.metres_per_pixel)
        if self.metres_per_pixel is not None:
            raise UsageError("--metres-per-pixel is for --region; give a file of regions")
        return None
