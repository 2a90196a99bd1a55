"""What a look by a network costs: parameters, multiply-accumulates, time and memory."""

from __future__ import annotations

import copy
import math
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gigacount.geometry import Size
from gigacount.networks.backends.torch import channels_last, choose_device, choose_dtype, fold_batch_norms
from gigacount.networks.base import Network

PROBE_PX = 256  # side of the image by which unused parameters are found
LOOKS = 3  # of which the fastest is kept
RESET_PEAK = "5"  # what Linux takes for: the peak of resident memory is what is resident now


@dataclass(frozen=True)
class Profile:
    """Of one look at an image of size_wh pixels, by PyTorch.

    parameters: of the network. training_only: those of them that no such look uses. multiply_accumulates: of the look,
    half of the floating-point operations of its convolutions and products. peak_mb: memory that the look takes besides
    what was taken before; None where the system does not tell.
    """

    network: str
    size_wh: Size
    parameters: int
    training_only: int
    multiply_accumulates: int
    seconds_per_megapixel: float
    frames_per_second: float
    peak_mb: float | None
    precision: str
    hardware: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def profile(name: str, network: Network, size_wh: Size, device: str = "auto", precision: str = "auto") -> Profile:
    """Measure a network on a grey image, with whatever weights it has. Raises UsageError for device or precision."""
    place = choose_device(device)
    dtype = choose_dtype(precision, place)
    width, height = size_wh
    image, network = torch.zeros(1, 3, height, width), network.eval()
    fast = channels_last(fold_batch_norms(copy.deepcopy(network)).to(place))
    seen = image.to(place).contiguous(memory_format=torch.channels_last)
    seconds, peak = math.inf, 0.0
    for _ in range(LOOKS):  # before all else: freed memory that is at hand is not taken again
        with torch.inference_mode(), torch.autocast(place.type, dtype, dtype != torch.float32):
            memory = Memory(place)
            began = time.perf_counter()
            fast.predict(seen)
            if place.type == "cuda":
                torch.cuda.synchronize(place)
            seconds = min(seconds, time.perf_counter() - began)
            peak = max(peak, memory.taken_mb())
    cuda = place.type == "cuda"
    return Profile(
        network=name,
        size_wh=size_wh,
        parameters=sum(p.numel() for p in network.parameters()),
        training_only=unused_parameters(network),
        multiply_accumulates=multiply_accumulates(network, size_wh),
        seconds_per_megapixel=round(seconds / (width * height) * 1e6, 4),
        frames_per_second=round(1 / seconds, 2),
        peak_mb=round(peak, 1) if memory.known else None,
        precision=str(dtype).removeprefix("torch."),
        hardware=torch.cuda.get_device_name(place) if cuda else f"{torch.get_num_threads()} CPU threads",
    )


def multiply_accumulates(network: Network, size_wh: Size) -> int:
    """Of a look: half of the floating-point operations of its convolutions and products."""
    with FlopCounterMode(display=False) as counter:  # with gradients: fused operations are not counted
        network.predict(torch.zeros(1, 3, size_wh[1], size_wh[0]))
    return int(counter.get_total_flops() // 2)


def unused_parameters(network: Network) -> int:
    """How many parameters a look does not use: those of layers that do not run in it and that no cell follows from.

    Both are asked: some layers are run by others without being called, and components have no gradient.
    """
    ran: set[nn.Module] = set()
    hooks = [m.register_forward_hook(lambda module, *_: ran.add(module)) for m in network.modules()]
    density = network.predict(torch.zeros(1, 3, PROBE_PX, PROBE_PX), network.locates).density
    for hook in hooks:
        hook.remove()
    used = {id(p) for module in ran for p in module.parameters(recurse=False)}
    if density.requires_grad:
        density.sum().backward()  # type: ignore[no-untyped-call]
    unused = sum(p.numel() for p in network.parameters() if id(p) not in used and p.grad is None)
    network.zero_grad(set_to_none=True)
    return unused


class Memory:
    """Memory taken since this was made, at its peak: of a GPU by PyTorch, else the process's resident memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self.known, self._before = True, torch.cuda.memory_allocated(device) / 2**20
            return
        self.known = sys.platform == "linux"
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text(RESET_PEAK)
        self._before = resident_mb("VmRSS:") if self.known else 0.0

    def taken_mb(self) -> float:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / 2**20 - self._before
        return max(resident_mb("VmHWM:") - self._before, 0.0) if self.known else 0.0


def resident_mb(field: str) -> float:
    """VmRSS, now, or VmHWM, the peak, of this process as Linux tells them."""
    return int(Path("/proc/self/status").read_text().split(field)[1].split()[0]) / 1024
