"""Options of every stage: frozen dataclasses, each default written once, here. Free of heavy imports."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gigacount.errors import UsageError
from gigacount.geometry import Size
from gigacount.resolution import Resolution


def demand(fine: bool, message: str) -> None:
    """Raise UsageError with `message` unless `fine`."""
    if not fine:
        raise UsageError(message)


def demand_pairs(settings: Iterable[str]) -> None:
    """Raise UsageError for a setting that is not NAME=VALUE."""
    for pair in settings:
        demand("=" in pair, f"a setting is given as NAME=VALUE, not '{pair}'")


PRECISIONS = ("auto", "int8", "bf16", "fp16", "tf32", "fp32")


@dataclass(frozen=True)
class ReadOptions:
    """How pictures are read.

    allow_damaged: read what is left of a damaged picture, the rest grey, instead of refusing it.
    max_pixels: refuse pictures that declare more (decompression bombs), before anything is allocated.
    trust_loaders: also use libvips' loaders that are not hardened against hostile files (slides, camera raw, SVG, ...).
    scratch_folder: where a picture without random access is decoded to; None is the system's temporary folder.
    bands: numbers from 1 of the bands shown as red, green and blue, or of one shown as grey; None: as the file says.
    value_range: the values shown as black and white; None: as the file says, or as its pixels are.
    nodata: pixels of this value, in all bands that are shown, are no ground; None: as the file says.
    page: number from 1 of the page or frame that is the picture; None takes the largest picture of the file.
    """

    allow_damaged: bool = False
    max_pixels: int = 200_000_000_000
    trust_loaders: bool = False
    scratch_folder: Path | None = None
    bands: tuple[int, ...] | None = None
    value_range: tuple[float, float] | None = None
    nodata: float | None = None
    page: int | None = None

    def __post_init__(self) -> None:
        demand(self.max_pixels >= 1, f"max-pixels must be at least 1, not {self.max_pixels}")
        demand(self.page is None or self.page >= 1, f"page must be at least 1, not {self.page}")
        if self.bands is not None:
            fine = len(self.bands) in (1, 3) and all(1 <= band <= 65535 for band in self.bands)
            demand(fine, f"bands must be one or three band numbers from 1, not {self.bands}")
        if self.value_range is not None:
            low, high = self.value_range
            fine = math.isfinite(low) and math.isfinite(high) and low < high
            demand(fine, f"range must be a lower and a higher number, not {low:g},{high:g}")
        if self.nodata is not None:
            demand(math.isfinite(self.nodata), "nodata must be a number; pixels that are not are never ground")


@dataclass(frozen=True)
class PeakOptions:
    """How zoom centres are found in the coarsest density map (GigaZoom III-B, IV-A).

    sigma, radius: of the smoothing Gaussian, in cells of the coarse map.
    threshold: lambda; a peak counts when it is higher than this.
    relative: whether lambda is a fraction of the highest peak (default) or people per cell. The paper does not say.
        Absolute, 0.1 people in a cell of 8 x 8 read pixels is a dense crowd: sparse pictures have no peak at all.
    """

    sigma: float = 4.0
    radius: int = 7
    threshold: float = 0.1
    relative: bool = True

    def __post_init__(self) -> None:
        demand(0 <= self.threshold <= 1e6, f"threshold must be between 0 and 1000000, not {self.threshold}")


@dataclass(frozen=True)
class StrategyOptions:
    """Where to look. Defaults are the paper's (GigaZoom IV-A).

    levels: L, zoom-ins from the whole picture to 1:1. zoom: `exponential` (eq. 2) or `linear` (eq. 1).
    clusters: k, regions zoomed into; 0 is the paper's "clustering was not used": one zoom, into the densest window.
    start: the level of the first windows; the looks of the levels before it are saved.
    overzoom: further zoom-ins past 1:1, at the last ratio.
    max_size: (width, height) of what the network takes at once. peaks: how zoom centres are found.
    enlarge: an image that one look holds is seen again by `adaptive`, so many times enlarged, where people are. None:
        as the network's record says.
    tile, scales: windows of `sliding` in read pixels, and its scales by length (1, 1/4, 1/8 are the paper's 1, 1/16
        and 1/64 by area). `full` has the same windows at the finest of these scales.
    context: read pixels that `full` and `adaptive` see around each of their windows.
    base: scale at which `adaptive` sees the whole picture first; None: what one look takes, and 1/4 at the least.
    looks, megapixels: the most that `adaptive` looks at; None is no bound. within: percent; it looks no closer once the
        count's expected error is less. resolution: how large people must be seen; None: by the network's record.
    """

    levels: int = 10
    zoom: str = "exponential"
    clusters: int = 2
    start: int = 1
    overzoom: int = 0
    max_size: Size = (2560, 1440)
    enlarge: float | None = None
    peaks: PeakOptions = field(default_factory=PeakOptions)
    tile: Size = (1920, 1200)
    scales: tuple[float, ...] = (1.0, 1 / 4, 1 / 8)
    context: int = 128
    base: float | None = None
    looks: int | None = None
    megapixels: float | None = None
    within: float | None = None
    resolution: Resolution | None = None

    def __post_init__(self) -> None:
        demand(1 <= self.levels <= 1000, f"levels must be between 1 and 1000, not {self.levels}")
        demand(self.zoom in ("exponential", "linear"), f"zoom must be exponential or linear, not '{self.zoom}'")
        demand(0 <= self.clusters <= 1000, f"clusters must be between 0 and 1000, not {self.clusters}")
        demand(1 <= self.start <= self.levels, f"start must be between 1 and levels ({self.levels}), not {self.start}")
        demand(0 <= self.overzoom <= 10, f"overzoom must be between 0 and 10, not {self.overzoom}")
        for name, (width, height) in (("max-size", self.max_size), ("tile", self.tile)):
            demand(min(width, height) >= 64, f"{name} must be at least 64x64, not {width}x{height}")
            demand(width * height <= 2**28, f"{name} must be at most 268 megapixels, not {width}x{height}")
        demand(
            0 < len(self.scales) <= 20 and all(1 / 4096 <= scale <= 4 for scale in self.scales),
            f"scales must be at most 20 numbers between 1/4096 and 4, not {', '.join(map(str, self.scales))}",
        )
        demand(self.enlarge is None or 1 <= self.enlarge <= 4, f"enlarge must be between 1 and 4, not {self.enlarge}")
        demand(0 <= self.context <= 1024, f"context must be between 0 and 1024, not {self.context}")
        demand(self.base is None or 1 / 4096 <= self.base <= 4, f"base must be between 1/4096 and 4, not {self.base}")
        demand(self.looks is None or self.looks >= 1, f"looks must be at least 1, not {self.looks}")
        demand(
            self.megapixels is None or 0 < self.megapixels <= 1e9,
            f"megapixels must be above 0 and at most 1000000000, not {self.megapixels}",
        )
        demand(self.within is None or 0 <= self.within <= 100, f"within is 0 to 100 percent, not {self.within}")


@dataclass(frozen=True)
class RegionOptions:
    """Which parts of a picture are counted one by one.

    file: GeoJSON polygons, in pixels or in the picture's own coordinate system. metres_per_pixel: on the ground, for
    people per square metre; None takes a GeoTIFF's own scale.
    """

    file: Path
    metres_per_pixel: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", Path(self.file))  # from Python a name may be given as text
        scale = self.metres_per_pixel
        demand(scale is None or 0 < scale < 1e6, f"metres-per-pixel must be above 0 and below 1000000, not {scale}")


@dataclass(frozen=True)
class CountOptions:
    """What decides the count of a picture: two runs with equal options and weights give equal counts.

    settings: NAME=VALUE of the network, instead of its record's; of the coarse network too where that is the same one.
    regions: None counts the whole picture only.
    min_score: heads that the network is less sure of are not located; None takes the threshold of its record.
    backend: what runs the network: auto, openvino, torch.
    exclude: GeoJSON polygons, such as posters, in which nobody is counted. coordinates: those of located heads in
    files; auto is longitude and latitude in GeoJSON, and in others the map's besides or instead, where there is one.
    """

    strategy: str = "adaptive"
    network: str = "light"
    coarse_network: str | None = None
    device: str = "auto"
    precision: str = "auto"
    looking: StrategyOptions = field(default_factory=StrategyOptions)
    reading: ReadOptions = field(default_factory=ReadOptions)
    settings: tuple[str, ...] = ()
    regions: RegionOptions | None = None
    min_score: float | None = None
    backend: str = "auto"
    exclude: Path | None = None
    coordinates: str = "auto"

    def __post_init__(self) -> None:
        choices = ("auto", "pixel", "map", "wgs84")
        demand(self.coordinates in choices, f"coordinates must be one of {', '.join(choices)}, not {self.coordinates}")
        if self.exclude is not None:
            object.__setattr__(self, "exclude", Path(self.exclude))
        demand(self.precision in PRECISIONS, f"precision must be {', '.join(PRECISIONS)}, not '{self.precision}'")
        object.__setattr__(self, "settings", tuple(self.settings))
        demand_pairs(self.settings)
        score = self.min_score
        demand(score is None or 0 <= score <= 1, f"min-score must be between 0 and 1, not {score}")


@dataclass(frozen=True)
class LabelOptions:
    """How labels are read.

    orientation: of pictures that EXIF turns, whether labels lie on the picture as "stored" or "upright"; None goes by
    the size that the labels state, else upright, and says so. trust_paths: labels may name pictures outside their set.
    """

    orientation: str | None = None
    trust_paths: bool = False

    def __post_init__(self) -> None:
        known = self.orientation in (None, "stored", "upright")
        demand(known, f"labels-orientation must be stored or upright, not {self.orientation}")


@dataclass(frozen=True)
class CalibrateOptions:
    """What a network's record is settled on.

    network: name of shipped weights, or the path of a record. data: `NAME:PATH`, or `KIND=NAME:PATH` where the
    record is to call its pictures otherwise. held_out: only the pictures that this `validation.txt` names. labels: how
    labels are read.
    """

    network: str
    data: tuple[str, ...]
    split: str = "train"
    held_out: Path | None = None
    device: str = "auto"
    precision: str = "auto"
    labels: LabelOptions = LabelOptions()


@dataclass(frozen=True)
class BatchOptions:
    """How many pictures are worked through; nothing here changes a count.

    out: folder for all results and the summary; None puts results beside the pictures, without a summary.
    recursive: also walk the folders inside folders. overwrite: make results anew although they stand.
    max_failures: stop at so many failed pictures. time_limit: seconds that one picture may take.
    workers: pictures under way at a time in each process: while the network looks at one, the next is read.
    gpus: one process for each of these CUDA devices. shard: (i, n) takes the i-th of n parts of the list, from 1.
    engine: `local` processes, or `ray`; ray_address: of a running Ray cluster (None starts one on this machine),
    cores: CPU cores of one Ray actor where no GPU is asked for. log: file that gets a JSON line an event.
    """

    out: Path | None = None
    recursive: bool = False
    overwrite: bool = False
    max_failures: int | None = None
    time_limit: float | None = None
    workers: int = 2
    gpus: tuple[int, ...] = ()
    shard: tuple[int, int] = (1, 1)
    engine: str = "local"
    ray_address: str | None = None
    cores: int = 4
    log: Path | None = None

    def __post_init__(self) -> None:
        part, parts = self.shard
        demand(1 <= part <= parts, f"shard must be I/N with I from 1 to N, not {part}/{parts}")
        demand(1 <= self.workers <= 64, f"workers must be between 1 and 64, not {self.workers}")
        demand(self.cores >= 1, f"cores must be at least 1, not {self.cores}")
        demand(
            len(set(self.gpus)) == len(self.gpus) and min(self.gpus, default=0) >= 0, "gpus must be different numbers"
        )
        demand(self.max_failures is None or self.max_failures >= 1, "max-failures must be at least 1")
        demand(self.time_limit is None or self.time_limit > 0, "time-limit must be above 0 seconds")
        demand(self.engine in ("local", "ray"), f"engine must be local or ray, not '{self.engine}'")


@dataclass(frozen=True)
class MixOptions:
    """Generated pictures among the real ones (PromptMix).

    folder: of pictures, with their truth in a CSV file unless there is a teacher; or NAME:PATH of a data set.
    ratio: share of all crops that is cut from them, 0..1. teachers: networks whose heads are their labels.
    agree: pictures in which the teachers' counts differ by more than this share of their mean are left out.
    """

    folder: str
    ratio: float = 0.25
    teachers: tuple[str, ...] = ()
    agree: float = 0.5

    def __post_init__(self) -> None:
        demand(0 < self.ratio < 1, f"mix-ratio must be between 0 and 1, not {self.ratio}")
        demand(self.agree > 0, f"mix-agree must be above 0, not {self.agree}")


@dataclass(frozen=True)
class GenerateOptions:
    """Pictures by a text-to-image diffusion model (PromptMix).

    model: a folder, or a name that Hugging Face's diffusers fetches. out: folder for the pictures. each: pictures of a
    prompt. size_wh: None is the model's own. steps: of denoising.
    """

    model: str
    out: Path
    each: int = 1
    size_wh: Size | None = None
    steps: int = 50
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        demand(self.each >= 1 and self.steps >= 1, "pictures of a prompt and steps must be at least 1")


@dataclass(frozen=True)
class TrainOptions:
    """One training run.

    network: a name of NETWORKS. data: `NAME:PATH` or `NAME:PATH@WEIGHT`; the weight is the share of crops from that
    set, by default its number of pictures. from_above: the same, of pictures taken straight down, which are turned by
    any angle. out: folder for checkpoints, log and result. recipe: a name of RECIPES; None
    is the network's own. steps or epochs: how long; None is the recipe's epochs. minutes: stop, and have the learning
    rate run out, after so much time, or after the steps or epochs if those are given and end first. An epoch is as many
    crops as there are training pictures, times what the recipe takes of each. init: a record whose weights to start
    from; backbone_weights: a file for the encoder; hints_from: a record of a trained network whose features to learn
    beside the counts. validation: share of each set held out, by a fixed seed;
    validate_every: steps between validations; None is 500, or an epoch where the learning rate falls when they find
    nothing better.
    held_out: instead, the `validation.txt` of an earlier run, so that its weights can be trained further and judged by
    the same pictures. skip_bad: leave out pictures that cannot be used instead of stopping. ema, batch, lr: instead of
    the recipe's. workers: threads that make crops; None is 1 beside a CPU that computes, up to 8 for a GPU. settings:
    NAME=VALUE for the network's constructor, on top of those of `init`. labels: how labels are read. compile: have
    torch.compile make the forward pass and the loss faster, which takes minutes before the first step.
    """

    network: str
    data: tuple[str, ...]
    out: Path
    recipe: str | None = None
    split: str = "train"
    steps: int | None = None
    epochs: int | None = None
    minutes: float | None = None
    init: str | None = None
    backbone_weights: Path | None = None
    hints_from: str | None = None
    mix: MixOptions | None = None
    from_above: tuple[str, ...] = ()
    validation: float = 0.1
    held_out: Path | None = None
    skip_bad: bool = False
    validate_every: int | None = None
    save_every: int = 250
    ema: float | None = None
    batch: int | None = None
    lr: float | None = None
    device: str = "auto"
    precision: str = "auto"
    workers: int | None = None
    seed: int = 0
    resume: bool = False
    settings: tuple[str, ...] = ()
    labels: LabelOptions = LabelOptions()
    compile: bool = False

    @property
    def sets(self) -> tuple[str, ...]:
        """All data sets, those from above last."""
        return self.data + self.from_above

    def __post_init__(self) -> None:
        demand(len(self.data) > 0, "training needs at least one --data NAME:PATH")
        demand(self.steps is None or self.epochs is None, "give --steps or --epochs, not both")
        for name in ("steps", "epochs", "batch", "workers", "validate_every"):
            value = getattr(self, name)
            demand(value is None or value >= 1, f"{name.replace('_', '-')} must be at least 1, not {value}")
        for name in ("minutes", "lr"):
            value = getattr(self, name)
            demand(value is None or value > 0, f"{name} must be above 0, not {value}")
        demand(0 <= self.validation < 1, f"validation must be at least 0 and below 1, not {self.validation}")
        demand(self.save_every >= 1, f"save-every must be at least 1, not {self.save_every}")
        demand_pairs(self.settings)
        demand(self.ema is None or 0 <= self.ema < 1, f"ema must be at least 0 and below 1, not {self.ema}")
        demand(
            self.precision in ("auto", "fp32", "bf16"), f"precision must be auto, fp32 or bf16, not {self.precision}"
        )
        demand(self.seed >= 0, f"seed must be at least 0, not {self.seed}")
