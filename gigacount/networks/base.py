"""What every network offers to the rest of gigacount, and the few steps that all of them share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from gigacount.errors import UnknownNameError, WeightsError
from gigacount.networks.heads import heads_in

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Prediction:
    """The common output of all networks for a batch of B pictures.

    density: (B, ceil(H / stride), ceil(W / stride)) float32, people per cell; its sum is the count.
    located: per picture an (N, 3) float32 array of x, y (input pixels, centres at +0.5) and score 0..1; or, where the
        whole prediction is one graph, maps of these (B, 3, h, w) whose score is 0 where no head is. None when the
        network was not asked to locate people or cannot.
    """

    density: Tensor
    located: Tensor | list[NDArray[np.float32]] | None = None

    @property
    def points(self) -> list[NDArray[np.float32]] | None:
        """The located people of each picture (N, 3), in reading order where they come from maps."""
        return heads_in(self.located.cpu().numpy()) if isinstance(self.located, Tensor) else self.located


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
    zoom_wh: tuple[int, int] | None = None
    grid: float = 0.0
    crowd: float = 0.0
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
    mean, std: of RGB values scaled to 0..1.
    """

    optimiser: Literal["sgd", "adam", "adamw"] = "adam"
    lr: float = 1e-4
    backbone_lr: float | None = None
    weight_decay: float = 0.0
    momentum: float = 0.0
    crop_wh: tuple[int, int] | None = (512, 512)
    fit_wh: tuple[int, int] | None = None
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
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


class Backbone(nn.Module):
    """A feature extractor that may start from a classification network's weights."""

    @classmethod
    def rename_published(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict of torchvision, timm or the authors under this class's names; here they are the same."""
        return dict(state)


class Network(nn.Module):
    """Base class: a module that counts, may locate, and knows its training targets and loss.

    stride: input pixels per side of a density cell.
    no_graph: why `predict` cannot be exported as one graph for pictures of any size; empty where it can.
    locates: whether `predict(..., locate=True)` returns points.
    exact: layers that stay in fp32 in any precision: sums of many values whose rounding would add up in a count.
    recipe: the paper's training.
    stages: trainings to be done one after the other, each begun with `begin_stage`; empty where there is one.
    hint_layers: layers whose features others may be taught by, or be taught, and pixels per cell of each; of those with
        one stride the last counts where it teaches.
    encoder: the feature extractor that may start from a classification network's weights, where there is one.
    """

    stride: int = 8
    no_graph: str = ""
    locates: bool = False
    exact: tuple[str, ...] = ()
    recipe: Recipe = Recipe()
    stages: tuple[str, ...] = ()
    hint_layers: tuple[tuple[str, int], ...] = ()

    @abstractmethod
    def predict(self, images: Tensor, locate: bool = False) -> Prediction:
        """Count, and locate if asked, in normalised pictures (B, 3, H, W) of any size."""

    @abstractmethod
    def targets(self, points_xy: NDArray[np.float64], size_wh: tuple[int, int]) -> dict[str, NDArray[np.float32]]:
        """Training targets for one picture of `size_wh` pixels with heads at `points_xy` (N, 2) in pixels."""

    @abstractmethod
    def loss(self, images: Tensor, targets: dict[str, Tensor]) -> Tensor:
        """Scalar training loss of normalised pictures (B, 3, H, W) against stacked `targets`."""

    def begin_stage(self, stage: str) -> None:
        """Train this one of `stages` from now on: freeze the other parameters, let `loss` be this stage's."""
        raise UnknownNameError("training stage", stage, self.stages)

    def calibrate(self, pictures: Iterable[tuple[Tensor, NDArray[np.float64]]]) -> None:
        """After training, settle what is fitted on training pictures (3, H, W) with heads (N, 2): nothing here."""

    def parameter_groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        """What an optimiser takes: the trainable parameters, those of `encoder` at the recipe's `backbone_lr`."""
        slow = recipe.lr if recipe.backbone_lr is None else recipe.backbone_lr
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                groups.setdefault(slow if name.startswith("encoder.") else recipe.lr, []).append(parameter)
        return [{"params": parameters, "lr": lr} for lr, parameters in groups.items()]

    def load_backbone(self, state: Mapping[str, Tensor]) -> None:
        """Start the encoder from a classification network's weights. Raises WeightsError where they do not fit."""
        encoder = dict(self.named_children()).get("encoder")
        if not isinstance(encoder, Backbone):
            raise WeightsError(f"{type(self).__name__} has no backbone; train it from fresh parameters")
        load_matching(encoder, encoder.rename_published(state))

    @classmethod
    def rename_published(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict as the authors published it, under this class's parameter names; here they are the same."""
        return dict(state)


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Zeros (the mean colour of normalised pictures) right and bottom, until H and W of (B, C, H, W) divide."""
    # No negative numbers: exported graphs round and divide them otherwise than Python.
    rows, cols = ((multiple - side % multiple) % multiple for side in images.shape[-2:])
    return F.pad(images, (0, cols, 0, rows))


def crop_cells(maps: Tensor, images: Tensor, stride: int) -> Tensor:
    """The ceil(H / stride) x ceil(W / stride) cells of padded `maps` (..., h, w) that lie over `images` (..., H, W)."""
    rows, cols = ((side + stride - 1) // stride for side in images.shape[-2:])
    return maps[..., :rows, :cols]


def load_matching(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load what `module` needs out of `state`, which may hold more: a classifier, later layers.

    Raises WeightsError naming the first tensors that are missing or of another shape.
    """
    # Files older than PyTorch 0.4.1 lack the batch counters, which inference does not use.
    needed = {k: v for k, v in module.state_dict().items() if k in state or not k.endswith("num_batches_tracked")}
    wrong = [f"{name} is missing" for name in needed if name not in state]
    for name, tensor in needed.items():
        if name in state and state[name].shape != tensor.shape:
            wrong.append(f"{name} is {tuple(state[name].shape)} instead of {tuple(tensor.shape)}")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise WeightsError(f"these weights do not fit {type(module).__name__}: {', '.join(wrong[:3])}{more}")
    module.load_state_dict({name: state[name] for name in needed}, strict=False)


def renamed(state: Mapping[str, Tensor], prefixes: Mapping[str, str]) -> dict[str, Tensor]:
    """`state` with the first prefix that fits each name exchanged; "module." of parallel training is dropped."""

    def new(name: str) -> str:
        name = name.replace("module.", "")
        for old, mine in prefixes.items():
            if name.startswith(old):
                return mine + name.removeprefix(old)
        return name

    return {new(name): tensor for name, tensor in state.items()}
