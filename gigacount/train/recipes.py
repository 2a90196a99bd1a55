"""What a recipe says of a training, and the published ones by name: first the networks' own, then variants of them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from gigacount.errors import UnknownNameError, UsageError
from gigacount.geometry import Size
from gigacount.networks import HELPERS, NETWORKS, deepcount, find_class, mudiknn
from gigacount.networks.base import IMAGENET_MEAN, IMAGENET_STD, Network
from gigacount.networks.light import Light
from gigacount.networks.mudiknn import MudIknn
from gigacount.networks.record import NetworkRecord
from gigacount.networks.settings import read_settings
from gigacount.options import TrainOptions


@dataclass(frozen=True)
class PeopleFree:
    """Random changes of crops of images without people: few are at hand, and nobody is in them whichever way up.

    close_up: they are enlarged up to so many times further than others, half of them so many times at least: enlarged
    texture is mistaken for heads. turn: probability of turning by quarters, or by half where they are not square.
    """

    close_up: float = 1.0
    turn: float = 0.0


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training crop. flip, grey, soft, noise, grid, crowd, above, native: probabilities.

    grey: of dropping the colours. gamma: range of the exponent of the 0..1 values, with gamma_probability.
    tint: each colour is multiplied by up to exp(tint) or exp(-tint), with the same probability.
    soft: of blurring it as if it were enlarged twice.
    scale: range of the factor by which the image is resized before the crop is cut, log-uniform. scales: these
        factors instead, or zoom_wh: GigaZoom's zoom levels, from where the whole image fits into this to 1.
    stretch: width against height change by up to exp(stretch) or exp(-stretch), where the image is resized.
    native: of cutting the crop at the image's own size instead. everywhere: at all positions of a set, as likely.
    grid: of taking a cell of the whole number of crops that the image is resized to, as in use.
    crowd: of laying the crop around one of the image's heads, any as likely: dense places are few.
    mosaic: how likely a crop is put together of 1 x 1, 2 x 2, 3 x 3, ... smaller ones of different images.
    above: of turning a crop of an image from straight above by any angle.
    kernels: what images are resampled with, one as likely as the other: "bilinear" or "bicubic".
    fill: enlarge an image that is smaller than the crop until it fills it; else the rest is grey.
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
    momentum: of "sgd". crop_wh: None for whole images. fit_wh: larger images are first shrunk to fit in this.
    batch: crops a step. crops: of each image an epoch.
    schedule, decay: "exponential", lr x decay after every epoch; "polynomial", lr x (1 - done / total) ** decay;
        "cosine", from lr to 0; "plateau", lr x decay after every `patience` validations that found nothing better.
    warm_up: steps over which the learning rate rises. fixed: parameters whose names begin so are not trained.
    freeze: share of the training after which batch norm keeps its statistics.
    ema: decay of the running average of the weights, which is what is validated and kept; 0 keeps the weights alone.
    clip: most of a step's gradient norm.
    select: what weights are chosen by on held-out images: the error of the "count", or the "f1" of located heads.
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


@dataclass(frozen=True)
class Published:
    """A recipe, in one line what it is for, and settings of the network, where it has them; a user's go before them."""

    about: str
    recipe: Recipe
    settings: Mapping[str, object] = field(default_factory=dict)


LIGHT = Recipe(
    optimiser="adamw",
    lr=8e-4,
    backbone_lr=2e-4,
    weight_decay=1e-2,
    crop_wh=(448, 448),
    batch=6,
    schedule="cosine",
    warm_up=300,
    # Crops of one batch come from unlike data sets; counts in inference, by running statistics of batch norm,
    # stayed 14 % below those by the batch's own until training, too, used the former.
    freeze=0.5,
    ema=0.999,
    # The likelihood pulls without bound where people are missed, and never harder than 1 where there are none:
    # clipping at an eighth of the usual norm cut the first more than the second, and undercounted by 14 %.
    clip=100.0,
    augmentation=Augmentation(
        flip=0.5,
        grey=0.12,
        gamma=(0.64, 1.57),
        gamma_probability=0.45,
        tint=0.2,
        soft=0.12,
        noise=0.15,
        scale=(0.25, 2.2),
        stretch=0.18,
        native=0.35,
        fill=True,
        # Crops with over 80 heads are a 25th of those of part B and hold a quarter of its heads; they were the
        # ones that were undercounted, by a ninth.
        crowd=0.3,
        people_free=PeopleFree(close_up=1.8, turn=0.5),
        mosaic=(0.6, 0.3, 0.0, 0.1),
        above=0.8,
        # Texture enlarged by one kernel alone was mistaken for heads seven times as often enlarged by the other.
        kernels=("bilinear", "bicubic"),
    ),
    mean=Light.mean,
    std=Light.std,
)

# Patches are a quarter of the image (of 1024 x 768 here), mirrored, SGD at a fixed 1e-6 (section 3.2); momentum,
# decay, batch and epochs, each with every image four times, are from the authors' code, which takes whole images at
# 1e-7 (recipe csrnet-code). All of it supposes ImageNet weights in the encoder.
CSRNET = Recipe(
    optimiser="sgd",
    lr=1e-6,
    momentum=0.95,
    weight_decay=5e-4,
    crop_wh=(512, 384),
    batch=1,
    crops=4,
    epochs=400,
    augmentation=Augmentation(flip=0.5),
)

# The paper cuts nine patches of a quarter of each image (of 1024 x 768 here) and trains each column alone before all
# together; it states no rates. Adam at 1e-4 in one go is what later reproductions settled on (C-3-Framework).
MCNN = Recipe(lr=1e-4, crop_wh=(512, 384), batch=8, crops=9, epochs=400, augmentation=Augmentation(flip=0.5))

# The authors published no training; these values are ours, not tuned.
SASNET = Recipe(lr=1e-4, backbone_lr=1e-5, crop_wh=(256, 256), batch=8, epochs=500, augmentation=Augmentation(flip=0.5))

# Section 3.4; random crops and mirroring, no other augmentation. How many crops the paper does not say: the authors'
# code takes 30 of each image and the cells of its tiling, which are 4 in one of 1024 x 768.
DEEPCOUNT = Recipe(
    optimiser="sgd",
    lr=1e-4,
    backbone_lr=5e-5,
    momentum=0.9,
    crop_wh=deepcount.TILE_WH,
    batch=32,
    crops=34,
    epochs=100,
    augmentation=Augmentation(flip=0.5, grid=4 / 34),
)

# 3.2: momentum 0.95, rate 1e-4, halved when validation is stuck "for many iterations". Crop, batch and augmentation are
# the NWPU-Crowd reproduction's; the epochs, of all stages together, are ours.
RAZ_NET = Recipe(
    optimiser="sgd",
    lr=1e-4,
    momentum=0.95,
    crop_wh=(768, 576),
    batch=8,
    epochs=100,
    schedule="plateau",
    decay=0.5,
    augmentation=Augmentation(flip=0.5, grey=0.1, gamma=(0.4, 2.0), gamma_probability=0.5, fill=True),
)

# Section 4.2; weight decay and epochs are the public code's. The rate is the confidence predictor's.
IIM = Recipe(
    optimiser="adam",
    lr=1e-5,
    weight_decay=1e-5,
    crop_wh=(1024, 512),
    batch=12,
    epochs=600,
    schedule="exponential",
    decay=0.99,
    augmentation=Augmentation(flip=0.5, scale=(0.8, 1.2), fill=True),
    select="f1",
)

# The authors published its layers alone. Learning rates are those of SASNet's recipe, crops those of NWPU-Crowd's, laid
# around heads: others teach it nothing (of drawn scenes 20 of 25 crops of 64 px held nobody).
HEAD_SIZES = Recipe(
    lr=1e-4,
    backbone_lr=1e-5,
    crop_wh=(768, 576),
    batch=8,
    epochs=100,
    schedule="cosine",
    augmentation=Augmentation(flip=0.5, scale=(0.5, 2.0), crowd=1.0),
)

MUD_IKNN = Recipe(
    optimiser="adam",
    lr=1e-4,
    crop_wh=(mudiknn.SIDE, mudiknn.SIDE),
    batch=25,
    epochs=8333,  # 100,000 steps on the 300 images of ShanghaiTech part A
    augmentation=Augmentation(flip=0.5, everywhere=True),
    mean=MudIknn.mean,
    std=MudIknn.std,
)

# GigaZoom IV-A: 100 epochs, weight decay 1e-4, batch 12, rate 1e-4 times 0.99 each epoch. The paper says neither the
# optimiser, Adam here as 1e-4 would be far off for CSRNet's SGD, nor what patches of different scales are: here the
# scales of its zoom levels. The patch is ours, four cover a window of 2560 x 1440 px, as 12 of those do not fit in the
# paper's three GPUs; so is their number, 44 of each image: one window at each of the 11 levels.
GIGAZOOM = Recipe(
    lr=1e-4,
    weight_decay=1e-4,
    crop_wh=(1280, 720),
    batch=12,
    crops=44,
    epochs=100,
    schedule="exponential",
    decay=0.99,
    augmentation=Augmentation(zoom_wh=(2560, 1440)),
)

# PromptMix (IJCNN 2023) looks at images of 2560 x 1440 px at most (GigaZoom II-A) and mixes generated ones in, which
# --mix does. Its rates are not at hand: those of GigaZoom, by the same authors, on whole images.
PROMPTMIX = replace(GIGAZOOM, crop_wh=None, fit_wh=(2560, 1440), batch=1, crops=1, augmentation=Augmentation())

# "Gigapixel CSRNet" (GigaZoom II-A): patches of 1920 x 1200 px from the image, its 1/16 and its 1/64 by area. The
# rest is CSRNet's own.
GIGAPIXEL_CSRNET = replace(
    CSRNET, crop_wh=(1920, 1200), augmentation=Augmentation(scales=(1.0, 1 / 4, 1 / 8), fill=True)
)

# NWPU-Crowd's public code for CSRNet. It multiplies densities by 100 and blurs with sigma 4, which is not done here.
CSRNET_NWPU = Recipe(
    lr=1e-5, weight_decay=1e-4, crop_wh=(768, 576), batch=12, schedule="exponential", decay=0.995, epochs=400
)

# CSRNet from fresh weights on two cores, on the light network's data and by its loss, so that both can be compared.
CSRNET_LIGHT = Recipe(
    optimiser="adamw",
    lr=1.5e-3,
    weight_decay=1e-4,
    crop_wh=(256, 256),
    batch=3,
    epochs=20,
    schedule="cosine",
    warm_up=50,
    # By the running statistics, as in use, images had two to three times their people after 800 steps of batches of
    # three; learning with these from early on makes them fit.
    freeze=0.35,
    ema=0.998,
    clip=50.0,
    # Mild: 800 steps after 3,300 with the light network's colours, stretch and scales brought more than 2,300 before.
    augmentation=Augmentation(
        flip=0.5,
        scale=(0.7, 1.4),
        native=0.6,
        crowd=0.35,
        people_free=PeopleFree(close_up=1.6),
        kernels=("bilinear", "bicubic"),
    ),
)

# NWPU-Crowd's public code for RAZ-Net's localization branch: images of at most about 2048 px a side. It trains for at
# most 2000 epochs and keeps the 87th.
RAZ_NET_NWPU = replace(
    RAZ_NET,
    optimiser="adam",
    lr=1e-5,
    momentum=0.0,
    weight_decay=1e-4,
    fit_wh=(2048, 2048),
    schedule="constant",
    decay=1.0,
    mean=(0.446139603853, 0.409515678883, 0.395083993673),
    std=(0.288205742836, 0.278144598007, 0.283502370119),
)

# DeepCount's public code. Its rate falls to a tenth at step 40,000, which is where it kept its best weights.
DEEPCOUNT_CODE = replace(
    DEEPCOUNT, optimiser="adam", momentum=0.0, batch=20, augmentation=replace(DEEPCOUNT.augmentation, grey=0.1)
)

LIGHT_FINE_TUNE = replace(
    LIGHT,
    lr=4e-4,
    backbone_lr=1e-4,
    # The encoder up to stride 4: edges and corners, which are learnt long since and are a quarter of a step's time.
    fixed=("encoder.stem.", *(f"encoder.blocks.{block}." for block in range(4))),
    freeze=0.0,
)

BOXES = {"truth": "boxes"}  # GigaZoom IV-A

RECIPES: dict[str, Published] = {
    "light": Published("the light network from ImageNet weights, mixed data sets (ours)", LIGHT),
    "light-fine-tune": Published(
        "the light network from trained weights (--init): half the rates, its first layers kept (ours, not tuned)",
        LIGHT_FINE_TUNE,
    ),
    "csrnet": Published("CSRNet's paper: quarters of the image, SGD at 1e-6", CSRNET),
    "csrnet-code": Published(
        "CSRNet's public code: whole images, SGD at 1e-7, no mirroring",
        replace(CSRNET, lr=1e-7, crop_wh=None, augmentation=Augmentation(flip=0.0)),
    ),
    "csrnet-nwpu": Published("CSRNet in NWPU-Crowd's public code: Adam, crops of 768x576", CSRNET_NWPU),
    "csrnet-light": Published(
        "CSRNet taught as the light network: --set batch_norm=true --set loss=likelihood --hints-from light (ours)",
        CSRNET_LIGHT,
    ),
    "mcnn": Published("MCNN: quarters of the image, Adam as later reproductions", MCNN),
    "sasnet": Published("SASNet: the authors published no training, so ours, not tuned", SASNET),
    "sasnet-panda": Published(
        "SASNet fine-tuned (--init) on gigapixel images shrunk to 2560x1440 (GigaZoom IV-A)",
        replace(SASNET, fit_wh=(2560, 1440)),
    ),
    "deepcount": Published("DeepCount: tiles of 512x384, random ones and those of the grid", DEEPCOUNT),
    "deepcount-code": Published("DeepCount's public code: Adam at 1e-4 instead, a tenth in grey", DEEPCOUNT_CODE),
    "raz-net": Published("RAZ-Net's paper: five stages, momentum 0.95, the rate halved when stuck", RAZ_NET),
    "raz-net-nwpu": Published("RAZ-Net's localization in NWPU-Crowd's public code: Adam at 1e-5", RAZ_NET_NWPU),
    "iim": Published("IIM's paper: crops of 1024x512, scales 0.8 to 1.2, the rate times 0.99 an epoch", IIM),
    "iim-code": Published(
        "IIM's public code: the rate falls polynomially instead", replace(IIM, schedule="polynomial", decay=0.9)
    ),
    "head-sizes": Published("IIM's network that tells how large heads are (ours, not tuned)", HEAD_SIZES),
    "mud-iknn": Published("MUD-ikNN: windows of 224x224, Adam at 1e-4", MUD_IKNN),
    "promptmix": Published(
        "GigaZoom's first network: CSRNet on images shrunk to 2560x1440, with --mix", PROMPTMIX, BOXES
    ),
    "gigazoom": Published("GigaZoom's second network: patches at the scales of its zoom levels", GIGAZOOM, BOXES),
    "gigapixel-csrnet": Published(
        "Gigapixel CSRNet: patches of 1920x1200 at scales 1, 1/4 and 1/8", GIGAPIXEL_CSRNET, BOXES
    ),
}

OWN = {"iim-hrnet": "iim", "iim-vgg": "iim", "vgg-fpn": "iim"}
"""Networks whose own recipe is not of their name."""


def recipe_name(options: TrainOptions) -> str:
    """The recipe that is asked for, or the network's own. Raises UsageError for names that are in no table."""
    if options.network not in NETWORKS | HELPERS:
        raise UnknownNameError("network", options.network, NETWORKS)
    name = options.recipe or OWN.get(options.network, options.network)
    if name not in RECIPES:
        choices = ", ".join(RECIPES)
        raise UsageError(f"there is no recipe '{name}'; choose one of: {choices} (--recipe list says what they are)")
    return name


def settings_of(options: TrainOptions, start: NetworkRecord | None = None) -> dict[str, Any]:
    """The network's settings in this run: those of `start`, over them the recipe's where the network has such, over
    them the user's. Raises UsageError for wrong ones."""
    known = inspect.signature(find_class(options.network)).parameters
    recipes = {name: value for name, value in RECIPES[recipe_name(options)].settings.items() if name in known}
    own = (start.settings if start else {}) | recipes
    return own | read_settings(options.network, options.settings, own)


def adapted(recipe: Recipe, options: TrainOptions, network: Network, start: NetworkRecord | None = None) -> Recipe:
    """The recipe as this run follows it. Raises UsageError for a batch of images of unlike sizes, and for crops of
    another size than the network's only one."""
    if options.crop and network.crop_wh not in (None, options.crop):
        width, height = network.crop_wh
        raise UsageError(f"{options.network} trains on crops of {width}x{height} pixels; leave out --crop")
    ratio = options.lr / recipe.lr if options.lr else 1.0
    fitted = replace(
        recipe,
        crop_wh=options.crop or network.crop_wh or recipe.crop_wh,
        batch=options.batch or recipe.batch,
        lr=recipe.lr * ratio,
        backbone_lr=recipe.backbone_lr * ratio if recipe.backbone_lr else None,
        epochs=options.epochs or recipe.epochs,
        ema=recipe.ema if options.ema is None else options.ema,
    )
    if fitted.crop_wh is None and fitted.batch > 1:
        raise UsageError("this recipe takes whole images, which differ in size; use --batch 1, or --crop")
    return fitted if start is None else replace(fitted, mean=start.mean, std=start.std)
