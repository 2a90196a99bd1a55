"""Weights that others published: pickled state dicts made into safetensors and a record, without running the pickle."""

from __future__ import annotations

import re
import struct
import warnings
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gigacount.errors import WeightsError
from gigacount.networks import build
from gigacount.networks.base import Network
from gigacount.networks.record import NetworkRecord, hash_file, write_record
from gigacount.networks.weights import belonging, difference, recognise, save_weights, shapes

STATE_KEYS = ("state_dict", "model_state_dict", "model", "net", "network")
"""Where training scripts keep the network in a checkpoint, most usual first."""

MAX_BYTES = 4_000_000_000
"""Of a file that is unpacked: a few kilobytes may say that they are terabytes. A checkpoint with its optimiser's state
is three times its network."""

# Checkpoints often hold their best error as a NumPy number, under the module name of old or new NumPy.
NUMPY_SCALAR = np.float64(0).__reduce__()[0]
HARMLESS: list[Any] = [
    np.dtype,
    *{type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)},
    *((NUMPY_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]

UNREADABLE = (
    *(OSError, ValueError, RuntimeError, EOFError, SafetensorError, zipfile.BadZipFile, UnpicklingError),
    # What torch's reader stumbles over in a damaged pickle:
    *(LookupError, TypeError, AttributeError, AssertionError, struct.error, MemoryError),
)


def read_published(file: Path, name: str | None = None) -> tuple[str, Network]:
    """The network with the weights of `file`, and its name; None recognises it by its tensors. Raises WeightsError."""
    state = unwrapped(read_tensors(file))
    if name is None:
        name, share = recognise(state)
        if share < 1:
            raise WeightsError(f"{file}: cannot tell whose weights these are: {belonging(state)}")
    network = build(name)
    renamed = network.rename_published(state)
    expected, found = shapes(network.state_dict()), shapes(renamed)
    if expected != found:
        raise WeightsError(f"{file}: not weights of {name}: {difference(expected, found)}; {belonging(state)}")
    network.load_state_dict(renamed, strict=False)  # batch norm's counters may be missing
    return name, network


def write_converted(network: Network, path: Path, source: str) -> None:
    """Write `path`, the record of a network of the table read from the file `source`, and its weights beside it."""
    weights = path.with_suffix(".safetensors")
    save_weights(network, weights)
    record = NetworkRecord(
        name=path.stem,
        network=path.stem,
        weights=weights.name,
        sha256=hash_file(weights),
        mean=network.mean,
        std=network.std,
        stride=network.stride,
        about=f"converted from {source}",
    )
    write_record(record, path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors by name of a safetensors file, a torch checkpoint or a NumPy archive (.npz).

    A checkpoint's state dict is looked for where training scripts keep it, and rid of the "module." of parallel
    training. Never runs code from the file: raises WeightsError for a pickle that holds more than tensors, numbers and
    text, and for a file that cannot be read.
    """
    try:
        unpacked = path.stat().st_size
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > MAX_BYTES:
            raise WeightsError(f"{path}: {unpacked / 1e9:.1f} GB of weights; at most {MAX_BYTES / 1e9:g} are read")
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".npz":
            # np.load leaves a damaged file that it has opened itself open.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        with torch.serialization.safe_globals(HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a rare pickle protocol may not be understood: then it is refused
            content = torch.load(path, weights_only=True, map_location="cpu")
    except UNREADABLE as error:
        raise WeightsError(f"{path}: cannot read these weights: {reason(error)}") from error
    state = find_state(content)
    if state is None:
        raise WeightsError(f"{path}: holds no state dict of tensors")
    return {re.sub(r"(^|\.)module\.", r"\1", name): tensor for name, tensor in state.items()}


def reason(error: Exception) -> str:
    """In one line and without torch's advice to load the file unsafely."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    forbidden = re.search(r"GLOBAL (\S+)", str(error))
    if forbidden:
        return f"it holds {forbidden[1]}, and only tensors are loaded; save its state_dict() alone"
    return str(error).splitlines()[0] if str(error) else "it is cut short"


def find_state(content: object, depth: int = 3) -> dict[str, Tensor] | None:
    """The state dict in a checkpoint: the whole of it, under a usual key, or the only one; `depth` dicts deep."""
    if not isinstance(content, dict) or depth == 0:
        return None
    if content and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()):
        return dict(content)
    candidates = [content[key] for key in STATE_KEYS if key in content] or list(content.values())
    states = (find_state(candidate, depth - 1) for candidate in candidates)
    found = [state for state in states if state is not None]
    return found[0] if len(found) == 1 else None


def unwrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the first parts that all names share: those of a wrapper around the network."""
    while state and len({name.partition(".")[0] for name in state}) == 1 and all("." in name for name in state):
        state = {name.partition(".")[2]: tensor for name, tensor in state.items()}
    return state
