"""The published trainings by name. A network's own recipe stands in its file; variants of it stand here."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gigacount.errors import UnknownNameError, UsageError
from gigacount.networks import NETWORKS, csrnet, deepcount, iim, mcnn, mudiknn, sasnet
from gigacount.networks.base import Augmentation, PeopleFree, Recipe
from gigacount.networks.light import Light
from gigacount.networks.raznet import RazNet
from gigacount.networks.record import NetworkRecord
from gigacount.options import TrainOptions


@dataclass(frozen=True)
class Published:
    """A recipe and, in one line, what it is for."""

    about: str
    recipe: Recipe


# GigaZoom IV-A: 100 epochs, weight decay 1e-4, batch 12, rate 1e-4 times 0.99 each epoch. The paper says neither the
# optimiser, Adam here as 1e-4 would be far off for CSRNet's SGD, nor what patches of different scales are: here the
# scales of its zoom levels, which grow exponentially. The patch is ours: a batch of 12 windows of 2560 x 1440 px does
# not fit in the paper's three GPUs.
GIGAZOOM = Recipe(
    lr=1e-4,
    weight_decay=1e-4,
    crop_wh=(1280, 720),
    batch=12,
    epochs=100,
    schedule="exponential",
    decay=0.99,
    augmentation=Augmentation(zoom_wh=(2560, 1440)),
)

# PromptMix (IJCNN 2023) looks at pictures of 2560 x 1440 px at most (GigaZoom II-A) and mixes generated ones in, which
# --mix does. Its rates are not at hand: those of GigaZoom, by the same authors, on whole pictures.
PROMPTMIX = replace(GIGAZOOM, crop_wh=None, fit_wh=(2560, 1440), batch=1, augmentation=Augmentation())

# "Gigapixel CSRNet" (GigaZoom II-A): patches of 1920 x 1200 px from the picture, its 1/16 and its 1/64 by area. The
# rest is CSRNet's own.
GIGAPIXEL_CSRNET = replace(
    csrnet.RECIPE, crop_wh=(1920, 1200), augmentation=Augmentation(scales=(1.0, 1 / 4, 1 / 8), fill=True)
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
    RazNet.recipe,
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
    deepcount.RECIPE,
    optimiser="adam",
    momentum=0.0,
    batch=20,
    augmentation=replace(deepcount.RECIPE.augmentation, grey=0.1),
)

LIGHT_FINE_TUNE = replace(
    Light.recipe,
    lr=4e-4,
    backbone_lr=1e-4,
    # The encoder up to stride 4: edges and corners, which are learnt long since and are a quarter of a step's time.
    fixed=("encoder.stem.", *(f"encoder.blocks.{block}." for block in range(4))),
    freeze=0.0,
)

RECIPES: dict[str, Published] = {
    "light": Published("the light network from ImageNet weights, mixed data sets (ours)", Light.recipe),
    "light-fine-tune": Published(
        "the light network from trained weights (--init): half the rates, its first layers kept (ours, not tuned)",
        LIGHT_FINE_TUNE,
    ),
    "csrnet": Published("CSRNet's paper: quarters of the picture, SGD at 1e-6", csrnet.RECIPE),
    "csrnet-code": Published(
        "CSRNet's public code: whole pictures, SGD at 1e-7, no mirroring",
        replace(csrnet.RECIPE, lr=1e-7, crop_wh=None, augmentation=Augmentation(flip=0.0)),
    ),
    "csrnet-nwpu": Published("CSRNet in NWPU-Crowd's public code: Adam, crops of 768x576", CSRNET_NWPU),
    "csrnet-light": Published(
        "CSRNet taught as the light network: --set batch_norm=true --set loss=likelihood --hints-from light (ours)",
        CSRNET_LIGHT,
    ),
    "mcnn": Published("MCNN: quarters of the picture, Adam as later reproductions", mcnn.RECIPE),
    "sasnet": Published("SASNet: the authors published no training, so ours, not tuned", sasnet.RECIPE),
    "sasnet-panda": Published(
        "SASNet fine-tuned (--init) on gigapixel pictures shrunk to 2560x1440 (GigaZoom IV-A)",
        replace(sasnet.RECIPE, fit_wh=(2560, 1440)),
    ),
    "deepcount": Published("DeepCount: tiles of 512x384, random ones and those of the grid", deepcount.RECIPE),
    "deepcount-code": Published("DeepCount's public code: Adam at 1e-4 instead, a tenth in grey", DEEPCOUNT_CODE),
    "raz-net": Published("RAZ-Net's paper: five stages, momentum 0.95, the rate halved when stuck", RazNet.recipe),
    "raz-net-nwpu": Published("RAZ-Net's localization in NWPU-Crowd's public code: Adam at 1e-5", RAZ_NET_NWPU),
    "iim": Published("IIM's paper: crops of 1024x512, scales 0.8 to 1.2, the rate times 0.99 an epoch", iim.RECIPE),
    "iim-code": Published(
        "IIM's public code: the rate falls polynomially instead",
        replace(iim.RECIPE, schedule="polynomial", decay=0.9),
    ),
    "mud-iknn": Published("MUD-ikNN: windows of 224x224, Adam at 1e-4", mudiknn.RECIPE),
    "promptmix": Published("GigaZoom's first network: CSRNet on pictures shrunk to 2560x1440, with --mix", PROMPTMIX),
    "gigazoom": Published("GigaZoom's second network: patches at the scales of its zoom levels", GIGAZOOM),
    "gigapixel-csrnet": Published("Gigapixel CSRNet: patches of 1920x1200 at scales 1, 1/4 and 1/8", GIGAPIXEL_CSRNET),
}

OWN = {"iim-hrnet": "iim", "iim-vgg": "iim"}
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


def adapted(recipe: Recipe, options: TrainOptions, start: NetworkRecord | None = None) -> Recipe:
    """The recipe as this run follows it: with its own batch size, rate, epochs and average, normalised as `start` is.

    Raises UsageError for a batch of pictures of unlike sizes.
    """
    ratio = options.lr / recipe.lr if options.lr else 1.0
    fitted = replace(
        recipe,
        batch=options.batch or recipe.batch,
        lr=recipe.lr * ratio,
        backbone_lr=recipe.backbone_lr * ratio if recipe.backbone_lr else None,
        epochs=options.epochs or recipe.epochs,
        ema=recipe.ema if options.ema is None else options.ema,
    )
    if fitted.crop_wh is None and fitted.batch > 1:
        raise UsageError("this recipe takes whole pictures, which differ in size; use --batch 1")
    return fitted if start is None else replace(fitted, mean=start.mean, std=start.std)
