"""Weights on disk, safetensors only, never unpickled; and whose weights a set of tensors is, by names and shapes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gigacount.atomic import atomically
from gigacount.errors import WeightsError
from gigacount.networks import NETWORKS, build
from gigacount.networks.base import Network
from gigacount.networks.record import NetworkRecord, check_hash, refuse_pickle
from gigacount.text import listed

COUNTER = "num_batches_tracked"
"""Batch norm's counter, which inference does not use and files older than PyTorch 0.4.1 lack."""

ALIKE = 0.5  # share of common tensors from which a file is said to be most like a network

Shapes = dict[str, tuple[int, ...]]


@functools.cache
def blank(network: str) -> Network:
    """A network of the table whose parameters have names and shapes but no memory (torch's meta device)."""
    with torch.device("meta"):
        return build(network)


def shapes(state: Mapping[str, Tensor]) -> Shapes:
    """Shape of every tensor that matters for inference."""
    return {name: tuple(tensor.shape) for name, tensor in state.items() if not name.endswith(COUNTER)}


def recognise(state: Mapping[str, Tensor]) -> tuple[str, float]:
    """The network of the table that `state` is most like, and how much: 1.0 where it is that network's.

    How much is the share, 0 to 1, of tensors that both have in common, under the network's or its authors' names.
    """

    def likeness(network: str) -> float:
        ours, theirs = (shapes(s) for s in (blank(network).state_dict(), blank(network).rename_published(state)))
        return len(ours.items() & theirs.items()) / len(ours | theirs)

    return max(((network, likeness(network)) for network in NETWORKS), key=lambda pair: pair[1])


def belonging(state: Mapping[str, Tensor]) -> str:
    """Which network `state` belongs to, in words."""
    network, share = recognise(state)
    if share == 1:
        return f"they are weights of {network}"
    if share >= ALIKE:
        return f"they are most like {network}, with {share:.0%} of the tensors in common"
    return f"they are of no network here ({', '.join(NETWORKS)})"


def difference(expected: Shapes, found: Shapes) -> str:
    """What two sets of named tensor shapes differ in, in words, with some names of each kind."""
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    shared = sorted(set(expected) & set(found))
    other = [f"{n} {found[n]} instead of {expected[n]}" for n in shared if expected[n] != found[n]]
    parts = [("missing", missing), ("not known", extra), ("of another shape", other)]
    return "; ".join(f"{label}: {listed(names, 3)}" for label, names in parts if names)


def load_weights(network: Network, record: NetworkRecord) -> None:
    """Load the record's weights into `network`; WeightsError where they are missing, altered, or another network's."""
    path = record.weights_path
    check_hash([path], record.sha256)
    refuse_pickle(path)
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a safetensors file: {error}") from error
    expected, found = shapes(network.state_dict()), shapes(tensors)
    if expected != found:
        told = f"{difference(expected, found)}; {belonging(tensors)}"
        raise WeightsError(f"{path}: not weights of {record.network}: {told}")
    network.load_state_dict(tensors, strict=False)  # batch norm's counters may be missing


def save_weights(network: Network, path: Path) -> None:
    """Write all parameters and buffers of `network`, atomically."""
    with atomically(path) as fresh:
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, fresh)
