"""What every network offers to the rest of gigacount, and the few steps that all of them share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from gigacount.errors import UnknownNameError, WeightsError
from gigacount.geometry import Size
from gigacount.points import heads_in
from gigacount.text import listed

Floats = NDArray[np.float64]
Targets = dict[str, NDArray[np.float32]]
"""Training targets by name: maps, or a row for each head of which the loss makes maps where the network is."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Prediction:
    """The common output of all networks for a batch of B images.

    density: (B, ceil(H / stride), ceil(W / stride)) float32, people per cell; its sum is the count.
    located: per image an (N, 3) float32 array of x, y (input pixels, centres at +0.5) and score 0..1, or an (N, 8)
        one of these with left, top, right and bottom of the head's box and its area; or, where the whole prediction is
        one graph, maps (B, 3, h, w) of the three, whose score is 0 where no head is. None when the network was not
        asked to locate people or cannot.
    """

    density: Tensor
    located: Tensor | list[NDArray[np.float32]] | None = None

    @property
    def points(self) -> list[NDArray[np.float32]] | None:
        """The located people of each image, in reading order where they come from maps."""
        return heads_in(self.located.cpu().numpy()) if isinstance(self.located, Tensor) else self.located


class Backbone(nn.Module):
    """A feature extractor that may start from a classification network's weights."""

    @classmethod
    def rename_published(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict of torchvision, timm or the authors under this class's names; here they are the same."""
        return dict(state)


class Network(nn.Module):
    """Base class: a module that counts, may locate, and knows its training targets and loss.

    stride: input pixels per side of a density cell.
    no_graph: why `predict` cannot be exported as one graph for images of any size; empty where it can.
    counts: whether it counts people at all; else it is trained as the others are, and told of by its own methods.
    locates: whether `predict(..., locate=True)` returns points.
    exact: layers that stay in fp32 in any precision: sums of many values whose rounding would add up in a count.
    mean, std: of RGB values scaled to 0..1, by which images are normalised.
    crop_wh: the only size of crops that it trains on; None for any.
    stages: trainings to be done one after the other, each begun with `begin_stage`; empty where there is one.
    whole_images: whether the present stage learns from whole images, one at a time, rather than from crops.
    only_with: settings that do something only where another setting has one of these values.
    hint_layers: layers whose features others may be taught by, or be taught, and pixels per cell of each; of those with
        one stride the last counts where it teaches.
    encoder: the feature extractor that may start from a classification network's weights, where there is one.
    """

    stride: int = 8
    no_graph: str = ""
    counts: bool = True
    locates: bool = False
    exact: tuple[str, ...] = ()
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    crop_wh: Size | None = None
    stages: tuple[str, ...] = ()
    whole_images: bool = False
    only_with: Mapping[str, tuple[str, tuple[object, ...]]] = MappingProxyType({})
    hint_layers: tuple[tuple[str, int], ...] = ()

    @abstractmethod
    def predict(self, images: Tensor, locate: bool = False) -> Prediction:
        """Count, and locate if asked, in normalised images (B, 3, H, W) of any size."""

    @abstractmethod
    def targets(self, points_xy: Floats, size_wh: Size, boxes_xyxy: Floats | None = None) -> Targets:
        """Training targets for one image of `size_wh` pixels with heads at `points_xy` (N, 2) in pixels.

        Made on the processor by the processes that cut crops; the network's parameters are not at hand there.
        boxes_xyxy: (N, 4), their boxes, rows of NaN where one is not known; None where none is.
        """

    @abstractmethod
    def loss(self, images: Tensor, targets: dict[str, Tensor]) -> Tensor:
        """Scalar training loss of normalised images (B, 3, H, W) against stacked `targets`."""

    def begin_stage(self, stage: str) -> None:
        """Train this one of `stages` from now on: freeze the other parameters, let `loss` be this stage's."""
        raise UnknownNameError("training stage", stage, self.stages)

    def calibrate(self, images: Iterable[tuple[Tensor, NDArray[np.float64]]]) -> None:
        """After training, settle what is fitted on training images (3, H, W) with heads (N, 2): nothing here."""

    def parameter_groups(self, lr: float, backbone_lr: float | None = None) -> list[dict[str, Any]]:
        """What an optimiser takes: the trainable parameters, those of `encoder` at `backbone_lr` where it is given."""
        slow = lr if backbone_lr is None else backbone_lr
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                groups.setdefault(slow if name.startswith("encoder.") else lr, []).append(parameter)
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


def stack_targets(targets: Sequence[Targets]) -> Targets:
    """The targets of several images as one; rows of NaN stand where one has fewer heads than another."""
    stacked: Targets = {}
    for name in targets[0]:
        arrays = [one[name] for one in targets]
        most = max(len(array) for array in arrays)
        filled = [np.pad(a, [(0, most - len(a))] + [(0, 0)] * (a.ndim - 1), constant_values=np.nan) for a in arrays]
        stacked[name] = np.stack(filled)
    return stacked


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Zeros (the mean colour of normalised images) right and bottom, until H and W of (B, C, H, W) divide."""
    # No negative numbers: exported graphs round and divide them otherwise than Python.
    rows, cols = ((multiple - side % multiple) % multiple for side in images.shape[-2:])
    return F.pad(images, (0, cols, 0, rows))


def crop_cells(maps: Tensor, images: Tensor, stride: int) -> Tensor:
    """The ceil(H / stride) x ceil(W / stride) cells of padded `maps` (..., h, w) that lie over `images` (..., H, W)."""
    rows, cols = ((side + stride - 1) // stride for side in images.shape[-2:])
    return maps[..., :rows, :cols]


def load_matching(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load what `module` needs out of `state`, which may hold more. Raises WeightsError naming what does not fit."""
    # Files older than PyTorch 0.4.1 lack the batch counters, which inference does not use.
    needed = {k: v for k, v in module.state_dict().items() if k in state or not k.endswith("num_batches_tracked")}
    wrong = [f"{name} is missing" for name in needed if name not in state]
    for name, tensor in needed.items():
        if name in state and state[name].shape != tensor.shape:
            wrong.append(f"{name} is {tuple(state[name].shape)} instead of {tuple(tensor.shape)}")
    if wrong:
        raise WeightsError(f"these weights do not fit {type(module).__name__}: {listed(wrong, 3)}")
    module.load_state_dict({name: state[name] for name in needed}, strict=False)


def renamed(state: Mapping[str, Tensor], prefixes: Mapping[str, str]) -> dict[str, Tensor]:
    """`state` with the first prefix that fits each name exchanged, and without the "module." of parallel training."""

    def new(name: str) -> str:
        name = name.replace("module.", "")
        for old, mine in prefixes.items():
            if name.startswith(old):
                return mine + name.removeprefix(old)
        return name

    return {new(name): tensor for name, tensor in state.items()}
