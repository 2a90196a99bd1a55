"""What a recipe says of a training; `recipes` has the published ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gigacount.geometry import Size
from gigacount.networks.base import IMAGENET_MEAN, IMAGENET_STD


@dataclass(frozen=True)
class PeopleFree:
    """Random changes of crops of pictures without people: few are at hand, and nobody is in them whichever way up.

    close_up: they are enlarged up to so many times further than others, half of them so many times at least: it is
        enlarged texture that is mistaken for heads.
    turn: probability of turning a crop by one to three quarters; one that is not square is turned by two.
    """

    close_up: float = 1.0
    turn: float = 0.0


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training crop.

    flip: probability of mirroring left and right.
    grey: probability of dropping the colours.
    gamma: range of the exponent applied to the 0..1 values, and the probability of applying it; None for never.
    tint: each colour is multiplied by up to exp(tint) or exp(-tint), with the same probability.
    soft, noise: probabilities of blurring it as if it were enlarged twice, and of adding noise.
    scale: range of the factor by which the picture is resized before the crop is cut, log-uniform.
    stretch: width against height change by up to exp(stretch) or exp(-stretch), where the picture is resized.
    native: probability of cutting the crop at the picture's own size, not resampled, instead.
    scales: these factors, one as likely as the other, instead of a range.
    zoom_wh: GigaZoom's zoom levels instead: from the scale at which the whole picture fits into this to 1, log-uniform.
    grid: probability of taking a cell of the whole number of crops that the picture is resized to, as in use.
    crowd: probability of laying the crop around one of the picture's heads, any as likely: dense places are few.
    everywhere: crops lie at all positions in all pictures of a data set, one as likely as the other.
    mosaic: how likely a crop is put together of 1 x 1, 2 x 2, 3 x 3, ... smaller ones of different pictures.
    above: probability of turning a crop of a picture from straight above by any angle.
    people_free: what is done to pictures without people besides.
    kernels: what pictures are resampled with, one as likely as the other: "bilinear" or "bicubic".
    fill: enlarge a picture that is smaller than the crop until it fills it; else the rest is grey.
    """

    flip: float = 0.5
    grey: float = 0.0
    gamma: tuple[float, float] | None = None
    gamma_probability: float = 0.5
    tint: float = 0.0
    soft: float = 0.0
    noise: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    stretch: float = 0.0
    native: float = 0.0
    scales: tuple[float, ...] = ()
    zoom_wh: Size | None = None
    grid: float = 0.0
    crowd: float = 0.0
    everywhere: bool = False
    mosaic: tuple[float, ...] = (1.0,)
    above: float = 0.0
    people_free: PeopleFree = PeopleFree()
    kernels: tuple[str, ...] = ("bilinear",)
    fill: bool = False


@dataclass(frozen=True)
class Recipe:
    """How a paper trains its network.

    lr, backbone_lr: learning rates of the new layers and of `Network.encoder`; None gives the encoder `lr` too.
    momentum: of "sgd"; ignored by the others.
    crop_wh: training crop in pixels; None for whole pictures. fit_wh: larger pictures are first shrunk to fit in this.
    batch: crops a step. crops: of each picture an epoch.
    schedule, decay: "constant"; "exponential", lr x decay after every epoch; "polynomial",
        lr x (1 - done / total) ** decay; "cosine", from lr to 0; "plateau", lr x decay after every `patience`
        validations that found nothing better.
    warm_up: steps over which the learning rate rises to its full height.
    fixed: parameters whose names begin so are not trained.
    freeze: share of the training after which batch norm keeps its statistics.
    ema: decay of the running average of the weights, which is what is validated and kept; 0 keeps the weights alone.
    clip: most of a step's gradient norm; None for no limit.
    select: what weights are chosen by on held-out pictures: the error of the "count", or the "f1" of located heads.
    mean, std: of RGB values scaled to 0..1.
    """

    optimiser: Literal["sgd", "adam", "adamw"] = "adam"
    lr: float = 1e-4
    backbone_lr: float | None = None
    weight_decay: float = 0.0
    momentum: float = 0.0
    crop_wh: Size | None = (512, 512)
    fit_wh: Size | None = None
    batch: int = 8
    crops: int = 1
    epochs: int = 100
    schedule: Literal["constant", "exponential", "polynomial", "cosine", "plateau"] = "constant"
    decay: float = 1.0
    patience: int = 5
    warm_up: int = 0
    fixed: tuple[str, ...] = ()
    freeze: float = 1.0
    ema: float = 0.0
    clip: float | None = None
    augmentation: Augmentation = Augmentation()
    select: Literal["count", "f1"] = "count"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
