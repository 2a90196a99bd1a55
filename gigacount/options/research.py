"""Options of the researchers' commands: labels, training, evaluation, generated images, ablations."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from gigacount.geometry import Size
from gigacount.options.count import StrategyOptions
from gigacount.options.option import (
    EXPERTS,
    NETWORK,
    OUTPUT,
    Option,
    option,
    parse_names,
    parse_numbers,
    parse_size,
    require,
    require_pairs,
    required,
)

DATA, SCHEDULE, GENERATED = "Data", "Schedule", "Generated images (PromptMix)"
Split = Annotated[str, Option("Split of the data sets: train, val, test or all.")]
Device = Annotated[str, Option("auto, cpu, cuda, cuda:1 or mps.", panel=NETWORK)]
SEVERAL = "May be given several times."
MIN_CROP = 64  # px a side: two cells of stride 32, as one alone has no spread that batch norm could learn from


@dataclass(frozen=True)
class LabelOptions:
    """How labels are read.

    orientation: of images that EXIF turns, whether labels lie on the image as "stored" or "upright"; None goes by the
    size that the labels state, else upright, and says so.
    """

    PANEL: ClassVar[str] = "Labels"

    orientation: str | None = option(
        None, "How labels lie on images that EXIF turns: stored or upright. Default: by size.", "--labels-orientation"
    )
    trust_paths: bool = option(False, "Labels may name images outside their data set.")

    def __post_init__(self) -> None:
        known = self.orientation in (None, "stored", "upright")
        require(known, f"labels-orientation must be stored or upright, not {self.orientation}")


@dataclass(frozen=True)
class CalibrateOptions:
    """What a network's record is settled on."""

    data: tuple[str, ...] = required(
        f"A labelled data set; KIND is what the record calls its images. {SEVERAL}", metavar="[KIND=]NAME:PATH"
    )
    split: Split = "train"
    held_out: Path | None = option(None, "Use only the images that this validation.txt of a training run names.")
    device: Device = "auto"
    precision: str = "auto"
    labels: LabelOptions = LabelOptions()


@dataclass(frozen=True)
class MixOptions:
    """Generated images among the real ones (PromptMix)."""

    PANEL: ClassVar[str] = GENERATED

    folder: str = required(
        "Folder of generated images to mix in, with their heads in a CSV file unless --pseudo-labels-from is "
        "given; or NAME:PATH of a data set.",
        "--mix",
        "FOLDER",
    )
    ratio: float = option(0.25, "Share of all crops that is cut from them, 0 to 1.", "--mix-ratio")
    teachers: tuple[str, ...] = option(
        (), f"A network whose located heads are their labels. {SEVERAL}", "--pseudo-labels-from", "NETWORK"
    )
    agree: float = option(
        0.5,
        "Leave out images whose counts by these networks differ by more than this share of their mean.",
        "--mix-agree",
    )

    def __post_init__(self) -> None:
        require(0 < self.ratio < 1, f"mix-ratio must be between 0 and 1, not {self.ratio}")
        require(self.agree > 0, f"mix-agree must be above 0, not {self.agree}")


@dataclass(frozen=True)
class GenerateOptions:
    """Images by a text-to-image diffusion model (PromptMix).

    model: a folder, or a name that Hugging Face's diffusers fetches. out: folder for the images. each: images of a
    prompt. size_wh: None is the model's own.
    """

    model: str
    out: Path
    each: int = 1
    size_wh: Size | None = None
    steps: int = option(50, "Denoising steps of the diffusion model.")
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        require(self.each >= 1 and self.steps >= 1, "images of a prompt and steps must be at least 1")


@dataclass(frozen=True)
class TrainOptions:
    """One training run.

    An epoch is as many crops as there are training images, times what the recipe takes of each. With both minutes and
    steps or epochs, the run ends at whichever is first; the learning rate runs out with it. settings: on top of those
    of `init`. held_out: so that the weights of an earlier run can be trained further and judged by the same images.
    """

    PANEL: ClassVar[str] = SCHEDULE

    data: tuple[str, ...] = required(
        f"A labelled data set; WEIGHT is its share of the crops, by default its number of images. {SEVERAL}",
        metavar="NAME:PATH[@WEIGHT]",
        panel=DATA,
    )
    out: Path = required("Folder for checkpoints, log, weights and record.", "-o", "FOLDER", OUTPUT)
    network: str = option("light", "A network of `gigacount networks`.", panel=NETWORK)
    recipe: str | None = option(None, "A named recipe; `list` prints all. Default: the network's own.", panel=NETWORK)
    split: str = option("train", "Split of the data sets: train, val, test or all.", panel=DATA)
    steps: int | None = option(None, "Steps to train, instead of epochs.")
    epochs: int | None = option(None, "Passes through the data. Default: the recipe's.")
    minutes: float | None = option(None, "Stop after this time.")
    init: str | None = option(None, "Start from these weights: a name or a record.", panel=NETWORK)
    backbone_weights: Path | None = option(None, "Weights of a classification network for the encoder.", panel=NETWORK)
    hints_from: str | None = option(
        None, "A trained network whose features are learned beside the counts: a name or a record.", panel=NETWORK
    )
    mix: MixOptions | None = None
    from_above: tuple[str, ...] = option(
        (),
        f"As --data, for images taken straight down; their crops are turned by any angle. {SEVERAL}",
        metavar="NAME:PATH[@WEIGHT]",
        panel=DATA,
    )
    validation: float = option(0.1, "Share of each data set held out for validation.", panel=DATA)
    held_out: Path | None = option(None, "Hold out the images of this validation.txt instead.", panel=DATA)
    skip_bad: bool = option(False, "Leave out images that cannot be used, instead of stopping.", panel=DATA)
    validate_every: int | None = option(
        None,
        "Steps between validations. Default: 500, or an epoch where the recipe lowers the rate when they do not "
        "improve.",
    )
    save_every: int = option(250, "Steps between checkpoints.", panel=OUTPUT)
    ema: float | None = option(None, "Decay of the averaged weights, 0 for none. Default: the recipe's.", panel=EXPERTS)
    batch: int | None = option(None, "Crops in a step. Default: the recipe's.")
    crop: Size | None = option(
        None, "Size of a crop, in pixels. Default: the recipe's.", metavar="WIDTHxHEIGHT", parse=parse_size
    )
    lr: float | None = option(None, "Learning rate. Default: the recipe's.")
    device: Device = "auto"
    precision: str = option("auto", "auto, fp32 or bf16.", panel=NETWORK)
    workers: int | None = option(
        None,
        "Processes that cut crops; 0 cuts them between the steps. Default: 0 on a CPU, up to 14 for a GPU.",
        panel=EXPERTS,
    )
    seed: int = option(0, "Seed of the held-out split, the crops and the fresh weights.", panel=EXPERTS)
    resume: bool = option(False, "Continue from the last checkpoint in --out.", panel=OUTPUT)
    settings: tuple[str, ...] = option((), f"A setting of the network. {SEVERAL}", "--set", "NAME=VALUE", NETWORK)
    compile: bool = option(
        False,
        "Compile the network first, for faster steps on a GPU; takes minutes, and what it gains is not measured.",
        panel=EXPERTS,
    )
    labels: LabelOptions = LabelOptions()

    @property
    def sets(self) -> tuple[str, ...]:
        """All data sets, those from above last."""
        return self.data + self.from_above

    def __post_init__(self) -> None:
        require(len(self.data) > 0, "training needs at least one --data NAME:PATH")
        require(self.steps is None or self.epochs is None, "give --steps or --epochs, not both")
        for name in ("steps", "epochs", "batch", "validate_every"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name.replace('_', '-')} must be at least 1, not {value}")
        for side in self.crop or ():
            require(side >= MIN_CROP, f"the sides of crop must be at least {MIN_CROP} pixels, not {side}")
        for name in ("minutes", "lr"):
            value = getattr(self, name)
            require(value is None or value > 0, f"{name} must be above 0, not {value}")
        require(0 <= self.validation < 1, f"validation must be at least 0 and below 1, not {self.validation}")
        require(self.workers is None or self.workers >= 0, f"workers must be at least 0, not {self.workers}")
        require(self.save_every >= 1, f"save-every must be at least 1, not {self.save_every}")
        require_pairs(self.settings)
        require(self.ema is None or 0 <= self.ema < 1, f"ema must be at least 0 and below 1, not {self.ema}")
        known = self.precision in ("auto", "fp32", "bf16")
        require(known, f"precision must be auto, fp32 or bf16, not {self.precision}")
        require(self.seed >= 0, f"seed must be at least 0, not {self.seed}")


@dataclass(frozen=True)
class EvaluateOptions:
    """How predicted heads are measured. radii: 4 and 8 are FIDTM's. sigmas: RAZ-Net's Table 3."""

    PANEL: ClassVar[str] = "Measures"

    metrics: tuple[str, ...] | None = option(
        None, "Of nwpu, fixed, qnrf, raz, nap. Default: all that the labels allow.", metavar="LIST", parse=parse_names
    )
    radii: tuple[float, ...] = option(
        (4.0, 8.0), "Match radii in pixels of the metric fixed.", "--radius", "LIST", parse=parse_numbers
    )
    sigmas: tuple[float, ...] = option(
        (5.0, 20.0, 40.0),
        "Sigmas in pixels of the metric raz (RAZ-Net's AP and AR).",
        "--sigma",
        "LIST",
        parse=parse_numbers,
    )
    form: str | None = option(
        None, "Format of the files of heads: nwpu, csv, geojson or coco. Default: by the ending.", "--format"
    )

    def __post_init__(self) -> None:
        for name, values in (("radii", self.radii), ("sigmas", self.sigmas)):
            fine = len(values) > 0 and all(0 < value < math.inf for value in values)
            require(fine, f"{name} must be numbers above 0, not {', '.join(map(str, values)) or 'none'}")
        require(self.metrics is None or len(self.metrics) > 0, "there must be at least one metric to measure")


@dataclass(frozen=True)
class AblateOptions:
    """One ablation. looking: what all rows have in common but for the option that their table varies."""

    data: str = required("A labelled data set, such as panda:PANDA_Crowd.", metavar="NAME:PATH")
    out: Path = required("Folder for measurements, tables and plots; continues what it holds.", "-o", "FOLDER", OUTPUT)
    split: Split = "test"
    networks: tuple[str, ...] = option(
        ("light",), f"Name of shipped weights, or path of a record. {SEVERAL}", "--network", panel=NETWORK
    )
    coarse_network: str | None = option(None, "Another network for the first look at the whole image.", panel=NETWORK)
    methods: tuple[str, ...] = option(
        (),
        f"A row of Table I with networks of its own, instead of the usual rows. {SEVERAL}",
        "--method",
        "LABEL=STRATEGY:NETWORK[:COARSE]",
    )
    tables: tuple[str, ...] = option(
        ("methods", "zoom", "levels", "clusters", "overzoom", "peaks", "start"),
        "Of methods, zoom, levels, clusters, overzoom (Tables I to V of the paper), peaks, start and adaptive.",
        metavar="LIST",
        parse=parse_names,
    )
    looking: Annotated[StrategyOptions, ("levels", "zoom", "clusters", "max_size", "tile")] = field(
        default_factory=StrategyOptions
    )
    device: Device = "auto"
    precision: str = option("auto", "auto, int8, bf16, fp16, tf32 or fp32.", panel=NETWORK)
    backend: str = option("auto", "What runs the network: auto, openvino or torch.", panel=NETWORK)
    images: int | None = option(None, "Use only the first N images.")
    most_looks: int | None = option(None, "Leave out rows that take more looks at an image, such as full-size sliding.")
    cache_mb: int = option(1024, "Memory for looks that rows share, in megabytes.", "--cache")
    labels: LabelOptions = LabelOptions()

    def __post_init__(self) -> None:
        require(len(self.networks) > 0, "an ablation needs at least one network")
        require(len(self.tables) > 0, "an ablation needs at least one table")
        require(self.images is None or self.images >= 1, f"images must be at least 1, not {self.images}")
        fine = self.most_looks is None or self.most_looks >= 1
        require(fine, f"most-looks must be at least 1, not {self.most_looks}")
        require(0 <= self.cache_mb <= 1_000_000, f"cache must be between 0 and 1000000 MB, not {self.cache_mb}")
