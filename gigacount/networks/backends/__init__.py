"""Backends: the ways in which a network runs. `torch` runs every network on every device, `openvino` on processors.

Importing this package imports neither; `load_backend` imports the one that is used.
"""

from __future__ import annotations

import importlib
import logging
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import UnknownNameError, UsageError
from gigacount.geometry import Size
from gigacount.networks.record import NetworkRecord
from gigacount.options import PRECISIONS

BACKENDS = {
    "openvino": "gigacount.networks.backends.openvino:OpenVINO",
    "torch": "gigacount.networks.backends.torch:Torch",
}
PRECISIONS_OF = {"openvino": ("int8", "bf16", "fp32"), "torch": ("bf16", "fp16", "tf32", "fp32")}
DEVICES = ("auto", "cpu", "cuda", "mps")
GPU_FILES = ("/dev/nvidia0", "/dev/dxg", "/dev/kfd")  # Linux: of NVIDIA's driver, of WSL, of ROCm

Seen = tuple[NDArray[np.float32], list[NDArray[np.float32]] | None]
"""The network's density (B, rows, cols), and per image x, y, score of heads (N, 3) in its pixels, or None."""

log = logging.getLogger(__name__)


class Backend(Protocol):
    """A network, loaded. device: what it runs on. precision: in which. locates: whether it can locate people.

    batch: how many images it is best given at once; 1 on processors, which one window keeps busy.
    """

    device: str
    precision: str
    locates: bool
    batch: int

    def see(self, images: Sequence[NDArray[np.uint8]], locate: bool) -> Seen:
        """Run it on images (H, W, 3) of one size. Raises UsageError where the memory does not suffice."""

    def warm_up(self, size_wh: Size) -> None:
        """Do beforehand what the first window of this size would wait for."""


def load_backend(
    record: NetworkRecord, settings: Mapping[str, object], backend: str, device: str, precision: str
) -> tuple[str, Backend]:
    """The name of the backend that suits, and the network loaded by it; `settings` go on top of the record's.

    Raises UnknownNameError for names that there are not, UsageError for a combination that cannot be, WeightsError for
    weights that are missing or damaged.
    """
    name = choose_backend(record, settings, backend, device, precision)
    if precision not in ("auto", *PRECISIONS_OF[name]):
        raise UsageError(f"backend {name} has precision {', '.join(PRECISIONS_OF[name])}, not {precision}")
    module, cls = BACKENDS[name].split(":")
    record = replace(record, settings=record.settings | dict(settings))
    loaded: Backend = getattr(importlib.import_module(module), cls)(record, device, precision)
    return name, loaded


def choose_backend(
    record: NetworkRecord, settings: Mapping[str, object], backend: str, device: str, precision: str
) -> str:
    """The backend for what a user asked for; `auto` on a processor is OpenVINO, where it can run these weights."""
    if backend not in ("auto", *BACKENDS):
        raise UnknownNameError("backend", backend, ["auto", *BACKENDS])
    if precision not in PRECISIONS:
        raise UnknownNameError("precision", precision, PRECISIONS)
    check_device(device)
    if backend == "torch":
        return backend
    asked = backend == "openvino" or precision == "int8"
    hindrance = hindrance_to_openvino(record, settings, "cpu" if asked and device == "auto" else device, precision)
    if not hindrance:
        return "openvino"
    if asked:
        raise UsageError(f"network '{record.name}' cannot run on OpenVINO: {hindrance}")
    log.info("network '%s' runs on PyTorch: %s", record.name, hindrance)
    return "torch"


def hindrance_to_openvino(record: NetworkRecord, settings: Mapping[str, object], device: str, precision: str) -> str:
    """Why OpenVINO is not what runs this; empty where it is."""
    graph = "int8" if precision == "int8" else "fp32"
    if device not in ("auto", "cpu"):
        return f"it runs on processors, not on {device}; use --device cpu or --backend torch"
    if device == "auto" and gpu_possible():
        return "this machine may have a GPU; --device cpu counts without it"
    if precision in ("fp16", "tf32"):
        return f"it has no precision {precision} on processors; use bf16 or fp32"
    if any(record.settings.get(name) != value for name, value in settings.items()):
        return f"it has no graph for the settings {', '.join(settings)}; use --backend torch"
    if graph not in record.graphs:
        how = f"--precision {graph}" + (" --calibrate NAME:PATH" if graph == "int8" else "")
        return f"its record has no {graph} graph; make one with: gigacount networks export {record.name} {how}"
    from gigacount.networks.backends.openvino import import_quietly

    try:
        import_quietly("openvino")
    except ImportError as error:
        return f"it is not there ({error}); install it (pip install openvino) or use --backend torch"
    return "" if has_avx2() else "this processor has no AVX2; use --backend torch"


def check_device(name: str) -> None:
    """Raise UnknownNameError for what no machine has; whether this one has it, the backend says."""
    if name.split(":")[0] not in DEVICES or not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise UnknownNameError("device", name, [*DEVICES, "cuda:1"])


def gpu_possible() -> bool:
    """Whether there may be a GPU for PyTorch, which takes seconds to ask."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform == "win32":
        from ctypes.util import find_library

        return find_library("nvcuda") is not None
    return any(Path(file).exists() for file in GPU_FILES)


def has_avx2() -> bool:
    """Whether OpenVINO is fast here: on x86 it wants AVX2."""
    from numpy._core._multiarray_umath import __cpu_features__  # type: ignore[import-not-found]  # no public way

    return platform.machine().lower() not in ("x86_64", "amd64") or bool(__cpu_features__.get("AVX2"))
