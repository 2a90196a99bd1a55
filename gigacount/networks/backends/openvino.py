"""OpenVINO: graphs on processors, in int8, bf16 or fp32. No torch, and no telemetry."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigacount.errors import UsageError, WeightsError
from gigacount.geometry import NETWORK_MULTIPLE, Size
from gigacount.networks.backends import Seen
from gigacount.networks.record import NetworkRecord, check_hash
from gigacount.points import heads_in

TELEMETRY = "openvino_telemetry"
GRAPH_INFO = ("gigacount", "weights")
"""Where a graph says of which weights it was made: their SHA-256."""


class OpenVINO:
    """The graph of a record. Threads may share it; they take turns.

    The same image gives the same bytes, whatever came before it. Raises UsageError where this processor has no
    bf16, WeightsError where the graph is missing, damaged, or not that of the record's weights.
    """

    device = "cpu"
    batch = 1

    def __init__(self, record: NetworkRecord, device: str, precision: str) -> None:
        self.record = record
        self._core = import_quietly("openvino").Core()
        has_bf16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and not has_bf16:
            raise UsageError("this processor has no bf16; use --precision int8 or fp32")
        quick = "int8" if "int8" in record.graphs else "bf16" if has_bf16 else "fp32"
        self.precision = quick if precision == "auto" else precision
        model = self._read()
        self.locates = len(model.outputs) > 1
        config = {
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": threads(),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # other processes, and our own decoders, share these cores
        }
        # Compiled once, for images of any size.
        self._request = self._core.compile_model(model, "CPU", config).create_infer_request()
        self._turn = threading.Lock()

    def _read(self) -> Any:
        record, kind = self.record, "int8" if self.precision == "int8" else "fp32"
        paths = record.graph_paths(kind)
        check_hash(paths, record.graphs[kind].sha256)
        try:
            model = self._core.read_model(*map(str, paths))
            made_of = model.get_rt_info(list(GRAPH_INFO)).astype(str)
            takes = model.input(0).partial_shape, model.input(0).element_type.get_type_name()
        except RuntimeError as error:
            raise WeightsError(f"{paths[0]}: not a graph of `gigacount networks export`: {last_line(error)}") from None
        if made_of != record.sha256:
            raise WeightsError(
                f"{paths[0]}: this graph was made of other weights than {record.weights}; export it anew"
            )
        any_size, some_size = (import_quietly("openvino").PartialShape([1, side, side, 3]) for side in (-1, 64))
        if takes[1] != "u8" or not takes[0].compatible(some_size):
            raise WeightsError(
                f"{paths[0]}: a graph takes uint8 (B, H, W, 3), not {takes[1]} {takes[0]}; export it anew"
            )
        model.reshape(any_size)
        return model

    def warm_up(self, size_wh: Size) -> None:
        """Nothing: a processor is as quick at the first image."""

    def see(self, images: Sequence[NDArray[np.uint8]], locate: bool) -> Seen:
        height, width = images[0].shape[:2]
        rows, cols = (-(-side // self.record.stride) for side in (height, width))
        padded = [self._padded(image) for image in images]
        with self._turn:
            try:
                seen = [[part.copy() for part in self._request.infer([one[None]]).values()] for one in padded]
            except RuntimeError as error:
                if "alloc" not in str(error):
                    raise
                raise UsageError(
                    f"not enough memory on cpu to look at {width}x{height} pixels; lower --max-size"
                ) from None
        if seen[0][0].shape[1:] != tuple(side // self.record.stride for side in padded[0].shape[:2]):
            raise WeightsError(f"{self.record.name}: its graph has not the record's stride of {self.record.stride}")
        density = np.concatenate([parts[0] for parts in seen])[:, :rows, :cols]
        if not locate:
            return density, None
        heads = [heads_in(parts[1])[0] for parts in seen]
        return density, [one[(one[:, 0] <= width) & (one[:, 1] <= height)] for one in heads]

    def _padded(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image padded with the mean colour, which networks see as 0, to whole multiples."""
        height, width = image.shape[:2]
        rows, cols = (-(-side // NETWORK_MULTIPLE) * NETWORK_MULTIPLE for side in (height, width))
        if (rows, cols) == (height, width):
            return image
        padded = np.empty((rows, cols, 3), np.uint8)
        padded[:] = np.rint(255 * np.array(self.record.mean))
        padded[:height, :width] = image
        return padded


def threads() -> int:
    """As many as this process may use: OMP_NUM_THREADS, as PyTorch has it, or else the cores it may run on."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def import_quietly(name: str) -> Any:
    """Import OpenVINO, or a tool of its, without its telemetry, which reports the import itself to a server."""
    if name in sys.modules or TELEMETRY in sys.modules:
        return importlib.import_module(name)
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # importing it fails, as where it is not installed
    try:
        return importlib.import_module(name)
    finally:
        del sys.modules[TELEMETRY]


def last_line(error: Exception) -> str:
    """What OpenVINO means: its messages begin with places in its own source."""
    return str(error).strip().splitlines()[-1].strip()
