"""Options that decide the count of an image."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from gigacount.geometry import Size
from gigacount.options.option import (
    EXPERTS,
    LOOKING,
    NETWORK,
    READING,
    option,
    parse_bands,
    parse_fraction,
    parse_numbers,
    parse_percent,
    parse_range,
    parse_size,
    require,
    require_pairs,
    required,
)
from gigacount.resolution import Resolution

PRECISIONS = ("auto", "int8", "bf16", "fp16", "tf32", "fp32")


@dataclass(frozen=True)
class ReadOptions:
    """How images are read."""

    PANEL: ClassVar[str] = READING

    allow_damaged: bool = option(False, "Count what can be read of a damaged image; the rest is grey.")
    max_pixels: int = option(
        200_000_000_000, "Refuse images that declare more pixels than this (decompression bombs).", panel=EXPERTS
    )
    trust_loaders: bool = option(
        False,
        "Also use the libvips loaders that are not hardened against hostile files: slides, SVG, ...",
        panel=EXPERTS,
    )
    scratch_folder: Path | None = option(
        None,
        "Folder for decoded copies of images without tiles. Default: the system's temporary folder.",
        "--scratch",
        panel=EXPERTS,
    )
    bands: tuple[int, ...] | None = option(
        None,
        "Bands for red, green and blue, such as 4,3,2; one band is grey. Default: as the file says.",
        metavar="LIST",
        parse=parse_bands,
    )
    value_range: tuple[float, float] | None = option(
        None,
        "Values shown as black and white, such as 0,4095. Default: from the file, or from its pixels.",
        "--range",
        "LOW,HIGH",
        parse=parse_range,
    )
    nodata: float | None = option(None, "Nobody is counted where all bands have this value. Default: as the file says.")
    page: int | None = option(None, "Page or frame of the file, from 1. Default: the largest image in the file.")

    def __post_init__(self) -> None:
        require(self.max_pixels >= 1, f"max-pixels must be at least 1, not {self.max_pixels}")
        require(self.page is None or self.page >= 1, f"page must be at least 1, not {self.page}")
        if self.bands is not None:
            fine = len(self.bands) in (1, 3) and all(1 <= band <= 65535 for band in self.bands)
            require(fine, f"bands must be one or three band numbers from 1, not {self.bands}")
        if self.value_range is not None:
            low, high = self.value_range
            fine = math.isfinite(low) and math.isfinite(high) and low < high
            require(fine, f"range must be a lower and a higher number, not {low:g},{high:g}")
        if self.nodata is not None:
            require(math.isfinite(self.nodata), "nodata must be a finite number; NaN pixels are nodata anyway")


@dataclass(frozen=True)
class PeakOptions:
    """How zoom centres are found in the coarsest density map (GigaZoom III-B, IV-A).

    sigma, radius: of the smoothing Gaussian, in cells of the coarse map.
    threshold: lambda. relative: whether lambda is a fraction of the highest peak (default) or people per cell. The
        paper does not say. Absolute, 0.1 people in a cell of 8 x 8 read pixels is a dense crowd: sparse images have no
        peak at all.
    """

    PANEL: ClassVar[str] = EXPERTS

    sigma: float = 4.0
    radius: int = 7
    threshold: float = option(0.1, "gigazoom zooms into density peaks above this.")
    relative: bool = option(
        True, "--threshold is in people per cell, not a share of the highest peak.", "--absolute-threshold"
    )

    def __post_init__(self) -> None:
        require(0 <= self.threshold <= 1e6, f"threshold must be between 0 and 1000000, not {self.threshold}")


@dataclass(frozen=True)
class StrategyOptions:
    """Where to look. Defaults are the paper's (GigaZoom IV-A).

    levels is the paper's L, clusters its k, `zoom` its eq. 2 (exponential) or eq. 1 (linear). scales are by length: 1,
    1/4, 1/8 are the paper's 1, 1/16 and 1/64 by area. resolution: how large people must appear to be counted; None: as
    the network's record says.
    """

    PANEL: ClassVar[str] = EXPERTS

    levels: int = option(10, "gigazoom: zoom levels from the whole image to 1:1.")
    zoom: str = option("exponential", "gigazoom: how windows shrink, exponential or linear.")
    clusters: int = option(2, "gigazoom: dense regions to zoom into; 0: the densest window alone.")
    start: int = option(1, "gigazoom: level of the first windows; the levels before it are skipped.")
    overzoom: int = option(0, "gigazoom: further levels past 1:1.")
    max_size: Size = option(
        (2560, 1440), "Largest input of the network, in pixels.", metavar="WIDTHxHEIGHT", parse=parse_size
    )
    enlarge: float | None = option(
        None, "adaptive: enlarge people in an image that fits one look by this. Default: the network's record."
    )
    peaks: PeakOptions = field(default_factory=PeakOptions)
    tile: Size = option(
        (1920, 1200), "Windows of adaptive, sliding and full, in pixels.", metavar="WIDTHxHEIGHT", parse=parse_size
    )
    scales: tuple[float, ...] = option(
        (1.0, 1 / 4, 1 / 8), "Scales of sliding; full uses the largest of them.", metavar="LIST", parse=parse_numbers
    )
    context: int = option(128, "Pixels that adaptive and full see around each window.")
    base: float | None = option(
        None,
        "Scale of the first pass of adaptive, such as 1/8. Default: 1/4, or what fits one look.",
        metavar="SCALE",
        parse=parse_fraction,
    )
    looks: int | None = option(None, "Most windows that adaptive looks at.", panel=LOOKING)
    megapixels: float | None = option(None, "Most megapixels that adaptive looks at.", panel=LOOKING)
    within: float | None = option(
        None,
        "adaptive stops zooming when the expected error of the count is below this, such as 5%.",
        metavar="PERCENT",
        panel=LOOKING,
        parse=parse_percent,
    )
    resolution: Resolution | None = None

    def __post_init__(self) -> None:
        require(1 <= self.levels <= 1000, f"levels must be between 1 and 1000, not {self.levels}")
        require(self.zoom in ("exponential", "linear"), f"zoom must be exponential or linear, not '{self.zoom}'")
        require(0 <= self.clusters <= 1000, f"clusters must be between 0 and 1000, not {self.clusters}")
        require(1 <= self.start <= self.levels, f"start must be between 1 and levels ({self.levels}), not {self.start}")
        require(0 <= self.overzoom <= 10, f"overzoom must be between 0 and 10, not {self.overzoom}")
        for name, (width, height) in (("max-size", self.max_size), ("tile", self.tile)):
            require(min(width, height) >= 64, f"{name} must be at least 64x64, not {width}x{height}")
            require(width * height <= 2**28, f"{name} must be at most 268 megapixels, not {width}x{height}")
        require(
            0 < len(self.scales) <= 20 and all(1 / 4096 <= scale <= 4 for scale in self.scales),
            f"scales must be at most 20 numbers between 1/4096 and 4, not {', '.join(map(str, self.scales))}",
        )
        require(self.enlarge is None or 1 <= self.enlarge <= 4, f"enlarge must be between 1 and 4, not {self.enlarge}")
        require(0 <= self.context <= 1024, f"context must be between 0 and 1024, not {self.context}")
        require(self.base is None or 1 / 4096 <= self.base <= 4, f"base must be between 1/4096 and 4, not {self.base}")
        require(self.looks is None or self.looks >= 1, f"looks must be at least 1, not {self.looks}")
        require(
            self.megapixels is None or 0 < self.megapixels <= 1e9,
            f"megapixels must be above 0 and at most 1000000000, not {self.megapixels}",
        )
        require(
            self.within is None or 0 <= self.within <= 100,
            f"within must be between 0 and 100 percent, not {self.within}",
        )


@dataclass(frozen=True)
class RegionOptions:
    """Which parts of an image are counted one by one."""

    PANEL: ClassVar[str] = LOOKING

    file: Path = required(
        "GeoJSON polygons to count one by one, in pixels or in the image's coordinate system; writes regions.csv.",
        "--region",
    )
    metres_per_pixel: float | None = option(
        None, "Ground size of a pixel, for people per square metre in regions. Default: a GeoTIFF's own."
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", Path(self.file))  # from Python a name may be given as text
        scale = self.metres_per_pixel
        require(scale is None or 0 < scale < 1e6, f"metres-per-pixel must be above 0 and below 1000000, not {scale}")


@dataclass(frozen=True)
class CountOptions:
    """What decides the count of an image: two runs with equal options and weights give equal counts.

    settings: of the coarse network too, where that is the same one. regions: None counts the whole image only.
    min_score: heads below this score are not located; None takes the threshold of the network's record.
    coordinates: those of located heads in files; auto is longitude and latitude in GeoJSON, and in other formats the
    map's besides pixels, or instead of them, where there is a map.
    """

    PANEL: ClassVar[str] = NETWORK

    strategy: str = option("adaptive", "adaptive, gigazoom, downsample, sliding or full.", panel=LOOKING)
    network: str = option("light", "Name of shipped weights (see `gigacount networks`), or path of a record.")
    coarse_network: str | None = option(None, "Another network for the first look at the whole image.", panel=EXPERTS)
    device: str = option("auto", "auto, cpu, cuda, cuda:1 or mps.")
    precision: str = option("auto", f"{', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}.")
    looking: StrategyOptions = field(default_factory=StrategyOptions)
    reading: ReadOptions = field(default_factory=ReadOptions)
    settings: tuple[str, ...] = option(
        (),
        "A setting of the network, such as fuse=true, which fuses density and located heads as RAZ-Net does. "
        "May be repeated.",
        "--set",
        "NAME=VALUE",
        EXPERTS,
    )
    regions: RegionOptions | None = None
    min_score: float | None = None
    backend: str = option("auto", "What runs the network: auto, openvino or torch.")
    exclude: Path | None = option(None, "GeoJSON polygons, such as posters, in which nobody is counted.", panel=LOOKING)
    coordinates: str = "auto"

    def __post_init__(self) -> None:
        choices = ("auto", "pixel", "map", "wgs84")
        require(self.coordinates in choices, f"coordinates must be one of {', '.join(choices)}, not {self.coordinates}")
        if self.exclude is not None:
            object.__setattr__(self, "exclude", Path(self.exclude))
        require(
            self.precision in PRECISIONS, f"precision must be one of {', '.join(PRECISIONS)}, not '{self.precision}'"
        )
        object.__setattr__(self, "settings", tuple(self.settings))
        require_pairs(self.settings)
        score = self.min_score
        require(score is None or 0 <= score <= 1, f"min-score must be between 0 and 1, not {score}")
