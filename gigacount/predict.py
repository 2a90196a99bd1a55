"""Predictor: uint8 pictures in, people per cell out, on any device in the precision that suits it."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gigacount.density import Density
from gigacount.errors import UnknownNameError, UsageError, WeightsError
from gigacount.memory import keep_freed_memory
from gigacount.networks import find_record, load
from gigacount.networks.base import Network, Prediction
from gigacount.networks.peaks import points_to_cells
from gigacount.networks.record import NetworkRecord
from gigacount.options import CountOptions
from gigacount.points import Heads, density_peaks

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class Found:
    """What the network saw in one picture: people per cell (rows, cols), and (N, 3) x, y, score in its pixels."""

    density: Density
    points: NDArray[np.float32] | None


class Predictor:
    """A network with its weights, ready to look at pictures. Threads may share it; they take turns at the device.

    name: of shipped weights, or the path of a record. device: auto, cpu, cuda, cuda:1, mps. precision: auto, fp32,
    bf16, fp16. settings: of the network's constructor, on top of those of its record. Raises UsageError for a device
    that is not there, a precision that it cannot do, or a setting that the network does not have.
    """

    def __init__(
        self, name: str, device: str = "auto", precision: str = "auto", settings: Mapping[str, object] | None = None
    ) -> None:
        record = find_record(name)
        self.record: NetworkRecord = replace(record, settings=record.settings | dict(settings or {}))
        self.device = choose_device(device)
        self.dtype = choose_dtype(precision, self.device)
        self.network = self._settled(load(self.record))
        shape = (1, 3, 1, 1)
        self._turn = threading.Lock()
        self._mean = 255 * torch.tensor(self.record.mean, device=self.device).view(shape)
        self._std = 255 * torch.tensor(self.record.std, device=self.device).view(shape)

    def _settled(self, network: Network) -> Network:
        """The network as it is fastest here: batch norms folded, weights on the device, in its layout and precision."""
        if self.device.type == "cpu":
            keep_freed_memory()
        network = channels_last(fold_batch_norms(network).to(self.device))
        for name, module in network.named_modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and name not in network.exact:
                module.to(self.dtype)  # else autocast does so on every look
        return network

    @property
    def precision(self) -> str:
        return next(name for name, dtype in PRECISIONS.items() if dtype == self.dtype)

    def predict(self, pictures: Sequence[NDArray[np.uint8]], locate: bool = False) -> list[Found]:
        """Look at pictures (H, W, 3) of one size.

        Raises UsageError where the device's memory does not suffice, WeightsError for a density that is not finite.
        """
        batch = self._uploaded(pictures).permute(0, 3, 1, 2)
        try:
            with (
                self._turn,
                torch.inference_mode(),
                torch.autocast(self.device.type, self.dtype, self.dtype != torch.float32),
            ):
                prediction = self.network.predict(self._normalise(batch), locate)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
                size = f"{pictures[0].shape[1]}x{pictures[0].shape[0]}"
                raise UsageError(
                    f"not enough memory on {self.device} to look at {size} pixels; lower --max-size"
                ) from None
            raise
        return self._found(prediction)

    def _uploaded(self, pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
        """The pictures as (B, H, W, 3) bytes on the device, so that a quarter of what the network sees is copied."""
        batch = torch.from_numpy(np.stack(pictures))
        if self.device.type == "cuda":
            batch = batch.pin_memory()  # else the copy waits for the host to stage it
        return batch.to(self.device, non_blocking=True)

    def _normalise(self, batch: Tensor) -> Tensor:
        return (batch - self._mean).div_(self._std)  # stays channels-last: the pictures came as (B, H, W, 3)

    def _found(self, prediction: Prediction) -> list[Found]:
        density = (prediction.density.float() / self.record.density_divisor).cpu().numpy()
        if not np.isfinite(density).all():
            raise WeightsError(
                f"{self.record.name}: this network gives no finite density ({self.precision} on {self.device}); "
                "its weights are damaged, or the precision is too low for them"
            )
        points: Sequence[NDArray[np.float32] | None] = prediction.points or [None] * len(density)
        return [Found(cells, heads) for cells, heads in zip(density, points, strict=True)]


def channels_last(network: Network) -> Network:
    """Lay the weights out as convolutions on this hardware like them; in place."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


class Locator(Predictor):
    """A predictor that always locates: by its network's own points, or by density peaks where it only counts.

    min_score: faint heads are left out; None takes the record's threshold. fuse: whether the density it returns is
    RAZ-Net's two-stream fusion of density and heads; RAZ-Net itself fuses in any case.
    """

    def __init__(self, options: CountOptions, name: str, min_score: float | None = None) -> None:
        super().__init__(name, options.device, options.precision, options.settings_of(name))
        self.min_score = min_score if min_score is not None else self.record.min_score or 0.0
        self.fuse = options.fuse and self.record.network != "raz-net"

    def predict(self, pictures: Sequence[NDArray[np.uint8]], locate: bool = True) -> list[Found]:
        found = super().predict(pictures, self.network.locates)
        return [self._located(one, picture.shape[:2]) for one, picture in zip(found, pictures, strict=True)]

    def _located(self, found: Found, size_hw: tuple[int, int]) -> Found:
        points = density_peaks(found.density, self.record.stride) if found.points is None else found.points
        points = points[points[:, 2] >= self.min_score]
        density = self._fused(found.density, points, size_hw) if self.fuse else found.density
        return Found(density, points)

    def _fused(self, density: Density, points: Heads, size_hw: tuple[int, int]) -> Density:
        from gigacount.networks.raznet.fusion import GRID, fuse  # brings all of RAZ-Net along

        theta = torch.tensor(self.record.fusion_theta or [math.inf] * GRID**2)
        located = points_to_cells(points, size_hw, self.record.stride)
        fused: Density = fuse(torch.from_numpy(density), located, theta).numpy()
        return fused


def choose_device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind = name.split(":")[0]
    if kind not in DEVICES:
        raise UnknownNameError("device", name, DEVICES)
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}[kind]
    try:
        device = torch.device(name)
    except RuntimeError:
        there = False
    if not there or (kind == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise UsageError(f"device '{name}' is not available on this machine; use --device auto or cpu")
    return device


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The fastest precision that keeps the count, for `auto`: bf16 where the processor multiplies it natively."""
    if precision != "auto":
        if precision not in PRECISIONS:
            raise UnknownNameError("precision", precision, ["auto", *PRECISIONS])
        if precision == "fp16" and device.type == "cpu":
            raise UsageError("precision fp16 needs a GPU; use bf16 or fp32 on a CPU")
        return PRECISIONS[precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if device.type == "cpu" and cpu_multiplies_bf16() else torch.float32


def cpu_multiplies_bf16() -> bool:
    """Whether this processor has AVX512-BF16 or AMX (or, on Arm, BF16) instructions."""
    ask = getattr(torch.cpu, "get_capabilities", None)
    if ask is not None:
        found = ask()
        return any(bool(found.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    older = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(older and older())


def fold_batch_norms(network: Network) -> Network:
    """Fold every batch norm that follows a convolution inside an `nn.Sequential` into it; exact up to rounding."""
    for module in network.modules():
        if not isinstance(module, nn.Sequential):
            continue
        children = list(module.named_children())
        for (name, first), (next_name, second) in pairwise(children):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(first, second))
                setattr(module, next_name, nn.Identity())
    return network
