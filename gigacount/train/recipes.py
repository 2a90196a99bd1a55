"""The published trainings by name: first the networks' own, then variants of them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gigacount.errors import UnknownNameError, UsageError
from gigacount.networks import NETWORKS, deepcount, find_class, mudiknn
from gigacount.networks.base import Network
from gigacount.networks.light import Light
from gigacount.networks.mudiknn import MudIknn
from gigacount.networks.record import NetworkRecord
from gigacount.networks.settings import read_settings
from gigacount.options import TrainOptions
from gigacount.train.recipe import Augmentation, PeopleFree, Recipe


@dataclass(frozen=True)
class Published:
    """A recipe and, in one line, what it is for.

    settings: of the network, where it has them; those of a user go before them.
    """

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

# Patches are a quarter of the picture (of 1024 x 768 here), mirrored, SGD at a fixed 1e-6 (section 3.2); momentum,
# decay, batch and epochs, each with every picture four times, are from the authors' code, which takes whole pictures at
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

# The paper cuts nine patches of a quarter of each picture (of 1024 x 768 here) and trains each column alone before all
# together; it states no rates. Adam at 1e-4 in one go is what later reproductions settled on (C-3-Framework).
MCNN = Recipe(lr=1e-4, crop_wh=(512, 384), batch=8, crops=9, epochs=400, augmentation=Augmentation(flip=0.5))

# The authors published no training; these values are ours, not tuned.
SASNET = Recipe(lr=1e-4, backbone_lr=1e-5, crop_wh=(256, 256), batch=8, epochs=500, augmentation=Augmentation(flip=0.5))

# Section 3.4; random crops and mirroring, no other augmentation. How many crops the paper does not say: the authors'
# code takes 30 of each picture and the cells of its tiling, which are 4 in one of 1024 x 768.
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

MUD_IKNN = Recipe(
    optimiser="adam",
    lr=1e-4,
    crop_wh=(mudiknn.SIDE, mudiknn.SIDE),
    batch=25,
    epochs=8333,  # 100,000 steps on the 300 pictures of ShanghaiTech part A
    augmentation=Augmentation(flip=0.5, everywhere=True),
    mean=MudIknn.mean,
    std=MudIknn.std,
)

# GigaZoom IV-A: 100 epochs, weight decay 1e-4, batch 12, rate 1e-4 times 0.99 each epoch. The paper says neither the
# optimiser, Adam here as 1e-4 would be far off for CSRNet's SGD, nor what patches of different scales are: here the
# scales of its zoom levels, which grow exponentially. The patch is ours: a batch of 12 windows of 2560 x 1440 px does
# not fit in the paper's three GPUs; four patches cover one. So is their number: 44 of each picture an epoch are one
# window at each of the 11 levels. It is validated in windows of these levels.
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

# PromptMix (IJCNN 2023) looks at pictures of 2560 x 1440 px at most (GigaZoom II-A) and mixes generated ones in, which
# --mix does. Its rates are not at hand: those of GigaZoom, by the same authors, on whole pictures.
PROMPTMIX = replace(GIGAZOOM, crop_wh=None, fit_wh=(2560, 1440), batch=1, crops=1, augmentation=Augmentation())

# "Gigapixel CSRNet" (GigaZoom II-A): patches of 1920 x 1200 px from the picture, its 1/16 and its 1/64 by area. The
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
    # Crops of one batch of three are so unlike that by the running statistics, as in use, pictures had two to three
    # times their people after 800 steps; learning with these from early on makes them fit.
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

# NWPU-Crowd's public code for RAZ-Net's localization branch: pictures of at most about 2048 px a side. It trains for at
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
    DEEPCOUNT,
    optimiser="adam",
    momentum=0.0,
    batch=20,
    augmentation=replace(DEEPCOUNT.augmentation, grey=0.1),
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
    "csrnet": Published("CSRNet's paper: quarters of the picture, SGD at 1e-6", CSRNET),
    "csrnet-code": Published(
        "CSRNet's public code: whole pictures, SGD at 1e-7, no mirroring",
        replace(CSRNET, lr=1e-7, crop_wh=None, augmentation=Augmentation(flip=0.0)),
    ),
    "csrnet-nwpu": Published("CSRNet in NWPU-Crowd's public code: Adam, crops of 768x576", CSRNET_NWPU),
    "csrnet-light": Published(
        "CSRNet taught as the light network: --set batch_norm=true --set loss=likelihood --hints-from light (ours)",
        CSRNET_LIGHT,
    ),
    "mcnn": Published("MCNN: quarters of the picture, Adam as later reproductions", MCNN),
    "sasnet": Published("SASNet: the authors published no training, so ours, not tuned", SASNET),
    "sasnet-panda": Published(
        "SASNet fine-tuned (--init) on gigapixel pictures shrunk to 2560x1440 (GigaZoom IV-A)",
        replace(SASNET, fit_wh=(2560, 1440)),
    ),
    "deepcount": Published("DeepCount: tiles of 512x384, random ones and those of the grid", DEEPCOUNT),
    "deepcount-code": Published("DeepCount's public code: Adam at 1e-4 instead, a tenth in grey", DEEPCOUNT_CODE),
    "raz-net": Published("RAZ-Net's paper: five stages, momentum 0.95, the rate halved when stuck", RAZ_NET),
    "raz-net-nwpu": Published("RAZ-Net's localization in NWPU-Crowd's public code: Adam at 1e-5", RAZ_NET_NWPU),
    "iim": Published("IIM's paper: crops of 1024x512, scales 0.8 to 1.2, the rate times 0.99 an epoch", IIM),
    "iim-code": Published(
        "IIM's public code: the rate falls polynomially instead",
        replace(IIM, schedule="polynomial", decay=0.9),
    ),
    "mud-iknn": Published("MUD-ikNN: windows of 224x224, Adam at 1e-4", MUD_IKNN),
    "promptmix": Published(
        "GigaZoom's first network: CSRNet on pictures shrunk to 2560x1440, with --mix", PROMPTMIX, BOXES
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
    if options.network not in NETWORKS:
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
    return (start.settings if start else {}) | recipes | read_settings(options.network, options.settings)


def adapted(recipe: Recipe, options: TrainOptions, network: Network, start: NetworkRecord | None = None) -> Recipe:
    """The recipe as this run follows it: with its own batch size, rate, epochs and average, normalised as `start` is.

    Raises UsageError for a batch of pictures of unlike sizes.
    """
    ratio = options.lr / recipe.lr if options.lr else 1.0
    fitted = replace(
        recipe,
        crop_wh=network.crop_wh or recipe.crop_wh,
        batch=options.batch or recipe.batch,
        lr=recipe.lr * ratio,
        backbone_lr=recipe.backbone_lr * ratio if recipe.backbone_lr else None,
        epochs=options.epochs or recipe.epochs,
        ema=recipe.ema if options.ema is None else options.ema,
    )
    if fitted.crop_wh is None and fitted.batch > 1:
        raise UsageError("this recipe takes whole pictures, which differ in size; use --batch 1")
    return fitted if start is None else replace(fitted, mean=start.mean, std=start.std)
