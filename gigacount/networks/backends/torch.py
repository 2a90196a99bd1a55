"""PyTorch: every network, on CUDA, MPS and processors, in the precision that suits the device."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gigacount.errors import UnknownNameError, UsageError
from gigacount.geometry import Size
from gigacount.memory import keep_freed_memory
from gigacount.networks import load
from gigacount.networks.backends import Seen, check_device
from gigacount.networks.base import Network
from gigacount.networks.record import NetworkRecord

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "tf32": torch.float32}
"""tf32: fp32 whose convolutions round their factors to 10 bits, which cuDNN does by default; fp32 here means fp32."""

LARGEST_BATCH = 4
"""On an H100, windows of 2560 x 1440 pixels take 7.1 ms each alone, 6.7 ms in fours and 6.4 ms in sixteens."""
BATCH_BYTES = 4 << 30
"""Of a card's memory for each window of a batch. Not of what is free: the count would depend on who else is there."""


class Torch:
    """A network on a device. Threads may share it; they take turns. Batches that do not fit the memory are halved.

    device: auto, cpu, cuda, cuda:1, mps. precision: auto, fp32, tf32, bf16, fp16. Raises UsageError for a device that
    is not there, a precision that it cannot do, or a setting that the network does not have.
    """

    def __init__(self, record: NetworkRecord, device: str, precision: str) -> None:
        keep_freed_memory()
        self._device = choose_device(device)
        self._dtype = choose_dtype(precision, self._device)
        self.device = str(self._device)
        chosen = next(name for name, dtype in DTYPES.items() if dtype == self._dtype)
        self.precision = chosen if precision == "auto" else precision
        self.network = self._settled(load(record))
        self.locates = self.network.locates
        self.batch = batch_of(self._device)
        self._most = sys.maxsize  # images at once that the memory suffices for, as far as is known
        self._turn = threading.Lock()
        shape = (1, 3, 1, 1)
        self._mean = 255 * torch.tensor(record.mean, device=self._device).view(shape)
        self._std = 255 * torch.tensor(record.std, device=self._device).view(shape)

    def _settled(self, network: Network) -> Network:
        """The network as it is fastest here: batch norms folded, weights on the device, in its layout and precision."""
        network = channels_last(fold_batch_norms(network).to(self._device))
        for name, module in network.named_modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and name not in network.exact:
                module.to(self._dtype)  # else autocast does so on every look
        return network

    def see(self, images: Sequence[NDArray[np.uint8]], locate: bool) -> Seen:
        densities: list[NDArray[np.float32]] = []
        points: list[NDArray[np.float32]] = []
        done = 0
        while done < len(images):
            part = images[done : done + self._most]
            try:
                density, heads = self._see(part, locate)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
                    raise
                if len(part) == 1:
                    height, width = part[0].shape[:2]
                    raise UsageError(
                        f"not enough memory on {self.device} to look at {width}x{height} pixels; lower --max-size"
                    ) from None
                self._most = self.batch = len(part) // 2
                continue
            densities.append(density)
            points += heads or []
            done += len(part)
        return np.concatenate(densities), points or None

    def warm_up(self, size_wh: Size) -> None:
        """On a GPU, set up its libraries and load its kernels, which takes seconds, by a blank window."""
        if self._device.type == "cuda":
            with suppress(UsageError):  # the windows themselves may be smaller
                self.see([np.zeros((size_wh[1], size_wh[0], 3), np.uint8)], self.locates)

    def _see(self, images: Sequence[NDArray[np.uint8]], locate: bool) -> Seen:
        batch = self._uploaded(images).permute(0, 3, 1, 2)
        with (
            self._turn,
            torch.inference_mode(),
            rounding_to_tf32(self.precision == "tf32"),
            torch.autocast(self._device.type, self._dtype, self._dtype != torch.float32),
        ):
            prediction = self.network.predict(self._normalise(batch), locate)
        return prediction.density.float().cpu().numpy(), prediction.points

    def _uploaded(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """The images as (B, H, W, 3) bytes on the device: a quarter of what the network sees is copied.

        From page-locked memory, or the copy would wait for the host to stage it.
        """
        shape = len(images), *images[0].shape
        batch = torch.empty(shape, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        np.stack(images, out=batch.numpy())
        return batch.to(self._device, non_blocking=True)

    def _normalise(self, batch: Tensor) -> Tensor:
        return (batch - self._mean).div_(self._std)  # stays channels-last: the images came as (B, H, W, 3)


@contextmanager
def rounding_to_tf32(allowed: bool) -> Iterator[None]:
    """Whether convolutions and matrix products in fp32 may round to TF32 on a GPU."""
    products = torch.backends.cuda.matmul
    before, products.allow_tf32 = products.allow_tf32, allowed
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=allowed):
            yield
    finally:
        products.allow_tf32 = before


def batch_of(device: torch.device) -> int:
    """How many images a network is best given at once: 1 on a processor, on a GPU by its memory."""
    if device.type != "cuda":
        return 1
    return max(min(torch.cuda.get_device_properties(device).total_memory // BATCH_BYTES, LARGEST_BATCH), 1)


def channels_last(network: Network) -> Network:
    """Lay the weights out as convolutions on this hardware like them; in place."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def choose_device(name: str) -> torch.device:
    """Raises UnknownNameError for a device that no machine has, UsageError for one that this machine has not."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    check_device(name)
    kind = name.split(":")[0]
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
        if precision not in DTYPES:
            raise UnknownNameError("precision", precision, ["auto", *DTYPES])
        if precision == "fp16" and device.type == "cpu":
            raise UsageError("precision fp16 needs a GPU; use bf16 or fp32 on a CPU")
        if precision == "tf32" and device.type != "cuda":
            raise UsageError(f"precision tf32 needs a CUDA device, not {device.type}; use bf16 or fp32")
        return DTYPES[precision]
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
